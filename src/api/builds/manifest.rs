//! `GET /builds/{id}/manifest`: the file that Packer's `manifest` post-processor writes, for pipelines that read it.

use axum::{Json, extract::State};

use super::exists;
use crate::{
    api::{AppState, extract::BuildPath, problem::ApiError},
    domain::{
        Artifact, BuildId, Problem, RunState,
        manifest::{Manifest, ManifestBuild, builder_type},
    },
    store::{
        StoreError,
        artifacts::{self, ArtifactRow},
    },
};

/// Shows what the build made in the format of Packer's manifest.
#[utoipa::path(
    get, path = "/builds/{id}/manifest", operation_id = "get_manifest", tag = "builds",
    params(("id" = BuildId, Path, description = "The build's id.")),
    responses(
        (status = 200, description = "The manifest; a run that has not succeeded, and what was destroyed, is not in it.", body = Manifest),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn manifest(
    State(state): State<AppState>,
    BuildPath(id): BuildPath,
) -> Result<Json<Manifest>, ApiError> {
    let mut db = state.store.acquire().await?;
    exists(&mut db, id).await?;
    let rows = artifacts::of_build(&mut db, id).await?;
    let mut builds: Vec<ManifestBuild> = Vec::new();
    for row in rows.into_iter().filter(|row| row.state == RunState::Succeeded && row.is_there()) {
        let artifact_id = packer_id(&row)?;
        match builds.last_mut().filter(|last| last.name == row.run) {
            Some(last) => last.artifact_id = format!("{},{artifact_id}", last.artifact_id),
            None => builds.push(ManifestBuild {
                name: row.run,
                run: None,
                builder_type: builder_type(&row.builder),
                build_time: Some(row.finished_at.map_or(0, |end| end.timestamp())),
                files: None,
                artifact_id,
                packer_run_uuid: id,
                custom_data: None,
            }),
        }
    }
    Ok(Json(Manifest { builds, last_run_uuid: id }))
}

fn packer_id(row: &ArtifactRow) -> Result<String, StoreError> {
    let artifact: Artifact = serde_json::from_value(row.artifact.clone())
        .map_err(|source| StoreError::Unreadable { what: "artifact", source })?;
    Ok(artifact.packer_id())
}

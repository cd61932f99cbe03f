//! `GET /builds/{id}/artifacts`.

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{exists, view::ArtifactView};
use crate::{
    api::{AppState, extract::BuildPath, problem::ApiError},
    domain::{BuildId, Problem},
    store::artifacts,
};

/// What a build has announced.
#[derive(Debug, Serialize, ToSchema)]
pub struct ArtifactList {
    /// In the order of the template's runs.
    pub artifacts: Vec<RunArtifact>,
}

/// An artifact and the run it is from.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunArtifact {
    /// The run's name.
    pub run: String,
    /// The run's builder.
    pub builder: String,
    /// The artifact.
    #[schema(value_type = ArtifactView)]
    pub artifact: Value,
}

/// Lists the artifacts of the build.
#[utoipa::path(
    get, path = "/builds/{id}/artifacts", operation_id = "list_artifacts", tag = "builds",
    params(("id" = BuildId, Path, description = "The build's id.")),
    responses(
        (status = 200, description = "What the build has announced so far.", body = ArtifactList),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    State(state): State<AppState>,
    BuildPath(id): BuildPath,
) -> Result<Json<ArtifactList>, ApiError> {
    let mut db = state.store.acquire().await?;
    exists(&mut db, id).await?;
    let rows = artifacts::of_build(&mut db, id).await?.into_iter();
    let artifacts =
        rows.map(|row| RunArtifact { run: row.run, builder: row.builder, artifact: row.artifact });
    Ok(Json(ArtifactList { artifacts: artifacts.collect() }))
}

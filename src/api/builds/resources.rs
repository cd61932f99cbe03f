//! `GET /builds/{id}/resources`.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::exists;
use crate::{
    api::{AppState, extract::BuildPath, problem::ApiError},
    domain::{BuildId, Problem, ResourceId, RunId},
    store::ledger::{self, Keep, Resource, ResourceKind, ResourceState},
};

/// All that a build made in the cloud, or was about to make.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResourceList {
    /// Oldest first.
    pub resources: Vec<ResourceView>,
}

/// A row of the ledger.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Resource")]
pub struct ResourceView {
    /// Its id in the ledger.
    pub id: ResourceId,
    /// The run.
    pub run: RunId,
    /// The attempt of the run.
    pub attempt: i32,
    /// What it is for.
    pub slot: String,
    /// Its kind.
    pub kind: ResourceKind,
    /// Its id in the cloud; null while it is not known whether it was made.
    pub cloud_id: Option<String>,
    /// Its region.
    pub region: String,
    /// When it may stay.
    pub keep: Keep,
    /// Where it is in its life.
    pub state: ResourceState,
    /// When the intent to make it was written.
    pub created_at: DateTime<Utc>,
    /// When it was found gone.
    pub removed_at: Option<DateTime<Utc>>,
    /// Failed tries to remove it.
    pub tries: i32,
    /// Why the last one failed, or why it was never made.
    pub last_error: Option<String>,
}

impl From<Resource> for ResourceView {
    fn from(row: Resource) -> Self {
        Self {
            id: row.id,
            run: row.run_id,
            attempt: row.attempt,
            slot: row.slot,
            kind: row.kind,
            cloud_id: row.cloud_id,
            region: row.region,
            keep: row.keep,
            state: row.state,
            created_at: row.created_at,
            removed_at: row.removed_at,
            tries: row.tries,
            last_error: row.last_error,
        }
    }
}

/// Lists everything that the build made in the cloud, and what became of it.
#[utoipa::path(
    get, path = "/builds/{id}/resources", operation_id = "list_resources", tag = "builds",
    params(("id" = BuildId, Path, description = "The build's id.")),
    responses(
        (status = 200, description = "The ledger of the build.", body = ResourceList),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn resources(
    State(state): State<AppState>,
    BuildPath(id): BuildPath,
) -> Result<Json<ResourceList>, ApiError> {
    let mut db = state.store.acquire().await?;
    exists(&mut db, id).await?;
    let rows = ledger::of_build(&mut db, id).await?;
    Ok(Json(ResourceList { resources: rows.into_iter().map(ResourceView::from).collect() }))
}

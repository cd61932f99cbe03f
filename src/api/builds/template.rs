//! `GET /builds/{id}/template`.

use axum::{Json, extract::State};
use serde_json::Value;

use crate::{
    api::{AppState, extract::BuildPath, problem::ApiError},
    domain::{BuildId, Problem},
    store::builds::read,
};

/// Shows the template as it was given, with every secret replaced by `<sensitive>`.
#[utoipa::path(
    get, path = "/builds/{id}/template", operation_id = "get_template", tag = "builds",
    params(("id" = BuildId, Path, description = "The build's id.")),
    responses(
        (status = 200, description = "The template.", body = Object),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn template(
    State(state): State<AppState>,
    BuildPath(id): BuildPath,
) -> Result<Json<Value>, ApiError> {
    let mut db = state.store.acquire().await?;
    read::template(&mut db, id).await?.map(Json).ok_or_else(|| ApiError::BuildNotFound(id.to_string()))
}

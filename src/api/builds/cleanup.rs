//! `POST /builds/{id}/cleanup`.

use axum::{Json, extract::State, http::StatusCode};

use super::view::BuildView;
use crate::{
    api::{AppState, auth::Caller, extract::BuildPath, problem::ApiError},
    domain::{BuildId, Problem},
    queue::hold::{self, Pushed},
    store::{audit::Entry, builds},
};

/// Removes what a build has left in the cloud now: what could not be removed before is tried again at once, and what was kept
/// after an error (`on_error: abort`) goes before its time. Asking again changes nothing.
#[utoipa::path(
    post, path = "/builds/{id}/cleanup", operation_id = "clean_up_build", tag = "builds",
    params(("id" = BuildId, Path, description = "The build's id.")),
    responses(
        (status = 202, description = "It is being removed; `runs[].cleanup` tells when it is done.", body = BuildView),
        (status = 200, description = "Nothing is left.", body = BuildView),
        (status = 403, description = "A page of another site sent the request.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The build has not ended: cancel it, or release it if it is held.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn cleanup(
    State(state): State<AppState>,
    caller: Caller,
    BuildPath(id): BuildPath,
) -> Result<(StatusCode, Json<BuildView>), ApiError> {
    let not_found = || ApiError::BuildNotFound(id.to_string());
    let mut transaction = state.store.begin().await?;
    let status = match hold::clean_up_now(&mut transaction, id).await?.ok_or_else(not_found)? {
        Pushed::Runs(0) => StatusCode::OK,
        Pushed::Runs(_) => StatusCode::ACCEPTED,
        Pushed::NotEnded(state) => return Err(ApiError::NotFinished { build: id, state }),
    };
    let row = builds::read::get(&mut transaction, id).await?.ok_or_else(not_found)?;
    caller.record(&state, &mut transaction, &Entry::of_build("build.cleanup", id)).await?;
    transaction.commit().await?;
    Ok((status, Json(row.into())))
}

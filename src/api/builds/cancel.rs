//! `POST /builds/{id}/cancel`.

use axum::{Json, extract::State, http::StatusCode};

use super::view::BuildView;
use crate::{
    api::{AppState, auth::Caller, extract::BuildPath, problem::ApiError},
    domain::{BuildId, Problem},
    store::{
        audit::Entry,
        builds::{self, Cancellation},
    },
};

/// Asks for the end of a build. It is `cancelled` once everything it made is removed; asking again changes nothing.
#[utoipa::path(
    post, path = "/builds/{id}/cancel", operation_id = "cancel_build", tag = "builds",
    params(("id" = BuildId, Path, description = "The build's id.")),
    responses(
        (status = 202, description = "The build is being cancelled, or is cancelled already.", body = BuildView),
        (status = 403, description = "A page of another site sent the request.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The build has succeeded or failed before.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    BuildPath(id): BuildPath,
) -> Result<(StatusCode, Json<BuildView>), ApiError> {
    let not_found = || ApiError::BuildNotFound(id.to_string());
    let mut transaction = state.store.begin().await?;
    match builds::request_cancel(&mut transaction, id, state.clock.now()).await?.ok_or_else(not_found)? {
        Cancellation::Accepted => {}
        Cancellation::Finished(state) => return Err(ApiError::AlreadyFinished { build: id, state }),
    }
    let row = builds::read::get(&mut transaction, id).await?.ok_or_else(not_found)?;
    caller.record(&state, &mut transaction, &Entry::of_build("build.cancel", id)).await?;
    transaction.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(row.into())))
}

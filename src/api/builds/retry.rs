//! `POST /builds/{id}/retry`.

use axum::{extract::State, http::HeaderMap, response::Response};

use super::{
    accept::{self, Accepted, Key},
    create::answer,
    intake::Understood,
    view::BuildView,
};
use crate::{
    api::{AppState, auth::Caller, extract::BuildPath, problem::ApiError},
    domain::{BuildId, Problem},
    store::{
        builds::{self, REQUEST_COLUMN},
        contexts,
    },
    template::{BuildRequest, ContextFolder},
};

/// Asks for the same again: a new build from the request and the folder of one that has ended.
#[utoipa::path(
    post, path = "/builds/{id}/retry", operation_id = "retry_build", tag = "builds",
    params(
        ("id" = BuildId, Path, description = "The id of the build to repeat."),
        ("Idempotency-Key" = Option<String>, Header, description = "As for `POST /builds`.", pattern = "^[!-~]([ -~]{0,253}[!-~])?$"),
    ),
    responses(
        (status = 202, description = "The new build is accepted; `retry_of` names the old one.", body = BuildView,
            headers(("Location" = String, description = "The new build's path."))),
        (status = 200, description = "An earlier request with the same Idempotency-Key made this build.", body = BuildView,
            headers(("Location" = String, description = "The build's path."), ("Idempotency-Replayed" = String, description = "`true`."))),
        (status = 400, description = "The Idempotency-Key is malformed.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A page of another site sent the request.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The build has not ended, or a request with this Idempotency-Key is being accepted right now.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "This version of fournil does not take the old request, or the Idempotency-Key was used for something else.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn retry(
    State(state): State<AppState>,
    caller: Caller,
    BuildPath(id): BuildPath,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let key = Key::of(&headers, &caller, || format!("retry {id}").into_bytes())?;
    let mut db = state.store.acquire().await?;
    let stored =
        builds::request(&mut db, id).await?.ok_or_else(|| ApiError::BuildNotFound(id.to_string()))?;
    if let Some(key) = &key
        && let Some(build) = key.replay(&mut db).await?
    {
        return Ok(answer(Accepted { build, replayed: true }));
    }
    if !stored.state.is_final() {
        return Err(ApiError::NotFinished { build: id, state: stored.state });
    }
    let request: BuildRequest = state.vault.open_json(REQUEST_COLUMN, id.0, &stored.request_sealed)?;
    let archive = match stored.context_id {
        Some(context) => {
            Some(contexts::load(&mut db, &state.vault, context).await?.ok_or(sqlx::Error::RowNotFound)?)
        }
        None => None,
    };
    drop(db);
    let prepared = accept::prepare(&state, move |state| {
        let folder = match archive {
            Some(archive) => Some(ContextFolder::from_archive(&archive, &state.limits.context)?),
            None => None,
        };
        Ok(Understood { request, folder })
    });
    let prepared = prepared.await?;
    Ok(answer(accept::accept(&state, &caller, prepared, key, Some(id)).await?))
}

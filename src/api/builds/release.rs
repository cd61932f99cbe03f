//! `POST /builds/{id}/release`.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{intake, view::BuildView};
use crate::{
    api::{AppState, auth::Caller, extract::BuildPath, problem::ApiError},
    domain::{BuildId, Problem, on_error::Release, problem::FieldProblem},
    queue::hold::{self, Released},
    store::{audit::Entry, builds},
    template::pointer_token,
};

/// Bytes; more than any such body needs.
const MAX_BODY: usize = 16 << 10;

/// How held runs go on. An empty body stands for `{}`.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// `cleanup` (the default): what the run made is removed. `keep`: it ends, and what it made stays for a while.
    /// `retry`: the step that failed is run again on the same VM.
    #[serde(default)]
    pub then: Release,
    /// Only the run of this name.
    #[serde(default)]
    pub run: Option<String>,
}

/// Lets runs go on whose VM is held for a person after an error (`on_error: hold`).
#[utoipa::path(
    post, path = "/builds/{id}/release", operation_id = "release_build", tag = "builds",
    params(("id" = BuildId, Path, description = "The build's id.")),
    request_body(content = Option<ReleaseRequest>, description = "How they go on; may be left out."),
    responses(
        (status = 202, description = "The held runs go on.", body = BuildView),
        (status = 400, description = "The body is no JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A page of another site sent the request.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Nothing of the build is held, or the step cannot be run again.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body is not as described.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn release(
    State(state): State<AppState>,
    caller: Caller,
    BuildPath(id): BuildPath,
    request: Request,
) -> Result<(StatusCode, Json<BuildView>), ApiError> {
    let (parts, body) = request.into_parts();
    let body = intake::read_body(&state, &parts.headers, body, MAX_BODY).await?;
    let wanted = read(&parts.headers, &body)?;
    let not_found = || ApiError::BuildNotFound(id.to_string());
    let mut transaction = state.store.begin().await?;
    let released = hold::release(&mut transaction, id, wanted.run.as_deref(), wanted.then).await?;
    match released.ok_or_else(not_found)? {
        Released::Runs(runs) => {
            tracing::info!(build.id = %id, runs, "build {id} is released: {}", wanted.then.as_str())
        }
        Released::NotHeld(state) => return Err(ApiError::NotHeld { build: id, state }),
        Released::NotAgain => return Err(ApiError::NotAgain(id)),
    }
    let row = builds::read::get(&mut transaction, id).await?.ok_or_else(not_found)?;
    let entry = Entry {
        target: wanted.run.as_deref(),
        detail: serde_json::json!({ "then": wanted.then }),
        ..Entry::of_build("build.release", id)
    };
    caller.record(&state, &mut transaction, &entry).await?;
    transaction.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(row.into())))
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<ReleaseRequest, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(ReleaseRequest::default());
    }
    match crate::api::extract::media_type(headers).as_deref() {
        Some("application/json") => {}
        _ => {
            return Err(ApiError::UnsupportedMediaType(
                "The body must be `application/json`, or empty.".to_owned(),
            ));
        }
    }
    let invalid = |status, pointer: &str, detail: String| -> ApiError {
        Problem::new(status, "invalid_request", "The request is not valid", detail.clone())
            .with_errors(vec![FieldProblem::at(pointer, detail)])
            .into()
    };
    let value: serde_json::Value = serde_json::from_slice(body)
        .map_err(|error| invalid(400, "", format!("the body is no JSON: {error}")))?;
    let Some(members) = value.as_object() else {
        return Err(invalid(
            422,
            "",
            "the body must be an object such as {\"then\": \"cleanup\"}".to_owned(),
        ));
    };
    let mut request = ReleaseRequest::default();
    for (name, value) in members {
        match (name.as_str(), value.as_str()) {
            ("then", text) => {
                let parsed = text.unwrap_or_default().parse();
                request.then =
                    parsed.map_err(|why: String| invalid(422, "/then", format!("`then` {why}")))?;
            }
            ("run", Some(text)) if !text.contains('\0') => request.run = Some(text.to_owned()),
            ("run", _) => return Err(invalid(422, "/run", "`run` must be the name of a run".to_owned())),
            (other, _) => {
                let pointer = format!("/{}", pointer_token(other));
                return Err(invalid(
                    422,
                    &pointer,
                    format!("there is no field `{other}`; known are then and run"),
                ));
            }
        }
    }
    Ok(request)
}

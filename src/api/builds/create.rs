//! `POST /builds`.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    accept::{self, Accepted, Key},
    intake::Received,
    view::BuildView,
};
use crate::{
    api::{AppState, auth::Caller, problem::ApiError},
    domain::Problem,
};

/// Tells that an earlier request with the same key made the build.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Asks for a build.
///
/// The body is a JSON envelope, a bare Packer JSON template, the short form with one `builder`, an HCL2 template, an archive
/// of a folder with the template in it, or a multipart form of both.
#[utoipa::path(
    post, path = "/builds", operation_id = "create_build", tag = "builds",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. The same key with the same body answers the same build.",
            pattern = "^[!-~]([ -~]{0,253}[!-~])?$"),
        ("template" = Option<String>, Query, description = "With an archive: the path in it of the template, or of a folder of HCL2 files."),
        ("only" = Option<String>, Query, description = "With an archive or an HCL2 template: names of the runs to make, separated by commas. `var.NAME`, `env.NAME`, `label.NAME`, `except`, `var_file`, `name`, `timeout` and `priority` are taken too. URLs end up in logs: secrets belong into the part `request` of a multipart form."),
    ),
    request_body(
        description = "What to bake.",
        content(
            (crate::api::openapi::BuildRequestBody = "application/json"),
            (crate::api::openapi::Hcl2Text = "application/hcl"),
            (crate::api::openapi::Archive = "application/x-tar"),
            (crate::api::openapi::Archive = "application/gzip"),
            (crate::api::openapi::MultipartBody = "multipart/form-data"),
        ),
    ),
    responses(
        (status = 202, description = "The build is accepted: it is stored and will end in a final state.", body = BuildView,
            headers(("Location" = String, description = "The build's path."))),
        (status = 200, description = "An earlier request with the same Idempotency-Key made this build.", body = BuildView,
            headers(("Location" = String, description = "The build's path."), ("Idempotency-Replayed" = String, description = "`true`."))),
        (status = 400, description = "The body is no JSON, or a parameter or header is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A page of another site sent the request.", body = Problem, content_type = "application/problem+json"),
        (status = 408, description = "The body took too long.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "A request with this Idempotency-Key is being accepted right now.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body, or what it unpacks to, is too large.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The media type is not supported.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The template or an option is wrong (`errors` lists every place), or the Idempotency-Key was used with another body.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn create(
    State(state): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let headers = request.headers().clone();
    let received = Received::read(&state, request).await?;
    let key = Key::of(&headers, &caller, || received.fingerprint())?;
    if let Some(key) = &key {
        // Before the template is looked at: what was accepted once is not judged again.
        let mut db = state.store.acquire().await?;
        if let Some(build) = key.replay(&mut db).await? {
            return Ok(answer(Accepted { build, replayed: true }));
        }
    }
    let prepared = accept::prepare(&state, move |state| received.understand(state)).await?;
    Ok(answer(accept::accept(&state, &caller, prepared, key, None).await?))
}

/// The answer to `create` and `retry`.
pub fn answer(Accepted { build, replayed }: Accepted) -> Response {
    let location = format!("/builds/{}", build.id);
    let status = if replayed { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, [(header::LOCATION, location)], Json(build)).into_response();
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

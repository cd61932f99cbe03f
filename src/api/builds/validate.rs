//! `POST /validate`.

use axum::{
    Json,
    extract::{Request, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{accept, intake::Received};
use crate::{
    api::{AppState, problem::ApiError},
    domain::Problem,
};

/// A request that would be accepted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Validation {
    /// Always true; what is not valid is answered as a problem.
    pub valid: bool,
    /// The runs that the build would have.
    pub runs: Vec<ValidRun>,
    /// What the user should know though it is no error.
    pub notices: Vec<String>,
}

/// A run of a valid request.
#[derive(Debug, Serialize, ToSchema)]
pub struct ValidRun {
    /// Packer's name of it.
    pub name: String,
    /// The kind of builder.
    pub builder: String,
    /// The name of the OMI it makes.
    pub omi_name: Option<String>,
    /// The kinds of its provisioners, in order.
    pub provisioners: Vec<String>,
    /// The kinds of its post-processors, a list for each sequence.
    pub post_processors: Vec<Vec<String>>,
}

/// Checks everything that can be known without the cloud. Takes the same bodies as `POST /builds` and stores nothing.
#[utoipa::path(
    post, path = "/validate", operation_id = "validate", tag = "builds",
    request_body(
        description = "What would be baked.",
        content(
            (crate::api::openapi::BuildRequestBody = "application/json"),
            (crate::api::openapi::Hcl2Text = "application/hcl"),
            (crate::api::openapi::Archive = "application/x-tar"),
            (crate::api::openapi::Archive = "application/gzip"),
            (crate::api::openapi::MultipartBody = "multipart/form-data"),
        ),
    ),
    responses(
        (status = 200, description = "The request is valid.", body = Validation),
        (status = 400, description = "The body is no JSON, or a parameter is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A page of another site sent the request.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body, or what it unpacks to, is too large.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The media type is not supported.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The template or an option is wrong; `errors` lists every place.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn validate(State(state): State<AppState>, request: Request) -> Result<Json<Validation>, ApiError> {
    let received = Received::read(&state, request).await?;
    let prepared = accept::prepare(&state, move |state| received.understand(state)).await?;
    let plan = prepared.parsed.plan;
    let runs = plan.runs.iter().map(|run| ValidRun {
        name: run.name.clone(),
        builder: run.builder.kind().to_owned(),
        omi_name: run.builder.omi_name().map(str::to_owned),
        provisioners: run
            .provisioners
            .iter()
            .map(|provisioner| provisioner.action.kind().to_owned())
            .collect(),
        post_processors: run
            .post_processors
            .iter()
            .map(|chain| chain.iter().map(|each| each.action.kind().to_owned()).collect())
            .collect(),
    });
    Ok(Json(Validation { valid: true, runs: runs.collect(), notices: plan.notices }))
}

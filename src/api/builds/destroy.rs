//! `DELETE /builds/{id}/artifacts`.

use axum::{Json, extract::State, http::StatusCode};

use super::view::BuildView;
use crate::{
    api::{
        AppState,
        auth::Caller,
        extract::{BuildPath, Pairs},
        problem::ApiError,
    },
    domain::{BuildId, Problem},
    queue::destroy::{self, Asked},
    store::{audit::Entry, builds::read},
};

/// Destroys what a build announced: OMIs with their snapshots, volumes, snapshots. A worker does it; each artifact tells when
/// it is gone (`removed_at`), or why it stays (`removal_error`), for example because it is in use. Asking again tries again.
#[utoipa::path(
    delete, path = "/builds/{id}/artifacts", operation_id = "destroy_artifacts", tag = "builds",
    params(
        ("id" = BuildId, Path, description = "The build's id."),
        ("run" = Option<String>, Query, description = "Only what the run of this name announced."),
    ),
    responses(
        (status = 202, description = "They are being destroyed; `runs[].destroy` tells when that is done.", body = BuildView),
        (status = 200, description = "There is nothing to destroy.", body = BuildView),
        (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A page of another site sent the request.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The build has not ended.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn destroy(
    State(state): State<AppState>,
    caller: Caller,
    BuildPath(id): BuildPath,
    pairs: Pairs,
) -> Result<(StatusCode, Json<BuildView>), ApiError> {
    let pairs = pairs.only(&["run"])?;
    let run = pairs.text("run")?;
    let not_found = || ApiError::BuildNotFound(id.to_string());
    let mut transaction = state.store.begin().await?;
    if let Some(run) = run {
        let runs = read::run_names(&mut transaction, id).await?;
        if !runs.is_empty() && !runs.iter().any(|name| name == run) {
            let detail = format!("The build has no run `{run}`; its runs are {}.", runs.join(", "));
            return Err(ApiError::parameter("run", detail));
        }
    }
    let status = match destroy::request(&mut transaction, id, run).await?.ok_or_else(not_found)? {
        Asked::Runs(0) => StatusCode::OK,
        Asked::Runs(runs) => {
            tracing::info!(build.id = %id, runs, "the artifacts of build {id} are to be destroyed");
            StatusCode::ACCEPTED
        }
        Asked::NotEnded(state) => return Err(ApiError::NotFinished { build: id, state }),
    };
    let row = read::get(&mut transaction, id).await?.ok_or_else(not_found)?;
    let entry = Entry { target: run, ..Entry::of_build("artifacts.destroy", id) };
    caller.record(&state, &mut transaction, &entry).await?;
    transaction.commit().await?;
    Ok((status, Json(row.into())))
}

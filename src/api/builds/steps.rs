//! `GET /builds/{id}/steps`.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::exists;
use crate::{
    api::{AppState, extract::BuildPath, problem::ApiError},
    domain::{BuildId, Problem, StepState},
    store::builds::read::{self, StepRow},
};

/// What the runs of a build have done and are doing.
#[derive(Debug, Serialize, ToSchema)]
pub struct StepList {
    /// By run, attempt and begin.
    pub steps: Vec<StepView>,
}

/// A step of a run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Step")]
pub struct StepView {
    /// The run's name.
    pub run: String,
    /// The attempt of the run.
    pub attempt: i32,
    /// Its name.
    #[schema(example = "launch_vm")]
    pub name: String,
    /// Where it is in its life.
    pub state: StepState,
    /// When it began (again).
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// How long it took; null while it runs.
    pub seconds: Option<f64>,
    /// Why it failed.
    #[schema(value_type = Option<Problem>)]
    pub error: Option<Value>,
}

impl From<StepRow> for StepView {
    fn from(row: StepRow) -> Self {
        let took = row.finished_at.map(|end| end - row.started_at);
        Self {
            run: row.run,
            attempt: row.attempt,
            name: row.name,
            state: row.state,
            started_at: row.started_at,
            finished_at: row.finished_at,
            seconds: took.map(|took| took.num_milliseconds() as f64 / 1000.0),
            error: row.error,
        }
    }
}

/// Lists the steps of the build's runs with their times.
#[utoipa::path(
    get, path = "/builds/{id}/steps", operation_id = "list_steps", tag = "builds",
    params(("id" = BuildId, Path, description = "The build's id.")),
    responses(
        (status = 200, description = "The steps that have begun.", body = StepList),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn steps(
    State(state): State<AppState>,
    BuildPath(id): BuildPath,
) -> Result<Json<StepList>, ApiError> {
    let mut db = state.store.acquire().await?;
    exists(&mut db, id).await?;
    let rows = read::steps(&mut db, id).await?;
    Ok(Json(StepList { steps: rows.into_iter().map(StepView::from).collect() }))
}

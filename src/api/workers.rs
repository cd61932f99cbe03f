//! `GET /workers`.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{AppState, problem::ApiError};
use crate::store::workers;

/// The workers of all replicas.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkerList {
    /// By machine and start.
    pub workers: Vec<WorkerView>,
}

/// A worker process.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Worker")]
pub struct WorkerView {
    /// Its id, new with every start.
    pub id: String,
    /// The machine it is on.
    pub hostname: String,
    /// What it can do beside the ordinary.
    pub capabilities: Vec<String>,
    /// How many runs it works on at a time.
    pub slots: i32,
    /// How many it works on now.
    pub busy: i32,
    /// Whether it takes no new runs.
    pub draining: bool,
    /// Its version of fournil.
    pub version: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// Its last heartbeat.
    pub seen_at: DateTime<Utc>,
}

/// Lists the workers that have been seen lately.
#[utoipa::path(
    get, path = "/workers", operation_id = "list_workers", tag = "operation",
    responses((status = 200, description = "The workers.", body = WorkerList)),
)]
pub async fn workers(State(state): State<AppState>) -> Result<Json<WorkerList>, ApiError> {
    let rows = workers::all(&mut *state.store.acquire().await?).await?.into_iter();
    let workers = rows.map(|row| WorkerView {
        id: row.id,
        hostname: row.hostname,
        capabilities: row.capabilities,
        slots: row.slots,
        busy: row.busy,
        draining: row.draining,
        version: row.version,
        started_at: row.started_at,
        seen_at: row.seen_at,
    });
    Ok(Json(WorkerList { workers: workers.collect() }))
}

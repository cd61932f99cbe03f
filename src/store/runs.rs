//! Runs as a worker needs them: the plan opened, the outcome if it is decided, the time that is left.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{StoreError, journal::guard};
use crate::{
    credentials::vault::Vault,
    domain::{OnError, RunId, RunPlan, RunState, on_error::Release},
    queue::{Lease, finish::Outcome},
};

/// The column name under which plans are sealed.
pub const PLAN_COLUMN: &str = "runs.plan_sealed";

/// A run for its worker.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// What to do.
    pub plan: Arc<RunPlan>,
    /// Its state.
    pub state: RunState,
    /// The attempt it is in.
    pub attempt: i32,
    /// How many it may have.
    pub max_attempts: i32,
    /// What it will end as, if that is decided.
    pub outcome: Option<Outcome>,
    /// The uploaded folder.
    pub context_id: Option<Uuid>,
    /// Until the build's timeout, if it has one.
    pub time_left: Option<Duration>,
    /// What happens after an error.
    pub on_error: OnError,
    /// How long things stay then, unless it is the usual time.
    pub keep_for: Option<Duration>,
    /// Public keys that a held or kept VM lets in.
    pub authorized_keys: Vec<String>,
    /// Whether it was held for a person, and how that ended; absent: it was not, or still is.
    pub hold_ended: Option<Release>,
    /// Whether somebody has asked for the end of the build.
    pub cancel_requested: bool,
    /// Whether what it left in the cloud is to be removed now.
    pub cleanup_is_due: bool,
    /// The most often that the removal of one of its resources failed.
    pub cleanup_tries: u32,
}

#[derive(sqlx::FromRow)]
struct Row {
    plan_sealed: Vec<u8>,
    state: RunState,
    attempt: i32,
    max_attempts: i32,
    outcome: Option<Value>,
    context_id: Option<Uuid>,
    seconds_left: Option<f64>,
    on_error: String,
    keep_for_ms: Option<i64>,
    authorized_keys: Vec<String>,
    hold_ended: Option<Release>,
    cancel_requested: bool,
    cleanup_is_due: bool,
    cleanup_tries: i32,
}

/// Loads a run and opens its plan.
///
/// # Errors
/// The database is away, or the plan was sealed with another master key.
pub async fn load(db: &mut PgConnection, vault: &Vault, run: RunId) -> Result<RunRow, StoreError> {
    let row: Row = sqlx::query_as(
        "SELECT plan_sealed, runs.state, attempt, max_attempts, outcome, context_id,
                extract(epoch FROM coalesce(builds.started_at, now()) + timeout_ms * interval '1 millisecond' - now())::float8
                    AS seconds_left,
                on_error, keep_for_ms, authorized_keys, cancel_requested_at IS NOT NULL AS cancel_requested,
                cleanup IN ('pending', 'failed') AND run_after <= now() AS cleanup_is_due,
                CASE WHEN held_until <= now() THEN coalesce(release, 'cleanup') END AS hold_ended,
                (SELECT coalesce(max(tries), 0) FROM resources WHERE run_id = runs.id AND resources.state IN ('intent', 'created'))
                    AS cleanup_tries
         FROM runs JOIN builds ON builds.id = build_id
         WHERE runs.id = $1",
    )
    .bind(run)
    .fetch_one(db)
    .await?;
    let outcome = row.outcome.map(serde_json::from_value).transpose();
    let keep_for = row.keep_for_ms.and_then(|time| u64::try_from(time).ok()).map(Duration::from_millis);
    Ok(RunRow {
        plan: Arc::new(vault.open_json(PLAN_COLUMN, run.0, &row.plan_sealed)?),
        state: row.state,
        attempt: row.attempt,
        max_attempts: row.max_attempts,
        outcome: outcome.map_err(|source| StoreError::Unreadable { what: "outcome", source })?,
        context_id: row.context_id,
        time_left: row.seconds_left.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()),
        on_error: row.on_error.parse().unwrap_or_default(),
        keep_for,
        authorized_keys: row.authorized_keys,
        hold_ended: row.hold_ended,
        cancel_requested: row.cancel_requested,
        cleanup_is_due: row.cleanup_is_due,
        cleanup_tries: u32::try_from(row.cleanup_tries).unwrap_or_default(),
    })
}

/// Notes that a worker is at it, and how many steps there are.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn begin(db: &mut PgConnection, lease: &Lease, steps_total: i32) -> Result<(), StoreError> {
    guard(db, lease).await?;
    sqlx::query("UPDATE runs SET steps_total = $2 WHERE id = $1")
        .bind(lease.run)
        .bind(steps_total)
        .execute(db)
        .await?;
    Ok(())
}

/// Replaces the plan of a run by what it has become.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn set_plan(
    db: &mut PgConnection,
    lease: &Lease,
    plan_sealed: &[u8],
    steps_total: i32,
) -> Result<(), StoreError> {
    guard(db, lease).await?;
    sqlx::query("UPDATE runs SET plan_sealed = $2, steps_total = $3 WHERE id = $1")
        .bind(lease.run)
        .bind(plan_sealed)
        .bind(steps_total)
        .execute(db)
        .await?;
    Ok(())
}

/// Notes whether the run's VM may let in the request's `authorized_keys`.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn set_keys_in_vm(db: &mut PgConnection, lease: &Lease, there: bool) -> Result<(), StoreError> {
    guard(db, lease).await?;
    sqlx::query("UPDATE runs SET keys_in_vm = $2 WHERE id = $1")
        .bind(lease.run)
        .bind(there)
        .execute(db)
        .await?;
    Ok(())
}

/// Whether the run's VM may let in the request's `authorized_keys`.
///
/// # Errors
/// The database is away.
pub async fn keys_in_vm(db: &mut PgConnection, run: RunId) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("SELECT keys_in_vm FROM runs WHERE id = $1").bind(run).fetch_one(db).await?)
}

/// Whether the run ever made anything, or was about to.
///
/// # Errors
/// The database is away.
pub async fn has_resources(pool: &PgPool, run: RunId) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM resources WHERE run_id = $1)")
        .bind(run)
        .fetch_one(pool)
        .await?)
}

/// Whether something of the run is still to be removed.
///
/// # Errors
/// The database is away.
pub async fn has_live_resources(pool: &PgPool, run: RunId) -> Result<bool, StoreError> {
    let query =
        "SELECT EXISTS (SELECT 1 FROM resources WHERE run_id = $1 AND state IN ('intent', 'created'))";
    Ok(sqlx::query_scalar(query).bind(run).fetch_one(pool).await?)
}

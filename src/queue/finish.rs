//! The end of a run: first what it will end as (so that a crash during cleanup does not bake again), then, when its
//! cleanup is done or handed to the reaper, the final state.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgConnection;

use super::Lease;
use crate::{
    domain::{Artifact, CleanupState, Problem, RunState},
    store::{
        StoreError, builds,
        changes::{self, EventKind},
        journal::guard,
        ledger,
    },
};

/// What a run ends as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// A final state.
    pub state: RunState,
    /// Why, if it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// Decides what the run ends as. Artifacts are announced, and what they are made of is kept, also if the run fails after
/// they were complete; from here on only cleanup is left.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn decide(
    db: &mut PgConnection,
    lease: &Lease,
    run: &str,
    attempt: i32,
    outcome: &Outcome,
    artifacts: &[Artifact],
) -> Result<(), StoreError> {
    guard(db, lease).await?;
    sqlx::query(
        "UPDATE runs SET outcome = $2, error = $3, cleanup = 'pending', step = 'cleanup' WHERE id = $1",
    )
    .bind(lease.run)
    .bind(json!(outcome))
    .bind(outcome.error.as_ref().map(|error| json!(error)))
    .execute(&mut *db)
    .await?;
    // Steps that were dropped half-way, by a panic or with a lost worker.
    sqlx::query(
        "UPDATE steps SET state = 'interrupted', finished_at = now() WHERE run_id = $1 AND state = 'running'",
    )
    .bind(lease.run)
    .execute(&mut *db)
    .await?;
    for (ordinal, artifact) in artifacts.iter().enumerate() {
        let announced = sqlx::query(
            "INSERT INTO artifacts (run_id, ordinal, build_id, artifact) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(lease.run)
        .bind(i32::try_from(ordinal).unwrap_or(i32::MAX))
        .bind(lease.build)
        .bind(json!(artifact))
        .execute(&mut *db)
        .await?;
        if announced.rows_affected() == 1 {
            changes::record(
                db,
                lease.build,
                EventKind::Artifact,
                &json!({ "run": run, "artifact": artifact }),
            )
            .await?;
        }
    }
    if outcome.state == RunState::Succeeded || !artifacts.is_empty() {
        ledger::keep_on_success(db, lease, attempt).await?;
    }
    Ok(())
}

/// Starts the next attempt of a run that was interrupted where it cannot be resumed.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn next_attempt(db: &mut PgConnection, lease: &Lease) -> Result<i32, StoreError> {
    guard(db, lease).await?;
    let attempt = sqlx::query_scalar(
        "UPDATE runs SET attempt = attempt + 1, steps_done = 0, step = NULL WHERE id = $1 RETURNING attempt",
    )
    .bind(lease.run)
    .fetch_one(&mut *db)
    .await?;
    builds::refresh(db, lease.build).await?;
    Ok(attempt)
}

/// Ends the run as decided and gives the lease back. `cleanup` tells whether the reaper still has to remove something;
/// it looks again after `retry_in`. What is `kept` is not a leftover until then.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn finish(
    db: &mut PgConnection,
    lease: &Lease,
    outcome: &Outcome,
    cleanup: CleanupState,
    retry_in: Duration,
    kept: bool,
) -> Result<(), StoreError> {
    guard(db, lease).await?;
    sqlx::query(
        "UPDATE runs SET state = $2, cleanup = $3, step = NULL, lease_expires_at = NULL, run_after = now() + $4 * interval '1 second',
             finished_at = coalesce(finished_at, now()), held_until = NULL, held = NULL,
             kept_until = CASE WHEN $5 THEN now() + $4 * interval '1 second' END
         WHERE id = $1",
    )
    .bind(lease.run)
    .bind(outcome.state)
    .bind(cleanup)
    .bind(retry_in.as_secs_f64())
    .bind(kept)
    .execute(&mut *db)
    .await?;
    builds::refresh(db, lease.build).await?;
    // Runs that wait for the same OMI name can go on.
    super::wake(db).await
}

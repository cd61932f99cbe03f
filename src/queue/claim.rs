//! Claiming: one statement takes the next run and gives it to this worker, so that there is no moment in which a run is
//! taken and nobody watches it.

use std::time::Duration;

use sqlx::PgPool;

use super::Lease;
use crate::{
    domain::{BuildId, RunId, RunState},
    store::StoreError,
};

/// A claimed run.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The right to work on it.
    pub lease: Lease,
    /// Its name in the template.
    pub name: String,
    /// The attempt it is in.
    pub attempt: i32,
    /// Whether another worker had it before and its lease ran out. A run that was held for a person was nobody's.
    pub taken_over: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: RunId,
    build_id: BuildId,
    name: String,
    attempt: i32,
    lease_token: i64,
    previous_state: RunState,
    was_held: bool,
}

impl Row {
    fn claimed(self, worker: &str) -> Claimed {
        Claimed {
            lease: Lease {
                run: self.id,
                build: self.build_id,
                token: self.lease_token,
                worker: worker.to_owned(),
            },
            name: self.name,
            attempt: self.attempt,
            taken_over: self.previous_state == RunState::Running && !self.was_held,
        }
    }
}

/// Takes the next run that this worker can do: a queued one whose time has come, or one whose worker has not renewed its
/// lease. Runs that make an OMI of the same name follow one another.
///
/// # Errors
/// The database is away.
pub async fn claim(
    pool: &PgPool,
    worker: &str,
    capabilities: &[String],
    lease: Duration,
) -> Result<Option<Claimed>, StoreError> {
    let claimed = sqlx::query_as::<_, Row>(
        "WITH next AS (
             SELECT id, state AS previous_state, held_until IS NOT NULL AS was_held FROM runs AS candidate
             WHERE ((state = 'queued' AND run_after <= now()) OR (state = 'running' AND lease_expires_at < now()))
               AND requires <@ $2
               AND (omi_key IS NULL OR NOT EXISTS (
                   SELECT 1 FROM runs AS other
                   WHERE other.omi_key = candidate.omi_key AND other.state = 'running' AND other.id <> candidate.id))
             ORDER BY priority DESC, created_at, ordinal
             FOR UPDATE SKIP LOCKED
             LIMIT 1
         )
         UPDATE runs
         SET state = 'running', worker = $1, lease_token = lease_token + 1, lease_expires_at = now() + $3 * interval '1 second',
             started_at = coalesce(started_at, now())
         FROM next WHERE runs.id = next.id
         RETURNING runs.id, build_id, name, attempt, lease_token, previous_state, was_held",
    )
    .bind(worker)
    .bind(capabilities)
    .bind(lease.as_secs_f64())
    .fetch_optional(pool)
    .await;
    match claimed {
        Ok(row) => Ok(row.map(|row| row.claimed(worker))),
        // Two workers took two runs for the same OMI at the same moment; the index let one through.
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Takes a run that has ended but whose resources are not all removed, or whose artifacts shall be destroyed, once its time
/// has come.
///
/// # Errors
/// The database is away.
pub async fn claim_cleanup(
    pool: &PgPool,
    worker: &str,
    lease: Duration,
) -> Result<Option<Claimed>, StoreError> {
    let row = sqlx::query_as::<_, Row>(
        "WITH next AS (
             SELECT id, state AS previous_state, false AS was_held FROM runs
             WHERE state IN ('succeeded', 'failed', 'cancelled')
               AND ((cleanup IN ('pending', 'failed') AND run_after <= now()) OR (destroy = 'pending' AND destroy_after <= now()))
               AND (lease_expires_at IS NULL OR lease_expires_at < now())
             ORDER BY CASE WHEN destroy = 'pending' THEN least(run_after, destroy_after) ELSE run_after END
             FOR UPDATE SKIP LOCKED
             LIMIT 1
         )
         UPDATE runs SET worker = $1, lease_token = lease_token + 1, lease_expires_at = now() + $2 * interval '1 second'
         FROM next WHERE runs.id = next.id
         RETURNING runs.id, build_id, name, attempt, lease_token, previous_state, was_held",
    )
    .bind(worker)
    .bind(lease.as_secs_f64())
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| row.claimed(worker)))
}

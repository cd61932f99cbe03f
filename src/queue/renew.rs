//! Renewing: all leases of a worker in one statement, which also tells what its runs must know: that the lease is lost,
//! or that somebody asked for cancellation.

use std::{collections::HashMap, time::Duration};

use sqlx::PgPool;

use super::Lease;
use crate::{domain::RunId, store::StoreError};

/// What a renewal told about a run whose lease still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Renewal {
    /// The run.
    pub id: RunId,
    /// Somebody asked for the cancellation of its build.
    pub cancel_requested: bool,
}

/// Extends the leases; a run that is missing in the answer belongs to another worker by now.
///
/// # Errors
/// The database is away.
pub async fn renew(
    pool: &PgPool,
    leases: &[Lease],
    extension: Duration,
) -> Result<HashMap<RunId, Renewal>, StoreError> {
    let runs: Vec<_> = leases.iter().map(|lease| lease.run.0).collect();
    let tokens: Vec<_> = leases.iter().map(|lease| lease.token).collect();
    let renewals: Vec<Renewal> = sqlx::query_as(
        // Locked in the order of their ids, as `request_cancel` does. A lease that was given back meanwhile stays so:
        // renewed, it would keep the reaper from the run's leftovers until it ran out.
        "WITH mine AS MATERIALIZED (
             SELECT runs.id FROM runs JOIN unnest($1::uuid[], $2::bigint[]) AS held (run, token)
                 ON runs.id = held.run AND runs.lease_token = held.token
             ORDER BY runs.id FOR NO KEY UPDATE OF runs
         )
         UPDATE runs
         SET lease_expires_at = CASE WHEN lease_expires_at IS NOT NULL THEN now() + $3 * interval '1 second' END
         FROM mine, builds
         WHERE runs.id = mine.id AND builds.id = runs.build_id
         RETURNING runs.id, builds.cancel_requested_at IS NOT NULL AS cancel_requested",
    )
    .bind(&runs)
    .bind(&tokens)
    .bind(extension.as_secs_f64())
    .fetch_all(pool)
    .await?;
    Ok(renewals.into_iter().map(|renewal| (renewal.id, renewal)).collect())
}

/// Gives a run back at once (with a new token, so that a late renewal cannot take it back), for another worker to go on behind
/// its last finished step. If that is a fresh VM, since provisioning cannot be resumed, the attempt does not count: a build
/// must survive any number of deploys.
///
/// # Errors
/// The database is away.
pub async fn hand_over(pool: &PgPool, lease: &Lease) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "UPDATE runs SET lease_expires_at = now(), lease_token = lease_token + 1,
             max_attempts = max_attempts + coalesce(step = 'provision', false)::integer
         WHERE id = $1 AND lease_token = $2",
    )
    .bind(lease.run)
    .bind(lease.token)
    .execute(&mut *transaction)
    .await?;
    super::wake(&mut transaction).await?;
    Ok(transaction.commit().await?)
}

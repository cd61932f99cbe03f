//! Destroying what a build made: somebody asks, and a worker, which has the keys to the cloud, does it. What the cloud
//! refuses, because it is in use, stays an artifact, and can be asked for again.

use std::time::Duration;

use sqlx::PgConnection;

use super::Lease;
use crate::{
    domain::{BuildId, BuildState, DestroyState},
    store::{StoreError, builds, journal::guard},
};

/// What came of a request to destroy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The artifacts of so many runs are destroyed as soon as a worker looks; zero: there are none.
    Runs(u64),
    /// The build has not ended.
    NotEnded(BuildState),
}

/// Asks for the end of the artifacts of a build, or of its run of this name. Asking again makes a worker look at once.
/// `None`: there is no such build.
///
/// # Errors
/// The database is away.
pub async fn request(
    db: &mut PgConnection,
    build: BuildId,
    run: Option<&str>,
) -> Result<Option<Asked>, StoreError> {
    // First the runs, then the build: the order in which workers lock them.
    sqlx::query("SELECT id FROM runs WHERE build_id = $1 ORDER BY id FOR NO KEY UPDATE")
        .bind(build)
        .execute(&mut *db)
        .await?;
    let state: Option<BuildState> = sqlx::query_scalar("SELECT state FROM builds WHERE id = $1")
        .bind(build)
        .fetch_optional(&mut *db)
        .await?;
    let Some(state) = state else { return Ok(None) };
    if !state.is_final() {
        return Ok(Some(Asked::NotEnded(state)));
    }
    let asked = sqlx::query(
        "UPDATE runs SET destroy = 'pending', destroy_after = now()
         WHERE build_id = $1 AND ($2::text IS NULL OR name = $2)
           AND EXISTS (SELECT 1 FROM artifacts WHERE run_id = runs.id AND removed_at IS NULL)",
    )
    .bind(build)
    .bind(run)
    .execute(&mut *db)
    .await?
    .rows_affected();
    if asked > 0 {
        builds::refresh(db, build).await?;
        super::wake(db).await?;
    }
    Ok(Some(Asked::Runs(asked)))
}

/// Ends a pass over the artifacts of a run and gives the lease back. `Pending` is tried again after `retry_in`.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn finish(
    db: &mut PgConnection,
    lease: &Lease,
    state: DestroyState,
    retry_in: Duration,
) -> Result<(), StoreError> {
    guard(db, lease).await?;
    sqlx::query(
        "UPDATE runs SET destroy = $2, destroy_after = now() + $3 * interval '1 second', lease_expires_at = NULL WHERE id = $1",
    )
    .bind(lease.run)
    .bind(state)
    .bind(retry_in.as_secs_f64())
    .execute(&mut *db)
    .await?;
    builds::refresh(db, lease.build).await?;
    Ok(())
}

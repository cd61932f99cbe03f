//! Holding a failed run for a person: it is decided but not ended, nobody works on it, and its lease is parked until the
//! hold is over, so that whoever claims it then, or after a release, goes on with what was decided.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::Lease;
use crate::{
    domain::{BuildId, BuildState, RunId, on_error::Release},
    store::{StoreError, builds, journal::guard},
};

/// Parks a decided run; answers until when. `None`: somebody has asked for the end of the build, so it is not held. The
/// lease is gone afterwards. A hold that was placed before keeps its end.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn hold(
    db: &mut PgConnection,
    lease: &Lease,
    reach: &Value,
    time: Duration,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    guard(db, lease).await?;
    let until = sqlx::query_scalar(
        "UPDATE runs
         SET held_until = coalesce(held_until, now() + $3 * interval '1 second'), held = $2, step = 'held',
             lease_expires_at = coalesce(held_until, now() + $3 * interval '1 second'), lease_token = lease_token + 1,
             held_omi_key = coalesce(omi_key, held_omi_key), omi_key = NULL, release = NULL
         FROM builds
         WHERE runs.id = $1 AND builds.id = build_id AND cancel_requested_at IS NULL
         RETURNING held_until",
    )
    .bind(lease.run)
    .bind(reach)
    .bind(time.as_secs_f64())
    .fetch_optional(&mut *db)
    .await?;
    if until.is_some() {
        builds::refresh_after(db, lease.build, lease.run).await?;
        // Another run may make an OMI of this name now.
        super::wake(db).await?;
    }
    Ok(until)
}

/// What came of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// So many runs go on; none if they were released like this before.
    Runs(usize),
    /// No run is held; the build is in this state.
    NotHeld(BuildState),
    /// There is no time left in which a step could be run again, or somebody has asked for the end of the build.
    NotAgain,
}

#[derive(sqlx::FromRow)]
struct Build {
    state: BuildState,
    may_go_on: bool,
}

/// Lets the held runs of a build go on, or the one of this name. `None`: there is no such build.
///
/// # Errors
/// The database is away.
pub async fn release(
    db: &mut PgConnection,
    build: BuildId,
    run: Option<&str>,
    way: Release,
) -> Result<Option<Released>, StoreError> {
    // First the runs, then the build: the order in which workers lock them.
    let held: Vec<RunId> = sqlx::query_scalar(
        "SELECT id FROM runs
         WHERE build_id = $1 AND ($2::text IS NULL OR name = $2) AND state = 'running' AND held_until > now()
         ORDER BY id FOR NO KEY UPDATE",
    )
    .bind(build)
    .bind(run)
    .fetch_all(&mut *db)
    .await?;
    let found: Option<Build> = sqlx::query_as(
        "SELECT state, cancel_requested_at IS NULL
                AND coalesce(started_at + timeout_ms * interval '1 millisecond' > now(), true) AS may_go_on
         FROM builds WHERE id = $1 FOR NO KEY UPDATE",
    )
    .bind(build)
    .fetch_optional(&mut *db)
    .await?;
    let Some(found) = found else { return Ok(None) };
    if held.is_empty() {
        let query = "SELECT EXISTS (SELECT 1 FROM runs WHERE build_id = $1 AND ($2::text IS NULL OR name = $2) AND release = $3)";
        let before: bool =
            sqlx::query_scalar(query).bind(build).bind(run).bind(way).fetch_one(&mut *db).await?;
        if before {
            return Ok(Some(Released::Runs(0)));
        }
        return Ok(Some(Released::NotHeld(found.state)));
    }
    match way {
        Release::Retry if !found.may_go_on => return Ok(Some(Released::NotAgain)),
        Release::Retry => run_again(db, &held).await?,
        Release::Cleanup | Release::Keep => {
            sqlx::query(
                "UPDATE runs SET release = $2, held_until = now(), lease_expires_at = now() WHERE id = ANY($1)",
            )
            .bind(&held)
            .bind(way)
            .execute(&mut *db)
            .await?;
        }
    }
    builds::refresh(db, build).await?;
    super::wake(db).await?;
    Ok(Some(Released::Runs(held.len())))
}

/// Forgets the decision and the steps that did not succeed, and queues the runs behind those that did.
async fn run_again(db: &mut PgConnection, runs: &[RunId]) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM steps USING runs
         WHERE runs.id = ANY($1) AND run_id = runs.id AND steps.attempt = runs.attempt AND steps.state <> 'succeeded'",
    )
    .bind(runs)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "UPDATE runs
         SET state = 'queued', run_after = now(), outcome = NULL, error = NULL, cleanup = 'none', step = NULL,
             held_until = NULL, held = NULL, release = 'retry', omi_key = held_omi_key, lease_expires_at = NULL
         WHERE id = ANY($1)",
    )
    .bind(runs)
    .execute(db)
    .await?;
    Ok(())
}

/// Ends the holds of a build whose end was asked for. To be called with the runs locked.
///
/// # Errors
/// The database is away.
pub async fn release_for_cancel(db: &mut PgConnection, build: BuildId) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE runs SET release = 'cleanup', held_until = now(), lease_expires_at = now()
         WHERE build_id = $1 AND state = 'running' AND held_until > now()",
    )
    .bind(build)
    .execute(db)
    .await?;
    Ok(())
}

/// What came of a request to clean up now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// So many runs are cleaned up as soon as a worker looks; zero: nothing was left.
    Runs(u64),
    /// The build has not ended.
    NotEnded(BuildState),
}

/// Makes the reaper try again at once, and ends the time of what was kept. `None`: there is no such build.
///
/// # Errors
/// The database is away.
pub async fn clean_up_now(db: &mut PgConnection, build: BuildId) -> Result<Option<Pushed>, StoreError> {
    let pushed = sqlx::query(
        "UPDATE runs SET run_after = now(), kept_until = NULL
         WHERE build_id = $1 AND state IN ('succeeded', 'failed', 'cancelled') AND cleanup IN ('pending', 'failed')",
    )
    .bind(build)
    .execute(&mut *db)
    .await?
    .rows_affected();
    let state: Option<BuildState> = sqlx::query_scalar("SELECT state FROM builds WHERE id = $1")
        .bind(build)
        .fetch_optional(&mut *db)
        .await?;
    let Some(state) = state else { return Ok(None) };
    if !state.is_final() {
        return Ok(Some(Pushed::NotEnded(state)));
    }
    if pushed > 0 {
        builds::refresh(db, build).await?;
        super::wake(db).await?;
    }
    Ok(Some(Pushed::Runs(pushed)))
}

//! The journal: which steps of an attempt are done and what came out of them. Each move is one transaction with the run's
//! progress and the event that readers see, and only the holder of the lease can make it.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    StoreError,
    changes::{self, EventKind},
};
use crate::{
    domain::{Problem, StepState},
    queue::Lease,
};

/// Checks that the lease is still the current one, and locks the run until the transaction ends.
///
/// # Errors
/// [`StoreError::LeaseLost`] if another worker has the run by now.
pub async fn guard(db: &mut PgConnection, lease: &Lease) -> Result<(), StoreError> {
    let held: Option<i32> =
        sqlx::query_scalar("SELECT 1 FROM runs WHERE id = $1 AND lease_token = $2 FOR UPDATE")
            .bind(lease.run)
            .bind(lease.token)
            .fetch_optional(db)
            .await?;
    held.map(|_| ()).ok_or(StoreError::LeaseLost(lease.run))
}

/// A step as the journal knows it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct JournalEntry {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: StepState,
    /// What came out of it, if it succeeded.
    pub output: Option<Value>,
}

/// The steps of an attempt, in the order in which they began.
///
/// # Errors
/// The database is away.
pub async fn entries(
    db: &mut PgConnection,
    lease: &Lease,
    attempt: i32,
) -> Result<Vec<JournalEntry>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT name, state, output FROM steps WHERE run_id = $1 AND attempt = $2 ORDER BY ordinal",
    )
    .bind(lease.run)
    .bind(attempt)
    .fetch_all(db)
    .await?)
}

/// Records that a step begins; one that began before and did not succeed begins again.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn begin(
    db: &mut PgConnection,
    lease: &Lease,
    run: &str,
    attempt: i32,
    name: &str,
    ordinal: i32,
) -> Result<(), StoreError> {
    guard(db, lease).await?;
    sqlx::query(
        "INSERT INTO steps (run_id, attempt, name, ordinal, state, started_at) VALUES ($1, $2, $3, $4, 'running', now())
         ON CONFLICT (run_id, attempt, name) DO UPDATE SET state = 'running', started_at = now(), finished_at = NULL, error = NULL",
    )
    .bind(lease.run)
    .bind(attempt)
    .bind(name)
    .bind(ordinal)
    .execute(&mut *db)
    .await?;
    sqlx::query("UPDATE runs SET step = $2 WHERE id = $1")
        .bind(lease.run)
        .bind(name)
        .execute(&mut *db)
        .await?;
    let event = json!({ "run": run, "step": name, "state": StepState::Running, "attempt": attempt });
    changes::record(db, lease.build, EventKind::Step, &event).await?;
    Ok(())
}

/// Records that a step succeeded and what came out of it.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn succeed(
    db: &mut PgConnection,
    lease: &Lease,
    run: &str,
    attempt: i32,
    name: &str,
    output: &Value,
) -> Result<(), StoreError> {
    guard(db, lease).await?;
    let seconds: f64 = sqlx::query_scalar(
        "UPDATE steps SET state = 'succeeded', finished_at = now(), output = $4, error = NULL
         WHERE run_id = $1 AND attempt = $2 AND name = $3
         RETURNING extract(epoch FROM now() - started_at)::float8",
    )
    .bind(lease.run)
    .bind(attempt)
    .bind(name)
    .bind(output)
    .fetch_one(&mut *db)
    .await?;
    sqlx::query(
        "UPDATE runs SET steps_done = (SELECT count(*) FROM steps WHERE run_id = $1 AND attempt = $2 AND state = 'succeeded')
         WHERE id = $1",
    )
    .bind(lease.run)
    .bind(attempt)
    .execute(&mut *db)
    .await?;
    let event = json!({
        "run": run, "step": name, "state": StepState::Succeeded, "attempt": attempt, "seconds": (seconds * 1000.0).round() / 1000.0,
    });
    changes::record(db, lease.build, EventKind::Step, &event).await?;
    Ok(())
}

/// Records that a step ended without success.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn fail(
    db: &mut PgConnection,
    lease: &Lease,
    run: &str,
    attempt: i32,
    name: &str,
    state: StepState,
    problem: Option<&Problem>,
) -> Result<(), StoreError> {
    guard(db, lease).await?;
    let error = problem.map(|problem| json!(problem));
    sqlx::query(
        "UPDATE steps SET state = $4, finished_at = now(), error = $5 WHERE run_id = $1 AND attempt = $2 AND name = $3",
    )
    .bind(lease.run)
    .bind(attempt)
    .bind(name)
    .bind(state)
    .bind(error)
    .execute(&mut *db)
    .await?;
    let event = json!({
        "run": run, "step": name, "state": state, "attempt": attempt,
        "error": problem.map(|problem| problem.detail.as_str()),
    });
    changes::record(db, lease.build, EventKind::Step, &event).await?;
    Ok(())
}

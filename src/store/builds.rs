//! Builds and their runs: how they are accepted, what state follows from the runs, and the request to cancel. What
//! readers see of them is in [`read`]; who may work on a run is the queue's affair.

pub mod feed;
pub mod open;
pub mod read;
pub mod totals;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    StoreError,
    changes::{self, EventKind},
};
use crate::{
    domain::{BuildId, BuildState, CleanupState, OnError, RunId, RunState},
    queue,
};

/// The column to which a request is sealed, for the vault.
pub const REQUEST_COLUMN: &str = "builds.request_sealed";

/// The column to which a run's plan is sealed, for the vault.
pub const PLAN_COLUMN: &str = "runs.plan_sealed";

/// A build to insert.
#[derive(Debug)]
pub struct NewBuild<'a> {
    /// Its id, made by the caller because the request is sealed to it.
    pub id: BuildId,
    /// The name it was given.
    pub name: Option<&'a str>,
    /// An object of texts.
    pub labels: &'a Value,
    /// The higher, the sooner.
    pub priority: i32,
    /// What happens after an error.
    pub on_error: OnError,
    /// How long things stay after an error, unless it is the usual time.
    pub keep_for: Option<Duration>,
    /// Public keys that a held or kept VM lets in.
    pub authorized_keys: &'a [String],
    /// How long it may take from the start of its first run.
    pub timeout: Option<Duration>,
    /// Name of a stored set of keys.
    pub credentials: Option<&'a str>,
    /// The template, secrets blanked.
    pub template: &'a Value,
    /// What the user should know though it is no error.
    pub notices: &'a [String],
    /// The request, sealed to [`REQUEST_COLUMN`].
    pub request_sealed: &'a [u8],
    /// The uploaded folder.
    pub context: Option<Uuid>,
    /// The build that it repeats.
    pub retry_of: Option<BuildId>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// Who asked for it.
    pub created_by: Option<&'a str>,
    /// The token that asked for it, for its limit.
    pub token: Option<Uuid>,
}

/// A run to insert with its build.
#[derive(Debug)]
pub struct NewRun {
    /// Its id, made by the caller because the plan is sealed to it.
    pub id: RunId,
    /// Its name in the template.
    pub name: String,
    /// The kind of builder.
    pub builder: &'static str,
    /// The plan, sealed to [`PLAN_COLUMN`].
    pub plan_sealed: Vec<u8>,
    /// Where and under which name it makes an OMI; runs with the same key follow one another.
    pub omi_key: Option<String>,
    /// What the worker must be able to do.
    pub requires: Vec<String>,
}

/// Inserts a build with its runs and wakes the workers when the transaction commits.
///
/// # Errors
/// The database is away.
pub async fn insert(db: &mut PgConnection, build: &NewBuild<'_>, runs: &[NewRun]) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO builds (id, name, labels, priority, on_error, timeout_ms, credentials, template, notices,
                             request_sealed, context_id, retry_of, created_at, keep_for_ms, authorized_keys,
                             created_by, token_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .bind(build.id)
    .bind(build.name)
    .bind(build.labels)
    .bind(build.priority)
    .bind(build.on_error.as_str())
    .bind(build.timeout.map(millis))
    .bind(build.credentials)
    .bind(build.template)
    .bind(json!(build.notices))
    .bind(build.request_sealed)
    .bind(build.context)
    .bind(build.retry_of)
    .bind(build.created_at)
    .bind(build.keep_for.map(millis))
    .bind(build.authorized_keys)
    .bind(build.created_by)
    .bind(build.token)
    .execute(&mut *db)
    .await?;
    for (ordinal, run) in (0_i32..).zip(runs) {
        sqlx::query(
            "INSERT INTO runs (id, build_id, ordinal, name, builder, plan_sealed, omi_key, requires, priority, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(run.id)
        .bind(build.id)
        .bind(ordinal)
        .bind(&run.name)
        .bind(run.builder)
        .bind(&run.plan_sealed)
        .bind(&run.omi_key)
        .bind(&run.requires)
        .bind(build.priority)
        .bind(build.created_at)
        .execute(&mut *db)
        .await?;
    }
    // The first event of the build, so that readers of all builds learn of it.
    changes::record(db, build.id, EventKind::State, &json!({ "state": BuildState::Queued })).await?;
    queue::wake(db).await
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[derive(sqlx::FromRow)]
struct RunNow {
    id: RunId,
    name: String,
    state: RunState,
    attempt: i32,
    cleanup: CleanupState,
    held_until: Option<DateTime<Utc>>,
    kept_until: Option<DateTime<Utc>>,
}

/// Derives the state of a build from its runs, stores it with its times and its error, and tells the readers. To be
/// called in the transaction that changed a run, after the change.
///
/// # Errors
/// The database is away, or there is no such build.
pub async fn refresh(db: &mut PgConnection, build: BuildId) -> Result<BuildState, StoreError> {
    refresh_with(db, build, None).await
}

/// The same as [`refresh`]; the event says in addition which run changed.
///
/// # Errors
/// The database is away, or there is no such build.
pub async fn refresh_after(
    db: &mut PgConnection,
    build: BuildId,
    run: RunId,
) -> Result<BuildState, StoreError> {
    refresh_with(db, build, Some(run)).await
}

async fn refresh_with(
    db: &mut PgConnection,
    build: BuildId,
    changed: Option<RunId>,
) -> Result<BuildState, StoreError> {
    // The build's row is locked before its runs are read: of two runs that end at the same moment, the later
    // transaction sees the end of both. Runs are always locked before their build, here and in `request_cancel`.
    sqlx::query("SELECT id FROM builds WHERE id = $1 FOR NO KEY UPDATE")
        .bind(build)
        .fetch_one(&mut *db)
        .await?;
    let runs: Vec<RunNow> = sqlx::query_as(
        "SELECT id, name, state, attempt, cleanup, held_until, kept_until FROM runs WHERE build_id = $1 ORDER BY ordinal",
    )
    .bind(build)
    .fetch_all(&mut *db)
    .await?;
    let states: Vec<_> = runs.iter().map(|run| run.state).collect();
    let state = BuildState::of_runs(&states);
    sqlx::query(
        "UPDATE builds
         SET state = $2,
             started_at = coalesce(started_at, (SELECT min(started_at) FROM runs WHERE build_id = $1)),
             finished_at = CASE WHEN $3 THEN
                 coalesce(finished_at, (SELECT max(finished_at) FROM runs WHERE build_id = $1), now()) END,
             error = CASE WHEN $3 THEN
                 (SELECT error FROM runs WHERE build_id = $1 AND error IS NOT NULL AND state <> 'succeeded'
                  ORDER BY state = 'failed' DESC, finished_at, ordinal LIMIT 1) END
         WHERE id = $1",
    )
    .bind(build)
    .bind(state)
    .bind(state.is_final())
    .execute(&mut *db)
    .await?;
    changes::record(db, build, EventKind::State, &event(state, &runs, changed)).await?;
    Ok(state)
}

/// A snapshot of all runs; and, where one is known to have changed or there is only one, that run in the open.
fn event(state: BuildState, runs: &[RunNow], changed: Option<RunId>) -> Value {
    let mut data = Map::new();
    data.insert("state".to_owned(), json!(state));
    let named = match (changed, runs) {
        (Some(id), _) => runs.iter().find(|run| run.id == id),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    if let Some(run) = named {
        data.insert("run".to_owned(), json!(run.name));
        data.insert("run_state".to_owned(), json!(run.state));
        data.insert("attempt".to_owned(), json!(run.attempt));
        data.insert("cleanup".to_owned(), json!(run.cleanup));
        let times = [("held_until", run.held_until), ("kept_until", run.kept_until)];
        data.extend(times.into_iter().filter_map(|(name, time)| Some((name.to_owned(), json!(time?)))));
    }
    let snapshot: Vec<_> = runs
        .iter()
        .map(|run| json!({ "name": run.name, "state": run.state, "attempt": run.attempt, "cleanup": run.cleanup }))
        .collect();
    data.insert("runs".to_owned(), Value::Array(snapshot));
    Value::Object(data)
}

/// What came of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancellation {
    /// It is under way, or was already, or the build is cancelled.
    Accepted,
    /// Nothing is left to cancel.
    Finished(BuildState),
}

/// Asks for the end of a build. Runs that no worker has touched are cancelled in this transaction; the workers of the
/// others are told when it commits, and find the mark at their next heartbeat if the message is lost. `None`: there is
/// no such build.
///
/// # Errors
/// The database is away.
pub async fn request_cancel(
    db: &mut PgConnection,
    build: BuildId,
    now: DateTime<Utc>,
) -> Result<Option<Cancellation>, StoreError> {
    // First the runs, then the build: the order in which workers lock them.
    sqlx::query("SELECT id FROM runs WHERE build_id = $1 ORDER BY id FOR NO KEY UPDATE")
        .bind(build)
        .execute(&mut *db)
        .await?;
    let found: Option<(BuildState, Option<DateTime<Utc>>)> =
        sqlx::query_as("SELECT state, cancel_requested_at FROM builds WHERE id = $1 FOR NO KEY UPDATE")
            .bind(build)
            .fetch_optional(&mut *db)
            .await?;
    match found {
        None => return Ok(None),
        Some((BuildState::Cancelled, _)) => return Ok(Some(Cancellation::Accepted)),
        Some((state, _)) if state.is_final() => return Ok(Some(Cancellation::Finished(state))),
        Some((_, Some(_))) => return Ok(Some(Cancellation::Accepted)),
        Some((_, None)) => {}
    }
    sqlx::query("UPDATE builds SET cancel_requested_at = $2 WHERE id = $1")
        .bind(build)
        .bind(now)
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "UPDATE runs SET state = 'cancelled', finished_at = $2
         WHERE build_id = $1 AND state = 'queued' AND attempt = 1 AND lease_token = 0
           AND NOT EXISTS (SELECT 1 FROM resources WHERE run_id = runs.id)",
    )
    .bind(build)
    .bind(now)
    .execute(&mut *db)
    .await?;
    queue::hold::release_for_cancel(db, build).await?;
    let state = refresh(db, build).await?;
    if !state.is_final() {
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(queue::CANCEL_CHANNEL)
            .bind(build.to_string())
            .execute(&mut *db)
            .await?;
    }
    // A queued run that has something to clean up must be claimed for that.
    queue::wake(db).await?;
    Ok(Some(Cancellation::Accepted))
}

/// What a retry starts from.
#[derive(Debug, sqlx::FromRow)]
pub struct StoredRequest {
    /// Sealed to [`REQUEST_COLUMN`] and the build.
    pub request_sealed: Vec<u8>,
    /// The uploaded folder.
    pub context_id: Option<Uuid>,
    /// Whether the build has ended.
    pub state: BuildState,
    /// When it was accepted: the moment that its template was read at.
    pub created_at: DateTime<Utc>,
}

/// The request of a build as it was accepted; `None`: there is no such build.
///
/// # Errors
/// The database is away.
pub async fn request(db: &mut PgConnection, build: BuildId) -> Result<Option<StoredRequest>, StoreError> {
    Ok(sqlx::query_as("SELECT request_sealed, context_id, state, created_at FROM builds WHERE id = $1")
        .bind(build)
        .fetch_optional(db)
        .await?)
}

#[cfg(test)]
pub(crate) mod tests;

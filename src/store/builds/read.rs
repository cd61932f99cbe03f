//! Builds as readers see them. A build comes with its runs, artifacts and leftovers in one statement, a page of builds
//! too, so that a list costs one round trip however long it is.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, PgConnection, types::Json};

use super::StoreError;
use crate::domain::{BuildId, BuildState, CleanupState, DestroyState, RunId, RunState, StepState};

/// A build with its runs.
#[derive(Debug, Clone, FromRow)]
pub struct BuildRow {
    /// Its id.
    pub id: BuildId,
    /// The name it was given.
    pub name: Option<String>,
    /// Its state.
    pub state: BuildState,
    /// An object of texts.
    pub labels: Value,
    /// The higher, the sooner.
    pub priority: i32,
    /// How long it may take, in milliseconds.
    pub timeout_ms: Option<i64>,
    /// What happens after an error.
    pub on_error: String,
    /// Name of a stored set of keys.
    pub credentials: Option<String>,
    /// What the user should know though it is no error.
    pub notices: Json<Vec<String>>,
    /// The build that it repeats.
    pub retry_of: Option<BuildId>,
    /// Who asked for it.
    pub created_by: Option<String>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When its first run started.
    pub started_at: Option<DateTime<Utc>>,
    /// When its last run ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// When somebody asked for its end.
    pub cancel_requested_at: Option<DateTime<Utc>>,
    /// A [`crate::domain::Problem`].
    pub error: Option<Value>,
    /// Grows with every change.
    pub version: i64,
    /// In the template's order.
    pub runs: Json<Vec<RunRow>>,
    /// Ledger rows that are still to be removed though the build has ended.
    pub leftovers: Json<Vec<LeftoverRow>>,
}

/// A run with its artifacts.
#[derive(Debug, Clone, Deserialize)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Packer's name of it.
    pub name: String,
    /// The kind of builder.
    pub builder: String,
    /// Its state.
    pub state: RunState,
    /// From 1; grows when an interrupted run starts anew.
    pub attempt: i32,
    /// The worker that has it or had it last.
    pub worker: Option<String>,
    /// The step it is in.
    pub step: Option<String>,
    /// Steps of this attempt that are done.
    pub steps_done: i32,
    /// Steps of the whole pipeline; 0: not known yet.
    pub steps_total: i32,
    /// What is known about the removal of what it made.
    pub cleanup: CleanupState,
    /// A [`crate::domain::Problem`].
    pub error: Option<Value>,
    /// When a worker first took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Until when its VM is held for a person.
    pub held_until: Option<DateTime<Utc>>,
    /// How the held VM is reached: a [`crate::bake::reach::Reach`].
    pub held: Option<Value>,
    /// When what it kept after an error is removed.
    pub kept_until: Option<DateTime<Utc>>,
    /// What came of the request to destroy its artifacts, if there was one.
    pub destroy: Option<DestroyState>,
    /// What a worker must be able to do for it.
    pub requires: Vec<String>,
    /// Whether it waits and no worker that is running could take it.
    pub has_no_worker: bool,
    /// Each a [`crate::domain::Artifact`], and when it was destroyed.
    pub artifacts: Vec<Value>,
}

/// Something in the cloud that is still to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LeftoverRow {
    /// The run's name.
    pub run: String,
    /// The kind of resource, e.g. `vm`.
    pub kind: String,
    /// Its id in the cloud; absent while it is not known whether it was made at all.
    pub id: Option<String>,
    /// Its region.
    pub region: String,
    /// Why its removal failed the last time.
    pub last_error: Option<String>,
}

/// The columns of a [`BuildRow`]; `b` is the build.
macro_rules! build_columns {
    () => {
        concat!("b.id, b.name, b.state, b.labels, b.priority, b.timeout_ms, b.on_error, b.credentials, b.notices, b.retry_of, b.created_by, b.created_at,
         b.started_at, b.finished_at, b.cancel_requested_at, b.error, b.version,
         coalesce((
             SELECT jsonb_agg(jsonb_build_object(
                 'id', r.id, 'name', r.name, 'builder', r.builder, 'state', r.state, 'attempt', r.attempt,
                 'worker', r.worker, 'step', r.step, 'steps_done', r.steps_done, 'steps_total', r.steps_total,
                 'cleanup', r.cleanup, 'error', r.error, 'started_at', r.started_at, 'finished_at', r.finished_at,
                 'held_until', CASE WHEN r.held_until > now() THEN r.held_until END,
                 'held', CASE WHEN r.held_until > now() THEN r.held END, 'kept_until', r.kept_until, 'destroy', r.destroy,
                 'requires', r.requires, 'has_no_worker', r.state = 'queued' AND r.requires <> '{}' AND NOT EXISTS (
                     SELECT 1 FROM workers w WHERE r.requires <@ w.capabilities AND w.slots > 0 AND NOT w.draining),
                 'artifacts', coalesce((
                     SELECT jsonb_agg(", crate::store::artifacts::shown_artifact!(), " ORDER BY a.ordinal) FROM artifacts a WHERE a.run_id = r.id), '[]')
             ) ORDER BY r.ordinal)
             FROM runs r WHERE r.build_id = b.id), '[]') AS runs,
         CASE WHEN b.state IN ('queued', 'running') THEN '[]' ELSE coalesce((
             SELECT jsonb_agg(jsonb_build_object(
                 'run', r.name, 'kind', l.kind, 'id', l.cloud_id, 'region', l.region, 'last_error', l.last_error
             ) ORDER BY l.created_at, l.id)
             FROM resources l JOIN runs r ON r.id = l.run_id
             WHERE l.build_id = b.id AND l.state IN ('intent', 'created')), '[]') END AS leftovers")
    };
}

/// One build; `None`: there is no such build.
///
/// # Errors
/// The database is away.
pub async fn get(db: &mut PgConnection, build: BuildId) -> Result<Option<BuildRow>, StoreError> {
    Ok(sqlx::query_as(concat!("SELECT ", build_columns!(), " FROM builds b WHERE b.id = $1"))
        .bind(build)
        .fetch_optional(db)
        .await?)
}

/// Which builds to list.
#[derive(Debug, Clone, Default)]
pub struct BuildFilter {
    /// In one of these states; empty: in any.
    pub states: Vec<BuildState>,
    /// With a run of one of these builders; empty: of any.
    pub builders: Vec<String>,
    /// With all of these labels.
    pub labels: serde_json::Map<String, Value>,
    /// With exactly this name.
    pub name: Option<String>,
    /// Accepted after this moment.
    pub created_after: Option<DateTime<Utc>>,
}

/// Where a page ends: the next one starts behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Of the last build of the page.
    pub created_at: DateTime<Utc>,
    /// Of the last build of the page.
    pub id: BuildId,
}

/// At most `limit` builds behind `after`, newest first.
///
/// # Errors
/// The database is away.
pub async fn list(
    db: &mut PgConnection,
    filter: &BuildFilter,
    after: Option<Position>,
    limit: i64,
) -> Result<Vec<BuildRow>, StoreError> {
    let states: Vec<_> = filter.states.iter().map(|state| state.as_str()).collect();
    Ok(sqlx::query_as(concat!(
        "SELECT ",
        build_columns!(),
        " FROM builds b
         WHERE (cardinality($1::text[]) = 0 OR b.state = ANY($1))
           AND (cardinality($2::text[]) = 0
                OR EXISTS (SELECT 1 FROM runs WHERE runs.build_id = b.id AND runs.builder = ANY($2)))
           AND b.labels @> $3
           AND ($4::text IS NULL OR b.name = $4)
           AND ($5::timestamptz IS NULL OR b.created_at > $5)
           AND ($6::timestamptz IS NULL OR (b.created_at, b.id) < ($6, $7))
         ORDER BY b.created_at DESC, b.id DESC
         LIMIT $8"
    ))
    .bind(&states)
    .bind(&filter.builders)
    .bind(Value::Object(filter.labels.clone()))
    .bind(&filter.name)
    .bind(filter.created_after)
    .bind(after.map(|position| position.created_at))
    .bind(after.map(|position| position.id))
    .bind(limit)
    .fetch_all(db)
    .await?)
}

/// The labels of a build; `None`: there is no such build.
///
/// # Errors
/// The database is away.
pub async fn labels(db: &mut PgConnection, build: BuildId) -> Result<Option<Value>, StoreError> {
    Ok(sqlx::query_scalar("SELECT labels FROM builds WHERE id = $1").bind(build).fetch_optional(db).await?)
}

/// The names of a build's runs, in the template's order.
///
/// # Errors
/// The database is away.
pub async fn run_names(db: &mut PgConnection, build: BuildId) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT name FROM runs WHERE build_id = $1 ORDER BY ordinal")
        .bind(build)
        .fetch_all(db)
        .await?)
}

/// The template of a build, secrets blanked; `None`: there is no such build.
///
/// # Errors
/// The database is away.
pub async fn template(db: &mut PgConnection, build: BuildId) -> Result<Option<Value>, StoreError> {
    Ok(sqlx::query_scalar("SELECT template FROM builds WHERE id = $1").bind(build).fetch_optional(db).await?)
}

/// A step of a run as the journal has it.
#[derive(Debug, Clone, FromRow)]
pub struct StepRow {
    /// The run's name.
    pub run: String,
    /// The attempt of the run.
    pub attempt: i32,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: StepState,
    /// When it began (again).
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// A [`crate::domain::Problem`].
    pub error: Option<Value>,
}

/// The steps of all runs and attempts of a build, in the order in which they began.
///
/// # Errors
/// The database is away.
pub async fn steps(db: &mut PgConnection, build: BuildId) -> Result<Vec<StepRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT runs.name AS run, steps.attempt, steps.name, steps.state, steps.started_at, steps.finished_at, steps.error
         FROM steps JOIN runs ON runs.id = steps.run_id
         WHERE runs.build_id = $1
         ORDER BY runs.ordinal, steps.attempt, steps.ordinal",
    )
    .bind(build)
    .fetch_all(db)
    .await?)
}

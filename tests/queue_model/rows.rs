//! What is compared: the rows of the queue's tables as the model keeps them and as Postgres has them. Moments are reduced
//! to what follows from them (a lease is valid or has expired, a time has come or not), so that both sides can be equal;
//! beside them a row is kept byte for byte, to see that nothing else has changed.

use std::collections::BTreeMap;

use fournil::{
    domain::{BuildId, BuildState, CleanupState, RunId, RunState, StepState},
    store::ledger::ResourceState,
};
use serde::Deserialize;
use sqlx::{PgPool, types::Json};

/// A row of one of the tables.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "table", rename_all = "snake_case")]
pub enum Row {
    Build(BuildRow),
    Run(RunRow),
    Step(StepRow),
    Resource(ResourceRow),
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BuildRow {
    pub id: BuildId,
    pub state: BuildState,
    pub version: i64,
    /// How many events it has.
    pub events: i64,
    /// The number of its last log line.
    pub lines: i64,
    pub started: bool,
    pub finished: bool,
    pub cancel_requested: bool,
    /// The detail of its error.
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RunRow {
    pub id: RunId,
    pub build: BuildId,
    pub state: RunState,
    pub attempt: i32,
    pub max_attempts: i32,
    pub step: Option<String>,
    pub steps_done: i32,
    pub steps_total: i32,
    pub cleanup: CleanupState,
    pub outcome: Option<RunState>,
    /// The detail of its error.
    pub error: Option<String>,
    pub worker: Option<String>,
    pub token: i64,
    pub lease: LeaseNow,
    /// Whether its `run_after` has passed.
    pub due: bool,
    pub started: bool,
    pub finished: bool,
    /// How many artifacts it has announced.
    pub artifacts: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseNow {
    /// Nobody has it.
    Free,
    Valid,
    Expired,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StepRow {
    pub run: RunId,
    pub attempt: i32,
    pub name: String,
    pub state: StepState,
    /// The token under which it succeeded.
    pub output: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ResourceRow {
    pub run: RunId,
    pub attempt: i32,
    pub slot: String,
    pub state: ResourceState,
    pub cloud_id: Option<String>,
    pub tries: i32,
}

impl ResourceRow {
    /// Whether it is still to be removed.
    pub fn is_live(&self) -> bool {
        matches!(self.state, ResourceState::Intent | ResourceState::Created)
    }
}

impl Row {
    /// Tells it from all others.
    pub fn key(&self) -> String {
        match self {
            Self::Build(row) => format!("build {}", row.id),
            Self::Run(row) => format!("run {}", row.id),
            Self::Step(row) => format!("run {} step {} {}", row.run, row.attempt, row.name),
            Self::Resource(row) => format!("run {} resource {} {}", row.run, row.attempt, row.slot),
        }
    }
}

/// All rows by their key.
pub type Rows = BTreeMap<String, Row>;

/// The tables at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub rows: Rows,
    /// Each row as Postgres shows it, a build with its events, artifacts and log.
    pub bytes: BTreeMap<String, String>,
}

impl Snapshot {
    pub async fn take(pool: &PgPool) -> Self {
        let stored: Vec<(String, Json<Row>)> = sqlx::query_as(
            "SELECT concat_ws(' ', b,
                    (SELECT md5(string_agg(e::text, ' ' ORDER BY version)) FROM build_events e WHERE e.build_id = b.id),
                    (SELECT md5(string_agg(a::text, ' ' ORDER BY run_id, ordinal)) FROM artifacts a WHERE a.build_id = b.id),
                    (SELECT md5(string_agg(l::text, ' ' ORDER BY seq)) FROM log_lines l WHERE l.build_id = b.id)),
                jsonb_build_object('table', 'build', 'id', id, 'state', state, 'version', version,
                    'events', (SELECT count(*) FROM build_events e WHERE e.build_id = b.id),
                    'lines', (SELECT count(*) FROM log_lines l WHERE l.build_id = b.id AND seq <= last_seq),
                    'started', started_at IS NOT NULL, 'finished', finished_at IS NOT NULL,
                    'cancel_requested', cancel_requested_at IS NOT NULL, 'error', error ->> 'detail')
             FROM builds b
             UNION ALL
             SELECT r::text,
                jsonb_build_object('table', 'run', 'id', id, 'build', build_id, 'state', state, 'attempt', attempt,
                    'max_attempts', max_attempts, 'step', step, 'steps_done', steps_done, 'steps_total', steps_total, 'cleanup', cleanup,
                    'outcome', outcome -> 'state', 'error', error ->> 'detail', 'worker', worker, 'token', lease_token,
                    'lease', CASE WHEN lease_expires_at IS NULL THEN 'free'
                                  WHEN lease_expires_at < now() THEN 'expired' ELSE 'valid' END,
                    'due', run_after <= now(), 'started', started_at IS NOT NULL, 'finished', finished_at IS NOT NULL,
                    'artifacts', (SELECT count(*) FROM artifacts a WHERE a.run_id = r.id))
             FROM runs r
             UNION ALL
             SELECT s::text,
                jsonb_build_object('table', 'step', 'run', run_id, 'attempt', attempt, 'name', name, 'state', state,
                    'output', output -> 'token')
             FROM steps s
             UNION ALL
             SELECT l::text,
                jsonb_build_object('table', 'resource', 'run', run_id, 'attempt', attempt, 'slot', slot, 'state', state,
                    'cloud_id', cloud_id, 'tries', tries)
             FROM resources l",
        )
        .fetch_all(pool)
        .await
        .expect("the tables can be read");
        let mut snapshot = Self::default();
        for (bytes, Json(row)) in stored {
            snapshot.bytes.insert(row.key(), bytes);
            snapshot.rows.insert(row.key(), row);
        }
        snapshot
    }

    pub fn runs(&self) -> impl Iterator<Item = &RunRow> {
        self.rows.values().filter_map(|row| if let Row::Run(run) = row { Some(run) } else { None })
    }

    pub fn builds(&self) -> impl Iterator<Item = &BuildRow> {
        self.rows.values().filter_map(|row| if let Row::Build(build) = row { Some(build) } else { None })
    }
}

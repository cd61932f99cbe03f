//! Changes of a build that its readers are told: each gets the build's next version, an event, and a notification that
//! leaves with the commit.

use serde_json::Value;
use sqlx::PgConnection;

use super::StoreError;
use crate::domain::BuildId;

/// The channel on which a build's id is sent whenever something about it changed: state, step, artifact or log.
pub const BUILD_CHANNEL: &str = "fournil_builds";

/// The kinds of event beside log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The state of the build or of a run.
    State,
    /// A step began or ended.
    Step,
    /// An artifact is ready.
    Artifact,
}

impl EventKind {
    /// The word in the database and in SSE.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Step => "step",
            Self::Artifact => "artifact",
        }
    }
}

/// Raises the build's version, stores the event behind the log line that is the last one now, and notifies.
/// Locks the build's row until the transaction ends, so that versions have no gaps and no disorder.
///
/// # Errors
/// The database is away.
pub async fn record(
    db: &mut PgConnection,
    build: BuildId,
    kind: EventKind,
    data: &Value,
) -> Result<i64, StoreError> {
    let version: i64 = sqlx::query_scalar(
        "WITH changed AS (UPDATE builds SET version = version + 1 WHERE id = $1 RETURNING id, version, last_seq)
         INSERT INTO build_events (build_id, version, at, kind, after_seq, data)
         SELECT id, version, now(), $2, last_seq, $3 FROM changed
         RETURNING version",
    )
    .bind(build)
    .bind(kind.as_str())
    .bind(data)
    .fetch_one(&mut *db)
    .await?;
    notify(db, build).await?;
    Ok(version)
}

/// Tells all replicas that there is something new about a build.
///
/// # Errors
/// The database is away.
pub async fn notify(db: &mut PgConnection, build: BuildId) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(BUILD_CHANNEL).bind(build.to_string()).execute(db).await?;
    Ok(())
}

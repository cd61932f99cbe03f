//! What the runs of a build have announced, and what became of it. They are announced in `queue::finish`, with the
//! decision on the run's end.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{
    StoreError,
    changes::{self, EventKind},
    journal::guard,
};
use crate::{
    domain::{Artifact, BuildId, RunId, RunState},
    queue::Lease,
};

/// An artifact and the run it is from.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct ArtifactRow {
    /// The run's name.
    pub run: String,
    /// The run's builder.
    pub builder: String,
    /// The run's state.
    pub state: RunState,
    /// When the run ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// A [`crate::domain::Artifact`], and when it was destroyed.
    pub artifact: Value,
}

impl ArtifactRow {
    /// Whether nobody has destroyed it.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.artifact.get("removed_at").is_none()
    }
}

/// An artifact of a run that is still there.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnArtifact {
    /// Which of the run's.
    pub ordinal: i32,
    /// What it is.
    pub artifact: Artifact,
}

/// The SQL of an artifact as readers see it; `a` is its row.
macro_rules! shown_artifact {
    () => {
        "a.artifact || jsonb_strip_nulls(jsonb_build_object(
            'removed_at', to_char(a.removed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
            'removal_error', a.removal_error))"
    };
}
pub(in crate::store) use shown_artifact;

/// The artifacts of a build, in the order of its runs.
///
/// # Errors
/// The database is away.
pub async fn of_build(db: &mut PgConnection, build: BuildId) -> Result<Vec<ArtifactRow>, StoreError> {
    Ok(sqlx::query_as(concat!(
        "SELECT runs.name AS run, runs.builder, runs.state, runs.finished_at, ",
        shown_artifact!(),
        " AS artifact
             FROM artifacts a JOIN runs ON runs.id = a.run_id
             WHERE a.build_id = $1
             ORDER BY runs.ordinal, a.ordinal"
    ))
    .bind(build)
    .fetch_all(db)
    .await?)
}

/// The artifacts of a run that are still there.
///
/// # Errors
/// The database is away.
pub async fn there(db: &mut PgConnection, run: RunId) -> Result<Vec<OwnArtifact>, StoreError> {
    let rows: Vec<(i32, Value)> = sqlx::query_as(
        "SELECT ordinal, artifact FROM artifacts WHERE run_id = $1 AND removed_at IS NULL ORDER BY ordinal",
    )
    .bind(run)
    .fetch_all(db)
    .await?;
    let read = |(ordinal, artifact)| {
        let artifact = serde_json::from_value(artifact)
            .map_err(|source| StoreError::Unreadable { what: "artifact", source })?;
        Ok(OwnArtifact { ordinal, artifact })
    };
    rows.into_iter().map(read).collect()
}

/// Records that an artifact is gone, with all that was behind it, and tells the readers.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn removed(
    db: &mut PgConnection,
    lease: &Lease,
    run: &str,
    ordinal: i32,
) -> Result<(), StoreError> {
    guard(db, lease).await?;
    let artifact: Value = sqlx::query_scalar(concat!(
        "UPDATE artifacts a SET removed_at = now(), removal_error = NULL WHERE run_id = $1 AND ordinal = $2
         RETURNING ",
        shown_artifact!()
    ))
    .bind(lease.run)
    .bind(ordinal)
    .fetch_one(&mut *db)
    .await?;
    let event = json!({ "run": run, "artifact": artifact });
    changes::record(db, lease.build, EventKind::Artifact, &event).await?;
    Ok(())
}

/// Records why an artifact, or something behind it, could not be destroyed.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn refused(
    db: &mut PgConnection,
    lease: &Lease,
    ordinal: i32,
    why: &str,
) -> Result<(), StoreError> {
    guard(db, lease).await?;
    sqlx::query("UPDATE artifacts SET removal_error = $3 WHERE run_id = $1 AND ordinal = $2")
        .bind(lease.run)
        .bind(ordinal)
        .bind(why)
        .execute(db)
        .await?;
    Ok(())
}

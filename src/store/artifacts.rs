//! What the runs of a build have announced. They are announced in `queue::finish`, with the decision on the run's end.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::StoreError;
use crate::domain::{BuildId, RunState};

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
    /// A [`crate::domain::Artifact`].
    pub artifact: Value,
}

/// The artifacts of a build, in the order of its runs.
///
/// # Errors
/// The database is away.
pub async fn of_build(db: &mut PgConnection, build: BuildId) -> Result<Vec<ArtifactRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT runs.name AS run, runs.builder, runs.state, runs.finished_at, artifacts.artifact
         FROM artifacts JOIN runs ON runs.id = artifacts.run_id
         WHERE artifacts.build_id = $1
         ORDER BY runs.ordinal, artifacts.ordinal",
    )
    .bind(build)
    .fetch_all(db)
    .await?)
}

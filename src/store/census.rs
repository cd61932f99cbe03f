//! What `fournil sweep` asks: which of these cloud resources and runs does this database know? Reads only.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::{
    StoreError,
    ledger::{ResourceKind, ResourceState},
};
use crate::domain::RunId;

/// What the database knows of some cloud ids and runs.
#[derive(Debug, Default)]
pub struct Census {
    /// All builds that it has.
    pub builds: i64,
    /// Whether it knows the run: true while it has something to do for it, false when that is over.
    pub runs: HashMap<RunId, bool>,
    /// Rows whose resource is there, or is thought to be.
    pub living: HashSet<(ResourceKind, String)>,
    /// Rows that say it is gone, without another that says it is there.
    pub removed: HashSet<(ResourceKind, String)>,
}

/// Looks for cloud ids and runs in the ledger. Asked after the cloud was read, it knows everything of its own that was seen
/// there: a run and its intents are committed before the cloud is asked.
///
/// # Errors
/// The database is away, or is not fournil's.
pub async fn take(db: &mut PgConnection, runs: &[RunId], cloud_ids: &[String]) -> Result<Census, StoreError> {
    let mut census = Census {
        builds: sqlx::query_scalar("SELECT count(*) FROM builds").fetch_one(&mut *db).await?,
        ..Census::default()
    };
    let query = "SELECT id,
                        state IN ('queued', 'running') OR cleanup IN ('pending', 'failed') OR EXISTS (
                            SELECT FROM resources WHERE run_id = runs.id AND resources.state IN ('intent', 'created'))
                 FROM runs WHERE id = ANY($1)";
    let runs: Vec<_> = runs.iter().map(|run| run.0).collect();
    let known: Vec<(RunId, bool)> = sqlx::query_as(query).bind(runs).fetch_all(&mut *db).await?;
    census.runs.extend(known);
    let query = "SELECT kind, cloud_id, state FROM resources WHERE cloud_id = ANY($1)";
    let rows: Vec<(ResourceKind, String, ResourceState)> =
        sqlx::query_as(query).bind(cloud_ids).fetch_all(&mut *db).await?;
    for (kind, id, state) in rows {
        let side = if state == ResourceState::Removed { &mut census.removed } else { &mut census.living };
        side.insert((kind, id));
    }
    census.removed.retain(|row| !census.living.contains(row));
    Ok(census)
}

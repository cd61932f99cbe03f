//! Numbers for monitoring: how much waits, how long, and what is left over in the cloud.

use sqlx::{FromRow, PgConnection};

use super::StoreError;

/// A number by some word.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Count {
    /// The word.
    pub word: String,
    /// How many.
    pub count: i64,
}

/// The numbers at one moment.
#[derive(Debug, Clone)]
pub struct Totals {
    /// Builds by state.
    pub builds: Vec<Count>,
    /// Runs by state.
    pub runs: Vec<Count>,
    /// Resources in the cloud that a run works with or that are to be removed, by kind.
    pub resources: Vec<Count>,
    /// Runs that have ended and whose cleanup has not.
    pub cleanups: i64,
    /// How long the oldest run that can be claimed has waited, in seconds.
    pub oldest_queued_seconds: f64,
}

/// Counts.
///
/// # Errors
/// The database is away.
pub async fn totals(db: &mut PgConnection) -> Result<Totals, StoreError> {
    let builds =
        sqlx::query_as("SELECT state AS word, count(*) AS count FROM builds GROUP BY state ORDER BY state")
            .fetch_all(&mut *db)
            .await?;
    let runs =
        sqlx::query_as("SELECT state AS word, count(*) AS count FROM runs GROUP BY state ORDER BY state")
            .fetch_all(&mut *db)
            .await?;
    let resources = sqlx::query_as(
        "SELECT kind AS word, count(*) AS count FROM resources WHERE state IN ('intent', 'created')
         GROUP BY kind ORDER BY kind",
    )
    .fetch_all(&mut *db)
    .await?;
    let (cleanups, oldest_queued_seconds) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM runs
                 WHERE cleanup IN ('pending', 'failed') AND state IN ('succeeded', 'failed', 'cancelled')),
                (SELECT coalesce(greatest(extract(epoch FROM now() - min(run_after)), 0), 0)::float8 FROM runs
                 WHERE state = 'queued' AND run_after <= now())",
    )
    .fetch_one(db)
    .await?;
    Ok(Totals { builds, runs, resources, cleanups, oldest_queued_seconds })
}

/// The version of the schema that the database is at; `None`: it has none of ours.
///
/// # Errors
/// The database is away, or the table of versions does not exist.
pub async fn schema_version(db: &mut PgConnection) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(db).await?)
}

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
    /// Runs that have ended and whose cleanup has not, besides those that keep things on purpose.
    pub cleanups: i64,
    /// How long the oldest of them has been over, in seconds.
    pub oldest_cleanup_seconds: f64,
    /// Resources whose removal has failed at least once and that are still to be removed.
    pub stubborn: i64,
    /// Runs that keep things for a while after an error.
    pub kept: i64,
    /// Runs whose VM is held for a person.
    pub held: i64,
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
    let (cleanups, oldest_cleanup_seconds, kept, held, stubborn) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE is_over AND kept_until IS NULL),
                coalesce(extract(epoch FROM now() - min(finished_at) FILTER (WHERE is_over AND kept_until IS NULL)), 0)::float8,
                count(*) FILTER (WHERE is_over AND kept_until IS NOT NULL),
                count(*) FILTER (WHERE NOT is_over AND held_until > now()),
                (SELECT count(*) FROM resources WHERE state IN ('intent', 'created') AND tries > 0)
         FROM (SELECT *, state IN ('succeeded', 'failed', 'cancelled') AS is_over FROM runs
               WHERE cleanup IN ('pending', 'failed')) AS open",
    )
    .fetch_one(&mut *db)
    .await?;
    let oldest_queued_seconds = sqlx::query_scalar(
        "SELECT coalesce(greatest(extract(epoch FROM now() - min(run_after)), 0), 0)::float8 FROM runs
         WHERE state = 'queued' AND run_after <= now()",
    )
    .fetch_one(db)
    .await?;
    Ok(Totals {
        builds,
        runs,
        resources,
        cleanups,
        oldest_cleanup_seconds,
        stubborn,
        kept,
        held,
        oldest_queued_seconds,
    })
}

/// The version of the schema that the database is at; `None`: it has none of ours.
///
/// # Errors
/// The database is away, or the table of versions does not exist.
pub async fn schema_version(db: &mut PgConnection) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(db).await?)
}

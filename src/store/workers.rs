//! The workers that have been seen lately: one row a process, kept fresh by its heartbeat.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::StoreError;

/// A worker process.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct WorkerRow {
    /// Its id, new with every start of the process.
    pub id: String,
    /// The machine it is on.
    pub hostname: String,
    /// What it can do beside the ordinary.
    pub capabilities: Vec<String>,
    /// How many runs it works on at a time.
    pub slots: i32,
    /// How many it works on now.
    pub busy: i32,
    /// Whether it takes no new runs.
    pub draining: bool,
    /// Its version of fournil.
    pub version: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// Its last heartbeat.
    pub seen_at: DateTime<Utc>,
}

/// Writes a worker's heartbeat.
///
/// # Errors
/// The database is away.
pub async fn seen(db: &mut PgConnection, worker: &WorkerRow) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO workers (id, hostname, capabilities, slots, busy, draining, version, started_at, seen_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (id) DO UPDATE SET slots = excluded.slots, busy = excluded.busy, draining = excluded.draining,
             seen_at = greatest(workers.seen_at, excluded.seen_at)",
    )
    .bind(&worker.id)
    .bind(&worker.hostname)
    .bind(&worker.capabilities)
    .bind(worker.slots)
    .bind(worker.busy)
    .bind(worker.draining)
    .bind(&worker.version)
    .bind(worker.started_at)
    .bind(worker.seen_at)
    .execute(db)
    .await?;
    Ok(())
}

/// All workers, by machine and start.
///
/// # Errors
/// The database is away.
pub async fn all(db: &mut PgConnection) -> Result<Vec<WorkerRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT id, hostname, capabilities, slots, busy, draining, version, started_at, seen_at
         FROM workers ORDER BY hostname, started_at, id",
    )
    .fetch_all(db)
    .await?)
}

/// Removes a worker that ended in good order.
///
/// # Errors
/// The database is away.
pub async fn left(db: &mut PgConnection, id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM workers WHERE id = $1").bind(id).execute(db).await?;
    Ok(())
}

/// Removes workers without a heartbeat since `before`; answers how many.
///
/// # Errors
/// The database is away.
pub async fn forget(db: &mut PgConnection, before: DateTime<Utc>) -> Result<u64, StoreError> {
    Ok(sqlx::query("DELETE FROM workers WHERE seen_at < $1").bind(before).execute(db).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use sqlx::PgPool;

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn a_worker_is_listed_while_its_heart_beats(pool: PgPool) {
        let mut db = pool.acquire().await.unwrap();
        let start = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut worker = WorkerRow {
            id: "w1".to_owned(),
            hostname: "oven".to_owned(),
            capabilities: vec!["chroot".to_owned()],
            slots: 4,
            busy: 0,
            draining: false,
            version: "0.1.0".to_owned(),
            started_at: start,
            seen_at: start,
        };
        seen(&mut db, &worker).await.unwrap();
        worker.busy = 3;
        worker.seen_at = start + TimeDelta::seconds(10);
        seen(&mut db, &worker).await.unwrap();
        assert_eq!(all(&mut db).await.unwrap(), [worker.clone()]);

        assert_eq!(forget(&mut db, start + TimeDelta::seconds(5)).await.unwrap(), 0);
        assert_eq!(forget(&mut db, start + TimeDelta::seconds(20)).await.unwrap(), 1);
        seen(&mut db, &worker).await.unwrap();
        left(&mut db, "w1").await.unwrap();
        assert_eq!(all(&mut db).await.unwrap(), []);
    }
}

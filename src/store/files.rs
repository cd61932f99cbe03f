//! Files of a build: what it downloaded from its VMs, and what its post-processors wrote.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::StoreError;
use crate::domain::BuildId;

/// A file without its content.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct FileRow {
    /// The run's name.
    pub run: String,
    /// The path the template gave it, without a leading `/`.
    pub path: String,
    /// In bytes.
    pub size: i64,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// Stores a file; a later attempt of the run replaces it.
///
/// # Errors
/// The database is away.
pub async fn put(
    db: &mut PgConnection,
    build: BuildId,
    run: &str,
    path: &str,
    data: &[u8],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO build_files (build_id, run, path, data, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (build_id, run, path) DO UPDATE SET data = excluded.data, created_at = excluded.created_at",
    )
    .bind(build)
    .bind(run)
    .bind(path)
    .bind(data)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// The files of a build, by run and path.
///
/// # Errors
/// The database is away.
pub async fn of_build(db: &mut PgConnection, build: BuildId) -> Result<Vec<FileRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT run, path, length(data)::bigint AS size, created_at FROM build_files
         WHERE build_id = $1 ORDER BY run, path",
    )
    .bind(build)
    .fetch_all(db)
    .await?)
}

/// The content of one file.
///
/// # Errors
/// The database is away.
pub async fn load(
    db: &mut PgConnection,
    build: BuildId,
    run: &str,
    path: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar("SELECT data FROM build_files WHERE build_id = $1 AND run = $2 AND path = $3")
        .bind(build)
        .bind(run)
        .bind(path)
        .fetch_optional(db)
        .await?)
}

/// Removes a file, if it is there.
///
/// # Errors
/// The database is away.
pub async fn remove(db: &mut PgConnection, build: BuildId, run: &str, path: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM build_files WHERE build_id = $1 AND run = $2 AND path = $3")
        .bind(build)
        .bind(run)
        .bind(path)
        .execute(db)
        .await?;
    Ok(())
}

/// Keeps the other runs of the build from the files that they share until the transaction ends, and answers the name of the
/// run under which those are: the build's first one. To be called with the run locked. `None`: there is no such build.
///
/// # Errors
/// The database is away.
pub async fn lock_shared(db: &mut PgConnection, build: BuildId) -> Result<Option<String>, StoreError> {
    sqlx::query("SELECT id FROM builds WHERE id = $1 FOR NO KEY UPDATE")
        .bind(build)
        .fetch_optional(&mut *db)
        .await?;
    Ok(sqlx::query_scalar("SELECT name FROM runs WHERE build_id = $1 ORDER BY ordinal LIMIT 1")
        .bind(build)
        .fetch_optional(db)
        .await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::builds::tests::insert_build;
    use sqlx::PgPool;

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn a_later_download_replaces_the_file(pool: PgPool) {
        let mut db = pool.acquire().await.unwrap();
        let build = insert_build(&mut db, &["osc-bsu"]).await;
        put(&mut db, build, "osc-bsu", "out/report.txt", b"one", Utc::now()).await.unwrap();
        put(&mut db, build, "osc-bsu", "out/report.txt", b"second", Utc::now()).await.unwrap();
        let files = of_build(&mut db, build).await.unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!((files[0].path.as_str(), files[0].size), ("out/report.txt", 6));
        assert_eq!(
            load(&mut db, build, "osc-bsu", "out/report.txt").await.unwrap().as_deref(),
            Some(b"second".as_slice())
        );
        assert_eq!(load(&mut db, build, "osc-bsu", "out/other.txt").await.unwrap(), None);
        remove(&mut db, build, "osc-bsu", "out/report.txt").await.unwrap();
        remove(&mut db, build, "osc-bsu", "out/report.txt").await.unwrap();
        assert_eq!(of_build(&mut db, build).await.unwrap(), []);
    }

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn shared_files_stand_under_the_first_run_and_are_written_by_one_at_a_time(pool: PgPool) {
        let mut db = pool.acquire().await.unwrap();
        let build = insert_build(&mut db, &["two", "one"]).await;
        let mut first = pool.begin().await.unwrap();
        assert_eq!(lock_shared(&mut first, build).await.unwrap().as_deref(), Some("two"));
        let mut second = pool.begin().await.unwrap();
        sqlx::query("SET LOCAL lock_timeout = '50ms'").execute(&mut *second).await.unwrap();
        assert!(lock_shared(&mut second, build).await.is_err());
        first.commit().await.unwrap();
        second.rollback().await.unwrap();
        assert!(lock_shared(&mut db, build).await.unwrap().is_some());
        assert_eq!(lock_shared(&mut db, BuildId::generate()).await.unwrap(), None);
    }
}

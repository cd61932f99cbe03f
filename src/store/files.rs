//! Files that a build downloaded from its VMs.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::StoreError;
use crate::domain::BuildId;

/// A downloaded file without its content.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct FileRow {
    /// The run's name.
    pub run: String,
    /// The path the template gave it, without a leading `/`.
    pub path: String,
    /// In bytes.
    pub size: i64,
    /// When it was downloaded.
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
    }
}

//! Uploaded folders, each stored once however many builds use it.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;

/// Stores the archive of a folder, or finds the one that is the same byte by byte.
///
/// # Errors
/// The database is away.
pub async fn insert(db: &mut PgConnection, archive: &[u8], now: DateTime<Utc>) -> Result<Uuid, StoreError> {
    let digest = Sha256::digest(archive);
    // The second step needs no loop: nobody deletes a context in the same moment, and if one did, the insert would
    // fail and the request could be repeated.
    let known = sqlx::query_scalar("SELECT id FROM contexts WHERE digest = $1")
        .bind(digest.as_slice())
        .fetch_optional(&mut *db)
        .await?;
    if let Some(id) = known {
        return Ok(id);
    }
    Ok(sqlx::query_scalar(
        "INSERT INTO contexts (id, digest, data, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (digest) DO UPDATE SET digest = excluded.digest
         RETURNING id",
    )
    .bind(Uuid::now_v7())
    .bind(digest.as_slice())
    .bind(archive)
    .bind(now)
    .fetch_one(db)
    .await?)
}

/// The archive of a folder.
///
/// # Errors
/// The database is away.
pub async fn load(db: &mut PgConnection, id: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar("SELECT data FROM contexts WHERE id = $1").bind(id).fetch_optional(db).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::PgPool;

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn the_same_folder_is_stored_once(pool: PgPool) {
        let mut db = pool.acquire().await.unwrap();
        let first = insert(&mut db, b"archive", Utc::now()).await.unwrap();
        let again = insert(&mut db, b"archive", Utc::now()).await.unwrap();
        let other = insert(&mut db, b"another", Utc::now()).await.unwrap();
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert_eq!(load(&mut db, other).await.unwrap().as_deref(), Some(b"another".as_slice()));
        assert_eq!(load(&mut db, Uuid::nil()).await.unwrap(), None);
    }
}

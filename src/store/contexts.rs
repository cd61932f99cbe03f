//! Uploaded folders, each stored once however many builds use it. They are sealed: keys and passwords stand in templates,
//! variable files and key files.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use crate::credentials::vault::Vault;

/// The place for which an archive is sealed.
const DATA_COLUMN: &str = "contexts.data";

/// Stores the archive of a folder, or finds the one that is the same byte by byte.
///
/// # Errors
/// The database is away, or the vault cannot seal.
pub async fn insert(
    db: &mut PgConnection,
    vault: &Vault,
    archive: &[u8],
    now: DateTime<Utc>,
) -> Result<Uuid, StoreError> {
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
    let id = Uuid::now_v7();
    let sealed = vault.seal(DATA_COLUMN, id, archive)?;
    Ok(sqlx::query_scalar(
        "INSERT INTO contexts (id, digest, data, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (digest) DO UPDATE SET digest = excluded.digest
         RETURNING id",
    )
    .bind(id)
    .bind(digest.as_slice())
    .bind(sealed)
    .bind(now)
    .fetch_one(db)
    .await?)
}

/// The archive of a folder.
///
/// # Errors
/// The database is away, or the archive was sealed with another master key.
pub async fn load(db: &mut PgConnection, vault: &Vault, id: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
    let sealed: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT data FROM contexts WHERE id = $1").bind(id).fetch_optional(db).await?;
    Ok(sealed.map(|sealed| vault.open(DATA_COLUMN, id, &sealed)).transpose()?.map(|archive| archive.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::PgPool;

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn the_same_folder_is_stored_once(pool: PgPool) {
        let (mut db, vault) = (pool.acquire().await.unwrap(), Vault::for_tests());
        let first = insert(&mut db, &vault, b"archive", Utc::now()).await.unwrap();
        let again = insert(&mut db, &vault, b"archive", Utc::now()).await.unwrap();
        let other = insert(&mut db, &vault, b"another", Utc::now()).await.unwrap();
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert_eq!(load(&mut db, &vault, other).await.unwrap().as_deref(), Some(b"another".as_slice()));
        assert_eq!(load(&mut db, &vault, Uuid::nil()).await.unwrap(), None);
    }
}

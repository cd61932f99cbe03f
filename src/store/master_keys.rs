//! Which master key the database is sealed with, and which processes have which.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::StoreError;
use crate::credentials::vault::{Vault, VaultError};

/// The place for which the check is sealed.
const CHECK_COLUMN: &str = "master_key_check.sealed";

/// What is sealed as the check.
const CHECK: &[u8] = b"fournil";

/// Makes sure that the vault has the key that the database is sealed with. The first process on a new database decides which
/// that is.
///
/// # Errors
/// The database is away, or [`VaultError::WrongForDatabase`].
pub async fn check(db: &mut PgConnection, vault: &Vault) -> Result<(), StoreError> {
    let mut transaction = db.begin().await?;
    let read = "SELECT id, sealed FROM master_key_check";
    let mut stored: Option<(Uuid, Vec<u8>)> = sqlx::query_as(read).fetch_optional(&mut *transaction).await?;
    if stored.is_none() {
        // A database of a version that had no check may hold sealed values all the same.
        let newest: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT substring(request_sealed FOR 9) FROM builds ORDER BY id DESC LIMIT 1")
                .fetch_optional(&mut *transaction)
                .await?;
        if let Some(newest) = newest {
            has_key(vault, &newest)?;
        }
        let id = Uuid::now_v7();
        sqlx::query("INSERT INTO master_key_check (id, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(id)
            .bind(vault.seal(CHECK_COLUMN, id, CHECK)?)
            .execute(&mut *transaction)
            .await?;
        // Another process may have been quicker, with another key.
        stored = sqlx::query_as(read).fetch_optional(&mut *transaction).await?;
    }
    transaction.commit().await?;
    let (id, sealed) = stored.ok_or(sqlx::Error::RowNotFound)?;
    has_key(vault, &sealed)?;
    vault.open(CHECK_COLUMN, id, &sealed)?;
    Ok(())
}

fn has_key(vault: &Vault, sealed: &[u8]) -> Result<(), VaultError> {
    match Vault::key_id_of(sealed) {
        Some(sealed_with) if !vault.key_ids().contains(&sealed_with) => {
            Err(VaultError::WrongForDatabase { sealed_with, ours: vault.key_ids().join(", ") })
        }
        _ => Ok(()),
    }
}

/// A process that has master keys.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Holder {
    /// New with every start.
    pub id: Uuid,
    /// The machine it is on.
    pub hostname: String,
    /// The ids of its keys, the sealing one first.
    pub key_ids: Vec<String>,
}

/// Writes a heartbeat, and forgets processes without one since `before`.
///
/// # Errors
/// The database is away.
pub async fn seen(
    db: &mut PgConnection,
    holder: &Holder,
    now: DateTime<Utc>,
    before: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO master_key_holders (id, hostname, key_ids, seen_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
    )
    .bind(holder.id)
    .bind(&holder.hostname)
    .bind(&holder.key_ids)
    .bind(now)
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM master_key_holders WHERE seen_at < $1").bind(before).execute(db).await?;
    Ok(())
}

/// The process ends.
///
/// # Errors
/// The database is away.
pub async fn left(db: &mut PgConnection, id: Uuid) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM master_key_holders WHERE id = $1").bind(id).execute(db).await?;
    Ok(())
}

/// The processes that were seen after `after`.
///
/// # Errors
/// The database is away.
pub async fn holders(db: &mut PgConnection, after: DateTime<Utc>) -> Result<Vec<Holder>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT id, hostname, key_ids FROM master_key_holders WHERE seen_at >= $1 ORDER BY hostname, id",
    )
    .bind(after)
    .fetch_all(db)
    .await?)
}

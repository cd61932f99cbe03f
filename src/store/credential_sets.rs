//! Stored sets of credentials. Their secrets are sealed; what can be listed is none.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use crate::credentials::{
    sets::{SetSecrets, StoredSet},
    vault::Vault,
};

/// The place for which the secrets are sealed.
pub const SECRETS_COLUMN: &str = "credential_sets.sealed";

/// What can be shown of a set.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SetRow {
    /// What it is called.
    pub name: String,
    /// The Region of builds that name none.
    pub region: Option<String>,
    /// The API's address, if it is not that of the Region.
    pub endpoint: Option<String>,
    /// The last four characters of the access key.
    pub access_key_end: String,
    /// Whether it has a client certificate.
    pub has_certificate: bool,
    /// When it was first stored.
    pub created_at: DateTime<Utc>,
    /// When it was last stored.
    pub updated_at: DateTime<Utc>,
    /// When a run last used it.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Stores a set in the place of the one of this name; answers it, and whether it is new.
///
/// # Errors
/// The database is away, or the vault cannot seal.
pub async fn put(
    db: &mut PgConnection,
    vault: &Vault,
    set: &StoredSet,
    now: DateTime<Utc>,
) -> Result<(SetRow, bool), StoreError> {
    // The secrets are sealed for their row, so that has to be known first; from here on it is locked.
    let (id, is_new): (Uuid, bool) = sqlx::query_as(
        "INSERT INTO credential_sets (id, name, access_key_end, has_certificate, sealed, created_at, updated_at)
         VALUES ($1, $2, '', false, ''::bytea, $3, $3)
         ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING id, xmax = 0",
    )
    .bind(Uuid::now_v7())
    .bind(&set.name)
    .bind(now)
    .fetch_one(&mut *db)
    .await?;
    sqlx::query(
        "UPDATE credential_sets SET region = $2, endpoint = $3, access_key_end = $4, has_certificate = $5, sealed = $6,
             updated_at = $7 WHERE id = $1",
    )
    .bind(id)
    .bind(&set.region)
    .bind(&set.endpoint)
    .bind(set.secrets.access_key_end())
    .bind(set.secrets.client_certificate.is_some())
    .bind(vault.seal_json(SECRETS_COLUMN, id, &set.secrets)?)
    .bind(now)
    .execute(&mut *db)
    .await?;
    let row = get(db, &set.name).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok((row, is_new))
}

/// What can be shown of a set.
///
/// # Errors
/// The database is away.
pub async fn get(db: &mut PgConnection, name: &str) -> Result<Option<SetRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT name, region, endpoint, access_key_end, has_certificate, created_at, updated_at, last_used_at
         FROM credential_sets WHERE name = $1",
    )
    .bind(name)
    .fetch_optional(db)
    .await?)
}

/// All sets, by name.
///
/// # Errors
/// The database is away.
pub async fn all(db: &mut PgConnection) -> Result<Vec<SetRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT name, region, endpoint, access_key_end, has_certificate, created_at, updated_at, last_used_at
         FROM credential_sets ORDER BY name",
    )
    .fetch_all(db)
    .await?)
}

#[derive(sqlx::FromRow)]
struct Sealed {
    id: Uuid,
    region: Option<String>,
    endpoint: Option<String>,
    sealed: Vec<u8>,
}

/// Opens a set for a run, and notes that it was used.
///
/// # Errors
/// The database is away, or the set was sealed with another master key.
pub async fn open(
    db: &mut PgConnection,
    vault: &Vault,
    name: &str,
    now: DateTime<Utc>,
) -> Result<Option<StoredSet>, StoreError> {
    let row: Option<Sealed> = sqlx::query_as(
        "UPDATE credential_sets SET last_used_at = greatest(last_used_at, $2) WHERE name = $1
         RETURNING id, region, endpoint, sealed",
    )
    .bind(name)
    .bind(now)
    .fetch_optional(db)
    .await?;
    let Some(Sealed { id, region, endpoint, sealed }) = row else { return Ok(None) };
    let secrets: SetSecrets = vault.open_json(SECRETS_COLUMN, id, &sealed)?;
    Ok(Some(StoredSet { name: name.to_owned(), region, endpoint, secrets }))
}

/// How many builds need a set because they run, or because what they made is not yet removed.
///
/// # Errors
/// The database is away.
pub async fn users(db: &mut PgConnection, name: &str) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM builds b WHERE b.credentials = $1 AND EXISTS (
             SELECT 1 FROM runs r WHERE r.build_id = b.id
               AND (r.state = 'running' OR r.cleanup IN ('pending', 'failed') OR r.destroy = 'pending'))",
    )
    .bind(name)
    .fetch_one(db)
    .await?)
}

/// Removes a set; answers whether there was one.
///
/// # Errors
/// The database is away.
pub async fn remove(db: &mut PgConnection, name: &str) -> Result<bool, StoreError> {
    let removed = sqlx::query("DELETE FROM credential_sets WHERE name = $1").bind(name).execute(db).await?;
    Ok(removed.rows_affected() == 1)
}

//! Tokens: their hashes, what they may do, and the notification by which all replicas learn that one is no longer valid.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::StoreError;
use crate::auth::{Limits, Role, token::Hash};

/// The channel on which the id of a token is sent that was revoked; the nil id when a token was made, which may be the first.
pub const TOKEN_CHANNEL: &str = "fournil_tokens";

/// A token to insert.
#[derive(Debug)]
pub struct NewToken<'a> {
    /// Its name; no other token that is not revoked has it.
    pub name: &'a str,
    /// What is kept of it.
    pub hash: &'a Hash,
    /// What it may do.
    pub role: Role,
    /// What it is limited to.
    pub limits: &'a Limits,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: &'a str,
    /// When it ends to be valid.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A token as it is stored, without the hash.
#[derive(Debug, Clone, FromRow)]
pub struct TokenRow {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// [`Limits`] as JSON.
    pub limits: Value,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: String,
    /// When it ends to be valid.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl TokenRow {
    /// Its limits.
    ///
    /// # Errors
    /// A later version of fournil wrote them.
    pub fn limits(&self) -> Result<Limits, StoreError> {
        serde_json::from_value(self.limits.clone())
            .map_err(|source| StoreError::Unreadable { what: "limit of a token", source })
    }
}

macro_rules! token_columns {
    () => {
        "id, name, role, limits, created_at, created_by, expires_at, last_used_at, revoked_at"
    };
}

/// Inserts a token; `None`: the name is taken.
///
/// # Errors
/// The database is away.
pub async fn insert(db: &mut PgConnection, token: &NewToken<'_>) -> Result<Option<TokenRow>, StoreError> {
    let limits = serde_json::to_value(token.limits)
        .map_err(|source| StoreError::Unreadable { what: "limit of a token", source })?;
    let row = sqlx::query_as(concat!(
        "INSERT INTO tokens (id, name, hash, role, limits, created_at, created_by, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
         RETURNING ",
        token_columns!()
    ))
    .bind(Uuid::now_v7())
    .bind(token.name)
    .bind(token.hash.as_slice())
    .bind(token.role)
    .bind(limits)
    .bind(token.created_at)
    .bind(token.created_by)
    .bind(token.expires_at)
    .fetch_optional(&mut *db)
    .await?;
    notify(db, Uuid::nil()).await?;
    Ok(row)
}

/// The token with this hash, also one that is no longer valid.
///
/// # Errors
/// The database is away.
pub async fn find(db: &mut PgConnection, hash: &Hash) -> Result<Option<TokenRow>, StoreError> {
    Ok(sqlx::query_as(concat!("SELECT ", token_columns!(), " FROM tokens WHERE hash = $1"))
        .bind(hash.as_slice())
        .fetch_optional(db)
        .await?)
}

/// Tokens by name, also the expired ones; with `all` also the revoked ones.
///
/// # Errors
/// The database is away.
pub async fn list(db: &mut PgConnection, all: bool) -> Result<Vec<TokenRow>, StoreError> {
    Ok(sqlx::query_as(concat!(
        "SELECT ",
        token_columns!(),
        " FROM tokens WHERE $1 OR revoked_at IS NULL ORDER BY name, created_at DESC"
    ))
    .bind(all)
    .fetch_all(db)
    .await?)
}

/// Revokes the token of this name, and tells all replicas when the transaction commits; `None`: there is none.
///
/// # Errors
/// The database is away.
pub async fn revoke(
    db: &mut PgConnection,
    name: &str,
    now: DateTime<Utc>,
) -> Result<Option<TokenRow>, StoreError> {
    let row: Option<TokenRow> = sqlx::query_as(concat!(
        "UPDATE tokens SET revoked_at = $2 WHERE name = $1 AND revoked_at IS NULL RETURNING ",
        token_columns!()
    ))
    .bind(name)
    .bind(now)
    .fetch_optional(&mut *db)
    .await?;
    if let Some(row) = &row {
        notify(db, row.id).await?;
    }
    Ok(row)
}

/// Remembers that a token was used, at most once a minute.
///
/// # Errors
/// The database is away.
pub async fn used(db: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE tokens SET last_used_at = $2
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $2 - interval '1 minute')",
    )
    .bind(id)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// Whether there is or was a token. Once there was one, nobody comes in without: that the last one was revoked must not open
/// the service to everybody.
///
/// # Errors
/// The database is away.
pub async fn exist(db: &mut PgConnection) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM tokens)").fetch_one(db).await?)
}

/// Whether there is a token that is valid.
///
/// # Errors
/// The database is away.
pub async fn exist_valid(db: &mut PgConnection, now: DateTime<Utc>) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM tokens WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1))",
    )
    .bind(now)
    .fetch_one(db)
    .await?)
}

/// Which of these tokens are not revoked.
///
/// # Errors
/// The database is away.
pub async fn not_revoked(db: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
    Ok(sqlx::query_scalar("SELECT id FROM tokens WHERE id = ANY($1) AND revoked_at IS NULL")
        .bind(ids)
        .fetch_all(db)
        .await?)
}

async fn notify(db: &mut PgConnection, id: Uuid) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(TOKEN_CHANNEL).bind(id.to_string()).execute(db).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::{SubsecRound, TimeDelta};
    use sqlx::PgPool;

    use super::*;

    async fn add(db: &mut PgConnection, name: &str, hash: u8) -> Option<TokenRow> {
        let token = NewToken {
            name,
            hash: &[hash; 32],
            role: Role::Builder,
            limits: &Limits { max_builds: Some(2), ..Limits::default() },
            created_at: Utc::now(),
            created_by: "local",
            expires_at: None,
        };
        insert(db, &token).await.unwrap()
    }

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn a_name_is_free_again_when_its_token_is_revoked(pool: PgPool) {
        let mut db = pool.acquire().await.unwrap();
        assert!(!exist(&mut db).await.unwrap());
        let first = add(&mut db, "ci", 1).await.unwrap();
        assert_eq!(first.limits().unwrap().max_builds, Some(2));
        assert!(add(&mut db, "ci", 2).await.is_none());
        assert!(exist_valid(&mut db, Utc::now()).await.unwrap());
        assert_eq!(revoke(&mut db, "ci", Utc::now()).await.unwrap().map(|row| row.id), Some(first.id));
        assert!(revoke(&mut db, "ci", Utc::now()).await.unwrap().is_none());
        assert!(!exist_valid(&mut db, Utc::now()).await.unwrap() && exist(&mut db).await.unwrap());
        let second = add(&mut db, "ci", 2).await.unwrap();
        assert_eq!(not_revoked(&mut db, &[first.id, second.id]).await.unwrap(), [second.id]);
        assert_eq!(list(&mut db, false).await.unwrap().len(), 1);
        assert_eq!(list(&mut db, true).await.unwrap().len(), 2);
    }

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn use_is_remembered_to_the_minute(pool: PgPool) {
        let mut db = pool.acquire().await.unwrap();
        let id = add(&mut db, "ci", 1).await.unwrap().id;
        let start = Utc::now().trunc_subsecs(6);
        for (seconds, expected) in [(0, 0), (59, 0), (60, 60), (61, 60)] {
            used(&mut db, id, start + TimeDelta::seconds(seconds)).await.unwrap();
            let row = find(&mut db, &[1; 32]).await.unwrap().unwrap();
            assert_eq!(row.last_used_at, Some(start + TimeDelta::seconds(expected)));
        }
        assert!(find(&mut db, &[2; 32]).await.unwrap().is_none());
    }

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn unknown_limits_make_a_token_unusable(pool: PgPool) {
        let mut db = pool.acquire().await.unwrap();
        add(&mut db, "ci", 1).await.unwrap();
        sqlx::query("UPDATE tokens SET limits = '{\"regions\": []}'").execute(&mut *db).await.unwrap();
        assert!(find(&mut db, &[1; 32]).await.unwrap().unwrap().limits().is_err());
    }
}

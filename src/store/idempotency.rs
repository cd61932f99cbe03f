//! Idempotency keys: which request was accepted under which key. A key is written in the transaction that accepts its
//! build, so one without a build is never seen; while that transaction runs, an advisory lock stands for the key.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::StoreError;
use crate::domain::BuildId;

/// What was accepted under a key.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Accepted {
    /// SHA-256 of what was asked.
    pub fingerprint: Vec<u8>,
    /// The build that came of it.
    pub build_id: BuildId,
}

/// What was accepted under this key of this sender.
///
/// # Errors
/// The database is away.
pub async fn find(db: &mut PgConnection, scope: &str, key: &str) -> Result<Option<Accepted>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT fingerprint, build_id FROM idempotency_keys WHERE scope = $1 AND key = $2 AND build_id IS NOT NULL",
    )
    .bind(scope)
    .bind(key)
    .fetch_optional(db)
    .await?)
}

/// Takes the key until the transaction ends; false: another request with the same key is being accepted right now.
///
/// # Errors
/// The database is away.
pub async fn try_lock(db: &mut PgConnection, scope: &str, key: &str) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended($1 || chr(31) || $2, 8))")
        .bind(scope)
        .bind(key)
        .fetch_one(db)
        .await?)
}

/// Remembers what was accepted. The caller holds the key's lock and has seen that the key is free.
///
/// # Errors
/// The database is away, or the key is taken after all.
pub async fn insert(
    db: &mut PgConnection,
    scope: &str,
    key: &str,
    fingerprint: &[u8],
    build: BuildId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO idempotency_keys (scope, key, fingerprint, build_id, created_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(scope)
    .bind(key)
    .bind(fingerprint)
    .bind(build)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets keys that are older than `before`, but none of a build that has not ended; answers how many.
///
/// # Errors
/// The database is away.
pub async fn forget(db: &mut PgConnection, before: DateTime<Utc>) -> Result<u64, StoreError> {
    let forgotten = sqlx::query(
        "DELETE FROM idempotency_keys AS old
         WHERE old.created_at < $1
           AND NOT EXISTS (SELECT 1 FROM builds WHERE builds.id = old.build_id AND builds.state IN ('queued', 'running'))",
    )
    .bind(before)
    .execute(db)
    .await?;
    Ok(forgotten.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::builds::tests::{insert_build, set_run_state};
    use sqlx::PgPool;

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn a_key_is_locked_by_one_transaction_at_a_time(pool: PgPool) {
        let mut first = pool.begin().await.unwrap();
        let mut second = pool.begin().await.unwrap();
        assert!(try_lock(&mut first, "a", "key").await.unwrap());
        assert!(!try_lock(&mut second, "a", "key").await.unwrap());
        assert!(try_lock(&mut second, "b", "key").await.unwrap(), "another sender has keys of its own");
        first.rollback().await.unwrap();
        assert!(try_lock(&mut second, "a", "key").await.unwrap());
    }

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn a_key_lives_at_least_as_long_as_its_build_runs(pool: PgPool) {
        let mut db = pool.acquire().await.unwrap();
        let build = insert_build(&mut db, &["osc-bsu"]).await;
        insert(&mut db, "a", "key", b"print", build, Utc::now()).await.unwrap();
        let accepted = Accepted { fingerprint: b"print".to_vec(), build_id: build };
        assert_eq!(find(&mut db, "a", "key").await.unwrap(), Some(accepted));

        let later = Utc::now() + chrono::TimeDelta::days(30);
        assert_eq!(forget(&mut db, later).await.unwrap(), 0);
        set_run_state(&mut db, build, "osc-bsu", "succeeded").await;
        assert_eq!(forget(&mut db, Utc::now() - chrono::TimeDelta::days(1)).await.unwrap(), 0);
        assert_eq!(forget(&mut db, later).await.unwrap(), 1);
        assert_eq!(find(&mut db, "a", "key").await.unwrap(), None);
    }
}

//! How many builds have not ended, for the limits of new ones.

use sqlx::PgConnection;

use crate::{
    auth::{Principal, Who},
    store::StoreError,
};

/// Those of a principal. Until the transaction ends, nobody else counts the same, so that a limit that is checked and then
/// used up holds.
///
/// # Errors
/// The database is away.
pub async fn of(db: &mut PgConnection, principal: &Principal) -> Result<i64, StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('builds of ' || $1, 9))")
        .bind(principal.key_scope())
        .execute(&mut *db)
        .await?;
    let count = match &principal.who {
        // By the id: a name may have been another token's.
        Who::Token { id, .. } => sqlx::query_scalar(
            "SELECT count(*) FROM builds WHERE token_id = $1 AND state IN ('queued', 'running')",
        )
        .bind(id),
        Who::Oidc { .. } | Who::Local => sqlx::query_scalar(
            "SELECT count(*) FROM builds WHERE created_by = $1 AND token_id IS NULL AND state IN ('queued', 'running')",
        )
        .bind(principal.name()),
    };
    Ok(count.fetch_one(db).await?)
}

/// Those of everybody, counted up to `most`. Others may add to them at the same moment.
///
/// # Errors
/// The database is away.
pub async fn in_all(db: &mut PgConnection, most: u32) -> Result<i64, StoreError> {
    let sql = "SELECT count(*) FROM (SELECT FROM builds WHERE state IN ('queued', 'running') LIMIT $1) open";
    Ok(sqlx::query_scalar(sql).bind(i64::from(most)).fetch_one(db).await?)
}

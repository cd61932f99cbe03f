//! The audit: who did what, when, from where. Rows are only ever added; a trigger refuses the rest.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::StoreError;
use crate::{auth::Role, domain::BuildId};

/// What came of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused.
    Denied,
}

impl Outcome {
    /// The word in the database and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
        }
    }
}

/// Who did it, and from where.
#[derive(Debug, Clone)]
pub struct Actor {
    /// A token's name, `oidc:SUBJECT`, `local`, or `database`.
    pub principal: String,
    /// The token.
    pub token: Option<Uuid>,
    /// The role.
    pub role: Role,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The request.
    pub request_id: Option<String>,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Such as `build.create`.
    pub action: &'a str,
    /// Whether it was.
    pub outcome: Outcome,
    /// To which build.
    pub build: Option<BuildId>,
    /// To which token, stored set of keys, or run.
    pub target: Option<&'a str>,
    /// More about it; never a secret.
    pub detail: Value,
}

impl<'a> Entry<'a> {
    /// Something that was done.
    #[must_use]
    pub fn done(action: &'a str) -> Self {
        Self { action, outcome: Outcome::Done, build: None, target: None, detail: serde_json::json!({}) }
    }

    /// Something that was done to a build.
    #[must_use]
    pub fn of_build(action: &'a str, build: BuildId) -> Self {
        Self { build: Some(build), ..Self::done(action) }
    }

    /// Something that was refused.
    #[must_use]
    pub fn denied(action: &'a str, why: &str) -> Self {
        Self { outcome: Outcome::Denied, detail: serde_json::json!({ "why": why }), ..Self::done(action) }
    }
}

/// Writes an entry; in the transaction of the deed where there is one.
///
/// # Errors
/// The database is away.
pub async fn record(
    db: &mut PgConnection,
    actor: &Actor,
    entry: &Entry<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (at, principal, token_id, role, action, outcome, build_id, target, detail, address, request_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::inet, $11)",
    )
    .bind(now)
    .bind(&actor.principal)
    .bind(actor.token)
    .bind(actor.role)
    .bind(entry.action)
    .bind(entry.outcome.as_str())
    .bind(entry.build)
    .bind(entry.target)
    .bind(&entry.detail)
    .bind(actor.address.map(|address| address.to_string()))
    .bind(&actor.request_id)
    .execute(db)
    .await?;
    Ok(())
}

/// An entry as it is read.
#[derive(Debug, Clone, FromRow)]
pub struct AuditRow {
    /// Grows.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub principal: String,
    /// The token.
    pub token_id: Option<Uuid>,
    /// The role.
    pub role: Role,
    /// What.
    pub action: String,
    /// `done` or `denied`.
    pub outcome: String,
    /// To which build.
    pub build_id: Option<BuildId>,
    /// To what else.
    pub target: Option<String>,
    /// More about it.
    pub detail: Value,
    /// From where.
    pub address: Option<String>,
    /// By which request.
    pub request_id: Option<String>,
}

/// Which entries to read.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this principal.
    pub principal: Option<String>,
    /// Of one of these actions; empty: of any.
    pub actions: Vec<String>,
    /// `done` or `denied`.
    pub outcome: Option<String>,
    /// About this build.
    pub build: Option<BuildId>,
    /// At this moment or later.
    pub after: Option<DateTime<Utc>>,
    /// Before this moment.
    pub before: Option<DateTime<Utc>>,
}

/// At most `limit` entries, newest first, behind the entry `place`.
///
/// # Errors
/// The database is away.
pub async fn list(
    db: &mut PgConnection,
    filter: &AuditFilter,
    place: Option<i64>,
    limit: i64,
) -> Result<Vec<AuditRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT id, at, principal, token_id, role, action, outcome, build_id, target, detail, host(address) AS address, request_id
         FROM audit
         WHERE ($1::text IS NULL OR principal = $1)
           AND (cardinality($2::text[]) = 0 OR action = ANY($2))
           AND ($3::text IS NULL OR outcome = $3)
           AND ($4::uuid IS NULL OR build_id = $4)
           AND ($5::timestamptz IS NULL OR at >= $5)
           AND ($6::timestamptz IS NULL OR at < $6)
           AND ($7::bigint IS NULL OR id < $7)
         ORDER BY id DESC
         LIMIT $8",
    )
    .bind(&filter.principal)
    .bind(&filter.actions)
    .bind(&filter.outcome)
    .bind(filter.build)
    .bind(filter.after)
    .bind(filter.before)
    .bind(place)
    .bind(limit)
    .fetch_all(db)
    .await?)
}

#[cfg(test)]
mod tests {
    use sqlx::PgPool;

    use super::*;

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn what_is_written_stays_as_it_is(pool: PgPool) {
        let mut db = pool.acquire().await.unwrap();
        let actor = Actor {
            principal: "ci".to_owned(),
            token: None,
            role: Role::Builder,
            address: Some("2001:db8::1".parse().unwrap()),
            request_id: Some("r1".to_owned()),
        };
        let build = BuildId::generate();
        record(&mut db, &actor, &Entry::of_build("build.create", build), Utc::now()).await.unwrap();
        record(&mut db, &actor, &Entry::denied("token.create", "role"), Utc::now()).await.unwrap();
        for statement in [
            "UPDATE audit SET principal = 'me'",
            "DELETE FROM audit",
            "DELETE FROM audit WHERE false",
            "TRUNCATE audit",
        ] {
            let error = sqlx::query(statement).execute(&mut *db).await.unwrap_err();
            assert!(error.to_string().contains("append-only"), "{statement}: {error}");
        }
        let all = list(&mut db, &AuditFilter::default(), None, 10).await.unwrap();
        assert_eq!(all.iter().map(|row| row.outcome.as_str()).collect::<Vec<_>>(), ["denied", "done"]);
        assert_eq!((all[1].build_id, all[1].address.as_deref()), (Some(build), Some("2001:db8::1")));
        let filter = AuditFilter { build: Some(build), ..AuditFilter::default() };
        assert_eq!(list(&mut db, &filter, None, 10).await.unwrap().len(), 1);
        assert_eq!(
            list(&mut db, &AuditFilter::default(), Some(all[0].id), 10).await.unwrap()[0].id,
            all[1].id
        );
    }
}

//! `GET /audit`.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{AppState, extract::Pairs, problem::ApiError};
use crate::{
    auth::Role,
    domain::{BuildId, Problem},
    store::audit::{self, AuditFilter, AuditRow},
};

/// How many entries a page has if nothing is said.
const DEFAULT_LIMIT: i64 = 100;

/// The most that a page has.
const MAX_LIMIT: i64 = 500;

/// A page of the audit.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditList {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// The `cursor` of the next page; null on the last one.
    pub next: Option<String>,
}

/// What somebody did, or was refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Grows.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who: a token's name, `oidc:SUBJECT`, `local` (there were no tokens), or `database` (somebody who could write there).
    #[schema(example = "ci")]
    pub principal: String,
    /// Their role then.
    pub role: Role,
    /// What.
    #[schema(example = "build.create")]
    pub action: String,
    /// `done` or `denied`.
    #[schema(example = "done")]
    pub outcome: String,
    /// To which build.
    pub build: Option<BuildId>,
    /// To which token, stored set of keys, or run.
    pub target: Option<String>,
    /// More about it.
    #[schema(value_type = Object)]
    pub detail: Value,
    /// From which address.
    pub address: Option<String>,
    /// By which request.
    pub request_id: Option<String>,
}

impl From<AuditRow> for AuditEntry {
    fn from(row: AuditRow) -> Self {
        Self {
            id: row.id,
            at: row.at,
            principal: row.principal,
            role: row.role,
            action: row.action,
            outcome: row.outcome,
            build: row.build_id,
            target: row.target,
            detail: row.detail,
            address: row.address,
            request_id: row.request_id,
        }
    }
}

/// Lists who did what, newest first.
#[utoipa::path(
    get, path = "/audit", operation_id = "list_audit", tag = "access",
    params(
        ("principal" = Option<String>, Query, description = "Only what this token, `oidc:SUBJECT`, `local` or `database` did."),
        ("action" = Option<String>, Query, description = "Only this action; several separated by commas.", example = "build.create"),
        ("outcome" = Option<String>, Query, description = "`done` or `denied`.", pattern = "^(done|denied)$"),
        ("build" = Option<BuildId>, Query, description = "Only what was done to this build."),
        ("after" = Option<DateTime<Utc>>, Query, description = "Only from this moment on (RFC 3339)."),
        ("before" = Option<DateTime<Utc>>, Query, description = "Only before this moment (RFC 3339)."),
        ("limit" = Option<i64>, Query, description = "How many, 1 to 500; 100 if nothing is said.", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next` of the page before.", pattern = "^[0-9]{1,18}$"),
    ),
    responses(
        (status = 200, description = "A page of the audit.", body = AuditList),
        (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn list(State(state): State<AppState>, pairs: Pairs) -> Result<Json<AuditList>, ApiError> {
    let known = ["principal", "action", "outcome", "build", "after", "before", "limit", "cursor"];
    let pairs = pairs.only(&known)?;
    let limit = pairs.parsed::<i64>("limit", "a whole number from 1 to 500")?.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::parameter(
            "limit",
            format!("`limit` must be a whole number from 1 to 500, not `{limit}`."),
        ));
    }
    let cursor = pairs.parsed::<i64>("cursor", "the `next` of an earlier page")?;
    let outcome = pairs.text("outcome")?.map(str::to_owned);
    if outcome.as_deref().is_some_and(|outcome| !["done", "denied"].contains(&outcome)) {
        return Err(ApiError::parameter("outcome", "`outcome` must be `done` or `denied`."));
    }
    let actions = pairs.text("action")?.into_iter().flat_map(|value| value.split(','));
    let filter = AuditFilter {
        principal: pairs.text("principal")?.map(str::to_owned),
        actions: actions.filter(|action| !action.is_empty()).map(str::to_owned).collect(),
        outcome,
        build: pairs.parsed("build", "the id of a build")?,
        after: pairs.moment("after")?,
        before: pairs.moment("before")?,
    };
    let mut db = state.store.acquire().await?;
    let mut rows = audit::list(&mut db, &filter, cursor, limit + 1).await?;
    let page = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > page;
    rows.truncate(page);
    let next = rows.last().filter(|_| has_more).map(|last| last.id.to_string());
    Ok(Json(AuditList { entries: rows.into_iter().map(AuditEntry::from).collect(), next }))
}

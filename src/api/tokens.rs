//! `/tokens` and `/whoami`: making, listing and revoking tokens, and what one's own may do.

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    AppState,
    auth::Caller,
    builds::intake,
    extract::{Pairs, media_type},
    problem::ApiError,
};
use crate::{
    auth::{Limits, Role, Who, setup, spec::TokenSpec},
    domain::{Problem, problem::FieldProblem},
    store::tokens::{self, TokenRow},
    template::pointer_token,
};

/// Bytes; more than any such body needs.
const MAX_BODY: usize = 64 << 10;

/// The fields of a token to make.
const FIELDS: [&str; 7] = ["name", "role", "builders", "credentials", "labels", "max_builds", "expires_at"];

/// A token without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Token")]
pub struct TokenView {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it is limited to.
    #[schema(value_type = Limits)]
    pub limits: Value,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: String,
    /// When it ends to be valid; null: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl From<TokenRow> for TokenView {
    fn from(row: TokenRow) -> Self {
        let TokenRow {
            id: _,
            name,
            role,
            limits,
            created_at,
            created_by,
            expires_at,
            last_used_at,
            revoked_at,
        } = row;
        Self { name, role, limits, created_at, created_by, expires_at, last_used_at, revoked_at }
    }
}

/// A token that was just made.
#[derive(Serialize, ToSchema)]
#[schema(title = "A new token")]
pub struct NewTokenView {
    /// The token itself, which nobody can have again.
    #[schema(example = "fournil_…")]
    pub token: String,
    /// What is stored of it.
    #[serde(flatten)]
    pub stored: TokenView,
}

/// Tokens by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenList {
    /// By name.
    pub tokens: Vec<TokenView>,
}

/// Who asks.
#[derive(Debug, Serialize, ToSchema)]
pub struct Whoami {
    /// The name in the audit and in `created_by`.
    pub name: String,
    /// `local` (there are no tokens yet), `token`, or `oidc`.
    pub kind: &'static str,
    /// What they may do.
    pub role: Role,
    /// What they are limited to.
    pub limits: Limits,
    /// When the token ends to be valid.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Makes a token. Its secret is in this answer and nowhere else.
#[utoipa::path(
    post, path = "/tokens", operation_id = "create_token", tag = "access",
    request_body(content = super::openapi::NewToken, description = "What it is called, and what it may do."),
    responses(
        (status = 201, description = "The token is made.", body = NewTokenView),
        (status = 400, description = "The body is no JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There is a token of this name; revoke it first.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The media type is not JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A field is wrong; `errors` lists every one.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn create(
    State(state): State<AppState>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let body = intake::read_body(&state, &parts.headers, body, MAX_BODY).await?;
    if media_type(&parts.headers).as_deref() != Some("application/json") {
        return Err(ApiError::UnsupportedMediaType("The body must be `application/json`.".to_owned()));
    }
    let now = state.clock.now();
    let spec = read(&body, now)?;
    let mut transaction = state.store.begin().await?;
    let made = match setup::make(&mut transaction, &spec, &caller.actor, now).await {
        Ok(made) => made.ok_or(ApiError::TokenNameTaken(spec.name))?,
        Err(setup::SetupError::Store(error)) => return Err(error.into()),
        Err(error) => return Err(ApiError::Internal(error.into())),
    };
    transaction.commit().await?;
    tracing::info!(token = %made.row.name, by = %caller.actor.principal, "a token was made");
    let view = NewTokenView { token: made.secret.expose_secret().to_owned(), stored: made.row.into() };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

/// Lists the tokens, without their secrets.
#[utoipa::path(
    get, path = "/tokens", operation_id = "list_tokens", tag = "access",
    params(("all" = Option<bool>, Query, description = "Also the revoked ones.")),
    responses(
        (status = 200, description = "The tokens.", body = TokenList),
        (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn list(State(state): State<AppState>, pairs: Pairs) -> Result<Json<TokenList>, ApiError> {
    let all = pairs.only(&["all"])?.flag("all")?.unwrap_or(false);
    let rows = tokens::list(&mut *state.store.acquire().await?, all).await?;
    Ok(Json(TokenList { tokens: rows.into_iter().map(TokenView::from).collect() }))
}

/// Revokes a token: at once, on every replica, also for streams that are open. Its builds go on.
#[utoipa::path(
    delete, path = "/tokens/{name}", operation_id = "revoke_token", tag = "access",
    params(("name" = String, Path, description = "The token's name.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")),
    responses(
        (status = 200, description = "It is revoked.", body = TokenView),
        (status = 404, description = "There is no such token, or it is revoked already.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn revoke(
    State(state): State<AppState>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<TokenView>, ApiError> {
    // No stored text holds a NUL character.
    if name.contains('\0') {
        return Err(ApiError::TokenNotFound(name.escape_debug().to_string()));
    }
    let mut transaction = state.store.begin().await?;
    let row = setup::revoke(&mut transaction, &name, &caller.actor, state.clock.now()).await?;
    let row = row.ok_or(ApiError::TokenNotFound(name))?;
    transaction.commit().await?;
    tracing::info!(token = %row.name, by = %caller.actor.principal, "a token was revoked");
    Ok(Json(row.into()))
}

/// Shows who asks, and what they may do.
#[utoipa::path(
    get, path = "/whoami", operation_id = "whoami", tag = "access",
    responses((status = 200, description = "Name, role and limits.", body = Whoami)),
)]
pub async fn whoami(caller: Caller) -> Json<Whoami> {
    let principal = &caller.principal;
    let kind = match principal.who {
        Who::Local => "local",
        Who::Token { .. } => "token",
        Who::Oidc { .. } => "oidc",
    };
    Json(Whoami {
        name: principal.name(),
        kind,
        role: principal.role,
        limits: principal.limits.clone(),
        expires_at: principal.until,
    })
}

fn invalid(status: u16, detail: String, errors: Vec<FieldProblem>) -> ApiError {
    Problem::new(status, "invalid_request", "The request is not valid", detail).with_errors(errors).into()
}

fn read(body: &[u8], now: DateTime<Utc>) -> Result<TokenSpec, ApiError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        let detail = format!("the body is no JSON: {error}");
        invalid(400, detail.clone(), vec![FieldProblem::at("", detail)])
    })?;
    let mut errors = Vec::new();
    let mut wrong = |pointer: String, detail: &str| errors.push(FieldProblem::at(pointer, detail));
    let Some(members) = value.as_object() else {
        let detail = "the body must be an object with `name` and `role`";
        return Err(invalid(422, detail.to_owned(), vec![FieldProblem::at("", detail)]));
    };
    for name in members.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        let known = FIELDS.join(", ");
        wrong(format!("/{}", pointer_token(name)), &format!("there is no such field; known are {known}"));
    }
    let field = |name: &str| members.get(name).filter(|value| !value.is_null());
    let texts = |value: &Value| {
        value.as_array()?.iter().map(|text| Some(text.as_str()?.to_owned())).collect::<Option<Vec<_>>>()
    };
    let mut names = |name: &str| match field(name).map(texts) {
        None => None,
        Some(Some(list)) => Some(list.into_iter().collect()),
        Some(None) => {
            wrong(format!("/{name}"), "this must be a list of texts");
            None
        }
    };
    let (builders, credentials) = (names("builders"), names("credentials"));
    let name = field("name").and_then(Value::as_str).unwrap_or_else(|| {
        wrong("/name".to_owned(), "give the token a name");
        "x"
    });
    let role = field("role").and_then(Value::as_str).unwrap_or_default().parse().unwrap_or_else(|_| {
        wrong("/role".to_owned(), "this must be `viewer`, `builder` or `admin`");
        Role::Viewer
    });
    let labels = match field("labels") {
        None => Some(Default::default()),
        Some(Value::Object(labels)) => {
            labels.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        }
        Some(_) => None,
    };
    let labels = labels.unwrap_or_else(|| {
        wrong("/labels".to_owned(), "this must be an object of texts");
        Default::default()
    });
    let max_builds = field("max_builds").and_then(|value| {
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            wrong("/max_builds".to_owned(), "this must be a whole number from 1 on");
        }
        number
    });
    let expires_at = field("expires_at").and_then(|value| {
        let moment = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        if moment.is_none() {
            wrong("/expires_at".to_owned(), "this must be a time such as 2027-01-31T00:00:00Z");
        }
        Some(moment?.with_timezone(&Utc))
    });
    let limits = Limits { builders, credentials, labels, max_builds };
    let spec = TokenSpec { name: name.to_owned(), role, limits, expires_at };
    errors.extend(spec.problems(now));
    if errors.is_empty() {
        return Ok(spec);
    }
    let detail = errors.iter().map(|error| {
        format!("{}: {}", error.pointer.as_deref().unwrap_or_default().trim_start_matches('/'), error.detail)
    });
    let detail = detail.collect::<Vec<_>>().join("; ");
    Err(invalid(422, detail, errors))
}

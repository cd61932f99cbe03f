//! `/credentials`: stored sets of keys. What is stored can be replaced and removed, never read.

use axum::{
    Json,
    extract::{Path, Request, State},
    http::StatusCode,
};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AppState,
    extract::{Pairs, media_type},
    problem::ApiError,
};
use crate::{
    credentials::{
        endpoints::EndpointUrl,
        sets::{self, NewSet},
    },
    domain::{Problem, problem::FieldProblem},
    store::credential_sets::{self, SetRow},
};

/// A set is far smaller, also with certificates.
const LARGEST_BODY: usize = 1024 * 1024;

/// The stored sets.
#[derive(Debug, Serialize, ToSchema)]
pub struct CredentialsList {
    /// By name.
    pub credentials: Vec<CredentialsView>,
}

/// What is shown of a stored set. Nothing of it is secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Credentials")]
pub struct CredentialsView {
    /// What requests call it.
    #[schema(example = "prod")]
    pub name: String,
    /// The Region of builds whose template names none.
    pub region: Option<String>,
    /// Host and port of the API's address, if it is not that of the Region.
    pub endpoint_host: Option<String>,
    /// The last four characters of the access key.
    #[schema(example = "WX9Z")]
    pub access_key_end: String,
    /// Whether it has a client certificate.
    pub has_client_certificate: bool,
    /// When it was first stored.
    pub created_at: DateTime<Utc>,
    /// When it was last stored.
    pub updated_at: DateTime<Utc>,
    /// When a run last used it.
    pub last_used_at: Option<DateTime<Utc>>,
}

impl From<SetRow> for CredentialsView {
    fn from(row: SetRow) -> Self {
        let host = |text: String| {
            let url = EndpointUrl::parse(&text, "https").ok()?;
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            Some(format!("{}{port}", url.host()))
        };
        Self {
            name: row.name,
            region: row.region,
            endpoint_host: row.endpoint.and_then(host),
            access_key_end: row.access_key_end,
            has_client_certificate: row.has_certificate,
            created_at: row.created_at,
            updated_at: row.updated_at,
            last_used_at: row.last_used_at,
        }
    }
}

/// A set to store.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCredentials {
    /// Access key.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,256}$")]
    access_key: String,
    /// Secret key.
    #[schema(value_type = String, format = Password, pattern = "^[!-~]{1,256}$")]
    secret_key: SecretString,
    /// The Region of builds whose template names none.
    #[serde(default)]
    #[schema(pattern = "^[a-z0-9-]{1,63}$")]
    region: Option<String>,
    /// The API's address, if it is not that of the Region.
    #[serde(default)]
    endpoint: Option<String>,
    /// The client certificate (PEM) that the account's API access rules ask for.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    x509_client_cert: Option<SecretString>,
    /// Its private key (PEM).
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Password)]
    x509_client_key: Option<SecretString>,
}

/// Lists the stored sets of credentials, without anything secret.
#[utoipa::path(
    get, path = "/credentials", operation_id = "list_credentials", tag = "operation",
    responses((status = 200, description = "The sets.", body = CredentialsList)),
)]
pub async fn list(State(state): State<AppState>) -> Result<Json<CredentialsList>, ApiError> {
    let rows = credential_sets::all(&mut *state.store.acquire().await?).await?;
    Ok(Json(CredentialsList { credentials: rows.into_iter().map(Into::into).collect() }))
}

/// Stores a set of credentials under a name, in place of the one that it had. Requests name it by `credentials`. Its address
/// is not held against the allow-list of hosts that templates may name.
#[utoipa::path(
    put, path = "/credentials/{name}", operation_id = "put_credentials", tag = "operation",
    params(("name" = String, Path, description = "1 to 64 letters, digits, `.`, `_` or `-`.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")),
    request_body = NewCredentials,
    responses(
        (status = 201, description = "The set is new.", body = CredentialsView),
        (status = 200, description = "The set has replaced another one.", body = CredentialsView),
        (status = 400, description = "The body is no JSON, or a parameter is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A page of another site sent the request.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is no `application/json`.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A field is wrong; `errors` lists each.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn put(
    State(state): State<AppState>,
    Path(name): Path<String>,
    pairs: Pairs,
    request: Request,
) -> Result<(StatusCode, Json<CredentialsView>), ApiError> {
    pairs.only(&[])?;
    let invalid = |errors: Vec<FieldProblem>| {
        let detail = errors.iter().map(|error| error.detail.as_str()).collect::<Vec<_>>().join("; ");
        Problem::new(422, "invalid_credentials", "The set of credentials is not valid", detail)
            .with_errors(errors)
    };
    sets::check_name(&name).map_err(|why| invalid(vec![FieldProblem::new(why)]))?;
    if media_type(request.headers()).as_deref() != Some("application/json") {
        let detail = "A set of credentials is sent as application/json.";
        return Err(ApiError::UnsupportedMediaType(detail.to_owned()));
    }
    let limit = LARGEST_BODY.min(state.limits.json_bytes);
    let body =
        tokio::time::timeout(state.limits.body_timeout, axum::body::to_bytes(request.into_body(), limit));
    let body = body.await.map_err(|_| ApiError::BodyTooSlow(state.limits.body_timeout))?;
    let body = body.map_err(|_| ApiError::BodyTooLarge { limit })?;
    let sent: NewCredentials = serde_json::from_slice(&body).map_err(|error| {
        // The library's words could quote a value, and a value could be a key.
        let (line, column) = (error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Data => {
                let detail = format!(
                    "line {line}, column {column}: there are the texts `access_key`, `secret_key`, `region`, `endpoint`, \
                     `x509_client_cert` and `x509_client_key`; the first two are needed"
                );
                invalid(vec![FieldProblem::new(detail)])
            }
            _ => {
                let detail = format!("The body is no JSON (line {line}, column {column}).");
                Problem::new(400, "invalid_json", "The body is no JSON", detail)
            }
        }
    })?;
    let new = NewSet {
        access_key: sent.access_key,
        secret_key: sent.secret_key,
        region: sent.region,
        endpoint: sent.endpoint,
        x509_client_cert: sent.x509_client_cert,
        x509_client_key: sent.x509_client_key,
    };
    let set = new.checked(&name).map_err(|wrong| {
        let field = |(name, detail): (&str, String)| FieldProblem::at(format!("/{name}"), detail);
        invalid(wrong.into_iter().map(field).collect())
    })?;
    let mut transaction = state.store.begin().await?;
    let (row, is_new) = credential_sets::put(&mut transaction, &state.vault, &set, state.clock.now()).await?;
    transaction.commit().await?;
    tracing::info!(name, is_new, "the set of credentials {name} is stored");
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(row.into())))
}

/// Removes a stored set. Builds that wait and name it will fail.
#[utoipa::path(
    delete, path = "/credentials/{name}", operation_id = "delete_credentials", tag = "operation",
    params(
        ("name" = String, Path, description = "The set.", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
        ("force" = Option<bool>, Query, description = "Even if builds that run need it, or what they left in the cloud could not be removed without it."),
    ),
    responses(
        (status = 200, description = "It is removed; this is what it was.", body = CredentialsView),
        (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "A page of another site sent the request.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such set.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Builds need it.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn delete(
    State(state): State<AppState>,
    Path(name): Path<String>,
    pairs: Pairs,
) -> Result<Json<CredentialsView>, ApiError> {
    let force = pairs.only(&["force"])?.flag("force")?.unwrap_or(false);
    let not_found = || {
        let detail = "There is no set of credentials of this name; `GET /credentials` lists what there is.";
        Problem::new(404, "credentials_not_found", "There are no such credentials", detail)
    };
    sets::check_name(&name).map_err(|_| not_found())?;
    let mut transaction = state.store.begin().await?;
    let row = credential_sets::get(&mut transaction, &name).await?.ok_or_else(not_found)?;
    let users = credential_sets::users(&mut transaction, &name).await?;
    if users > 0 && !force {
        let detail = format!(
            "{users} builds run with the credentials `{name}` or have things in the cloud that are removed with them. Wait \
             for their end and cleanup, or remove the set with `force=true`; what they made then stays."
        );
        return Err(Problem::new(409, "credentials_in_use", "The credentials are in use", detail).into());
    }
    credential_sets::remove(&mut transaction, &name).await?;
    transaction.commit().await?;
    tracing::info!(name, "the set of credentials {name} is removed");
    Ok(Json(row.into()))
}

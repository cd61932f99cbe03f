//! Accepting: plans a request, seals it, and commits the build with all that belongs to it at once. `create` and
//! `retry` are the two ways here; `validate` goes only as far as the plan.

use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};

use super::{intake::Understood, view::BuildView};
use crate::{
    api::{AppState, auth::Caller, problem::ApiError},
    auth::{AccessError, Limits, Principal, Who, limits::LimitError},
    domain::{BuildId, Problem, RunId, RunPlan, problem::FieldProblem},
    store::{
        audit::Entry,
        builds::{self, NewBuild, NewRun, PLAN_COLUMN, REQUEST_COLUMN},
        contexts, credential_sets, idempotency,
    },
    template::{self, BuildRequest, ContextFolder, ParseContext, Parsed},
};

/// The longest idempotency key.
const KEY_MAX: usize = 255;

/// The name of the header.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A request that can be accepted.
#[derive(Debug)]
pub struct Prepared {
    /// What was asked for.
    pub request: BuildRequest,
    /// The plan and the blanked template.
    pub parsed: Parsed,
    archive: Option<Vec<u8>>,
    /// The moment that the template was read at, which is when the build was made: a run that is planned again later
    /// must come to the same names.
    now: DateTime<Utc>,
}

/// Plans a request on a thread where that may take its time.
///
/// # Errors
/// What is wrong with the request.
pub async fn prepare(
    state: &AppState,
    understand: impl FnOnce(&AppState) -> Result<Understood, ApiError> + Send + 'static,
) -> Result<Prepared, ApiError> {
    let store = state.store.clone();
    let state = state.clone();
    let prepared = tokio::task::spawn_blocking(move || {
        let Understood { request, folder } = understand(&state)?;
        let now = state.clock.now();
        let cx = ParseContext {
            now,
            env_allowed: state.limits.env_allowed.clone(),
            data: template::DataValues::new(),
            allowed: state.limits.capabilities.clone(),
            limits: state.limits.parse.clone(),
        };
        let parsed = template::parse(&request, folder.as_ref(), &cx)?;
        refuse_nul(&request, &parsed)?;
        let archive = folder.as_ref().map(ContextFolder::to_archive);
        Ok::<_, ApiError>(Prepared { request, parsed, archive, now })
    });
    let prepared = prepared.await.map_err(|error| ApiError::Internal(error.into()))??;
    refuse_unknown_set(&store, &prepared.request).await?;
    Ok(prepared)
}

/// A run could only fail.
async fn refuse_unknown_set(store: &PgPool, request: &BuildRequest) -> Result<(), ApiError> {
    let Some(name) = &request.credentials else { return Ok(()) };
    if credential_sets::get(&mut *store.acquire().await?, name).await?.is_some() {
        return Ok(());
    }
    let detail = format!("there are no stored credentials `{name}`; `GET /credentials` lists what there is");
    let pointer = request.option_pointer("/credentials");
    let problem = Problem::new(422, "credentials_not_found", "There are no such credentials", detail.clone());
    Err(problem.with_errors(vec![FieldProblem { pointer, ..FieldProblem::new(detail) }]).into())
}

/// A NUL character cannot be stored in a text or JSON column.
fn refuse_nul(request: &BuildRequest, parsed: &Parsed) -> Result<(), ApiError> {
    let texts = request.labels.iter().flat_map(|(name, value)| [name, value]);
    let texts = texts.chain(&request.name).chain(&request.credentials);
    let texts = texts.chain(parsed.plan.runs.iter().map(|run| &run.name)).chain(&parsed.plan.notices);
    if texts.into_iter().any(|text| text.contains('\0')) || holds_nul(&parsed.redacted_template) {
        let detail = "The request holds a NUL character (\\u0000), which cannot be stored.";
        return Err(Problem::new(422, "invalid_request", "The request is not valid", detail)
            .with_errors(vec![FieldProblem::at("", "leave out the NUL character")])
            .into());
    }
    Ok(())
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// An idempotency key with what was asked under it.
#[derive(Debug, Clone)]
pub struct Key {
    /// Whose key it is.
    scope: String,
    key: String,
    fingerprint: Vec<u8>,
}

impl Key {
    /// The key of a request, if it has one.
    ///
    /// # Errors
    /// It is empty, too long, given twice, or holds other than visible ASCII characters.
    pub fn of(
        headers: &HeaderMap,
        caller: &Caller,
        fingerprint: impl FnOnce() -> Vec<u8>,
    ) -> Result<Option<Self>, ApiError> {
        let invalid = |detail: String| ApiError::InvalidHeader { name: "Idempotency-Key", detail };
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(invalid("is given more than once".to_owned()));
        }
        let bytes = value.as_bytes();
        if bytes.is_empty() || bytes.len() > KEY_MAX || !bytes.iter().all(|byte| (b' '..=b'~').contains(byte))
        {
            return Err(invalid(format!(
                "must have 1 to {KEY_MAX} visible ASCII characters; a UUID is a good key"
            )));
        }
        let (scope, key) = (caller.principal.key_scope(), String::from_utf8_lossy(bytes).into_owned());
        Ok(Some(Self { scope, key, fingerprint: fingerprint() }))
    }

    /// The build that was accepted under the key.
    ///
    /// # Errors
    /// The key belongs to another request.
    pub async fn replay(&self, db: &mut PgConnection) -> Result<Option<BuildView>, ApiError> {
        let Some(accepted) = idempotency::find(db, &self.scope, &self.key).await? else { return Ok(None) };
        if accepted.fingerprint != self.fingerprint {
            return Err(ApiError::KeyReused);
        }
        Ok(builds::read::get(db, accepted.build_id).await?.map(BuildView::from))
    }
}

/// A build, new or replayed.
#[derive(Debug)]
pub struct Accepted {
    /// The build.
    pub build: BuildView,
    /// Whether an earlier request with the same key made it.
    pub replayed: bool,
}

/// Commits the build, its runs, its folder, its key and its entry in the audit in one transaction, and wakes the workers.
///
/// # Errors
/// A limit of the token forbids it, the key is in use, or the database is away.
pub async fn accept(
    state: &AppState,
    caller: &Caller,
    prepared: Prepared,
    key: Option<Key>,
    retry_of: Option<BuildId>,
) -> Result<Accepted, ApiError> {
    let Prepared { mut request, parsed, archive, now } = prepared;
    let action = if retry_of.is_some() { "build.retry" } else { "build.create" };
    if let Err(error) = limit(&caller.principal.limits, &mut request, &parsed) {
        let entry = Entry { build: retry_of, ..Entry::denied(action, "") };
        return Err(caller.denied(state, entry, error.into()).await);
    }
    let id = BuildId::generate();
    let request_sealed = state.vault.seal_json(REQUEST_COLUMN, id.0, &request)?;
    let runs =
        parsed.plan.runs.iter().map(|plan| seal_run(state, &request, plan)).collect::<Result<Vec<_>, _>>()?;

    let mut transaction = state.store.begin().await?;
    if let Some(key) = &key {
        if !idempotency::try_lock(&mut transaction, &key.scope, &key.key).await? {
            return Err(ApiError::KeyInFlight);
        }
        // The first request may have been accepted since the key was last looked at.
        if let Some(build) = key.replay(&mut transaction).await? {
            return Ok(Accepted { build, replayed: true });
        }
    }
    find_room(state, &caller.principal, &mut transaction).await?;
    let context = match &archive {
        Some(archive) => Some(contexts::insert(&mut transaction, &state.vault, archive, now).await?),
        None => None,
    };
    let build = NewBuild {
        id,
        name: request.name.as_deref(),
        labels: &serde_json::json!(request.labels),
        priority: request.priority,
        on_error: request.on_error,
        keep_for: request.keep_for,
        authorized_keys: &request.authorized_keys,
        timeout: Some(request.timeout.unwrap_or(state.limits.build_timeout)),
        credentials: request.credentials.as_deref(),
        template: &parsed.redacted_template,
        notices: &parsed.plan.notices,
        request_sealed: &request_sealed,
        context,
        retry_of,
        created_at: now,
        created_by: Some(&caller.actor.principal),
        token: caller.principal.token_id(),
    };
    builds::insert(&mut transaction, &build, &runs).await?;
    if let Some(key) = &key {
        idempotency::insert(&mut transaction, &key.scope, &key.key, &key.fingerprint, id, now).await?;
    }
    let detail = serde_json::json!({ "name": request.name, "retry_of": retry_of });
    caller.record(state, &mut transaction, &Entry { detail, ..Entry::of_build(action, id) }).await?;
    let row = builds::read::get(&mut transaction, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    transaction.commit().await?;
    tracing::info!(build.id = %id, runs = runs.len(), "build {id} is accepted");
    Ok(Accepted { build: row.into(), replayed: false })
}

/// Whether there is room for one more build. Without tokens everybody is the same principal, and only the whole counts.
async fn find_room(state: &AppState, principal: &Principal, db: &mut PgConnection) -> Result<(), ApiError> {
    let settings = state.auth.settings();
    if principal.who != Who::Local {
        let limit = principal.limits.max_builds.unwrap_or(settings.builds_each);
        let open = builds::open::of(db, principal).await?;
        if open >= i64::from(limit) {
            return Err(AccessError::TooManyBuilds { name: principal.name(), limit, open }.into());
        }
    }
    if builds::open::in_all(db, settings.builds).await? >= i64::from(settings.builds) {
        return Err(AccessError::QueueFull(settings.builds).into());
    }
    Ok(())
}

/// Holds a request to the token's limits, and gives it the labels that its build must have.
fn limit(limits: &Limits, request: &mut BuildRequest, parsed: &Parsed) -> Result<(), LimitError> {
    let runs = parsed.plan.runs.iter();
    limits.check_builders(runs.map(|run| (run.name.as_str(), run.builder.kind())))?;
    limits.check_credentials(request.credentials.as_deref())?;
    limits.add_labels(&mut request.labels)
}

fn seal_run(state: &AppState, request: &BuildRequest, plan: &RunPlan) -> Result<NewRun, ApiError> {
    let id = RunId::generate();
    Ok(NewRun {
        id,
        name: plan.name.clone(),
        builder: plan.builder.kind(),
        plan_sealed: state.vault.seal_json(PLAN_COLUMN, id.0, plan)?,
        omi_key: omi_key(request, plan),
        requires: plan.requires().iter().map(ToString::to_string).collect(),
    })
}

/// What stands for "an OMI of this name in this account", so that two runs that want the same follow one another. Account
/// and region are known only as far as the request tells; two requests that spell them differently meet in the cloud.
fn omi_key(request: &BuildRequest, plan: &RunPlan) -> Option<String> {
    // A name that waits for a data source is not known yet; runs that come to the same one meet in the cloud.
    let name = plan.builder.omi_name().filter(|name| !name.is_empty())?;
    let access = plan.builder.access();
    let place = access.endpoint.as_deref().or(access.region.as_deref()).unwrap_or_default();
    let account = access.access_key.as_deref().or(request.credentials.as_deref()).unwrap_or_default();
    let mut digest = Sha256::new();
    for part in [place, account, name] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    Some(hex::encode(digest.finalize()))
}

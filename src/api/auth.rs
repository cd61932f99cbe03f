//! What every request passes after the guard: its route's rule, who it is from, and whether the build it is about is theirs.
//! Who asked is handed on as [`Caller`]. Streams and waits end when the token does.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    body::Bytes,
    extract::{ConnectInfo, FromRequestParts, MatchedPath, RawPathParams, Request, State},
    http::{HeaderMap, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use serde_json::json;
use sqlx::PgConnection;

use super::{
    AppState,
    edge::RequestId,
    problem::ApiError,
    sse::{self, Streaming},
};
use crate::{
    auth::{
        AccessError, Principal, Slot,
        gate::{GateError, Stay},
        policy::{self, Access, Rule},
    },
    domain::BuildId,
    store::{
        audit::{self, Actor, Entry},
        builds::read,
    },
};

/// Who a request is from, for handlers.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// The same for the audit.
    pub actor: Arc<Actor>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| ApiError::Internal("a route that is open to everybody asks who it is".into()))
    }
}

impl Caller {
    /// Writes into the audit what was done, in the transaction of the deed.
    ///
    /// # Errors
    /// The database is away.
    pub async fn record(
        &self,
        state: &AppState,
        db: &mut PgConnection,
        entry: &Entry<'_>,
    ) -> Result<(), ApiError> {
        Ok(audit::record(db, &self.actor, entry, state.clock.now()).await?)
    }

    /// Writes into the audit what was refused, and answers the refusal.
    pub async fn denied(&self, state: &AppState, entry: Entry<'_>, error: AccessError) -> ApiError {
        if !state.auth.may_record_denial(&self.actor.principal) {
            tracing::warn!(principal = %self.actor.principal, "too many denials; this one is not recorded");
            return error.into();
        }
        let entry =
            Entry { detail: json!({ "why": error.problem().code, "detail": error.to_string() }), ..entry };
        let written = async {
            let mut db = state.store.acquire().await?;
            audit::record(&mut db, &self.actor, &entry, state.clock.now()).await
        };
        if let Err(error) = written.await {
            tracing::warn!(error = %error, principal = %self.actor.principal, "a denial could not be recorded");
        }
        error.into()
    }
}

impl From<GateError> for ApiError {
    fn from(error: GateError) -> Self {
        match error {
            GateError::Access(error) => error.into(),
            GateError::Store(error) => error.into(),
        }
    }
}

/// Lets a request pass or not.
pub async fn enforce(State(state): State<AppState>, request: Request, next: Next) -> Response {
    match passed(&state, request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn passed(state: &AppState, request: Request, next: Next) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let pattern = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let rule = rule(state, &parts.method, pattern.as_deref());
    if rule.access == Access::Open {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    let generation = state.auth.generation();
    let caller = caller(state, &parts).await?;
    let named = Named { rule, pattern: pattern.as_deref(), about: about(&mut parts).await };
    named.check_role(state, &caller, &parts.method).await?;
    named.check_labels(state, &caller).await?;
    let is_reading = parts.method == Method::GET;
    parts.extensions.insert(caller.clone());
    let request = Request::from_parts(parts, body);
    if !is_reading {
        let response = next.run(request).await;
        if response.status().is_success() {
            named.record(state, &caller).await?;
        }
        return Ok(response);
    }
    // Reading can take long, and can be broken off.
    let stay = state.auth.watch(&caller.principal, generation).await?;
    let response = tokio::select! {
        biased;
        response = next.run(request) => response,
        () = stay.ended() => return Err(AccessError::Ended.into()),
    };
    if response.extensions().get::<Streaming>().is_none() {
        return Ok(response);
    }
    let slot = state.auth.stream(&caller.principal)?;
    Ok(until_ended(response, stay, slot))
}

fn rule(state: &AppState, method: &Method, pattern: Option<&str>) -> Rule {
    match pattern {
        Some("/metrics") if state.auth.settings().metrics_open => Rule { access: Access::Open, action: None },
        Some(pattern) => policy::rule(method.as_str(), pattern),
        // There is nothing at the path, which nobody needs a role to be told.
        None => Rule { access: Access::From(crate::auth::Role::Viewer), action: None },
    }
}

async fn caller(state: &AppState, parts: &Parts) -> Result<Caller, ApiError> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let address = state.auth.client(peer, &parts.headers);
    let principal = state.auth.authenticate(&parts.headers, address, state.clock.now()).await?;
    let actor = Actor {
        principal: principal.name(),
        token: principal.token_id(),
        role: principal.role,
        address,
        request_id: parts.extensions.get::<RequestId>().map(|id| id.0.clone()),
    };
    Ok(Caller { principal: Arc::new(principal), actor: Arc::new(actor) })
}

/// What a path is about.
#[derive(Debug, Default)]
struct About {
    build: Option<BuildId>,
    name: Option<String>,
}

async fn about(parts: &mut Parts) -> About {
    let mut about = About::default();
    // The same decoding as that of the handlers.
    if let Ok(params) = RawPathParams::from_request_parts(parts, &()).await {
        for (name, value) in &params {
            match name {
                "id" => about.build = value.parse().ok(),
                "name" => about.name = Some(value.to_owned()),
                _ => {}
            }
        }
    }
    about
}

/// A route with what it is about.
struct Named<'a> {
    rule: Rule,
    pattern: Option<&'a str>,
    about: About,
}

impl Named<'_> {
    async fn check_role(&self, state: &AppState, caller: &Caller, method: &Method) -> Result<(), ApiError> {
        let Access::From(needed) = self.rule.access else { return Ok(()) };
        let role = caller.principal.role;
        if role >= needed {
            return Ok(());
        }
        let route = format!("{method} {}", self.pattern.unwrap_or("?"));
        let entry = Entry {
            build: self.about.build,
            target: self.about.name.as_deref(),
            ..Entry::denied(self.rule.action.unwrap_or(&route), "")
        };
        let error = AccessError::Role { name: caller.actor.principal.clone(), role, needed };
        Err(caller.denied(state, entry, error).await)
    }

    /// A build without the token's labels does not exist for it.
    async fn check_labels(&self, state: &AppState, caller: &Caller) -> Result<(), ApiError> {
        let limits = &caller.principal.limits;
        let is_about_a_build = self.pattern.is_some_and(|pattern| pattern.starts_with("/builds/{id}"));
        let Some(build) = self.about.build.filter(|_| is_about_a_build && !limits.labels.is_empty()) else {
            return Ok(());
        };
        let labels = read::labels(&mut *state.store.acquire().await?, build).await?;
        if labels.is_some_and(|labels| limits.covers(&labels)) {
            return Ok(());
        }
        Err(ApiError::BuildNotFound(build.to_string()))
    }

    /// Records what handlers do not record in a transaction of their own.
    async fn record(&self, state: &AppState, caller: &Caller) -> Result<(), ApiError> {
        let Some(action) = self.rule.action.filter(|action| action.starts_with("credentials.")) else {
            return Ok(());
        };
        let entry = Entry { target: self.about.name.as_deref(), ..Entry::done(action) };
        caller.record(state, &mut *state.store.acquire().await?, &entry).await
    }
}

/// The same stream, which ends when its token does. Events end as they do when the server is about to: the client connects
/// again, and is told then. Anything else is torn, so that nobody takes it for whole.
fn until_ended(response: Response, stay: Stay, slot: Slot) -> Response {
    let (parts, body) = response.into_parts();
    let is_events = is_event_stream(&parts.headers);
    let reader = (body.into_data_stream(), stay, slot, false);
    let pieces = futures::stream::unfold(reader, move |(mut body, stay, slot, is_over)| async move {
        if is_over {
            return None;
        }
        let (piece, is_over): (Result<Bytes, axum::Error>, bool) = tokio::select! {
            biased;
            () = stay.ended() => {
                if is_events {
                    return None;
                }
                (Err(axum::Error::new(io::Error::other("the token was revoked or has expired"))), true)
            }
            piece = body.next() => (piece?, false),
        };
        Some((piece, (body, stay, slot, is_over)))
    });
    Response::from_parts(parts, sse::body_of(pieces))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(sse::EVENT_STREAM.as_bytes()))
}

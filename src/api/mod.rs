//! The HTTP API: routes, problems, logs and events as streams, the dashboard, and the OpenAPI document. It reads and
//! writes the store and wakes the workers; it never talks to the cloud.

pub mod audit;
pub mod auth;
pub mod builds;
pub mod clock;
pub mod credentials;
pub mod dashboard;
mod edge;
pub mod event_id;
pub mod events;
mod extract;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod openapi;
pub mod problem;
mod sse;
pub mod tokens;
pub mod workers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{Extensions, HeaderMap, StatusCode, Version, header},
    middleware,
};
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{DefaultPredicate, Predicate},
    },
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use clock::Clock;
pub use problem::ApiError;

use crate::{
    auth::{AuthSettings, Gate},
    credentials::vault::Vault,
    domain::Capability,
    logs::LogHub,
    oapi::ClockSkew,
    template::{ContextLimits, ParseLimits, RequestLimits},
};

/// How long an upload waits for its turn.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(10);

/// How much a request may hold and how long it may take.
#[derive(Debug, Clone)]
pub struct ApiLimits {
    /// Bytes of a JSON body.
    pub json_bytes: usize,
    /// Bytes of an archive as it is sent.
    pub archive_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// The longest `wait` of `GET /builds/{id}`.
    pub max_wait: Duration,
    /// Archives that are in memory at the same time.
    pub uploads: usize,
    /// How long a build may take whose request does not say.
    pub build_timeout: Duration,
    /// Names of this server beside `localhost` and addresses; `*`: any.
    pub hosts: Vec<String>,
    /// What `{{env}}` can read in a template.
    pub env_allowed: BTreeMap<String, String>,
    /// What templates may make the workers' hosts do.
    pub capabilities: BTreeSet<Capability>,
    /// Of the request's options.
    pub request: RequestLimits,
    /// Of the uploaded folder.
    pub context: ContextLimits,
    /// Of the template.
    pub parse: ParseLimits,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            json_bytes: 4 * 1024 * 1024,
            archive_bytes: 64 * 1024 * 1024,
            body_timeout: Duration::from_secs(120),
            max_wait: Duration::from_secs(60),
            uploads: 4,
            build_timeout: Duration::from_secs(12 * 3600),
            hosts: Vec::new(),
            env_allowed: BTreeMap::new(),
            capabilities: BTreeSet::new(),
            request: RequestLimits::default(),
            context: ContextLimits::default(),
            parse: ParseLimits::default(),
        }
    }
}

/// What handlers work with.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The database.
    pub store: PgPool,
    /// Wakes readers.
    pub hub: LogHub,
    /// Seals requests and plans.
    pub vault: Arc<Vault>,
    /// How much a request may hold.
    pub limits: Arc<ApiLimits>,
    /// The time.
    pub clock: Clock,
    /// The version that `/version` shows.
    pub version: &'static str,
    /// Cancelled when the server is about to end: streams end, and `/readyz` says no.
    pub draining: CancellationToken,
    /// Lets requests in or not.
    pub auth: Arc<Gate>,
    /// What the workers of this process see of its clock.
    pub skew: Arc<ClockSkew>,
    uploads: Arc<Semaphore>,
}

impl AppState {
    /// The state of a server that is open for requests until `draining` is cancelled.
    #[must_use]
    pub fn new(
        store: PgPool,
        hub: LogHub,
        vault: Arc<Vault>,
        limits: ApiLimits,
        clock: Clock,
        draining: CancellationToken,
    ) -> Self {
        let uploads = Arc::new(Semaphore::new(limits.uploads));
        let limits = Arc::new(limits);
        let auth = Arc::new(Gate::new(store.clone(), AuthSettings::default(), draining.clone()));
        let (version, skew) = (env!("CARGO_PKG_VERSION"), Arc::default());
        Self { store, hub, vault, limits, clock, version, draining, auth, skew, uploads }
    }

    /// The same with what the operator decided about access.
    #[must_use]
    pub fn with_auth(mut self, settings: AuthSettings) -> Self {
        self.auth = Arc::new(Gate::new(self.store.clone(), settings, self.draining.clone()));
        self
    }

    /// The same with what the workers of this process see of its clock.
    #[must_use]
    pub fn with_skew(self, skew: Arc<ClockSkew>) -> Self {
        Self { skew, ..self }
    }

    /// The turn of an upload; held while its archive is in memory.
    async fn upload(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let turn = tokio::time::timeout(UPLOAD_PATIENCE, Arc::clone(&self.uploads).acquire_owned());
        turn.await.ok().and_then(Result::ok).ok_or(ApiError::Busy)
    }
}

/// All routes with their descriptions.
fn described() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::ApiDocument::openapi())
        .routes(routes!(builds::create::create, builds::list::list))
        .routes(routes!(builds::validate::validate))
        .routes(routes!(builds::get::get))
        .routes(routes!(builds::cancel::cancel))
        .routes(routes!(builds::release::release))
        .routes(routes!(builds::cleanup::cleanup))
        .routes(routes!(builds::retry::retry))
        .routes(routes!(logs::logs))
        .routes(routes!(builds::steps::steps))
        .routes(routes!(builds::artifacts::list, builds::destroy::destroy))
        .routes(routes!(builds::resources::resources))
        .routes(routes!(builds::template::template))
        .routes(routes!(builds::manifest::manifest))
        .routes(routes!(builds::files::list))
        .routes(routes!(events::events))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(tokens::whoami))
        .routes(routes!(audit::list))
        .routes(routes!(credentials::list))
        .routes(routes!(credentials::put, credentials::delete))
        .routes(routes!(workers::workers))
        .routes(routes!(health::healthz))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::version))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi::document))
        .routes(routes!(openapi::docs))
}

/// The API as a service.
pub fn router(state: AppState) -> Router {
    let (router, _) = described().split_for_parts();
    router
        // OpenAPI has no path parameter that spans slashes, so this route is described apart.
        .route("/builds/{id}/files/{run}/{*path}", axum::routing::get(builds::files::download))
        .merge(dashboard::routes())
        .layer(DefaultBodyLimit::disable()) // Every body is read by `intake`, which has limits of its own.
        .layer(middleware::from_fn_with_state(state.clone(), auth::enforce))
        .layer(middleware::from_fn_with_state(state.clone(), edge::guard))
        .layer(CatchPanicLayer::custom(edge::panicked))
        .layer(middleware::from_fn(edge::finish))
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(may_compress)))
        .with_state(state)
}

/// Not what must leave at once, and not what has a strong tag, which names these very bytes.
fn may_compress(_: StatusCode, _: Version, headers: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<sse::Streaming>().is_none() && !headers.contains_key(header::ETAG)
}

/// The OpenAPI document as YAML; the same text every time.
///
/// # Panics
/// Never: the document is made of the types in this module.
#[must_use]
#[expect(clippy::expect_used, reason = "a document of strings, numbers and maps always has a YAML form")]
pub fn openapi_yaml() -> String {
    let mut router = described().routes(routes!(builds::files::download)).routes(routes!(dashboard::index));
    let mut document = router.to_openapi();
    openapi::add_common_responses(&mut document);
    openapi::sharpen_requests(&mut document);
    document.to_yaml().expect("the document has a YAML form")
}

#[cfg(test)]
mod tests;

//! `/healthz`, `/livez`, `/readyz` and `/version`: for load balancers and for people who wonder what runs here.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{AppState, problem::ApiError};
use crate::{
    domain::Problem,
    store::{self, builds::totals},
};

/// How long the database may take before the server counts as not ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok` or `ready`.
    #[schema(example = "ok")]
    pub status: &'static str,
    /// What somebody should look at, though requests may be sent here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub warnings: Vec<String>,
}

/// What runs here.
#[derive(Debug, Serialize, ToSchema)]
pub struct Version {
    /// `fournil`.
    #[schema(example = "fournil")]
    pub name: &'static str,
    /// Its version.
    #[schema(example = "0.1.0")]
    pub version: &'static str,
}

/// Whether the process answers. Asks nobody else.
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "operation",
    responses((status = 200, description = "It does.", body = Health)),
)]
pub async fn healthz() -> Json<Health> {
    Json(Health { status: "ok", warnings: Vec::new() })
}

/// The same as `/healthz`, under the name that Kubernetes uses.
#[utoipa::path(
    get, path = "/livez", operation_id = "livez", tag = "operation",
    responses((status = 200, description = "It does.", body = Health)),
)]
pub async fn livez() -> Json<Health> {
    Json(Health { status: "ok", warnings: Vec::new() })
}

/// Whether requests should be sent here: the database answers, its schema is ours, and the server is not about to end.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "operation",
    responses(
        (status = 200, description = "They should.", body = Health),
        (status = 503, description = "They should not; `detail` says why.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn readyz(State(state): State<AppState>) -> Result<Json<Health>, ApiError> {
    if state.draining.is_cancelled() {
        return Err(ApiError::NotReady("The server is about to end and takes no new requests.".to_owned()));
    }
    let version = tokio::time::timeout(PATIENCE, async {
        totals::schema_version(&mut *state.store.acquire().await?).await
    });
    let version =
        version.await.map_err(|_| ApiError::NotReady("The database does not answer.".to_owned()))?;
    let wanted = store::MIGRATOR.iter().map(|migration| migration.version).max();
    match version {
        Ok(version) if version >= wanted => Ok(Json(Health { status: "ready", warnings: warnings(&state) })),
        Ok(version) => Err(ApiError::NotReady(format!(
            "The database's schema is at version {}, {} is needed: its migration has not run yet.",
            version.unwrap_or(0),
            wanted.unwrap_or(0)
        ))),
        Err(error) if error.is_transient() => {
            Err(ApiError::NotReady("The database does not answer.".to_owned()))
        }
        Err(_) => Err(ApiError::NotReady("The database has no schema of fournil yet.".to_owned())),
    }
}

fn warnings(state: &AppState) -> Vec<String> {
    let skew = state.skew.notable(state.clock.now());
    let clock = skew.map(|skew| {
        format!(
            "This machine's clock is {} s {} OUTSCALE's, by its last answer; signatures are good for 5 minutes. Set the \
             clock, for example with NTP.",
            skew.unsigned_abs(),
            if skew > 0 { "ahead of" } else { "behind" },
        )
    });
    clock.into_iter().collect()
}

/// What runs here.
#[utoipa::path(
    get, path = "/version", operation_id = "version", tag = "operation",
    responses((status = 200, description = "Name and version.", body = Version)),
)]
pub async fn version(State(state): State<AppState>) -> Json<Version> {
    Json(Version { name: "fournil", version: state.version })
}

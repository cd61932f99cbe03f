//! `/sandbox/…`: how tests look into the sandbox and make it misbehave. Not signed, and no part of OAPI.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{actions, faults::Fault, http::Front};

type Shared = State<Arc<Front>>;

fn refuse(message: impl std::fmt::Display) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": message.to_string() }))).into_response()
}

/// Whether the sandbox is there, and with what.
pub async fn health(State(front): Shared) -> Json<Value> {
    Json(json!({ "status": "ok", "backend": front.region.backend.name(), "region": front.region.name }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendBody {
    name: String,
}

/// Chooses what VMs are made of that start from now on.
pub async fn choose_backend(State(front): Shared, Json(body): Json<Value>) -> Response {
    match serde_json::from_value::<BackendBody>(body) {
        Ok(body) if front.region.backend.choose(&body.name) => StatusCode::NO_CONTENT.into_response(),
        Ok(body) => refuse(format!("there is no backend '{}' here; name it in --backend", body.name)),
        Err(error) => refuse(error),
    }
}

#[derive(Deserialize)]
pub struct ResourcesQuery {
    /// `false` leaves out what the region was born with.
    seeds: Option<bool>,
}

/// All live resources by kind.
pub async fn resources(State(front): Shared, Query(query): Query<ResourcesQuery>) -> Json<Value> {
    Json(front.region.resources(query.seeds.unwrap_or(true)))
}

#[derive(Deserialize)]
pub struct CallsQuery {
    action: Option<String>,
}

/// All calls so far.
pub async fn calls(State(front): Shared, Query(query): Query<CallsQuery>) -> Response {
    Json(front.record.list(query.action.as_deref())).into_response()
}

/// Forgets the calls so far.
pub async fn forget_calls(State(front): Shared) -> StatusCode {
    front.record.clear();
    StatusCode::NO_CONTENT
}

/// The faults that are still to come.
pub async fn faults(State(front): Shared) -> Response {
    Json(front.faults.list()).into_response()
}

/// Sets a fault, or a list of them.
pub async fn add_fault(State(front): Shared, Json(body): Json<Value>) -> Response {
    let wanted = if body.is_array() { body } else { json!([body]) };
    let faults: Vec<Fault> = match serde_json::from_value(wanted) {
        Ok(faults) => faults,
        Err(error) => return refuse(error),
    };
    if let Some(fault) =
        faults.iter().find(|fault| fault.action != "*" && !actions::is_documented(&fault.action))
    {
        return refuse(format!("there is no action '{}'", fault.action));
    }
    faults.into_iter().for_each(|fault| front.faults.add(fault));
    StatusCode::NO_CONTENT.into_response()
}

/// Forgets all faults.
pub async fn clear_faults(State(front): Shared) -> StatusCode {
    front.faults.clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockBody {
    skew_seconds: i64,
}

/// Sets the region's clock wrong.
pub async fn set_clock(State(front): Shared, Json(body): Json<Value>) -> Response {
    match serde_json::from_value::<ClockBody>(body) {
        Ok(body) => {
            front.region.clock.set_skew(body.skew_seconds);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => refuse(error),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsBody {
    /// Present: set (`null`: lift).
    #[serde(default, deserialize_with = "present")]
    rate_per_second: Option<Option<f64>>,
    /// By kind; `null` lifts a quota.
    #[serde(default)]
    quotas: BTreeMap<String, Option<i64>>,
}

/// Tells an absent field from one that is `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::<f64>::deserialize(deserializer).map(Some)
}

/// Sets the rate limit and quotas.
pub async fn set_limits(State(front): Shared, Json(body): Json<Value>) -> Response {
    let limits: LimitsBody = match serde_json::from_value(body) {
        Ok(limits) => limits,
        Err(error) => return refuse(error),
    };
    const KINDS: [&str; 8] =
        ["vms", "volumes", "snapshots", "images", "keypairs", "security_groups", "public_ips", "nets"];
    if let Some(kind) = limits.quotas.keys().find(|kind| !KINDS.contains(&kind.as_str())) {
        return refuse(format!("there is no quota '{kind}', but {}", KINDS.join(", ")));
    }
    if let Some(rate) = limits.rate_per_second {
        front.rate.lock().unwrap_or_else(PoisonError::into_inner).set(rate);
    }
    let mut state = front.region.state();
    for (kind, limit) in limits.quotas {
        match limit {
            Some(limit) => state.quotas.insert(kind, limit),
            None => state.quotas.remove(&kind),
        };
    }
    StatusCode::NO_CONTENT.into_response()
}

/// All switches.
pub async fn quirks(State(front): Shared) -> Response {
    Json(front.region.quirks()).into_response()
}

/// Changes switches; also unlocks a key that wrong signatures locked.
pub async fn set_quirks(State(front): Shared, Json(body): Json<Value>) -> Response {
    match front.region.quirks().changed_by(&body) {
        Ok(quirks) => {
            front.region.set_quirks(quirks.clone());
            front.lock.lock().unwrap_or_else(PoisonError::into_inner).reset();
            Json(quirks).into_response()
        }
        Err(error) => refuse(error),
    }
}

/// Where a port of a VM is reached from this machine.
pub async fn dial(State(front): Shared, Path((vm_id, port)): Path<(String, u16)>) -> Response {
    match front.region.backend.dial_address(&vm_id, port) {
        Some(address) => Json(json!({ "address": address.to_string() })).into_response(),
        None => {
            (StatusCode::NOT_FOUND, Json(json!({ "error": "the VM does not run or the port is closed" })))
                .into_response()
        }
    }
}

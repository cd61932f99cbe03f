//! The HTTP front. It turns a request into an action and the region's answer into OAPI's JSON; faults, limits,
//! signatures and the record of calls are applied here, in the order in which the cloud would.

mod connection;
mod limits;
mod metadata;
mod oapi;
mod record;

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    routing::{get, post},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::{connection::Connection, limits::RateLimit, record::Record};
use crate::{
    backend::Metadata,
    control,
    faults::Faults,
    region::Region,
    signature::{Keys, Lock},
};

/// What all requests share.
pub struct Front {
    pub region: Arc<Region>,
    pub keys: Keys,
    pub faults: Faults,
    pub record: Record,
    pub rate: Mutex<RateLimit>,
    pub lock: Mutex<Lock>,
    /// What this machine finds in its metadata service, if it is a VM of the region.
    pub host_metadata: Option<Arc<dyn Metadata>>,
}

/// Serves until the token is cancelled.
pub async fn serve(front: Arc<Front>, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/sandbox/health", get(control::health))
        .route("/sandbox/resources", get(control::resources))
        .route("/sandbox/calls", get(control::calls).delete(control::forget_calls))
        .route("/sandbox/faults", get(control::faults).post(control::add_fault).delete(control::clear_faults))
        .route("/sandbox/clock", post(control::set_clock))
        .route("/sandbox/backend", post(control::choose_backend))
        .route("/sandbox/limits", post(control::set_limits))
        .route("/sandbox/quirks", get(control::quirks).post(control::set_quirks))
        .route("/sandbox/dial/{vm_id}/{port}", get(control::dial))
        .route("/latest", get(metadata::handle))
        .route("/latest/", get(metadata::handle))
        .route("/latest/{*path}", get(metadata::handle))
        .fallback(oapi::handle)
        .with_state(front)
        .into_make_service_with_connect_info::<Connection>();
    axum::serve(connection::Breakable(listener), router).with_graceful_shutdown(stop.cancelled_owned()).await
}

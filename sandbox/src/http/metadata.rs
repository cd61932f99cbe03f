//! The metadata service of the VM that this machine is, on the sandbox's own port: 169.254.169.254 is not the sandbox's to
//! take outside of its VMs.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use super::Front;
use crate::backend::net::path_below_version;

/// Answers `GET /latest/…`.
pub async fn handle(State(front): State<Arc<Front>>, uri: Uri) -> Response {
    let path = path_below_version(uri.path()).unwrap_or_default();
    let found = front.host_metadata.as_ref().and_then(|metadata| metadata.get(&path));
    let plain = [(header::CONTENT_TYPE, "text/plain")];
    match found {
        Some(body) => (plain, body).into_response(),
        None => (StatusCode::NOT_FOUND, plain, "404 - Not Found\n").into_response(),
    }
}

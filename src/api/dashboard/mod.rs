//! The dashboard: three files that are part of the binary. It uses the API like any other client; nothing is rendered
//! here.

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

use super::AppState;

/// Only our own files, no inline script, and no page of others may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page and its files.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(index))
        .route("/dashboard.js", get(|| file("text/javascript; charset=utf-8", include_str!("dashboard.js"))))
        .route("/dashboard.css", get(|| file("text/css; charset=utf-8", include_str!("dashboard.css"))))
}

/// Shows the dashboard.
#[utoipa::path(
    get, path = "/", operation_id = "dashboard", tag = "operation",
    responses((status = 200, description = "A page that shows all builds as they go on.", body = String, content_type = "text/html")),
)]
pub async fn index() -> Response {
    file("text/html; charset=utf-8", include_str!("index.html")).await
}

/// One of our own files.
pub(super) async fn file(media_type: &'static str, content: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        // A new version of the server may bring new files.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}

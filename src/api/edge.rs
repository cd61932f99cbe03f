//! What every request passes on its way in and out: the request id, the guard against pages of other sites, the
//! net under panics, and the writing and logging of problems.

use std::{any::Any, error::Error, net::IpAddr, time::Instant};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::{Instrument, debug, error, info_span, warn};
use uuid::Uuid;

use super::{
    AppState,
    problem::{ApiError, Cause, PROBLEM_JSON},
};

/// The header that carries the request id in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a client.
const REQUEST_ID_MAX: usize = 128;

/// The most headers of a request. The connection itself takes a few more, so that there is somebody to say so.
const HEADERS_MOST: usize = 64;

/// The most bytes of their names and values.
const HEADERS_BYTES: usize = 32 << 10;

/// The id of a request, for whoever wants to remember it.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// Gives the request an id, and every error answer its body.
pub async fn finish(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let span = info_span!("request", request.id = %id, http.method = %method, http.path = uri.path());
    let start = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        response = span.in_scope(|| write_problem(response, &id, &method, &uri));
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    span.in_scope(|| {
        debug!(
            http.status = response.status().as_u16(),
            took_ms = start.elapsed().as_millis() as u64,
            "answered"
        )
    });
    response
}

/// The client's id if it is a harmless one, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= REQUEST_ID_MAX)
        .filter(|id| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Writes the body of an error answer; what axum itself refused (no route, no such method) becomes a problem too.
fn write_problem(mut response: Response, id: &str, method: &Method, uri: &Uri) -> Response {
    let cause = response.extensions_mut().remove::<Cause>().map(|cause| cause.0);
    let own;
    let error = if let Some(cause) = &cause {
        cause.as_ref()
    } else {
        own = match response.status() {
            StatusCode::NOT_FOUND => ApiError::RouteNotFound(uri.path().to_owned()),
            StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed(method.to_string()),
            status if status.is_client_error() => {
                ApiError::BodyUnreadable("the request is malformed".to_owned())
            }
            status => ApiError::Internal(format!("axum answered {status}").into()),
        };
        &own
    };
    let mut problem = error.problem();
    if cause.is_none() {
        problem.status = response.status().as_u16();
    }
    problem.request_id = Some(id.to_owned());
    problem.instance.get_or_insert_with(|| uri.path().to_owned());
    match problem.status {
        503 => warn!(error = %chain(error), "answered {}", problem.code),
        500.. => error!(error = %chain(error), "could not answer"),
        _ => {}
    }
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut written = (status, Json(problem)).into_response();
    written.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    for name in [header::ALLOW, header::RETRY_AFTER, header::CONNECTION, header::WWW_AUTHENTICATE] {
        if let Some(value) = response.headers().get(&name) {
            written.headers_mut().insert(name, value.clone());
        }
    }
    written
}

/// The error and its sources in one line.
fn chain(error: &ApiError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Turns a panic of a handler into an answer.
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned());
    ApiError::Internal(message.into()).into_response()
}

/// Refuses requests that a page of another site made a browser send: by a foreign `Origin`, or through a name that the
/// attacker let point here (DNS rebinding). Until there are tokens, the address is all that guards the service; once everybody
/// needs one, any name will do, because a page of another site has none.
pub async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if let Some(error) = too_large(request.headers()) {
        return error.into_response();
    }
    let host = host_of(&request);
    if let Some(host) = &host
        && !state.auth.is_known_closed()
        && !is_own_host(host, &state.limits.hosts)
    {
        return ApiError::ForeignHost(host.clone()).into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS)
        && let Some(origin) = foreign_origin(request.headers(), host.as_deref())
    {
        return ApiError::ForeignOrigin(origin).into_response();
    }
    next.run(request).await
}

fn too_large(headers: &HeaderMap) -> Option<ApiError> {
    let count = headers.len();
    let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let is_fine = count <= HEADERS_MOST && bytes <= HEADERS_BYTES;
    (!is_fine).then_some(ApiError::HeadersTooLarge { count, bytes, most: HEADERS_MOST, limit: HEADERS_BYTES })
}

/// Host and port that the request was sent to.
fn host_of(request: &Request) -> Option<String> {
    let authority = request.uri().authority().map(ToString::to_string);
    authority.or_else(|| {
        let host = request.headers().get(header::HOST)?;
        Some(String::from_utf8_lossy(host.as_bytes()).into_owned())
    })
}

fn is_own_host(host: &str, allowed: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    // An address cannot be rebound, a name can.
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(name))
}

/// The origin of a request that a browser sent for another site's page.
fn foreign_origin(headers: &HeaderMap, host: Option<&str>) -> Option<String> {
    let text =
        |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match text("origin") {
        Some(origin) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            (authority != host).then_some(origin)
        }
        None => text("sec-fetch-site").filter(|site| site == "cross-site" || site == "same-site"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cannot_be_rebound_are_ours() {
        let allowed = vec!["bakery.example.com".to_owned()];
        for host in [
            "127.0.0.1:8080",
            "localhost:8080",
            "[::1]:8080",
            "10.0.0.7",
            "bakery.example.com",
            "BAKERY.example.com:80",
        ] {
            assert!(is_own_host(host, &allowed), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8080",
            "",
            "bakery.example.com.evil",
        ] {
            assert!(!is_own_host(host, &allowed), "{host}");
        }
        assert!(is_own_host("anything", &["*".to_owned()]));
    }
}

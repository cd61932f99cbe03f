//! `POST /api/v1/<Action>`: from the bytes of a request to the bytes of the answer.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
};
use serde_json::{Value, json};

use super::{Connection, Front, record::RecordedCall};
use crate::{
    actions, clock,
    error::ApiError,
    faults::{Drop, Fault},
    region::Call,
    signature::{self, Received},
};

/// The largest body: a VM's user data, 500 KiB, in base64, and something around it.
const MAX_BODY: usize = 4 << 20;

/// A request, read completely.
struct Incoming {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    action: String,
    request_id: String,
}

/// What goes out.
struct Outgoing {
    status: u16,
    body: Vec<u8>,
    content_type: &'static str,
    code: Option<u32>,
    dropped: Option<Drop>,
}

/// Answers everything that is not a control of the sandbox.
pub async fn handle(
    State(front): State<Arc<Front>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Some(action) = action_of(parts.uri.path()) else {
        return plain(StatusCode::NOT_FOUND, "There is nothing here: OAPI is at /api/v1/<Action>.");
    };
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "The body cannot be read or is too large.");
    };
    let incoming = Incoming {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        body,
        action,
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    // A task of its own: a client that hangs up does not stop a call half-way, here as little as in the cloud.
    let task = tokio::spawn(answer_and_record(front, connection, incoming));
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a call failed inside the sandbox");
        plain(StatusCode::INTERNAL_SERVER_ERROR, "The sandbox failed; see its log.")
    })
}

async fn answer_and_record(front: Arc<Front>, connection: Connection, incoming: Incoming) -> Response {
    let began = Instant::now();
    let time = front.region.clock.now();
    let parsed = read_body(&incoming.body);
    let outgoing = Box::pin(answer(&front, &incoming, parsed.as_ref())).await;
    let user_agent = incoming.headers.get(header::USER_AGENT);
    let call = RecordedCall {
        time: clock::text(time),
        action: incoming.action,
        request: parsed.unwrap_or(Value::Null),
        status: outgoing.status,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        request_id: incoming.request_id,
        code: outgoing.code,
        dropped: outgoing.dropped,
        user_agent: user_agent.and_then(|value| value.to_str().ok()).map(str::to_owned),
    };
    tracing::debug!(
        action = %call.action, status = call.status, code = call.code, duration_ms = call.duration_ms,
        request_id = %call.request_id, "{} answered {}", call.action, call.status
    );
    front.record.add(call);
    if outgoing.dropped.is_some() {
        connection.break_off();
    }
    respond(&front, outgoing)
}

async fn answer(front: &Front, incoming: &Incoming, body: Option<&Value>) -> Outgoing {
    let region = &front.region;
    let quirks = region.quirks();
    let refuse = |error: ApiError| Outgoing {
        status: error.status,
        body: error.body(&incoming.request_id, quirks.numeric_error_codes).to_string().into_bytes(),
        content_type: "application/json",
        code: Some(error.code),
        dropped: None,
    };
    if incoming.method != Method::POST {
        return refuse(ApiError::new(2, "The HTTP method is not allowed: use POST."));
    }
    let struck = front.faults.strike(&incoming.action).unwrap_or_default();
    struck.wait().await;
    let fault = struck.fault;
    if fault.drop == Some(Drop::Before) {
        return Outgoing { dropped: fault.drop, ..refuse(ApiError::internal("Dropped.")) };
    }
    if let Some(text) = &fault.body {
        return gateway_page(&fault, text);
    }
    if !front.rate.lock().unwrap_or_else(PoisonError::into_inner).admits() {
        return refuse(ApiError::new(24, "Too many calls of the account per second."));
    }
    if let Err(error) = check_signature(front, incoming) {
        return refuse(error);
    }
    if let Some(error) = fault.error().filter(|_| !fault.after_effect) {
        return refuse(error);
    }
    let delay = region.latency.of_call(&incoming.action);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let Some(body) = body else {
        return refuse(ApiError::new(quirks.wrong_type_code, "The body is not a JSON object."));
    };
    let call = Call { invisible: fault.invisible_ms.map(Duration::from_millis), state: fault.state.clone() };
    let reply = match actions::run(region, &incoming.action, body, &call).await {
        Some(reply) => reply,
        None if actions::is_documented(&incoming.action) => Err(ApiError::new(
            quirks.unsupported_action_code,
            format!("The sandbox does not play the call {}.", incoming.action),
        )),
        None => Err(ApiError::new(
            quirks.unknown_action_code,
            format!("The call '{}' does not exist.", incoming.action),
        )),
    };
    let outgoing = match reply.and_then(|answer| fault.error().map_or(Ok(answer), Err)) {
        Ok(mut answer) => {
            answer["ResponseContext"] = json!({ "RequestId": incoming.request_id });
            Outgoing {
                status: 200,
                body: answer.to_string().into_bytes(),
                content_type: "application/json",
                code: None,
                dropped: None,
            }
        }
        Err(error) => refuse(error),
    };
    Outgoing { dropped: fault.drop, ..outgoing }
}

fn check_signature(front: &Front, incoming: &Incoming) -> Result<(), ApiError> {
    if actions::is_open(&incoming.action) {
        return Ok(());
    }
    let mut lock = front.lock.lock().unwrap_or_else(PoisonError::into_inner);
    lock.check()?;
    let received = Received {
        method: incoming.method.as_str(),
        path: incoming.uri.path(),
        query: incoming.uri.query().unwrap_or_default(),
        headers: &incoming.headers,
        body: &incoming.body,
    };
    let quirks = front.region.quirks();
    let verified =
        signature::verify(&received, &front.keys, &front.region.name, front.region.clock.now(), &quirks);
    match verified {
        Ok(()) => {
            lock.reset();
            Ok(())
        }
        Err(refusal) => {
            if refusal.is_guess {
                lock.note_wrong(quirks.bad_signatures_before_lock);
            }
            Err(refusal.error)
        }
    }
}

/// The action of a path: `/api/v1/ReadVms`, `/api/latest/ReadVms`, also with doubled slashes, and the
/// `/oapi/latest/ReadVms` of very old clients.
fn action_of(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["api" | "oapi", "v1" | "latest", action] => Some((*action).to_owned()),
        _ => None,
    }
}

/// The body as an object; nothing at all means no parameters.
fn read_body(body: &[u8]) -> Option<Value> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Some(json!({}));
    }
    serde_json::from_slice(body).ok().filter(Value::is_object)
}

/// What a gateway in front of the cloud answers when it has trouble: no JSON.
fn gateway_page(fault: &Fault, text: &str) -> Outgoing {
    Outgoing {
        status: fault.status.unwrap_or(502),
        body: text.as_bytes().to_vec(),
        content_type: "text/html",
        code: fault.code,
        dropped: fault.drop,
    }
}

fn respond(front: &Front, outgoing: Outgoing) -> Response {
    let mut response = Response::new(Body::from(outgoing.body));
    *response.status_mut() =
        StatusCode::from_u16(outgoing.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(outgoing.content_type));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    // The region's own clock, so that a client can see how far it is off.
    let date = front.region.clock.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::from_str(&date) {
        headers.insert(header::DATE, date);
    }
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_found_in_all_paths_that_clients_use() {
        for path in ["/api/v1/ReadVms", "/api/latest/ReadVms", "//api/v1//ReadVms", "/oapi/latest/ReadVms"] {
            assert_eq!(action_of(path).as_deref(), Some("ReadVms"), "{path}");
        }
        for path in ["/", "/api/v1", "/api/v2/ReadVms", "/api/v1/ReadVms/x"] {
            assert_eq!(action_of(path), None, "{path}");
        }
    }

    #[test]
    fn an_empty_body_has_no_parameters() {
        assert_eq!(read_body(b""), Some(json!({})));
        assert_eq!(read_body(b" \n"), Some(json!({})));
        assert_eq!(read_body(b"[]"), None);
        assert_eq!(read_body(b"{"), None);
    }
}

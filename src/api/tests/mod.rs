//! The API against a real database, request by request. No worker runs: what workers do is done by SQL.

mod accepting;
mod access;
mod bounds;
mod cancelling;
mod credentials;
mod document;
mod edges;
mod hostile;
mod idempotency;
mod reading;
mod streaming;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use futures::StreamExt;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt;

use super::{ApiLimits, AppState, Clock, router};
use crate::{auth::Role, credentials::vault::Vault, domain::BuildId, logs::LogHub, testing::PATIENCE};

/// The API of one test.
struct TestApi {
    router: Router,
    state: AppState,
    _end: DropGuard,
}

/// An answer that was read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&self.body)))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that it is a problem of this status and code, in the form that every problem has.
    fn is_problem(&self, status: u16, code: &str) -> Value {
        let problem = self.json();
        assert_eq!((self.status.as_u16(), problem["code"].as_str()), (status, Some(code)), "{problem:#}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert!(problem["instance"].as_str().unwrap().starts_with('/'));
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem
    }
}

impl TestApi {
    fn start(pool: PgPool) -> Self {
        Self::with_limits(pool, ApiLimits::default())
    }

    fn with_limits(pool: PgPool, limits: ApiLimits) -> Self {
        let draining = CancellationToken::new();
        let hub = LogHub::start(pool.clone(), draining.clone());
        let vault = Arc::new(Vault::for_tests());
        let state = AppState::new(pool, hub, vault, limits, Clock::system(), draining.clone());
        Self { router: router(state.clone()), state, _end: draining.drop_guard() }
    }

    async fn db(&self) -> PoolConnection<Postgres> {
        self.state.store.acquire().await.unwrap()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(PATIENCE, to_bytes(body, usize::MAX)).await.unwrap().unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, &[], Body::empty())).await
    }

    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request(Method::GET, path, headers, Body::empty())).await
    }

    async fn post(&self, path: &str) -> Answer {
        self.send(request(Method::POST, path, &[], Body::empty())).await
    }

    async fn post_json(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers: Vec<_> = headers.iter().copied().chain([("content-type", "application/json")]).collect();
        self.send(request(Method::POST, path, &headers, Body::from(body.to_string()))).await
    }

    async fn post_bytes(&self, path: &str, media_type: &str, body: impl Into<Body>) -> Answer {
        self.send(request(Method::POST, path, &[("content-type", media_type)], body.into())).await
    }

    /// Posts a build that is accepted.
    async fn post_build(&self, body: &Value) -> BuildId {
        let answer = self.post_json("/builds", &[], body).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().parse().unwrap()
    }

    /// The body of an answer that may have no end, frame by frame.
    async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Frames {
        let response =
            self.router.clone().oneshot(request(Method::GET, path, headers, Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Frames { body: response.into_body().into_data_stream(), rest: String::new() }
    }
}

/// A stream of events as a client reads it.
struct Frames {
    body: axum::body::BodyDataStream,
    rest: String,
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: Option<String>,
    kind: String,
    data: Value,
}

impl Frames {
    /// The next event; `None` when the server has closed.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((frame, rest)) = self.rest.split_once("\n\n") {
                let field = |name: &str| {
                    frame
                        .lines()
                        .find_map(|line| line.strip_prefix(name).map(|value| value.trim_start().to_owned()))
                };
                let event = field("event:").map(|kind| Event {
                    id: field("id:"),
                    kind,
                    data: serde_json::from_str(&field("data:").unwrap()).unwrap(),
                });
                self.rest = rest.to_owned();
                if event.is_some() {
                    return event;
                }
                continue;
            }
            let chunk =
                tokio::time::timeout(PATIENCE, self.body.next()).await.expect("an event comes in time")?;
            self.rest.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    /// All events to the end.
    async fn all(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// A template that is valid.
fn template() -> Value {
    json!({ "builders": [{
        "type": "osc-bsu", "region": "eu-west-2", "access_key": "ACCESS0KEY", "secret_key": "the-very-secret-key",
        "vm_type": "tinav6.c2r4p2", "source_omi": "ami-12345678", "ssh_username": "outscale", "omi_name": "nginx",
    }] })
}

/// An archive of these files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Writes lines as a worker's log writer does: the numbers from the build's counter.
async fn write_lines(db: &mut PgConnection, build: BuildId, run: &str, lines: &[&str]) {
    let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
    sqlx::query(
        "WITH counted AS (UPDATE builds SET last_seq = last_seq + cardinality($3::text[]) WHERE id = $1 RETURNING last_seq)
         INSERT INTO log_lines (build_id, seq, at, run, step, stream, line)
         SELECT $1, last_seq - cardinality($3::text[]) + ordinality, now(), $2, 'provision', 'stdout', line
         FROM counted, unnest($3::text[]) WITH ORDINALITY AS given (line, ordinality)",
    )
    .bind(build)
    .bind(run)
    .bind(&lines)
    .execute(&mut *db)
    .await
    .unwrap();
    crate::store::changes::notify(db, build).await.unwrap();
}

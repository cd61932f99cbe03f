//! `GET /events`: the state changes of all builds, for the dashboard and for whoever wants to know at once.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use axum::{extract::State, http::HeaderMap, response::Response};
use futures::Stream;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::warn;
use utoipa::ToSchema;

use super::{AppState, auth::Caller, event_id, extract::Pairs, problem::ApiError, sse};
use crate::{
    domain::Problem,
    logs::Wake,
    store::{
        StoreError,
        builds::feed::{self, FeedRow, Place},
    },
};

/// What a build must have to be told of.
type Labels = BTreeMap<String, String>;

/// Changes that are read at once.
const PAGE: i64 = 500;

/// The least time between two looks. Log lines wake this reader too, though it shows none.
const BREATH: Duration = Duration::from_millis(200);

/// How long to wait before a database is asked again that was away.
const RETRY: Duration = Duration::from_secs(1);

/// One event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({ "id": "812-3-019aab4f9a1f7c0e9d2f3b6f5d0c1a22", "event": "state", "data": "{\"build\":\"019aab4f-9a1f-7c0e-9d2f-3b6f5d0c1a22\",\"version\":3,\"at\":\"2026-11-22T10:00:00Z\",\"state\":\"running\"}" }))]
pub struct ChangeEvent {
    /// Its place, to go on behind it.
    #[schema(pattern = "^[0-9]+-[0-9]+-[0-9a-f]{32}$")]
    pub id: String,
    /// What it tells.
    pub event: ChangeEventKind,
    /// JSON: of `ready` an empty object, of `state` the build, its version, the time, and its state.
    #[schema(content_media_type = "application/json")]
    pub data: String,
}

/// What an event tells.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeEventKind {
    /// Nothing is missed from here on.
    Ready,
    /// Another state of a build or of a run.
    State,
}

/// Follows the state changes of all builds, from now on or from where an earlier stream was left.
///
/// The first event is `ready`, from which on nothing is missed: a client that then reads the list of builds knows
/// everything. Then `state` events: the build's id, its version, its state, and that of its runs.
#[utoipa::path(
    get, path = "/events", operation_id = "follow_events", tag = "logs",
    params(("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that was seen.",
        pattern = "^([0-9]{1,18}-[0-9]{1,18}-[0-9a-f]{32})?$")),
    responses(
        (status = 200, description = "The stream of events; it has no end. One is described.", content(
            (ChangeEvent = "text/event-stream"),
        )),
        (status = 400, description = "The Last-Event-ID is wrong.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn events(
    State(state): State<AppState>,
    caller: Caller,
    pairs: Pairs,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    pairs.only(&[])?;
    // Subscribed before the first look, so that nothing falls between.
    let wake = state.hub.subscribe_all();
    let place = match event_id::place(&headers)? {
        Some(place) => place,
        None => feed::end(&mut *state.store.acquire().await?).await?,
    };
    Ok(sse::respond(
        follow(&state, wake, place, caller.principal.limits.labels.clone()),
        state.draining.clone(),
    ))
}

fn follow(
    state: &AppState,
    wake: Wake,
    place: Place,
    labels: Labels,
) -> impl Stream<Item = String> + Send + use<> {
    let mut ready = VecDeque::new();
    let mut greeting = String::new();
    sse::frame(&mut greeting, Some(&place.to_string()), "ready", &json!({}));
    ready.push_back(greeting);
    let reader = (state.store.clone(), wake, place, ready, labels);
    futures::stream::unfold(reader, async |(store, mut wake, mut place, mut ready, labels)| {
        loop {
            if let Some(frames) = ready.pop_front() {
                return Some((frames, (store, wake, place, ready, labels)));
            }
            match page(&store, place, &labels).await {
                Ok(rows) if rows.is_empty() => {
                    wake.changed().await;
                    tokio::time::sleep(BREATH).await;
                }
                Ok(rows) => {
                    place = rows.last().map_or(place, FeedRow::place);
                    let frames = frames(rows);
                    if !frames.is_empty() {
                        ready.push_back(frames);
                    }
                }
                Err(error) => {
                    warn!(error = %error, "the events cannot be read right now");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    })
}

async fn page(store: &sqlx::PgPool, place: Place, labels: &Labels) -> Result<Vec<FeedRow>, StoreError> {
    feed::after(&mut *store.acquire().await?, place, labels, PAGE).await
}

fn frames(rows: Vec<FeedRow>) -> String {
    let mut out = String::new();
    for row in rows {
        let Some(Value::Object(data)) = &row.data else { continue };
        let mut event = json!({ "build": row.build_id, "version": row.version, "at": row.at });
        if let Value::Object(event) = &mut event {
            event.extend(data.clone());
        }
        sse::frame(&mut out, Some(&row.place().to_string()), "state", &event);
    }
    out
}

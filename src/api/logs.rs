//! `GET /builds/{id}/logs`, as events, as JSON lines or as text. What is sent and in which order is `logs`' affair;
//! here it gets its form.

use std::io;

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde_json::json;
use tracing::warn;
use utoipa::ToSchema;

use super::{
    AppState, event_id,
    extract::{BuildPath, Pairs, preference},
    problem::ApiError,
    sse,
};
use crate::{
    domain::{
        BuildId, Problem,
        log::{LogLine, Stream as LogStream},
    },
    logs::{BuildStream, StreamItem},
    store::{
        StoreError,
        builds::read,
        log_lines::{self, Head},
    },
};

/// JSON lines.
const NDJSON: &str = "application/x-ndjson";

/// Items that leave in one piece if they are at hand.
const BATCH: usize = 256;

/// The most lines to ask for from the end.
const MAX_TAIL: u32 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Events,
    JsonLines,
    Text,
}

impl Form {
    /// What the client would rather have; text if it does not say.
    fn wanted(headers: &HeaderMap) -> Self {
        let forms =
            [(Self::Text, "text/plain"), (Self::Events, sse::EVENT_STREAM), (Self::JsonLines, NDJSON)];
        let mut best = (Self::Text, 0.0);
        for (form, media_type) in forms {
            let liked = preference(headers, media_type);
            if liked > best.1 {
                best = (form, liked);
            }
        }
        best.0
    }
}

/// One event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({ "id": "7", "event": "log", "data": "{\"seq\":7,\"at\":\"2026-11-22T10:00:00Z\",\"run\":\"osc-bsu\",\"step\":\"provision\",\"stream\":\"stdout\",\"line\":\"done\"}" }))]
pub struct LogEvent {
    /// The number of a line; at the `end` that of the last one. Others have none.
    #[schema(pattern = "^[0-9]+$")]
    pub id: Option<String>,
    /// What it tells.
    pub event: LogEventKind,
    /// JSON: of `log` a line as in `application/x-ndjson`, of the others an object.
    #[schema(content_media_type = "application/json")]
    pub data: String,
}

/// What an event tells.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogEventKind {
    /// A line.
    Log,
    /// Another state of the build or of a run.
    State,
    /// A step begins or ends.
    Step,
    /// A run has made something.
    Artifact,
    /// The build has ended.
    End,
}

/// Reads the log of a build, from any line on, as it is or to its end.
///
/// With `Accept: text/event-stream`: events `log` (with the line's number as `id`), `state`, `step` and `artifact`, then
/// `end`, after which the server closes. A reconnect with `Last-Event-ID` goes on behind that line; after the end it is
/// answered 204, so that an `EventSource` stops.
#[utoipa::path(
    get, path = "/builds/{id}/logs", operation_id = "read_logs", tag = "logs",
    params(
        ("id" = BuildId, Path, description = "The build's id."),
        ("follow" = Option<bool>, Query, description = "Stay to the end of the build. Always with events unless `false`; with text and JSON lines only if asked for."),
        ("after" = Option<i64>, Query, description = "Begin behind this line.", minimum = 0),
        ("tail" = Option<i64>, Query, description = "Begin with the last so many lines.", minimum = 0, maximum = 1_000_000),
        ("run" = Option<String>, Query, description = "Only the lines of this run."),
        ("Last-Event-ID" = Option<String>, Header, description = "With events: begin behind this line; wins over `after`.", pattern = "^[0-9]{0,18}$"),
    ),
    responses(
        (status = 200, description = "The log. Of events and JSON lines, one is described.", content(
            (LogEvent = "text/event-stream"),
            (LogLine = "application/x-ndjson"),
            (String = "text/plain", example = json!("==> osc-bsu: Launching the VM\n    osc-bsu: done\n")),
        )),
        (status = 204, description = "The build has ended and the reader has seen everything."),
        (status = 400, description = "A parameter or the Last-Event-ID is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn logs(
    State(state): State<AppState>,
    BuildPath(id): BuildPath,
    pairs: Pairs,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let pairs = pairs.only(&["follow", "after", "tail", "run"])?;
    let form = Form::wanted(&headers);
    let follow = pairs.flag("follow")?.unwrap_or(form == Form::Events);
    let resumed = event_id::log_line(&headers)?.filter(|_| form == Form::Events);
    let after = pairs.parsed::<i64>("after", "the number of a line")?;
    if after.is_some_and(|after| after < 0) {
        return Err(ApiError::parameter("after", "`after` must be the number of a line."));
    }
    let tail = pairs.parsed::<u32>("tail", "a number of lines")?;
    if tail.is_some_and(|tail| tail > MAX_TAIL) {
        return Err(ApiError::parameter("tail", format!("`tail` is at most {MAX_TAIL}.")));
    }
    let run = pairs.text("run")?.map(str::to_owned);

    let mut db = state.store.acquire().await?;
    let head = log_lines::head(&mut db, id).await?.ok_or_else(|| ApiError::BuildNotFound(id.to_string()))?;
    if let Some(run) = &run {
        let runs = read::run_names(&mut db, id).await?;
        if !runs.contains(run) {
            let detail = format!("The build has no run `{run}`; its runs are {}.", runs.join(", "));
            return Err(ApiError::parameter("run", detail));
        }
    }
    let from = match (resumed, tail) {
        (Some(resumed), _) => resumed,
        (None, None) => after.unwrap_or(0),
        (None, Some(tail)) => {
            log_lines::before_last(&mut db, id, run.as_deref(), tail).await?.max(after.unwrap_or(0))
        }
    };
    drop(db);
    refuse_the_future(from, resumed.is_some(), head)?;

    let stream = BuildStream::open(state.store.clone(), &state.hub, id, from, run, follow).await?;
    let stream = stream.ok_or_else(|| ApiError::BuildNotFound(id.to_string()))?;
    if resumed.is_some() && stream.is_over() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(match form {
        Form::Events => sse::respond(events(&state, id, stream), state.draining.clone()),
        Form::JsonLines => plain(&state, stream, follow, NDJSON, json_line),
        Form::Text => plain(&state, stream, follow, "text/plain; charset=utf-8", text_line),
    })
}

/// A reader behind a line that does not exist would miss the lines that will come before it.
fn refuse_the_future(from: i64, resumed: bool, head: Head) -> Result<(), ApiError> {
    if from <= head.last_seq || head.state.is_final() {
        return Ok(());
    }
    let detail = format!("is {from}, but the log has only {} lines yet", head.last_seq);
    if resumed {
        return Err(ApiError::InvalidHeader { name: "Last-Event-ID", detail });
    }
    Err(ApiError::parameter("after", format!("`after` {detail}.")))
}

/// The stream as events, in pieces. A database that is away too long ends it: the client resumes.
fn events(
    state: &AppState,
    build: BuildId,
    stream: BuildStream,
) -> impl Stream<Item = String> + Send + use<> {
    let store = state.store.clone();
    let pieces = stream.into_stream().boxed().ready_chunks(BATCH);
    futures::stream::unfold((pieces, store, false), move |(mut pieces, store, is_torn)| async move {
        if is_torn {
            return None;
        }
        let mut out = String::new();
        let mut torn = false;
        for item in pieces.next().await? {
            match item {
                Ok(StreamItem::Log(line)) => sse::frame(&mut out, Some(&line.seq.to_string()), "log", &line),
                Ok(StreamItem::Event { kind, data, .. }) => sse::frame(&mut out, None, &kind, &data),
                Ok(StreamItem::End { state }) => {
                    // With the number of the last line, also when it was filtered out or there is none: a reconnect
                    // then shows that it has seen the end.
                    let last = last_seq(&store, build).await;
                    sse::frame(&mut out, last.as_deref(), "end", &json!({ "state": state }));
                }
                Err(error) => {
                    warn!(build.id = %build, error = %error, "a reader of the log was sent away");
                    torn = true;
                    break;
                }
            }
        }
        Some((out, (pieces, store, torn)))
    })
}

async fn last_seq(store: &sqlx::PgPool, build: BuildId) -> Option<String> {
    let mut db = store.acquire().await.ok()?;
    let head = log_lines::head(&mut db, build).await.ok()??;
    Some(head.last_seq.to_string())
}

/// The lines alone, one after the other. If the stream is torn, so is the response, so that nobody takes it for whole.
fn plain(
    state: &AppState,
    stream: BuildStream,
    follow: bool,
    media_type: &'static str,
    write: fn(&mut String, &LogLine),
) -> Response {
    let shutdown = state.draining.clone();
    let pieces = stream.into_stream().boxed().ready_chunks(BATCH);
    let body = futures::stream::unfold(
        (pieces, shutdown, false),
        move |(mut pieces, shutdown, is_torn)| async move {
            if is_torn {
                return None;
            }
            let piece = tokio::select! {
                biased;
                piece = pieces.next() => piece?,
                // A reader that does not follow gets all there is; that is soon done.
                () = shutdown.cancelled(), if follow => {
                    let torn = io::Error::other("the server is about to end");
                    return Some((Err(torn), (pieces, shutdown, true)));
                }
            };
            let mut out = String::new();
            for item in piece {
                match item {
                    Ok(StreamItem::Log(line)) => write(&mut out, &line),
                    Ok(StreamItem::Event { .. } | StreamItem::End { .. }) => {}
                    Err(error) => return Some((Err(torn(&error)), (pieces, shutdown, true))),
                }
            }
            Some((Ok(Bytes::from(out)), (pieces, shutdown, false)))
        },
    );
    // A piece of events alone is empty, which would end a chunked body.
    let body = body.filter(|piece| std::future::ready(!matches!(piece, Ok(piece) if piece.is_empty())));
    let mut response = sse::body_of(body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if follow {
        sse::mark_streaming(&mut response);
    }
    response
}

fn torn(error: &StoreError) -> io::Error {
    warn!(error = %error, "a log could not be sent to its end");
    io::Error::other("the database does not answer")
}

fn json_line(out: &mut String, line: &LogLine) {
    out.push_str(&serde_json::to_string(line).unwrap_or_default());
    out.push('\n');
}

/// As Packer writes it: its own remarks with an arrow, the output of the VM indented.
fn text_line(out: &mut String, line: &LogLine) {
    out.push_str(if line.stream == LogStream::Ui { "==> " } else { "    " });
    if let Some(run) = &line.run {
        out.push_str(run);
        out.push_str(": ");
    }
    out.push_str(&line.line);
    out.push('\n');
}

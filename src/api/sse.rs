//! Server-sent events on the wire: frames, the comments that keep a quiet line open, and the headers that keep proxies
//! from holding them back.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::{Stream, StreamExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// The media type.
pub const EVENT_STREAM: &str = "text/event-stream";

/// How long a line may be quiet.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Marks a response that must leave as it comes, not in compressed blocks.
#[derive(Debug, Clone, Copy)]
pub struct Streaming;

/// Appends one event. Its data is JSON and so has no line ends.
pub fn frame<T: Serialize>(out: &mut String, id: Option<&str>, event: &str, data: &T) {
    if let Some(id) = id {
        out.push_str("id: ");
        out.push_str(id);
        out.push('\n');
    }
    out.push_str("event: ");
    out.push_str(event);
    out.push_str("\ndata: ");
    // Values of ours always have a JSON form; an empty object is better than a torn stream.
    out.push_str(&serde_json::to_string(data).unwrap_or_else(|_| "{}".to_owned()));
    out.push_str("\n\n");
}

/// A response of frames. It ends with the stream, or when the server is about to end: clients then reconnect.
pub fn respond(frames: impl Stream<Item = String> + Send + 'static, shutdown: CancellationToken) -> Response {
    respond_with(frames, shutdown, KEEP_ALIVE)
}

fn respond_with(
    frames: impl Stream<Item = String> + Send + 'static,
    shutdown: CancellationToken,
    keep_alive: Duration,
) -> Response {
    // Sent at once, so that the client knows it is connected, and how long to wait before a reconnect.
    let greeting = futures::stream::once(async { "retry: 1000\n\n".to_owned() });
    let quiet = (frames.boxed(), shutdown);
    let frames = futures::stream::unfold(quiet, move |(mut frames, shutdown)| async move {
        let text = tokio::select! {
            biased;
            next = tokio::time::timeout(keep_alive, frames.next()) => match next {
                Ok(frame) => frame?,
                Err(_) => ": still here\n\n".to_owned(),
            },
            () = shutdown.cancelled() => return None,
        };
        Some((text, (frames, shutdown)))
    });
    let pieces = greeting.chain(frames).map(|text| Ok::<_, Infallible>(Bytes::from(text)));
    let mut response = body_of(pieces).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    mark_streaming(&mut response);
    response
}

/// A body of these pieces. Compression asks for more after the end, which a stream made by `unfold` answers with a panic.
pub fn body_of<E: Into<axum::BoxError> + 'static>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> Body {
    Body::from_stream(pieces.fuse())
}

/// Keeps proxies and our own compression from holding parts of the response back.
pub fn mark_streaming(response: &mut Response) {
    response.extensions_mut().insert(Streaming);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_line_of_data() {
        let mut out = String::new();
        frame(&mut out, Some("7"), "log", &serde_json::json!({ "line": "a\nb" }));
        assert_eq!(out, "id: 7\nevent: log\ndata: {\"line\":\"a\\nb\"}\n\n");
    }

    #[tokio::test]
    async fn a_quiet_stream_is_kept_open_and_ends_at_shutdown() {
        let shutdown = CancellationToken::new();
        let response = respond_with(futures::stream::pending(), shutdown.clone(), Duration::from_millis(1));
        let mut chunks = response.into_body().into_data_stream();
        assert_eq!(chunks.next().await.unwrap().unwrap(), "retry: 1000\n\n");
        assert_eq!(chunks.next().await.unwrap().unwrap(), ": still here\n\n");
        shutdown.cancel();
        assert!(chunks.next().await.is_none());
    }
}

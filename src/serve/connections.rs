//! Connections of clients: HTTP/1.1 with bounds on how long a request may take to be told, how large its head is, and how many
//! connections there are. TLS and HTTP/2 are the business of a proxy in front.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// How long a client may take to send the head of a request, and to send the next one on the same connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take nothing of what it is sent, with its buffers and ours full. A stream that has nothing to say
/// is not meant.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The most headers that are read at all. The API refuses fewer, and says so; beyond this there is a bare 431.
const MOST_HEADERS: usize = 128;

/// The most bytes of a head that are read.
const LARGEST_HEAD: usize = 64 << 10;

/// Connections that are open at once; more wait in the system's queue.
const CONNECTIONS: usize = 10_000;

/// How long to wait when the system cannot give a connection, for example for lack of file descriptors.
const AFTER_ERROR: Duration = Duration::from_millis(200);

/// Serves until `closing`, then lets requests that are under way end.
pub async fn serve(listener: TcpListener, router: Router, closing: CancellationToken) {
    serve_with(listener, router, closing, Patience::default(), CONNECTIONS).await;
}

/// How long clients are waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    head: Duration,
    stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: HEAD_TIMEOUT, stall: STALL_TIMEOUT }
    }
}

async fn serve_with(
    listener: TcpListener,
    router: Router,
    closing: CancellationToken,
    patience: Patience,
    connections: usize,
) {
    let places = Arc::new(Semaphore::new(connections));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = closing.cancelled() => break,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // One that went away before it was taken is nothing to wait for.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
                {
                    tracing::warn!(error = %error, "no connection can be taken right now");
                    sleep(AFTER_ERROR).await;
                }
                continue;
            }
        };
        tasks.spawn(talk(stream, peer, place, router.clone(), closing.clone(), patience));
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

async fn talk(
    stream: TcpStream,
    peer: SocketAddr,
    _place: OwnedSemaphorePermit,
    router: Router,
    closing: CancellationToken,
    patience: Patience,
) {
    // Events are small and must leave at once.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(patience.stall));
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_headers(MOST_HEADERS)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %peer, error = %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;
    use crate::testing::PATIENCE;

    async fn start(head: Duration, connections: usize) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (address, closing) = (listener.local_addr().unwrap(), CancellationToken::new());
        let router = Router::new()
            .route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()));
        let patience = Patience { head, stall: PATIENCE };
        tokio::spawn(serve_with(listener, router, closing.clone(), patience, connections));
        (address, closing)
    }

    /// Sends this and reads to the end.
    async fn ask(address: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may be closed before it has all.
        let _ = stream.write_all(text.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn a_request_is_answered_and_knows_its_peer() {
        let (address, _closing) = start(PATIENCE, 10).await;
        let answer = ask(address, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\n\r\n127.0.0.1:"), "{answer}");
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_to_an_end_is_not_waited_for() {
        let (address, _closing) = start(Duration::from_millis(50), 10).await;
        for text in ["", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
            assert!(!ask(address, text).await.contains("200"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let (address, _closing) = start(PATIENCE, 10).await;
        let many: String = (0..=MOST_HEADERS).map(|number| format!("X-{number}: 1\r\n")).collect();
        let long = format!("X-Long: {}\r\n", "x".repeat(2 * LARGEST_HEAD));
        for headers in [many, long] {
            let answer = ask(address, &format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")).await;
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_connection_waits_for_its_place() {
        let (address, _closing) = start(PATIENCE, 1).await;
        let first = TcpStream::connect(address).await.unwrap();
        let second = tokio::spawn(async move {
            ask(address, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await
        });
        drop(first);
        assert!(second.await.unwrap().starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_let_go() {
        let endless = get(async || {
            let pieces =
                futures::stream::repeat_with(|| Ok::<_, io::Error>(bytes::Bytes::from(vec![b'x'; 65536])));
            Body::from_stream(pieces)
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let patience = Patience { head: PATIENCE, stall: Duration::from_millis(50) };
        let router = Router::new().route("/", endless).route("/next", get(async || "next"));
        // There is one place, so that the next client is answered when the first is gone.
        tokio::spawn(serve_with(listener, router, CancellationToken::new(), patience, 1));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        let next =
            timeout(PATIENCE, ask(address, "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        assert!(next.await.expect("the first is let go").ends_with("next"));
    }

    #[tokio::test]
    async fn closing_ends_idle_connections() {
        let (address, closing) = start(PATIENCE, 10).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        closing.cancel();
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server closes").unwrap();
    }
}

//! Connections that can be broken on purpose: a client must survive an answer that never comes.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// A listener whose connections are [`BreakableStream`]s.
pub struct Breakable(pub TcpListener);

/// A TCP connection that ends without a word once it is broken.
pub struct BreakableStream {
    stream: TcpStream,
    is_broken: Arc<AtomicBool>,
}

/// A handle on the connection of a request.
#[derive(Clone)]
pub struct Connection {
    is_broken: Arc<AtomicBool>,
}

impl Connection {
    /// Whatever is written from now on does not reach the client; the connection is closed instead.
    pub fn break_off(&self) {
        self.is_broken.store(true, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Breakable>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Breakable>) -> Self {
        Self { is_broken: Arc::clone(&stream.io().is_broken) }
    }
}

impl Listener for Breakable {
    type Io = BreakableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = <TcpListener as Listener>::accept(&mut self.0).await;
        // Small answers go out at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
        (BreakableStream { stream, is_broken: Arc::default() }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl BreakableStream {
    fn check(&self) -> io::Result<()> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "broken by a fault"));
        }
        Ok(())
    }
}

impl AsyncRead for BreakableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for BreakableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

//! What the tests of several modules share.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::net::TcpSocket;

/// How long tests wait for what must happen, on a busy machine too: only failures take that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A port of the loopback address that nobody else is given as long as this lives. Connections to it are refused, until a
/// server listens there that allows the reuse of addresses, as they all do.
pub(crate) struct Port {
    address: SocketAddr,
    _bound: TcpSocket,
}

impl Port {
    /// Takes one that is free.
    pub(crate) fn take() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self { address: socket.local_addr().unwrap(), _bound: socket }
    }

    /// The address.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port.
    pub(crate) const fn number(&self) -> u16 {
        self.address.port()
    }
}

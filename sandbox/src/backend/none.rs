//! No machines: every order succeeds at once. For tests of the API's own behaviour, and where nothing else runs.

use std::net::{Ipv4Addr, SocketAddr};

use super::{Backend, BackendFuture, Disk, InboundRule, PowerListener, VmSpec};

/// The backend that does nothing.
#[derive(Debug, Default)]
pub struct NoneBackend;

fn done<T: Send + 'static>(value: T) -> BackendFuture<'static, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Backend for NoneBackend {
    fn name(&self) -> &'static str {
        "none"
    }

    fn on_power(&self, _listener: PowerListener) {}

    fn start(&self, _spec: VmSpec) -> BackendFuture<'_, ()> {
        done(())
    }

    fn stop<'a>(&'a self, _vm_id: &'a str, _force: bool) -> BackendFuture<'a, ()> {
        done(())
    }

    fn reboot<'a>(&'a self, _vm_id: &'a str) -> BackendFuture<'a, ()> {
        done(())
    }

    fn destroy<'a>(&'a self, _vm_id: &'a str) -> BackendFuture<'a, ()> {
        done(())
    }

    fn attach<'a>(&'a self, _vm_id: &'a str, _disk: Disk) -> BackendFuture<'a, ()> {
        done(())
    }

    fn detach<'a>(&'a self, _vm_id: &'a str, _volume_id: &'a str) -> BackendFuture<'a, ()> {
        done(())
    }

    fn flush<'a>(&'a self, _volume_id: &'a str) -> BackendFuture<'a, ()> {
        done(())
    }

    fn set_addresses<'a>(&'a self, _vm_id: &'a str, _addresses: Vec<Ipv4Addr>) -> BackendFuture<'a, ()> {
        done(())
    }

    fn set_inbound<'a>(&'a self, _vm_id: &'a str, _rules: Vec<InboundRule>) -> BackendFuture<'a, ()> {
        done(())
    }

    fn console<'a>(&'a self, _vm_id: &'a str) -> BackendFuture<'a, Vec<u8>> {
        done(Vec::new())
    }

    fn dial_address(&self, _vm_id: &str, _port: u16) -> Option<SocketAddr> {
        None
    }
}

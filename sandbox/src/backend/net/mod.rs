//! How VMs are reached and what they reach, the same for every backend: a network namespace per VM, a relay on the
//! VM's addresses, the metadata service inside, and a way out if there is to be one. A VM with a kernel of its own is
//! at the other end of a tap interface, where it is told its address by DHCP.

mod dhcp;
mod metadata;
pub mod outbound;
mod porter;
mod relay;

use std::{
    collections::HashMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use self::{dhcp::Dhcp, metadata::MetadataService, outbound::Outbound, relay::Relay};
pub use self::{
    metadata::path_below_version,
    porter::{Network, Porter},
};
use super::VmSpec;
use crate::machine::sys;

/// The name of the tap interface inside of each network that has one.
pub const TAP: &str = "tap0";
/// The near end of the tap: the VM's gateway.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 3, 1);
/// The far end: what the VM calls itself.
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 3, 15);

/// How the VMs of a backend are connected.
#[derive(Debug, Clone, Default)]
pub struct NetOptions {
    /// Where port 22 of the VMs is reached on their addresses; 22 if absent.
    pub ssh_port: Option<u16>,
    /// Whether VMs reach the networks of this machine (through slirp4netns).
    pub outbound: bool,
    /// Whether the VM is a machine at the end of a tap, and not processes in the namespace.
    pub tap: bool,
}

/// All of a running VM's connections.
#[derive(Debug)]
pub struct VmNetwork {
    /// Where the VM's processes are started.
    pub network: Arc<Network>,
    relay: Relay,
    _metadata: MetadataService,
    _dhcp: Option<Dhcp>,
    outbound: Option<Outbound>,
}

impl VmNetwork {
    /// Connects a VM that is about to start.
    pub async fn open(home: &Porter, options: &NetOptions, spec: &VmSpec) -> io::Result<Self> {
        let (network, listener) = Network::make().await?;
        let metadata = MetadataService::start(listener, Arc::clone(&spec.metadata))?;
        let dhcp = match options.tap {
            true => Some(make_tap(&network, options.outbound, &spec.hostname).await?),
            false => None,
        };
        let guest = options.tap.then_some(GUEST);
        let mut relay = Relay::new(Arc::clone(&network), guest, options.ssh_port.unwrap_or(22));
        relay.configure(&spec.addresses, &spec.inbound).await?;
        let outbound = match options.outbound {
            true => Some(Outbound::start(home, &network).await?),
            false => None,
        };
        Ok(Self { network, relay, _metadata: metadata, _dhcp: dhcp, outbound })
    }

    /// Follows a change of the VM's addresses or of what may come in.
    pub async fn configure(&mut self, spec: &VmSpec) -> io::Result<()> {
        self.relay.configure(&spec.addresses, &spec.inbound).await
    }

    /// Where each open port is reached from this machine.
    pub fn dial_addresses(&self) -> HashMap<u16, SocketAddr> {
        self.relay.dial_addresses()
    }

    /// Returns when all ports are free again.
    pub async fn close(self) {
        let Self { relay, outbound, .. } = self;
        relay.close().await;
        // Waits for a process that was killed.
        let _ = tokio::task::spawn_blocking(move || drop(outbound)).await;
    }
}

async fn make_tap(network: &Network, outbound: bool, hostname: &str) -> io::Result<Dhcp> {
    let socket = network
        .run(move || {
            sys::make_tap(TAP, GATEWAY, Ipv4Addr::new(255, 255, 255, 0))?;
            if outbound {
                // The namespace is a router between the tap and slirp4netns, which answers to any address whose
                // neighbour it finds; answering for the VM makes translating addresses unnecessary.
                fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
                fs::write("/proc/sys/net/ipv4/conf/all/proxy_arp", "1")?;
            }
            dhcp::socket()
        })
        .await?;
    let lease = dhcp::Lease {
        address: GUEST,
        gateway: GATEWAY,
        name_server: outbound.then(|| outbound::NAME_SERVER.parse()).and_then(Result::ok),
        hostname: hostname.to_owned(),
    };
    Dhcp::start(socket, lease)
}

//! The way in: listens on a VM's addresses, on the ports that its rules open, and passes connections on into the
//! VM's network if the rules allow where they come from. It is the only firewall; a port without a rule is closed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::porter::Network;
use crate::backend::InboundRule;

const SSH: u16 = 22;
/// A rule may open all ports; a listener for each of them would take the machine's last file descriptor.
const MOST_PORTS: usize = 64;
/// What is opened first when a rule opens more than that.
const USUAL_PORTS: [u16; 8] = [SSH, 80, 443, 3389, 5985, 5986, 8080, 8443];

/// The listeners of one VM.
#[derive(Debug)]
pub struct Relay {
    network: Arc<Network>,
    /// The VM's address inside its network, if it is a machine of its own there.
    guest: Option<Ipv4Addr>,
    ssh_port: u16,
    rules: Arc<RwLock<Vec<InboundRule>>>,
    addresses: Vec<Ipv4Addr>,
    /// By address and port inside the VM.
    listeners: BTreeMap<(Ipv4Addr, u16), JoinHandle<()>>,
    closed: CancellationToken,
}

impl Relay {
    /// A relay without any listener. `ssh_port` is where port 22 is reached from outside.
    pub fn new(network: Arc<Network>, guest: Option<Ipv4Addr>, ssh_port: u16) -> Self {
        Self {
            network,
            guest,
            ssh_port,
            rules: Arc::default(),
            addresses: Vec::new(),
            listeners: BTreeMap::new(),
            closed: CancellationToken::new(),
        }
    }

    /// Replaces addresses and rules. Fails if SSH is open to somebody and cannot be listened on; other ports that
    /// something else holds are only warned of. Connections that are open stay.
    pub async fn configure(&mut self, addresses: &[Ipv4Addr], rules: &[InboundRule]) -> io::Result<()> {
        self.addresses = addresses.to_vec();
        let rules = with_ssh(rules, self.ssh_port);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules.clone();
        let mut ports = open_ports(&rules);
        if self.ssh_port != SSH {
            ports.remove(&self.ssh_port);
        }
        let wanted: BTreeSet<(Ipv4Addr, u16)> =
            addresses.iter().flat_map(|address| ports.iter().map(|port| (*address, *port))).collect();
        let unwanted: Vec<_> = self.listeners.keys().filter(|key| !wanted.contains(key)).copied().collect();
        for key in unwanted {
            self.close_listener(key).await;
        }
        for (address, port) in wanted {
            if self.listeners.contains_key(&(address, port)) {
                continue;
            }
            match TcpListener::bind((address, self.outside(port))).await {
                Ok(listener) => {
                    self.listeners.insert((address, port), self.accept_on(listener, port));
                }
                Err(error) if port == SSH => {
                    let outside = self.outside(port);
                    return Err(io::Error::new(error.kind(), format!("{address}:{outside}: {error}")));
                }
                Err(error) => tracing::warn!(%address, port, %error, "a port of a VM stays closed"),
            }
        }
        Ok(())
    }

    /// Where each open port is reached from this machine, on the first of the addresses.
    pub fn dial_addresses(&self) -> HashMap<u16, SocketAddr> {
        let by_preference = self.addresses.iter().rev();
        by_preference
            .flat_map(|address| self.listeners.keys().filter(move |(open, _port)| open == address))
            .map(|(address, port)| (*port, SocketAddr::from((*address, self.outside(*port)))))
            .collect()
    }

    /// Frees all ports and ends all connections.
    pub async fn close(mut self) {
        self.closed.cancel();
        let keys: Vec<_> = self.listeners.keys().copied().collect();
        for key in keys {
            self.close_listener(key).await;
        }
    }

    /// Returns when the port is free again.
    async fn close_listener(&mut self, key: (Ipv4Addr, u16)) {
        if let Some(task) = self.listeners.remove(&key) {
            task.abort();
            let _ = task.await;
        }
    }

    fn outside(&self, port: u16) -> u16 {
        if port == SSH { self.ssh_port } else { port }
    }

    fn accept_on(&self, listener: TcpListener, port: u16) -> JoinHandle<()> {
        let (network, guest) = (Arc::clone(&self.network), self.guest);
        let (rules, closed) = (Arc::clone(&self.rules), self.closed.clone());
        tokio::spawn(async move {
            loop {
                let (client, peer) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a connection to a VM");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                        continue;
                    }
                };
                let allowed = {
                    let rules = rules.read().unwrap_or_else(PoisonError::into_inner);
                    rules.iter().any(|rule| allows(rule, port, peer.ip()))
                };
                if !allowed {
                    tracing::debug!(%peer, port, "a connection was refused by the VM's security groups");
                    refuse(&client);
                    continue;
                }
                let (network, closed) = (Arc::clone(&network), closed.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = closed.cancelled() => {}
                        () = pass_on(client, guest, port, &network) => {}
                    }
                });
            }
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.closed.cancel();
        self.listeners.values().for_each(JoinHandle::abort);
    }
}

async fn pass_on(mut client: TcpStream, guest: Option<Ipv4Addr>, port: u16, network: &Network) {
    // All of 127.0.0.0/8 is local inside a namespace VM too. Using the VM's own address, and not 127.0.0.1, keeps
    // closed what listens there on localhost only.
    let own_address = client.local_addr().map(|address| address.ip());
    let Ok(target) = guest.map_or(own_address, |guest| Ok(guest.into())) else { return };
    match network.connect(SocketAddr::from((target, port))).await {
        Ok(mut inside) => {
            let _ = (client.set_nodelay(true), inside.set_nodelay(true));
            let _ = tokio::io::copy_bidirectional(&mut client, &mut inside).await;
        }
        // Nothing listens there (yet): the nearest to a refused connection that is left.
        Err(_) => refuse(&client),
    }
}

/// Makes closing the connection a reset.
fn refuse(client: &TcpStream) {
    let _ = client.set_zero_linger();
}

/// Where port 22 is reached on another port, a rule that opens that port means port 22: a client that is told to use
/// `ssh_port` opens that one and no other.
fn with_ssh(rules: &[InboundRule], ssh_port: u16) -> Vec<InboundRule> {
    let also =
        rules.iter().filter(|rule| ssh_port != SSH && (rule.ports.0..=rule.ports.1).contains(&ssh_port));
    let also = also.map(|rule| InboundRule { ports: (SSH, SSH), sources: rule.sources.clone() });
    rules.iter().cloned().chain(also).collect()
}

/// The ports that the rules open to anybody.
fn open_ports(rules: &[InboundRule]) -> BTreeSet<u16> {
    let usable = rules.iter().filter(|rule| !rule.sources.is_empty());
    let ranges: Vec<(u16, u16)> = usable.map(|rule| (rule.ports.0.max(1), rule.ports.1)).collect();
    let total: usize = ranges.iter().map(|(first, last)| usize::from(last.saturating_sub(*first)) + 1).sum();
    if total > MOST_PORTS {
        tracing::warn!(ports = total, "only {MOST_PORTS} ports of a VM are relayed");
    }
    let is_open = |port: &u16| ranges.iter().any(|(first, last)| (first..=last).contains(&port));
    let usual = USUAL_PORTS.into_iter().filter(is_open);
    let mut ports: BTreeSet<u16> = usual.collect();
    for port in ranges.iter().flat_map(|(first, last)| *first..=*last) {
        if ports.len() >= MOST_PORTS {
            break;
        }
        ports.insert(port);
    }
    ports
}

fn allows(rule: &InboundRule, port: u16, from: IpAddr) -> bool {
    (rule.ports.0..=rule.ports.1).contains(&port) && rule.sources.iter().any(|source| contains(source, from))
}

/// Whether an address is in a network. A sandbox's clients are all on this machine, so what they come from is
/// 127.0.0.1 or a VM's address, or this machine's own address as its network sees it.
fn contains(network: &str, address: IpAddr) -> bool {
    let (base, prefix) = network.split_once('/').unwrap_or((network, ""));
    let (Ok(base), IpAddr::V4(address)) = (base.parse::<Ipv4Addr>(), address.to_canonical()) else {
        return false;
    };
    let Ok(prefix) = (if prefix.is_empty() { Ok(32) } else { prefix.parse::<u32>() }) else { return false };
    let Some(ignored) = 32u32.checked_sub(prefix) else { return false };
    // A shift by all 32 bits is none.
    let mask = u32::MAX.checked_shl(ignored).unwrap_or(0);
    u32::from(base) & mask == u32::from(address) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(ports: (u16, u16), source: &str) -> InboundRule {
        InboundRule { ports, sources: vec![source.to_owned()] }
    }

    #[test]
    fn a_network_contains_its_addresses_only() {
        let address: IpAddr = Ipv4Addr::new(127, 0, 3, 4).into();
        for network in ["0.0.0.0/0", "127.0.0.0/8", "127.0.3.4/32", "127.0.3.4", "127.0.3.0/24"] {
            assert!(contains(network, address), "{network}");
        }
        for network in ["10.0.0.0/8", "127.0.3.5/32", "127.0.2.0/24", "127.0.0.0/33", "x/0", "::/0", ""] {
            assert!(!contains(network, address), "{network}");
        }
    }

    #[test]
    fn where_ssh_is_reached_on_another_port_opening_that_port_opens_ssh() {
        let opened = with_ssh(&[rule((2222, 2222), "10.0.0.0/8")], 2222);
        assert_eq!(opened, [rule((2222, 2222), "10.0.0.0/8"), rule((22, 22), "10.0.0.0/8")]);
        assert_eq!(with_ssh(&[rule((80, 80), "0.0.0.0/0")], 2222), [rule((80, 80), "0.0.0.0/0")]);
        assert_eq!(with_ssh(&[rule((22, 22), "0.0.0.0/0")], 22), [rule((22, 22), "0.0.0.0/0")]);
    }

    #[test]
    fn all_ports_are_the_usual_ones_and_some_more() {
        let ports = open_ports(&[rule((0, 65535), "0.0.0.0/0")]);
        assert_eq!(ports.len(), MOST_PORTS);
        assert!(USUAL_PORTS.iter().all(|port| ports.contains(port)) && !ports.contains(&0));
        let few = open_ports(&[rule((8000, 8002), "10.0.0.0/8"), rule((22, 22), "0.0.0.0/0")]);
        assert_eq!(few, BTreeSet::from([22, 8000, 8001, 8002]));
        assert!(open_ports(&[InboundRule { ports: (22, 22), sources: vec![] }]).is_empty());
    }
}

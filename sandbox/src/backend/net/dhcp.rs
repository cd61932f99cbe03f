//! A DHCP server with one lease, for the one machine at the other end of a VM's tap interface.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use tokio::task::AbortHandle;

use crate::machine::sys;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Fixed fields before the options.
const HEADER: usize = 236;
const LEASE_SECONDS: u32 = 24 * 3600;
/// What slirp4netns passes on in one piece.
const MTU: u16 = 1400;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const MESSAGE_TYPE: u8 = 53;

/// What the machine is told.
#[derive(Debug, Clone)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub name_server: Option<Ipv4Addr>,
    pub hostname: String,
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Dhcp {
    task: AbortHandle,
}

/// The server's socket; to be made inside the VM's network.
pub fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SERVER_PORT))?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    // Clients read raw packets, in which a checksum that the network card would have completed looks wrong.
    sys::send_without_checksum(&socket)?;
    Ok(socket)
}

impl Dhcp {
    /// Serves. Call it inside of a tokio runtime.
    pub fn start(socket: UdpSocket, lease: Lease) -> io::Result<Self> {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        // Within the tap's own network, so that it leaves through the tap whatever else there is.
        let [a, b, c, _] = lease.gateway.octets();
        let everyone = SocketAddr::from((Ipv4Addr::new(a, b, c, 255), CLIENT_PORT));
        let task = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                match socket.recv_from(&mut buffer).await {
                    Ok((length, _from)) => {
                        if let Some(reply) = answer(&buffer[..length], &lease)
                            && let Err(error) = socket.send_to(&reply, everyone).await
                        {
                            tracing::debug!(%error, "a VM's question for its address was not answered");
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "could not read a VM's question for its address");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                }
            }
        });
        Ok(Self { task: task.abort_handle() })
    }
}

impl Drop for Dhcp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is said to a client: an offer, or an acknowledgement of whatever it asks for, with our address in it.
fn answer(request: &[u8], lease: &Lease) -> Option<Vec<u8>> {
    const BOOT_REQUEST: u8 = 1;
    const BOOT_REPLY: u8 = 2;
    let options = request.get(HEADER..)?.strip_prefix(&COOKIE)?;
    if request[0] != BOOT_REQUEST {
        return None;
    }
    let kind = match option(options, MESSAGE_TYPE)?.first().copied()? {
        DISCOVER => OFFER,
        REQUEST => ACK,
        _ => return None,
    };
    let mut reply = vec![0; HEADER];
    // Hardware type, address length, transaction, flags and the client's hardware address are the request's.
    reply[0] = BOOT_REPLY;
    reply[1..3].copy_from_slice(&request[1..3]);
    reply[4..8].copy_from_slice(&request[4..8]);
    reply[10..12].copy_from_slice(&request[10..12]);
    reply[16..20].copy_from_slice(&lease.address.octets());
    reply[20..24].copy_from_slice(&lease.gateway.octets());
    reply[28..44].copy_from_slice(&request[28..44]);
    reply.extend(COOKIE);
    let gateway = lease.gateway.octets();
    let mut add = |code: u8, value: &[u8]| {
        if let Ok(length) = u8::try_from(value.len()) {
            reply.extend([code, length]);
            reply.extend(value);
        }
    };
    add(MESSAGE_TYPE, &[kind]);
    add(54, &gateway);
    add(51, &LEASE_SECONDS.to_be_bytes());
    add(1, &[255, 255, 255, 0]);
    add(3, &gateway);
    if let Some(name_server) = lease.name_server {
        add(6, &name_server.octets());
    }
    add(12, lease.hostname.as_bytes());
    add(26, &MTU.to_be_bytes());
    reply.push(255);
    Some(reply)
}

/// The value of an option.
fn option(options: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = options;
    loop {
        match rest {
            [0, after @ ..] => rest = after,
            [255, ..] | [] | [_] => return None,
            [code, length, after @ ..] => {
                let (value, after) = after.split_at_checked(usize::from(*length))?;
                if *code == wanted {
                    return Some(value);
                }
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: u8) -> Vec<u8> {
        let mut request = vec![0; HEADER];
        request[..8].copy_from_slice(&[1, 1, 6, 0, 0xAB, 0xCD, 0xEF, 0x01]);
        request[28..34].copy_from_slice(&[0xAA, 0, 127, 64, 0, 1]);
        request.extend(COOKIE);
        request.extend([0, 12, 2, b'm', b'e', MESSAGE_TYPE, 1, kind, 255]);
        request
    }

    fn lease() -> Lease {
        Lease {
            address: Ipv4Addr::new(10, 0, 3, 15),
            gateway: Ipv4Addr::new(10, 0, 3, 1),
            name_server: None,
            hostname: "ip-1".to_owned(),
        }
    }

    #[test]
    fn a_discovery_is_offered_and_a_request_acknowledged_the_one_lease() {
        for (asked, answered) in [(DISCOVER, OFFER), (REQUEST, ACK)] {
            let reply = answer(&request(asked), &lease()).expect("an answer");
            assert_eq!(reply[..8], [2, 1, 6, 0, 0xAB, 0xCD, 0xEF, 0x01]);
            assert_eq!(reply[16..20], [10, 0, 3, 15]);
            assert_eq!(reply[28..34], [0xAA, 0, 127, 64, 0, 1]);
            let options = &reply[HEADER + 4..];
            assert_eq!(option(options, MESSAGE_TYPE), Some(&[answered][..]));
            assert_eq!(option(options, 3), Some(&[10, 0, 3, 1][..]));
            assert_eq!((option(options, 12), option(options, 6)), (Some(&b"ip-1"[..]), None));
        }
    }

    #[test]
    fn what_is_no_request_gets_no_answer() {
        const RELEASE: u8 = 7;
        let whole = request(REQUEST);
        assert!(answer(&request(RELEASE), &lease()).is_none());
        for length in 0..whole.len() - 1 {
            assert!(answer(&whole[..length], &lease()).is_none(), "{length} bytes were answered");
        }
    }
}

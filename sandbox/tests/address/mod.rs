//! Addresses in 127.0.0.0/8 for VMs. Linux answers on all of them without any set-up; several sandboxes on one
//! machine stay out of each other's way because an address is held by a bound socket.

use std::{
    collections::HashSet,
    fmt, io,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

/// The UDP port that is kept bound on an address for as long as it is leased (`discard`: nobody listens there).
const RESERVATION_PORT: u16 = 9;

/// The part of 127.0.0.0/8 from which addresses are taken.
#[derive(Debug, Clone)]
pub struct AddressRange {
    first: u32,
    count: u32,
    taken: Arc<Mutex<HashSet<Ipv4Addr>>>,
}

/// An address nobody else gets until this is dropped.
#[derive(Debug)]
pub struct AddressLease {
    address: Ipv4Addr,
    taken: Arc<Mutex<HashSet<Ipv4Addr>>>,
    _reservation: UdpSocket,
}

/// Why text is no range of loopback addresses.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a network in 127.0.0.0/8 of /8 to /30, such as 127.32.0.0/12")]
pub struct InvalidRange(String);

impl FromStr for AddressRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let invalid = || InvalidRange(text.to_owned());
        let (network, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let network: Ipv4Addr = network.parse().map_err(|_error| invalid())?;
        let prefix: u32 = prefix.parse().map_err(|_error| invalid())?;
        if !network.is_loopback() || !(8..=30).contains(&prefix) {
            return Err(invalid());
        }
        let count = 1 << (32 - prefix);
        Ok(Self { first: u32::from(network) & !(count - 1), count, taken: Arc::default() })
    }
}

impl AddressRange {
    /// Takes an address on which `port` can be bound, searching from a random place.
    pub fn lease(&self, port: u16) -> io::Result<AddressLease> {
        let start: u32 = rand::random();
        let mut last_error =
            io::Error::new(io::ErrorKind::AddrNotAvailable, "no address is left in the range");
        for step in 0..self.count {
            let address = Ipv4Addr::from(self.first + start.wrapping_add(step) % self.count);
            if !is_usable(address) || !self.lock().insert(address) {
                continue;
            }
            match reserve(address, port) {
                Ok(reservation) => {
                    return Ok(AddressLease {
                        address,
                        taken: Arc::clone(&self.taken),
                        _reservation: reservation,
                    });
                }
                Err(error) => {
                    self.lock().remove(&address);
                    let hopeless = error.kind() == io::ErrorKind::PermissionDenied;
                    last_error = error;
                    // Neither another address nor a thousand more of them will change that, if the first hundred did not.
                    if hopeless || step > 1000 {
                        break;
                    }
                }
            }
        }
        Err(last_error)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Ipv4Addr>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.count.leading_zeros() + 1)
    }
}

impl AddressLease {
    /// The address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for AddressLease {
    fn drop(&mut self) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.address);
    }
}

/// 127.0.0.x is where other programs of the machine listen; .0 and .255 look like mistakes in logs.
fn is_usable(address: Ipv4Addr) -> bool {
    let [_, b, c, d] = address.octets();
    (b, c) != (0, 0) && d != 0 && d != 255
}

fn reserve(address: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
    let reservation = UdpSocket::bind((address, RESERVATION_PORT)).or_else(|error| match error.kind() {
        // Without root the low port is out of reach, a high one is as good.
        io::ErrorKind::PermissionDenied => UdpSocket::bind((address, 60_000 + RESERVATION_PORT)),
        _ => Err(error),
    })?;
    TcpListener::bind((address, port))?;
    Ok(reservation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_given_out_once_until_it_is_dropped() {
        let range: AddressRange = "127.99.7.0/29".parse().expect("a range");
        let port = 40_022;
        let mut leases = Vec::new();
        while let Ok(lease) = range.lease(port) {
            leases.push(lease);
        }
        let mut addresses: Vec<_> = leases.iter().map(AddressLease::address).collect();
        addresses.sort();
        let expected: Vec<Ipv4Addr> = (1..8).map(|last| Ipv4Addr::new(127, 99, 7, last)).collect();
        assert_eq!(addresses, expected);

        let freed = leases.pop().map(|lease| lease.address());
        assert_eq!(range.lease(port).ok().map(|lease| lease.address()), freed);
    }

    #[test]
    fn two_sandboxes_never_share_an_address() {
        let (one, other): (AddressRange, AddressRange) =
            ("127.99.8.0/30".parse().expect("a range"), "127.99.8.0/30".parse().expect("a range"));
        let first: Vec<_> = (0..3).map(|_| one.lease(40_023).expect("an address")).collect();
        assert!(other.lease(40_023).is_err(), "an address was given out twice");
        drop(first);
        assert!(other.lease(40_023).is_ok());
    }

    #[test]
    fn only_loopback_networks_are_ranges() {
        for text in ["10.0.0.0/8", "127.0.0.0", "127.0.0.0/7", "127.0.0.0/31", "x/8", "128.0.0.0/8"] {
            assert!(text.parse::<AddressRange>().is_err(), "{text} was accepted");
        }
        assert_eq!(
            "127.32.1.9/12".parse::<AddressRange>().map(|range| range.to_string()),
            Ok("127.32.0.0/12".to_owned())
        );
    }
}

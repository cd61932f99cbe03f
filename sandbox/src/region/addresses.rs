//! Which addresses VMs get. All of them, private ones too, are in 127.0.0.0/8: the cloud's private network does
//! not exist on this machine, and a client that is told to connect to a VM's private address must reach it.
//! Several sandboxes may run beside each other, so each starts at a random place and tries what it hands out.

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    str::FromStr,
};

/// The UDP port that stays bound on an address while it is taken, so that other sandboxes see it (`discard`).
const RESERVATION_PORT: u16 = 9;

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: u32,
    prefix: u8,
}

/// A text that is not a range in 127.0.0.0/8.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{0}' is not a range of addresses within 127.0.0.0/8, such as 127.64.0.0/10, of at least 128 addresses"
)]
pub struct BadRange(String);

impl FromStr for Range {
    type Err = BadRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadRange(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        if address.octets()[0] != 127 || !(8..=25).contains(&prefix) {
            return Err(bad());
        }
        Ok(Self::containing(address, prefix))
    }
}

impl Range {
    /// The range of this size that an address is in.
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Self {
        Self { first: address.to_bits() & mask(prefix), prefix }
    }

    /// How many addresses it has.
    pub fn len(self) -> u32 {
        (u64::from(u32::MAX) + 1).checked_shr(u32::from(self.prefix)).map_or(1, |len| len as u32)
    }

    /// Whether an address is in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.first
    }

    /// The nth of the equal parts into which `bits` more bits of prefix cut it.
    pub fn part(self, bits: u8, nth: u32) -> Self {
        let prefix = self.prefix + bits;
        Self { first: self.first + (nth << (32 - u32::from(prefix))), prefix }
    }

    fn at(self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first + offset)
    }

    /// As `127.64.0.0/16`.
    pub fn text(self) -> String {
        format!("{}/{}", Ipv4Addr::from_bits(self.first), self.prefix)
    }

    /// Whether the cloud keeps this address of a Subnet for itself: the first four and the last.
    pub fn reserves(self, address: Ipv4Addr) -> bool {
        let offset = address.to_bits().wrapping_sub(self.first);
        offset < 4 || offset + 1 == self.len()
    }

    /// How many addresses a Subnet of this range offers.
    pub fn offers(self) -> u32 {
        self.len().saturating_sub(5)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// The region's addresses: what is where, and what is taken.
#[derive(Debug)]
pub struct Addresses {
    /// The Net's range.
    pub net: Range,
    /// Its two Subnets.
    pub subnets: [Range; 2],
    private: Range,
    public: Range,
    taken: HashMap<Ipv4Addr, Option<UdpSocket>>,
    try_port: Option<u16>,
}

impl Addresses {
    /// Divides (at most a /16 of) a range. `try_port` is the port on which a VM will be reached; an address on
    /// which it cannot be bound belongs to somebody else.
    pub fn new(range: Range, try_port: Option<u16>) -> Self {
        let block = if range.prefix < 16 {
            let bits = 16 - range.prefix;
            range.part(bits, rand::random_range(0..1 << bits))
        } else {
            range
        };
        let net = block.part(2, 0);
        Self {
            net,
            subnets: [net.part(1, 0), net.part(1, 1)],
            private: block.part(2, 1),
            public: block.part(1, 1),
            taken: HashMap::new(),
            try_port,
        }
    }

    /// A private address in the public cloud.
    pub fn take_private(&mut self) -> Option<Ipv4Addr> {
        self.take(self.private)
    }

    /// A public address.
    pub fn take_public(&mut self) -> Option<Ipv4Addr> {
        self.take(self.public)
    }

    /// An address of a Subnet.
    pub fn take_in_subnet(&mut self, subnet: Range) -> Option<Ipv4Addr> {
        self.take(subnet)
    }

    /// This very address, if nobody has it.
    pub fn take_this(&mut self, address: Ipv4Addr) -> bool {
        let reservation = self.reserve(address);
        reservation.map(|reservation| self.taken.insert(address, reservation)).is_some()
    }

    /// Gives an address back.
    pub fn release(&mut self, address: Ipv4Addr) {
        self.taken.remove(&address);
    }

    /// How many addresses of a range are in use.
    pub fn taken_in(&self, range: Range) -> u32 {
        let count = self.taken.keys().filter(|address| range.contains(**address)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn take(&mut self, range: Range) -> Option<Ipv4Addr> {
        let start = rand::random_range(0..range.len());
        (0..range.len())
            .map(|step| range.at((start + step) % range.len()))
            .filter(|address| !range.reserves(*address))
            .find(|address| self.take_this(*address))
    }

    /// Makes sure that nobody has an address: not this region, not a VM of another sandbox, nobody else. Without
    /// a port to try (no machines) addresses are names only.
    fn reserve(&self, address: Ipv4Addr) -> Option<Option<UdpSocket>> {
        if self.taken.contains_key(&address) {
            return None;
        }
        let Some(port) = self.try_port else { return Some(None) };
        TcpListener::bind((address, port)).ok()?;
        match UdpSocket::bind((address, RESERVATION_PORT)) {
            Ok(reservation) => Some(Some(reservation)),
            // Without privileges there is no reservation; the port was free at least.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Some(None),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_divided_into_parts_that_do_not_meet() {
        let addresses = Addresses::new("127.64.0.0/10".parse().unwrap(), None);
        let parts = [addresses.subnets[0], addresses.subnets[1], addresses.private, addresses.public];
        for (index, part) in parts.iter().enumerate() {
            assert!(
                parts
                    .iter()
                    .skip(index + 1)
                    .all(|other| !part.contains(other.at(0)) && !other.contains(part.at(0)))
            );
        }
        assert!(addresses.net.contains(addresses.subnets[1].at(0)));
    }

    #[test]
    fn a_small_range_runs_out_and_a_released_address_comes_back() {
        let mut addresses = Addresses::new("127.64.0.0/25".parse().unwrap(), None);
        let all: Vec<Ipv4Addr> = std::iter::from_fn(|| addresses.take_public()).collect();
        assert_eq!(all.len(), 64 - 5);
        addresses.release(all[7]);
        assert_eq!(addresses.take_public(), Some(all[7]));
    }

    #[test]
    fn an_address_on_which_somebody_listens_is_left_alone() {
        let listener = TcpListener::bind("127.77.1.10:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut addresses = Addresses::new("127.77.0.0/16".parse().unwrap(), Some(port));
        assert!(!addresses.take_this("127.77.1.10".parse().unwrap()));
        assert!(addresses.take_this("127.77.1.11".parse().unwrap()));
    }

    #[test]
    fn only_ranges_of_the_loopback_network_are_taken() {
        for text in ["10.0.0.0/8", "127.0.0.0/28", "127.0.0.0", "x/8"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
        assert_eq!("127.65.3.9/16".parse::<Range>().unwrap().text(), "127.65.0.0/16");
    }
}

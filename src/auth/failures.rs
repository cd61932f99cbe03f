//! Counts wrong tokens by address, within bounds. Nobody can guess a token; this keeps a client that goes on trying from
//! costing the database and the log anything.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::token::Hash;

/// So many wrong tokens in short order are taken for mistakes.
const BURST: u32 = 20;

/// After that, one more is looked at every so often.
const EACH: Duration = Duration::from_secs(3);

/// Addresses that are remembered.
const ADDRESSES: usize = 4096;

/// Good tokens that are remembered.
const GOOD: usize = 1024;

/// Wrong tokens by address.
#[derive(Debug, Default)]
pub struct Failures(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// When all failures of an address are forgiven. Each failure adds [`EACH`].
    forgiven: HashMap<IpAddr, Instant>,
    /// Tokens that were good the last time: others behind the same address must not suffer.
    good: HashMap<Hash, Instant>,
}

impl Failures {
    /// How long this address has to wait before another token of it is looked at; `None`: not at all.
    pub fn wait(&self, address: IpAddr, token: &Hash, now: Instant) -> Option<Duration> {
        let inner = self.lock();
        if inner.good.contains_key(token) {
            return None;
        }
        let debt = inner.forgiven.get(&group(address))?.checked_duration_since(now)?;
        let over = debt.checked_sub(EACH * (BURST - 1)).filter(|over| !over.is_zero())?;
        Some(Duration::from_secs(over.as_secs() + 1))
    }

    /// Remembers a wrong token.
    pub fn failed(&self, address: IpAddr, token: &Hash, now: Instant) {
        let mut inner = self.lock();
        inner.good.remove(token);
        let address = group(address);
        if inner.forgiven.len() >= ADDRESSES && !inner.forgiven.contains_key(&address) {
            inner.forgiven.retain(|_, until| *until > now);
            // Who has the least to be forgiven goes first.
            while inner.forgiven.len() >= ADDRESSES
                && let Some(least) =
                    inner.forgiven.iter().min_by_key(|(_, until)| **until).map(|(who, _)| *who)
            {
                inner.forgiven.remove(&least);
            }
        }
        let until = inner.forgiven.entry(address).or_insert(now);
        *until = (*until).max(now) + EACH;
    }

    /// Remembers a good token.
    pub fn succeeded(&self, token: Hash, now: Instant) {
        let mut inner = self.lock();
        if inner.good.len() >= GOOD && !inner.good.contains_key(&token) {
            let oldest = inner.good.iter().min_by_key(|(_, used)| **used).map(|(token, _)| *token);
            if let Some(oldest) = oldest {
                inner.good.remove(&oldest);
            }
        }
        inner.good.insert(token, now);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One machine has a whole /64 of IPv6 addresses.
fn group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Hash = [0; 32];
    const GOOD_ONE: Hash = [1; 32];

    fn address(last: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + last).into())
    }

    #[test]
    fn an_address_waits_after_a_burst_and_is_forgiven() {
        let (failures, now) = (Failures::default(), Instant::now());
        for _ in 0..BURST {
            assert_eq!(failures.wait(address(1), &BAD, now), None);
            failures.failed(address(1), &BAD, now);
        }
        assert!(
            failures.wait(address(1), &BAD, now).is_some_and(|wait| wait <= EACH + Duration::from_secs(1))
        );
        assert_eq!(failures.wait(address(2), &BAD, now), None, "another address is not concerned");
        assert_eq!(failures.wait(address(1), &BAD, now + EACH), None);
    }

    #[test]
    fn a_good_token_behind_the_same_address_goes_on() {
        let (failures, now) = (Failures::default(), Instant::now());
        failures.succeeded(GOOD_ONE, now);
        for _ in 0..=BURST {
            failures.failed(address(1), &BAD, now);
        }
        assert!(failures.wait(address(1), &BAD, now).is_some());
        assert_eq!(failures.wait(address(1), &GOOD_ONE, now), None);
        failures.failed(address(1), &GOOD_ONE, now);
        assert!(failures.wait(address(1), &GOOD_ONE, now).is_some(), "it is no longer good");
    }

    #[test]
    fn memory_is_bounded() {
        let (failures, now) = (Failures::default(), Instant::now());
        for last in 0..2 * ADDRESSES as u32 {
            failures.failed(address(last), &BAD, now);
            let mut token = BAD;
            token[..4].copy_from_slice(&last.to_be_bytes());
            failures.succeeded(token, now);
        }
        assert!(failures.lock().forgiven.len() <= ADDRESSES && failures.lock().good.len() <= GOOD);
    }

    #[test]
    fn a_machine_has_many_addresses() {
        assert_eq!(group("2001:db8::1".parse().unwrap()), group("2001:db8::ffff:1".parse().unwrap()));
        assert_ne!(group("2001:db8::1".parse().unwrap()), group("2001:db8:0:1::1".parse().unwrap()));
    }
}

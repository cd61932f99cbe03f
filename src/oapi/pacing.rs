//! The pace of calls of one account: a token bucket that slows down when OUTSCALE throttles and recovers by itself.
//! Every client of the account in this process shares one pacer, so that a throttled build slows the others too.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How fast an account may be called.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceConfig {
    /// Calls a second while nothing is throttled.
    pub calls_per_second: f64,
    /// Calls that may leave at once after a pause.
    pub burst: f64,
    /// Calls a second that throttling never goes below.
    pub slowest: f64,
    /// How long a standstill takes to recover to the full pace.
    pub recovery: Duration,
}

impl Default for PaceConfig {
    fn default() -> Self {
        Self { calls_per_second: 20.0, burst: 20.0, slowest: 0.5, recovery: Duration::from_secs(60) }
    }
}

/// The pacer of one account.
#[derive(Debug)]
pub struct Pacer {
    config: PaceConfig,
    bucket: Mutex<Bucket>,
    /// Whoever holds it is the next to go. Fair, and given back when a waiting call is dropped, so waits can be cancelled.
    turnstile: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    rate: f64,
    refilled: Instant,
    /// Counts the slow-downs: calls that left before the last one say nothing about the pace after it.
    epoch: u64,
}

/// The right to make one call.
#[derive(Debug, Clone, Copy)]
pub struct Permit {
    epoch: u64,
}

impl Pacer {
    /// A pacer at full pace. Values that make no sense are raised to ones that do.
    pub fn new(config: PaceConfig) -> Self {
        let slowest = if config.slowest > 0.0 { config.slowest } else { PaceConfig::default().slowest };
        let calls_per_second = config.calls_per_second.max(slowest);
        let config = PaceConfig { calls_per_second, burst: config.burst.max(1.0), slowest, ..config };
        let bucket = Bucket::full(Instant::now(), &config);
        Self { config, bucket: Mutex::new(bucket), turnstile: tokio::sync::Mutex::new(()) }
    }

    /// Waits for the right to make one call. Dropping the future gives up the place.
    pub async fn acquire(&self) -> Permit {
        let _turn = self.turnstile.lock().await;
        loop {
            let taken = self.bucket().take(Instant::now(), &self.config);
            match taken {
                Ok(permit) => return permit,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Notes that a call was throttled: halves the pace, once for all calls that left at the same pace.
    pub fn throttled(&self, permit: Permit) {
        self.bucket().throttled(permit, Instant::now(), &self.config);
    }

    /// The pace at this moment, in calls a second.
    pub fn calls_per_second(&self) -> f64 {
        let mut bucket = self.bucket();
        bucket.refill(Instant::now(), &self.config);
        bucket.rate
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn full(now: Instant, config: &PaceConfig) -> Self {
        Self { tokens: config.burst, rate: config.calls_per_second, refilled: now, epoch: 0 }
    }

    /// A permit, or how long to wait before asking again; the pace may have changed by then.
    fn take(&mut self, now: Instant, config: &PaceConfig) -> Result<Permit, Duration> {
        self.refill(now, config);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(Permit { epoch: self.epoch });
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.rate).max(Duration::from_millis(1)))
    }

    fn throttled(&mut self, permit: Permit, now: Instant, config: &PaceConfig) {
        self.refill(now, config);
        if permit.epoch == self.epoch {
            self.rate = (self.rate / 2.0).max(config.slowest);
            self.tokens = self.tokens.min(0.0);
            self.epoch += 1;
        }
    }

    fn refill(&mut self, now: Instant, config: &PaceConfig) {
        let elapsed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.tokens = (self.tokens + elapsed * self.rate).min(config.burst);
        let recovered = elapsed * config.calls_per_second / config.recovery.as_secs_f64().max(0.001);
        self.rate = (self.rate + recovered).min(config.calls_per_second);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn config(calls_per_second: f64, burst: f64) -> PaceConfig {
        PaceConfig { calls_per_second, burst, ..PaceConfig::default() }
    }

    /// Takes a permit at the earliest moment from `now` on, and moves `now` there.
    fn wait_for_permit(bucket: &mut Bucket, now: &mut Instant, config: &PaceConfig) -> Permit {
        loop {
            match bucket.take(*now, config) {
                Ok(permit) => return permit,
                Err(wait) => *now += wait,
            }
        }
    }

    #[test]
    fn a_burst_leaves_at_once_and_the_rest_at_the_pace() {
        let config = config(10.0, 5.0);
        let start = Instant::now();
        let mut now = start;
        let mut bucket = Bucket::full(now, &config);
        for _ in 0..5 {
            wait_for_permit(&mut bucket, &mut now, &config);
        }
        assert_eq!(now, start);
        for _ in 0..20 {
            wait_for_permit(&mut bucket, &mut now, &config);
        }
        let elapsed = (now - start).as_secs_f64();
        assert!((1.9..2.2).contains(&elapsed), "{elapsed}");
    }

    #[test]
    fn throttling_halves_the_pace_once_for_all_calls_in_flight() {
        let config = config(16.0, 16.0);
        let mut now = Instant::now();
        let mut bucket = Bucket::full(now, &config);
        let permits: Vec<_> = (0..10).map(|_| wait_for_permit(&mut bucket, &mut now, &config)).collect();
        for permit in permits {
            bucket.throttled(permit, now, &config);
        }
        assert!((bucket.rate - 8.0).abs() < 0.1);
        let permit = wait_for_permit(&mut bucket, &mut now, &config);
        let before = bucket.rate;
        bucket.throttled(permit, now, &config);
        assert!((bucket.rate - before / 2.0).abs() < 0.1);
    }

    #[test]
    fn the_pace_never_falls_below_the_slowest_and_recovers_in_time() {
        let config = PaceConfig { recovery: Duration::from_secs(600), ..PaceConfig::default() };
        let mut now = Instant::now();
        let mut bucket = Bucket::full(now, &config);
        for _ in 0..40 {
            let permit = wait_for_permit(&mut bucket, &mut now, &config);
            bucket.throttled(permit, now, &config);
            assert!(bucket.rate >= config.slowest);
        }
        let slow = bucket.rate;
        assert!(slow < 1.5, "{slow}");
        now += Duration::from_secs(300);
        bucket.refill(now, &config);
        assert!((slow + 9.0..slow + 11.0).contains(&bucket.rate), "{}", bucket.rate);
        now += Duration::from_secs(600);
        bucket.refill(now, &config);
        assert!((bucket.rate - 20.0).abs() < f64::EPSILON);
    }

    #[tokio::test]
    async fn a_cancelled_wait_gives_its_place_to_the_next() {
        let pacer = Arc::new(Pacer::new(config(4.0, 1.0)));
        pacer.acquire().await;
        let held = tokio::spawn({
            let pacer = pacer.clone();
            async move { pacer.acquire().await }
        });
        while pacer.turnstile.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        held.abort();
        assert!(held.await.unwrap_err().is_cancelled());
        tokio::time::timeout(crate::testing::PATIENCE, pacer.acquire()).await.unwrap();
    }

    #[test]
    fn a_pace_that_makes_no_sense_is_raised_to_one_that_does() {
        let config = PaceConfig { calls_per_second: -1.0, burst: 0.0, slowest: 0.0, ..PaceConfig::default() };
        let pacer = Pacer::new(config);
        assert!(pacer.calls_per_second() > 0.0);
        assert!(pacer.bucket().take(Instant::now(), &pacer.config).is_ok());
    }
}

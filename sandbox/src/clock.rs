//! The region's clock. It can be set wrong on purpose, so that clients meet a skewed cloud.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// The time that signatures, dates of resources and the `Date` header go by.
#[derive(Debug, Default)]
pub struct Clock {
    skew_seconds: AtomicI64,
}

impl Clock {
    /// Now, as the region believes.
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::seconds(self.skew_seconds.load(Ordering::Relaxed))
    }

    /// Sets how far the region's clock is ahead of this machine's.
    pub fn set_skew(&self, seconds: i64) {
        self.skew_seconds.store(seconds, Ordering::Relaxed);
    }
}

/// A date as OAPI writes it: `2026-11-22T12:34:56.789Z`.
pub fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

//! How far this machine's clock is from the cloud's, by the `Date` of its last answer.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

/// Less is the way of the network and the second that a date is rounded to.
const NOTABLE_SECONDS: i64 = 60;

/// An answer that is older says nothing of now.
const FRESH: chrono::TimeDelta = chrono::TimeDelta::hours(6);

/// What the last answer told.
#[derive(Debug, Default)]
pub struct ClockSkew(Mutex<Option<(i64, DateTime<Utc>)>>);

impl ClockSkew {
    /// An answer came at `now` by our clock, with this date.
    pub fn saw(&self, server: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        if let Some(server) = server {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(((now - server).num_seconds(), now));
        }
    }

    /// By how many seconds our clock is ahead (negative: behind), if that is worth telling.
    #[must_use]
    pub fn notable(&self, now: DateTime<Utc>) -> Option<i64> {
        let (skew, at) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        ((now - at) < FRESH && skew.abs() > NOTABLE_SECONDS).then_some(skew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_notable_and_fresh_skew_is_told() {
        let (skew, now) = (ClockSkew::default(), Utc::now());
        assert_eq!(skew.notable(now), None);
        let seconds = chrono::TimeDelta::seconds;
        for (ahead, told) in [(0, None), (59, None), (-60, None), (61, Some(61)), (-400, Some(-400))] {
            skew.saw(Some(now - seconds(ahead)), now);
            assert_eq!(skew.notable(now), told, "{ahead}");
        }
        skew.saw(None, now);
        assert_eq!(skew.notable(now), Some(-400), "an answer without a date tells nothing");
        assert_eq!(skew.notable(now + FRESH), None);
        skew.saw(Some(now), now);
        assert_eq!(skew.notable(now), None, "the clock was set");
    }
}

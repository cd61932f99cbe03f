//! How many calls a second the region takes from the account.

use std::time::Instant;

/// A bucket that fills at the allowed rate and holds one second's worth of calls.
#[derive(Debug, Default)]
pub struct RateLimit {
    per_second: Option<f64>,
    calls: f64,
    filled: Option<Instant>,
}

impl RateLimit {
    /// Another rate; `None` lifts the limit.
    pub fn set(&mut self, per_second: Option<f64>) {
        *self = Self { per_second, calls: per_second.unwrap_or(0.0).max(1.0), filled: Some(Instant::now()) };
    }

    /// Whether one more call may pass now.
    pub fn admits(&mut self) -> bool {
        self.admits_at(Instant::now())
    }

    fn admits_at(&mut self, now: Instant) -> bool {
        let Some(per_second) = self.per_second else { return true };
        let elapsed = self.filled.map_or(0.0, |filled| now.duration_since(filled).as_secs_f64());
        self.calls = (self.calls + elapsed * per_second).min(per_second.max(1.0));
        self.filled = Some(now);
        if self.calls < 1.0 {
            return false;
        }
        self.calls -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_s_worth_of_calls_passes_at_once_and_then_no_more() {
        let mut limit = RateLimit::default();
        assert!((0..100).all(|_| limit.admits()));
        limit.set(Some(3.0));
        let later = Instant::now() + Duration::from_secs(60);
        let passed = (0..10).filter(|_| limit.admits_at(later)).count();
        assert_eq!(passed, 3);
        assert!(limit.admits_at(later + Duration::from_millis(350)));
        assert!(!limit.admits_at(later + Duration::from_millis(350)));
        limit.set(None);
        assert!(limit.admits());
    }
}

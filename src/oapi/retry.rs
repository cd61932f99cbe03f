//! When a call is tried again, and after how long. Pure decisions; the client sends and sleeps.

use std::time::Duration;

use rand::Rng;

use super::error::OapiError;

/// Bounds of trying again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries of one call, the first included. Throttled tries do not count, since the call was not run.
    pub tries: u32,
    /// The wait before the n-th retry is drawn between zero and `base · 2ⁿ⁻¹`, at most `longest`.
    pub base: Duration,
    /// See `base`.
    pub longest: Duration,
    /// After this long since the first try no other one is begun.
    pub total: Duration,
    /// The same while OUTSCALE does nothing but throttle.
    pub total_throttled: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: 6,
            base: Duration::from_millis(400),
            longest: Duration::from_secs(15),
            total: Duration::from_secs(120),
            total_throttled: Duration::from_secs(600),
        }
    }
}

impl RetryPolicy {
    /// A policy that never tries again.
    pub fn once() -> Self {
        Self { tries: 1, total_throttled: Duration::ZERO, ..Self::default() }
    }

    /// How long to wait before the next try, or `None` to give the error to the caller.
    ///
    /// `repeatable` says whether running the call twice does no harm; `retry_after` is what the answer asked for.
    pub(super) fn wait(
        &self,
        error: &OapiError,
        repeatable: bool,
        tried: &Tried,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let throttled = matches!(error, OapiError::Throttled { .. });
        // What this one try did matters here, not what an earlier one may have done: the error is not yet marked so.
        let again = throttled || (error.is_transient() && (repeatable || !error.may_have_taken_effect()));
        if !again || (!throttled && tried.failures >= self.tries) {
            return None;
        }
        let step = if throttled { tried.throttles } else { tried.failures };
        let most = self.base.saturating_mul(1 << step.saturating_sub(1).min(16)).min(self.longest);
        let drawn = rand::rng().random_range(Duration::ZERO..=most);
        let wait = drawn.max(retry_after.unwrap_or_default().min(self.longest));
        let total = if throttled { self.total_throttled } else { self.total };
        (tried.elapsed.saturating_add(wait) <= total).then_some(wait)
    }
}

/// What was tried so far of one call.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tried {
    /// Tries that failed otherwise than by throttling.
    pub failures: u32,
    /// Tries that were throttled.
    pub throttles: u32,
    /// Since the first try began.
    pub elapsed: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed_out(maybe_done: bool) -> OapiError {
        OapiError::TimedOut { action: "CreateImage", maybe_done }
    }

    fn throttled() -> OapiError {
        OapiError::Throttled { action: "CreateImage", code: Some(24), request_id: None, maybe_done: false }
    }

    fn failed(times: u32) -> Tried {
        Tried { failures: times, ..Tried::default() }
    }

    #[test]
    fn a_call_that_may_have_run_is_repeated_only_if_that_does_no_harm() {
        let policy = RetryPolicy::default();
        assert!(policy.wait(&timed_out(true), false, &failed(1), None).is_none());
        assert!(policy.wait(&timed_out(true), true, &failed(1), None).is_some());
        assert!(policy.wait(&timed_out(false), false, &failed(1), None).is_some());
    }

    #[test]
    fn tries_and_total_time_are_bounded() {
        let policy = RetryPolicy::default();
        assert!(policy.wait(&timed_out(true), true, &failed(policy.tries), None).is_none());
        let late = Tried { failures: 1, elapsed: policy.total + Duration::from_secs(1), ..Tried::default() };
        assert!(policy.wait(&timed_out(true), true, &late, None).is_none());
        let throttles = |elapsed| Tried { throttles: 100, elapsed, ..Tried::default() };
        assert!(policy.wait(&throttled(), false, &throttles(policy.total), None).is_some());
        assert!(policy.wait(&throttled(), false, &throttles(policy.total_throttled * 2), None).is_none());
    }

    #[test]
    fn a_wait_is_jittered_and_never_longer_than_allowed() {
        let policy = RetryPolicy::default();
        for failures in 1..policy.tries {
            let most = (policy.base * 2_u32.pow(failures - 1)).min(policy.longest);
            let waits: Vec<_> = (0..50)
                .filter_map(|_| policy.wait(&timed_out(true), true, &failed(failures), None))
                .collect();
            assert_eq!(waits.len(), 50);
            assert!(waits.iter().all(|wait| *wait <= most));
            assert!(waits.iter().any(|wait| *wait != waits[0]));
        }
    }

    #[test]
    fn what_the_answer_asks_for_is_waited_within_bounds() {
        let policy = RetryPolicy::default();
        let asked = Some(Duration::from_secs(7));
        assert!(policy.wait(&throttled(), true, &Tried { throttles: 1, ..Tried::default() }, asked) >= asked);
        let rude = Some(Duration::from_secs(86_400));
        let wait = policy.wait(&throttled(), true, &Tried { throttles: 1, ..Tried::default() }, rude);
        assert_eq!(wait, Some(policy.longest));
    }
}

//! Stopping a run from outside: one token that every wait watches, and the reason, which decides what happens next.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use tokio_util::sync::CancellationToken;

use super::error::StepError;

/// Why a run has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked for it: clean up, end as cancelled.
    Cancelled,
    /// The build's time is over: clean up, end as failed.
    TimedOut,
    /// The step's own time is over: clean up, end as failed.
    StepTimedOut,
    /// Another worker has the run by now: touch nothing.
    LeaseLost,
    /// This worker shuts down: touch nothing more, another one goes on.
    HandOver,
}

impl StopReason {
    /// Whether this worker still has to clean up.
    #[must_use]
    pub const fn leaves_cleanup_here(self) -> bool {
        matches!(self, Self::Cancelled | Self::TimedOut | Self::StepTimedOut)
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "the build was cancelled",
            Self::TimedOut => "the build's time is over",
            Self::StepTimedOut => "the step's time is over",
            Self::LeaseLost => "another worker has the run",
            Self::HandOver => "this worker shuts down",
        })
    }
}

/// Tells a run to stop. Clones share the same state; the first reason stands, but losing the run overrides it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    bake: CancellationToken,
    abandon: CancellationToken,
    reason: Arc<OnceLock<StopReason>>,
    abandoned: Arc<OnceLock<StopReason>>,
    /// Of one step, when its own time is over.
    step: Arc<OnceLock<StopReason>>,
}

impl Stop {
    /// Asks the run to stop.
    pub fn now(&self, reason: StopReason) {
        if reason.leaves_cleanup_here() {
            let _ = self.reason.set(reason);
        } else {
            let _ = self.abandoned.set(reason);
            self.abandon.cancel();
        }
        self.bake.cancel();
    }

    /// Why the run has to stop, if it has to.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.abandoned.get().or_else(|| self.reason.get()).or_else(|| self.step.get()).copied()
    }

    /// Fails if the run has to stop.
    ///
    /// # Errors
    /// [`StepError::Stopped`] with the reason.
    pub fn check(&self) -> Result<(), StepError> {
        self.reason().map_or(Ok(()), |reason| Err(StepError::Stopped(reason)))
    }

    /// What waits of the bake watch.
    #[must_use]
    pub const fn token(&self) -> &CancellationToken {
        &self.bake
    }

    /// What waits of the cleanup watch: a cancelled build is still cleaned up, a lost one is not.
    #[must_use]
    pub const fn abandon_token(&self) -> &CancellationToken {
        &self.abandon
    }

    /// The same run while it cleans up: only losing it stops it.
    #[must_use]
    pub fn for_cleanup(&self) -> Self {
        Self {
            bake: self.abandon.clone(),
            abandon: self.abandon.clone(),
            reason: Arc::new(OnceLock::new()),
            abandoned: self.abandoned.clone(),
            step: Arc::default(),
        }
    }

    /// The same run in one of its steps, which [`Stop::step_is_late`] can stop alone.
    #[must_use]
    pub fn for_step(&self) -> Self {
        Self { bake: self.bake.child_token(), step: Arc::default(), ..self.clone() }
    }

    /// Stops the step that this is for, and nothing else.
    pub fn step_is_late(&self) {
        let _ = self.step.set(StopReason::StepTimedOut);
        self.bake.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_run_still_cleans_up_until_it_is_lost() {
        let stop = Stop::default();
        let cleanup = stop.for_cleanup();
        stop.now(StopReason::Cancelled);
        stop.now(StopReason::TimedOut);
        assert_eq!(stop.reason(), Some(StopReason::Cancelled));
        assert!(stop.token().is_cancelled());
        assert!(cleanup.check().is_ok());
        assert!(!cleanup.token().is_cancelled());

        let step = Stop::default();
        let late = step.for_step();
        late.step_is_late();
        assert_eq!(late.reason(), Some(StopReason::StepTimedOut));
        assert!(late.token().is_cancelled() && !step.token().is_cancelled() && step.check().is_ok());

        stop.now(StopReason::LeaseLost);
        assert_eq!(stop.reason(), Some(StopReason::LeaseLost));
        assert!(cleanup.check().is_err());
        assert!(cleanup.token().is_cancelled());
    }
}

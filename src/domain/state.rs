//! States of builds, runs and steps, and the moves between them.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        #[sqlx(type_name = "text", rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every word there is, in the order of life.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in the database and in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|state| state.as_str() == text).ok_or_else(|| {
                    let words: Vec<_> = Self::ALL.iter().map(|state| state.as_str()).collect();
                    format!("`{text}` is none of {}", words.join(", "))
                })
            }
        }
    };
}

words! {
    /// queued ──▶ running ──▶ succeeded
    ///   │           ├──────▶ failed
    ///   └───────────┴──────▶ cancelled
    RunState {
        /// Waits for a worker.
        Queued = "queued",
        /// A worker holds the lease, or held it and has not been replaced yet.
        Running = "running",
        /// Its artifacts are ready.
        Succeeded = "succeeded",
        /// It ended with an error.
        Failed = "failed",
        /// Somebody stopped it.
        Cancelled = "cancelled",
    }
}

words! {
    /// The same words as for a run; derived from its runs by [`BuildState::of_runs`].
    BuildState {
        /// No run has started.
        Queued = "queued",
        /// At least one run has started and at least one has not ended.
        Running = "running",
        /// Every run succeeded.
        Succeeded = "succeeded",
        /// At least one run failed and all have ended.
        Failed = "failed",
        /// All have ended, none failed, at least one was cancelled.
        Cancelled = "cancelled",
    }
}

words! {
    /// What is known about the removal of what a run made.
    CleanupState {
        /// Nothing was made yet, or nothing needs removal.
        None = "none",
        /// Something still has to be removed.
        Pending = "pending",
        /// All is removed.
        Done = "done",
        /// Removal failed for now; the reaper goes on trying.
        Failed = "failed",
    }
}

words! {
    /// What came of the request to destroy what a run announced.
    DestroyState {
        /// A worker will do it.
        Pending = "pending",
        /// All of it is gone.
        Done = "done",
        /// The cloud refused some of it, which stays.
        Refused = "refused",
    }
}

words! {
    /// The life of one step in one attempt.
    StepState {
        /// Under way.
        Running = "running",
        /// Done; its output is in the journal.
        Succeeded = "succeeded",
        /// Ended with an error.
        Failed = "failed",
        /// Stopped by a cancel or by the loss of its worker.
        Interrupted = "interrupted",
    }
}

impl RunState {
    /// Whether nothing will change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl BuildState {
    /// Whether nothing will change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The state of a build whose runs are in these states.
    #[must_use]
    pub fn of_runs(runs: &[RunState]) -> Self {
        if runs.iter().all(|run| *run == RunState::Queued) {
            return Self::Queued;
        }
        if runs.iter().any(|run| !run.is_final()) {
            return Self::Running;
        }
        if runs.contains(&RunState::Failed) {
            Self::Failed
        } else if runs.contains(&RunState::Cancelled) {
            Self::Cancelled
        } else {
            Self::Succeeded
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_what_its_runs_are() {
        use RunState::{Cancelled, Failed, Queued, Running, Succeeded};
        let cases: &[(&[RunState], BuildState)] = &[
            (&[Queued, Queued], BuildState::Queued),
            (&[Queued, Running], BuildState::Running),
            (&[Queued, Succeeded], BuildState::Running),
            (&[Failed, Running], BuildState::Running),
            (&[Succeeded, Succeeded], BuildState::Succeeded),
            (&[Succeeded, Failed, Cancelled], BuildState::Failed),
            (&[Succeeded, Cancelled], BuildState::Cancelled),
        ];
        for (runs, expected) in cases {
            assert_eq!(BuildState::of_runs(runs), *expected, "{runs:?}");
        }
    }

    #[test]
    fn words_are_read_back() {
        for state in BuildState::ALL {
            assert_eq!(state.as_str().parse::<BuildState>(), Ok(*state));
        }
        assert!("done".parse::<BuildState>().is_err());
    }
}

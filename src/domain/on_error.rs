//! What happens to the VM and the other resources of a run that failed, and how a held run goes on.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// What happens after an error; the words are those of `packer build -on-error`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// Everything the run made is removed.
    #[default]
    Cleanup,
    /// Everything stays for a while, then it is removed.
    Abort,
    /// The run waits for a person, with its VM as it is; Packer's `ask`.
    #[serde(alias = "ask")]
    Hold,
    /// The error-cleanup provisioner runs, then as `abort`.
    RunCleanupProvisioner,
}

impl OnError {
    /// Every one there is.
    pub const ALL: &'static [Self] = &[Self::Cleanup, Self::Abort, Self::Hold, Self::RunCleanupProvisioner];

    /// The word in requests and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cleanup => "cleanup",
            Self::Abort => "abort",
            Self::Hold => "hold",
            Self::RunCleanupProvisioner => "run-cleanup-provisioner",
        }
    }

    /// How long things stay if the request does not say: for a person who waits, or until the next working day.
    #[must_use]
    pub const fn usual_time(self) -> Duration {
        match self {
            Self::Cleanup => Duration::ZERO,
            Self::Hold => Duration::from_secs(3600),
            Self::Abort | Self::RunCleanupProvisioner => Duration::from_secs(24 * 3600),
        }
    }
}

impl fmt::Display for OnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OnError {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = if text == "ask" { "hold" } else { text };
        Self::ALL.iter().copied().find(|action| action.as_str() == word).ok_or_else(|| {
            "must be `cleanup`, `abort`, `hold` (Packer's `ask`) or `run-cleanup-provisioner`".to_owned()
        })
    }
}

/// How a held run goes on.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Release {
    /// What it made is removed.
    #[default]
    Cleanup,
    /// It ends; what it made stays for a while, as with `on_error: abort`.
    Keep,
    /// The step that failed is run again, on the same VM.
    Retry,
}

impl Release {
    /// The word in requests and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cleanup => "cleanup",
            Self::Keep => "keep",
            Self::Retry => "retry",
        }
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Cleanup, Self::Keep, Self::Retry];
        all.into_iter()
            .find(|way| way.as_str() == text)
            .ok_or_else(|| "must be `cleanup`, `keep` or `retry`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_packer_are_understood() {
        for action in OnError::ALL {
            assert_eq!(action.as_str().parse(), Ok(*action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
        assert_eq!("ask".parse(), Ok(OnError::Hold));
        assert_eq!(serde_json::from_str::<OnError>("\"ask\"").unwrap(), OnError::Hold);
        assert!("explode".parse::<OnError>().is_err());
    }
}

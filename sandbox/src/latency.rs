//! How long things take: a delay per call, and one per change of state. `none` is for tests, `realistic` for a
//! feeling of the cloud, a TOML file for everything else.

use std::{collections::HashMap, path::Path, str::FromStr, time::Duration};

use serde::Deserialize;

/// Delays in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// Of every call that `calls` does not name.
    pub call_ms: u64,
    /// Of single calls, by action.
    pub calls: HashMap<String, u64>,
    /// Of changes of state.
    pub changes: Changes,
}

/// The changes of state that take time, in milliseconds each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Changes {
    /// VM `pending` → `running` (or `stopped` without boot).
    pub vm_pending: u64,
    /// VM `stopping` → `stopped`.
    pub vm_stopping: u64,
    /// VM `shutting-down` → `terminated`.
    pub vm_shutting_down: u64,
    /// Volume `creating` → `available`.
    pub volume_creating: u64,
    /// Link `attaching` → `attached`.
    pub volume_attaching: u64,
    /// Link `detaching` → gone.
    pub volume_detaching: u64,
    /// Volume `deleting` → gone.
    pub volume_deleting: u64,
    /// A volume's update task.
    pub volume_updating: u64,
    /// Snapshot `in-queue` → `pending`.
    pub snapshot_in_queue: u64,
    /// Snapshot `pending` → `completed`.
    pub snapshot_pending: u64,
    /// Image `pending` → `available`, after its snapshots.
    pub image_pending: u64,
}

impl Latency {
    /// Roughly the cloud's own times.
    pub fn realistic() -> Self {
        let calls = [("CreateVms", 900), ("CreateImage", 700), ("CreateKeypair", 350)];
        Self {
            call_ms: 150,
            calls: calls.into_iter().map(|(action, delay)| (action.to_owned(), delay)).collect(),
            changes: Changes {
                vm_pending: 15_000,
                vm_stopping: 20_000,
                vm_shutting_down: 10_000,
                volume_creating: 3_000,
                volume_attaching: 2_000,
                volume_detaching: 2_000,
                volume_deleting: 5_000,
                volume_updating: 5_000,
                snapshot_in_queue: 20_000,
                snapshot_pending: 30_000,
                image_pending: 5_000,
            },
        }
    }

    /// Reads a profile from a file.
    pub fn from_file(path: &Path) -> anyhow::Result<Self> {
        use anyhow::Context;
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read the latency profile {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("the latency profile {} is not valid", path.display()))
    }

    /// The delay of a call's answer.
    pub fn of_call(&self, action: &str) -> Duration {
        Duration::from_millis(self.calls.get(action).copied().unwrap_or(self.call_ms))
    }

    /// Whether this profile imitates the cloud's slowness; quirks scale with it.
    pub fn is_slow(&self) -> bool {
        self.changes.vm_shutting_down >= 1_000
    }
}

impl FromStr for Latency {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::default()),
            "realistic" => Ok(Self::realistic()),
            path => Self::from_file(Path::new(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_file_names_calls_and_changes() {
        let profile: Latency =
            toml::from_str("call_ms = 5\n[calls]\nCreateVms = 7\n[changes]\nvm_pending = 11\n").unwrap();
        assert_eq!(profile.of_call("CreateVms"), Duration::from_millis(7));
        assert_eq!(profile.of_call("ReadVms"), Duration::from_millis(5));
        assert_eq!(profile.changes.vm_pending, 11);
        assert!(toml::from_str::<Latency>("[changes]\nvm_pendign = 11\n").is_err());
    }
}

//! Works on runs: claims them, keeps their leases, bakes, cleans up, ends them; drains at shutdown; takes over from lost
//! workers. How an image is baked is `bake`'s, who may claim what is `queue`'s.

mod afterwards;
mod ending;
mod heartbeat;
mod kitchen;
mod planning;
mod pool;
mod reaper;
mod run;
mod told_keys;
mod wakeups;

pub use kitchen::Kitchen;
pub use pool::serve;

use std::time::Duration;

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Its id: unique among all replicas and restarts.
    pub id: String,
    /// The machine it runs on, for people.
    pub hostname: String,
    /// Runs at the same time.
    pub slots: usize,
    /// What it can do beside the usual, e.g. `chroot`.
    pub capabilities: Vec<String>,
    /// How long a lease holds without renewal.
    pub lease: Duration,
    /// How long runs may go on after the signal to drain, before they are handed over.
    pub grace: Duration,
}

impl WorkerSettings {
    /// Between two renewals: early enough for two of them to fail.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        self.lease / 3
    }
}

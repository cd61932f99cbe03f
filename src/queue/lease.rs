//! The right to work on a run: who holds it proves it with a token that grows with every claim.

use crate::domain::{BuildId, RunId};

/// Held by one worker at a time. Every write of a worker carries it; one that finds the token outdated stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The run.
    pub run: RunId,
    /// Its build.
    pub build: BuildId,
    /// The fencing token: `runs.lease_token` at the claim.
    pub token: i64,
    /// The holder's id.
    pub worker: String,
}

//! Planned misfortune: errors, delays, held calls, lost connections and failing resources, by action and by how often it
//! was called. The HTTP front asks for the fault of each call and acts on it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;

/// A fault as `POST /sandbox/faults` takes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// The action that it strikes.
    pub action: String,
    /// The first call (counted from when the fault was set, from 1) that it strikes.
    pub nth: Option<u64>,
    /// How many calls in a row it strikes; absent: one.
    pub times: Option<u64>,
    /// The code of an error to answer instead of doing anything.
    pub code: Option<u32>,
    /// The HTTP status of that error, if it is not the code's own.
    pub status: Option<u16>,
    /// The type of that error, if it is not the code's own.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The details of that error.
    pub details: Option<String>,
    /// Whether that error is answered after the call had its effect, instead of before.
    pub after_effect: bool,
    /// Raw text to answer instead of JSON (a gateway's error page).
    pub body: Option<String>,
    /// Whether the call is held, before it is looked at, until the faults are cleared. Tests that have to see something
    /// happen meanwhile then need not guess how long that takes.
    pub hold: bool,
    /// A delay before the call is looked at.
    pub delay_ms: Option<u64>,
    /// Where the connection breaks: before the call has its effect, or after.
    pub drop: Option<Drop>,
    /// How long what the call makes stays invisible.
    pub invisible_ms: Option<u64>,
    /// The state in which what the call makes ends up instead of the good one.
    pub state: Option<String>,
}

/// When a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drop {
    /// The call never happens.
    Before,
    /// The call happens and its answer is lost.
    After,
}

impl Fault {
    /// The error to answer with, if this fault is one.
    pub fn error(&self) -> Option<ApiError> {
        if self.code.is_none() && self.status.is_none() && self.kind.is_none() {
            return None;
        }
        let mut error = match (self.code, self.status) {
            (None, Some(status)) if status >= 500 => ApiError::internal("Internal error."),
            (code, _) => ApiError::new(code.unwrap_or(0), "Fault injected by the sandbox."),
        };
        if let Some(status) = self.status {
            error.status = status;
        }
        if let Some(kind) = &self.kind {
            error.kind = kind.clone();
        }
        if let Some(details) = &self.details {
            error.details = details.clone();
        }
        Some(error)
    }
}

/// A fault that has struck a call.
#[derive(Debug, Default)]
pub struct Struck {
    /// The fault.
    pub fault: Fault,
    release: CancellationToken,
}

impl Struck {
    /// Waits until the call may be looked at.
    pub async fn wait(&self) {
        if self.fault.hold {
            self.release.cancelled().await;
        }
        if let Some(delay) = self.fault.delay_ms {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
    }
}

/// The faults that are set, with the calls seen since.
#[derive(Debug, Default)]
pub struct Faults {
    set: Mutex<Set>,
}

#[derive(Debug, Default)]
struct Set {
    /// Those that still wait to strike, each with the calls that it has seen.
    waiting: Vec<(Fault, u64)>,
    /// Lets go what has been held since the faults were last cleared.
    release: CancellationToken,
}

impl Faults {
    /// Sets one more.
    pub fn add(&self, fault: Fault) {
        self.set().waiting.push((fault, 0));
    }

    /// Forgets all, and lets go the calls that are held.
    pub fn clear(&self) {
        std::mem::take(&mut *self.set()).release.cancel();
    }

    /// Those that still wait to strike. One that is not among them any more holds its calls by now, if it holds calls.
    pub fn list(&self) -> Vec<Fault> {
        self.set().waiting.iter().map(|(fault, _)| fault.clone()).collect()
    }

    /// Counts a call of this action, and answers the fault that strikes it. Used-up faults disappear.
    pub fn strike(&self, action: &str) -> Option<Struck> {
        let mut set = self.set();
        let mut struck = None;
        for (fault, calls) in
            set.waiting.iter_mut().filter(|(fault, _)| fault.action == action || fault.action == "*")
        {
            *calls += 1;
            let first = fault.nth.unwrap_or(1).max(1);
            if *calls >= first && *calls - first < fault.times.unwrap_or(1) && struck.is_none() {
                struck = Some(fault.clone());
            }
        }
        set.waiting
            .retain(|(fault, calls)| *calls < fault.nth.unwrap_or(1).max(1) + fault.times.unwrap_or(1) - 1);
        struck.map(|fault| Struck { fault, release: set.release.clone() })
    }

    fn set(&self) -> MutexGuard<'_, Set> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_its_nth_calls_and_then_no_more() {
        let faults = Faults::default();
        faults.add(Fault { action: "CreateVms".into(), nth: Some(2), times: Some(2), ..Fault::default() });
        let struck: Vec<bool> = (0..5).map(|_| faults.strike("CreateVms").is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert!(faults.list().is_empty());
    }

    #[tokio::test]
    async fn calls_are_held_until_the_faults_are_cleared() {
        let faults = Faults::default();
        let hold = |times| Fault { action: "CreateVms".into(), hold: true, times, ..Fault::default() };
        faults.add(hold(Some(2)));
        let first = faults.strike("CreateVms").unwrap();
        assert_eq!(faults.list().len(), 1);
        let second = faults.strike("CreateVms").unwrap();
        assert!(faults.list().is_empty() && faults.strike("CreateVms").is_none());
        assert!(is_held(&first).await && is_held(&second).await);
        faults.clear();
        first.wait().await;
        second.wait().await;
        // What is set afterwards holds anew.
        faults.add(hold(None));
        assert!(is_held(&faults.strike("CreateVms").unwrap()).await);
    }

    async fn is_held(struck: &Struck) -> bool {
        tokio::select! {
            biased;
            () = struck.wait() => false,
            () = std::future::ready(()) => true,
        }
    }

    #[test]
    fn a_code_brings_its_own_status_unless_another_is_asked_for() {
        let plain = Fault { code: Some(10001), ..Fault::default() }.error().unwrap();
        assert_eq!((plain.status, plain.kind.as_str()), (400, "InsufficientCapacity"));
        let other = Fault { code: Some(10001), status: Some(409), ..Fault::default() }.error().unwrap();
        assert_eq!(other.status, 409);
        assert!(Fault { delay_ms: Some(1), ..Fault::default() }.error().is_none());
    }
}

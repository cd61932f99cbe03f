//! The record of all calls, for tests that count them.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;
use serde_json::Value;

/// How many calls are remembered.
const CAPACITY: usize = 100_000;

/// One call.
#[derive(Debug, Clone, Serialize)]
pub struct RecordedCall {
    pub time: String,
    pub action: String,
    pub request: Value,
    pub status: u16,
    pub duration_ms: u64,
    pub request_id: String,
    /// The code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// Whether the client got no answer: `before` or `after` the effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<crate::faults::Drop>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// All calls, in the order in which they ended.
#[derive(Debug, Default)]
pub struct Record {
    calls: Mutex<VecDeque<RecordedCall>>,
}

impl Record {
    /// Adds one.
    pub fn add(&self, call: RecordedCall) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == CAPACITY {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    /// All, or those of one action.
    pub fn list(&self, action: Option<&str>) -> Vec<RecordedCall> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| action.is_none_or(|action| call.action == action)).cloned().collect()
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

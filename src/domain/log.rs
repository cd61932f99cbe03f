//! Lines of a build's log, and where the output of a command goes.

use std::{future::Future, pin::Pin};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Stream {
    /// Standard output of something that ran in the VM.
    Stdout,
    /// Its standard error.
    Stderr,
    /// fournil itself.
    Ui,
}

/// A stored line. `seq` counts from 1 without gaps within a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct LogLine {
    /// Its number in the build.
    pub seq: i64,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// The run's name, e.g. `osc-bsu`.
    pub run: Option<String>,
    /// The step's name, e.g. `provision`.
    pub step: Option<String>,
    /// Where it came from.
    pub stream: Stream,
    /// The text without line end, secrets replaced.
    pub line: String,
}

/// Takes the output of commands and the remarks of steps. Awaiting a call is the back-pressure: a slow database
/// slows the source down, nothing is dropped.
pub trait Output: Send + Sync {
    /// Raw bytes as they came; cut into lines by the receiver.
    fn chunk<'a>(&'a self, stream: Stream, bytes: &'a [u8]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    /// One line of fournil's own (may hold line ends; each becomes a line).
    fn say<'a>(&'a self, line: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

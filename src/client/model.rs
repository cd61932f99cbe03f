//! The server's answers, as far as they are shown. A field that is missing or new does no harm, so that clients and
//! servers of different versions understand each other.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use crate::domain::{Artifact, BuildId, BuildState, Problem};

#[derive(Debug, Deserialize)]
pub struct Build {
    pub id: BuildId,
    pub state: BuildState,
    #[serde(default)]
    pub name: Option<String>,
    pub created_at: DateTime<Utc>,
    #[serde(default)]
    pub started_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub finished_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub cancel_requested: bool,
    #[serde(default)]
    pub notices: Vec<String>,
    #[serde(default)]
    pub error: Option<Value>,
    #[serde(default)]
    pub leftovers: Vec<Value>,
    #[serde(default)]
    pub runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
pub struct Run {
    pub name: String,
    #[serde(default)]
    pub builder: String,
    pub state: String,
    #[serde(default)]
    pub attempt: i32,
    #[serde(default)]
    pub step: Option<String>,
    #[serde(default)]
    pub waiting_for: Option<String>,
    #[serde(default)]
    pub steps_done: i32,
    #[serde(default)]
    pub steps_total: i32,
    #[serde(default)]
    pub cleanup: Option<String>,
    #[serde(default)]
    pub error: Option<Value>,
    #[serde(default)]
    pub destroy: Option<String>,
    #[serde(default)]
    pub artifacts: Vec<Value>,
}

/// An artifact with what became of it.
#[derive(Debug, Deserialize)]
pub struct Announced {
    #[serde(flatten)]
    pub artifact: Artifact,
    #[serde(default)]
    pub removed_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub removal_error: Option<String>,
}

impl Run {
    /// The artifacts of kinds that this client knows.
    pub fn announced(&self) -> Vec<Announced> {
        self.artifacts.iter().filter_map(|artifact| Announced::deserialize(artifact).ok()).collect()
    }

    /// Those that nobody has destroyed.
    pub fn artifacts(&self) -> Vec<Artifact> {
        let there = self.announced().into_iter().filter(|announced| announced.removed_at.is_none());
        there.map(|announced| announced.artifact).collect()
    }
}

#[derive(Debug, Deserialize)]
pub struct BuildList {
    pub builds: Vec<Build>,
    #[serde(default)]
    pub next: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Validation {
    #[serde(default)]
    pub runs: Vec<ValidRun>,
    #[serde(default)]
    pub notices: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct ValidRun {
    pub name: String,
    #[serde(default)]
    pub builder: String,
    #[serde(default)]
    pub omi_name: Option<String>,
    #[serde(default)]
    pub provisioners: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct ResourceList {
    pub resources: Vec<Resource>,
}

#[derive(Debug, Deserialize)]
pub struct Resource {
    pub kind: String,
    #[serde(default)]
    pub cloud_id: Option<String>,
    #[serde(default)]
    pub region: String,
    pub state: String,
    #[serde(default)]
    pub created_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub last_error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Line {
    pub seq: i64,
    #[serde(default)]
    pub at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub run: Option<String>,
    #[serde(default)]
    pub stream: String,
    #[serde(default)]
    pub line: String,
}

/// The error of a build or run as a problem; one of an unknown form as far as its text goes.
pub fn problem(value: &Value) -> Problem {
    Problem::deserialize(value).unwrap_or_else(|_| {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let detail = text("detail").map_or_else(|| value.to_string(), str::to_owned);
        Problem::new(500, text("code").unwrap_or("unknown"), text("title").unwrap_or("It failed"), detail)
    })
}

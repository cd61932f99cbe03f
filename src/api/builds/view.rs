//! A build as the API shows it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    bake::reach::Reach,
    domain::{Artifact, BuildId, BuildState, CleanupState, DestroyState, Problem, RunId, RunState, duration},
    store::builds::read::{BuildRow, LeftoverRow, RunRow},
};

/// An accepted request to bake.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(title = "Build")]
pub struct BuildView {
    /// UUIDv7: sorts by time of acceptance.
    pub id: BuildId,
    /// Follows from the states of its runs.
    pub state: BuildState,
    /// The name it was given.
    pub name: Option<String>,
    /// The client's own marks, by which builds can be listed.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub labels: Value,
    /// The stored set of credentials that it uses.
    pub credentials: Option<String>,
    /// Builds of higher priority start first.
    pub priority: i32,
    /// How long it may take from the start of its first run, e.g. `2h`.
    pub timeout: Option<String>,
    /// What happens after an error: `cleanup`, `abort`, `hold` or `run-cleanup-provisioner`.
    pub on_error: String,
    /// Who asked for it: a token's name, `oidc:SUBJECT`, or `local`.
    pub created_by: Option<String>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When its first run started.
    pub started_at: Option<DateTime<Utc>>,
    /// When its last run ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Grows with every change; the `ETag` of the build.
    pub version: i64,
    /// Whether somebody has asked for its end.
    pub cancel_requested: bool,
    /// The build that it repeats.
    pub retry_of: Option<BuildId>,
    /// What the user should know though it is no error.
    pub notices: Vec<String>,
    /// Why it failed: the error of the run that failed first.
    #[schema(value_type = Option<Problem>)]
    pub error: Option<Value>,
    /// What all runs have announced.
    #[schema(value_type = Vec<ArtifactView>)]
    pub artifacts: Vec<Value>,
    /// What is still to be removed in the cloud though the build has ended; fournil goes on removing it.
    pub leftovers: Vec<LeftoverRow>,
    /// One for each source of the template.
    pub runs: Vec<RunView>,
}

/// An artifact, and whether it is still there.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(title = "Artifact with its end")]
pub struct ArtifactView {
    /// What was announced.
    #[serde(flatten)]
    pub artifact: Artifact,
    /// When it was destroyed, with all that was behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<DateTime<Utc>>,
    /// Why it, or something behind it, could not be destroyed the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removal_error: Option<String>,
}

/// One source of a build.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(title = "Run")]
pub struct RunView {
    /// UUIDv7.
    pub id: RunId,
    /// Packer's name of it.
    pub name: String,
    /// The kind of builder.
    #[schema(example = "osc-bsu")]
    pub builder: String,
    /// Its state.
    pub state: RunState,
    /// From 1; grows when an interrupted run starts anew.
    pub attempt: i32,
    /// The worker that has it, or had it last.
    pub worker: Option<String>,
    /// The step it is in.
    pub step: Option<String>,
    /// Steps of this attempt that are done.
    pub steps_done: i32,
    /// Steps of the whole pipeline; 0: not known yet.
    pub steps_total: i32,
    /// What is known about the removal of what it made.
    pub cleanup: CleanupState,
    /// Why it failed.
    #[schema(value_type = Option<Problem>)]
    pub error: Option<Value>,
    /// When a worker first took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Until when its VM is held for a person (`on_error: hold`); `POST /builds/{id}/release` ends it before.
    pub held_until: Option<DateTime<Utc>>,
    /// How the held VM is reached.
    #[schema(value_type = Option<Reach>)]
    pub held: Option<Value>,
    /// When what it kept after an error (`on_error: abort`) is removed; `POST /builds/{id}/cleanup` does it before.
    pub kept_until: Option<DateTime<Utc>>,
    /// What came of the request to destroy its artifacts, if there was one.
    pub destroy: Option<DestroyState>,
    /// What a worker must be able to do for it, beside the ordinary: `chroot`, `shell-local`.
    pub requires: Vec<String>,
    /// Why it does not start, if no worker that is running could take it.
    pub waiting_for: Option<String>,
    /// What it has announced.
    #[schema(value_type = Vec<ArtifactView>)]
    pub artifacts: Vec<Value>,
}

impl From<BuildRow> for BuildView {
    fn from(row: BuildRow) -> Self {
        let runs: Vec<RunView> = row.runs.0.into_iter().map(RunView::from).collect();
        let timeout = row.timeout_ms.and_then(|millis| u64::try_from(millis).ok());
        Self {
            id: row.id,
            state: row.state,
            name: row.name,
            labels: row.labels,
            credentials: row.credentials,
            priority: row.priority,
            timeout: timeout.map(|millis| duration::format(std::time::Duration::from_millis(millis))),
            on_error: row.on_error,
            created_by: row.created_by,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            version: row.version,
            cancel_requested: row.cancel_requested_at.is_some(),
            retry_of: row.retry_of,
            notices: row.notices.0,
            error: row.error,
            artifacts: runs.iter().flat_map(|run| run.artifacts.iter().cloned()).collect(),
            leftovers: row.leftovers.0,
            runs,
        }
    }
}

fn waiting_for(requires: &[String]) -> String {
    let all: Vec<String> = requires.iter().map(|name| format!("`{name}`")).collect();
    let (word, list) = (if all.len() == 1 { "capability" } else { "capabilities" }, all.join(" and "));
    format!(
        "no worker with the {word} {list} is running: start one with `fournil serve --capabilities {}`",
        requires.join(",")
    )
}

impl From<RunRow> for RunView {
    fn from(row: RunRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            builder: row.builder,
            state: row.state,
            attempt: row.attempt,
            worker: row.worker,
            step: row.step,
            steps_done: row.steps_done,
            steps_total: row.steps_total,
            cleanup: row.cleanup,
            error: row.error,
            started_at: row.started_at,
            finished_at: row.finished_at,
            held_until: row.held_until,
            held: row.held,
            kept_until: row.kept_until,
            destroy: row.destroy,
            waiting_for: row.has_no_worker.then(|| waiting_for(&row.requires)),
            requires: row.requires,
            artifacts: row.artifacts,
        }
    }
}

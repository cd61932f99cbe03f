//! What people see: log lines as Packer writes them, tables, problems with their places.

use std::{
    error::Error,
    fmt,
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::model::{self, Build, Line};
use crate::domain::{Artifact, BuildState, Problem, duration};

/// Where a command prints: results to one side, remarks and errors to the other.
pub struct Terminal {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
}

impl Terminal {
    /// Prints to the given sides.
    pub fn new(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self { out: Mutex::new(Box::new(out)), err: Mutex::new(Box::new(err)) }
    }

    /// The process's own.
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(io::stdout(), io::stderr())
    }

    /// Prints nowhere.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self::new(io::sink(), io::sink())
    }

    /// A line of the result. Written through at once: whoever reads a log wants it now.
    pub(crate) fn say(&self, text: &str) -> io::Result<()> {
        write_line(hold(&self.out), text)
    }

    /// A line beside the result.
    pub(crate) fn remark(&self, text: &str) -> io::Result<()> {
        write_line(hold(&self.err), &format!("fournil: {text}"))
    }

    /// A line for people while the result is for programs.
    pub(crate) fn aside(&self, text: &str) -> io::Result<()> {
        write_line(hold(&self.err), text)
    }

    /// Why the command failed.
    pub(crate) fn error(&self, text: &str) -> io::Result<()> {
        write_line(hold(&self.err), &format!("Error: {text}"))
    }

    /// The same for programs.
    pub(super) fn error_json(&self, problem: &Problem) -> io::Result<()> {
        write_line(hold(&self.err), &serde_json::to_string_pretty(problem)?)
    }

    /// A result for programs.
    pub(crate) fn json(&self, value: &impl Serialize) -> io::Result<()> {
        self.say(&serde_json::to_string_pretty(value)?)
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

fn hold<'a>(side: &'a Mutex<Box<dyn Write + Send>>) -> MutexGuard<'a, Box<dyn Write + Send>> {
    side.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_line(mut side: MutexGuard<'_, Box<dyn Write + Send>>, text: &str) -> io::Result<()> {
    side.write_all(format!("{text}\n").as_bytes())?;
    side.flush()
}

/// As Packer writes it: remarks with an arrow, the output of the VM indented.
pub fn line(line: &Line, timestamps: bool) -> String {
    let arrow = if line.stream == "ui" { "==>" } else { "   " };
    let text = match &line.run {
        Some(run) => format!("{arrow} {run}: {}", line.line),
        None => format!("{arrow} {}", line.line),
    };
    match (timestamps, line.at) {
        (true, Some(at)) => format!("{} {text}", at.format("%Y-%m-%dT%H:%M:%SZ")),
        _ => text,
    }
}

/// An error with its causes.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\n  because: {error}"));
        cause = error.source();
    }
    text
}

/// A problem with everything that helps: each wrong place, advice, the cloud's own words, the request's id.
pub fn problem(problem: &Problem) -> String {
    let mut text = format!("{} ({})", problem.title, problem.code);
    let mut add = |line: String| {
        text.push_str("\n  ");
        text.push_str(&line.replace('\n', "\n  "));
    };
    // The detail of a problem with one place repeats that place.
    if !problem.detail.is_empty() && problem.errors.iter().all(|error| error.detail != problem.detail) {
        add(problem.detail.clone());
    }
    for error in &problem.errors {
        let place = match (error.line, error.column, &error.pointer) {
            (Some(line), Some(column), Some(pointer)) => {
                format!("line {line}, column {column} ({pointer}): ")
            }
            (Some(line), Some(column), None) => format!("line {line}, column {column}: "),
            (Some(line), None, _) => format!("line {line}: "),
            (None, _, Some(pointer)) => format!("{pointer}: "),
            (None, _, None) => String::new(),
        };
        add(format!("- {place}{}", error.detail));
    }
    if let Some(step) = &problem.step {
        add(format!("in step {step}"));
    }
    if let Some(oapi) = &problem.oapi {
        let mut words = Vec::new();
        words.extend(oapi.code.as_ref().map(|code| format!("code {code}")));
        words.extend(oapi.kind.clone());
        words.extend(oapi.details.as_ref().map(|details| format!("“{details}”")));
        words.extend(oapi.request_id.as_ref().map(|id| format!("(their request {id})")));
        // A call that got no answer has no words.
        if !words.is_empty() {
            add(format!("OUTSCALE answered {}: {}", oapi.action, words.join(" ")));
        }
    }
    for line in &problem.last_lines {
        add(format!("| {line}"));
    }
    if let Some(hint) = &problem.hint {
        add(format!("What to do: {hint}"));
    }
    if let Some(id) = &problem.request_id {
        add(format!("Request {id}"));
    }
    text
}

/// A problem whose wrong places were shown already.
pub fn summary(problem: &Problem) -> String {
    let mut problem = problem.clone();
    // The detail of a problem with one place repeats that place.
    if problem.errors.len() == 1 {
        problem.detail.clear();
    }
    problem.errors.clear();
    self::problem(&problem)
}

/// How a build ended. The last line of a success is `region: id`, which scripts written for Packer look for.
pub fn result(build: &Build) -> String {
    let took = match (build.started_at, build.finished_at) {
        (Some(started), Some(finished)) => {
            let whole = (finished - started).num_seconds().max(0).unsigned_abs();
            format!(" after {}", duration::format(std::time::Duration::from_secs(whole)))
        }
        _ => String::new(),
    };
    let mut lines = vec![String::new()];
    let head = match build.state {
        BuildState::Succeeded => "was successful",
        BuildState::Failed => "failed",
        BuildState::Cancelled => "was cancelled",
        BuildState::Queued => "is queued",
        BuildState::Running => "is running",
    };
    lines.push(format!("==> Build {} {head}{took}.", build.id));
    let failed: Vec<_> = build.runs.iter().filter_map(|run| Some((run, run.error.as_ref()?))).collect();
    for (run, error) in &failed {
        lines.push(format!("--> {}: {}", run.name, problem(&model::problem(error))));
    }
    if let (true, Some(error)) = (failed.is_empty(), &build.error) {
        lines.push(format!("--> {}", problem(&model::problem(error))));
    }
    if !build.leftovers.is_empty() {
        let count = build.leftovers.len();
        let id = build.id;
        lines.push(format!(
            "--> {count} resources are still to be removed; fournil goes on: `fournil resources {id}`"
        ));
    }
    for run in &build.runs {
        for announced in run.announced() {
            let end =
                announced.removed_at.map(|at| format!(", destroyed {}", moment(at))).unwrap_or_default();
            lines.push(format!("--> {}: {}{end}", run.name, describe(&announced.artifact)));
        }
    }
    lines.extend(build.runs.iter().flat_map(model::Run::artifacts).map(|artifact| place(&artifact)));
    lines.join("\n")
}

/// What it is, in words.
pub fn describe(artifact: &Artifact) -> String {
    match artifact {
        Artifact::Omi { name, snapshots, .. } if snapshots.is_empty() => format!("OMI `{name}`"),
        Artifact::Omi { name, snapshots, .. } => format!("OMI `{name}` with {}", snapshots.join(", ")),
        Artifact::Volume { device, size, snapshot: None, .. } => format!("volume {device} of {size} GiB"),
        Artifact::Volume { device, size, snapshot: Some(snapshot), .. } => {
            format!("volume {device} of {size} GiB with {snapshot}")
        }
    }
}

/// Its region and id.
pub fn place(artifact: &Artifact) -> String {
    match artifact {
        Artifact::Omi { region, id, .. } | Artifact::Volume { region, id, .. } => format!("{region}: {id}"),
    }
}

/// A build with its runs.
pub fn build(build: &Build) -> String {
    let mut lines = vec![format!("Build     {}", build.id)];
    let mut add = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("{name:<10}{value}")));
    };
    let asked = if build.cancel_requested && !super::follow::is_final(build.state) {
        ", being cancelled"
    } else {
        ""
    };
    add("State", Some(format!("{}{asked}", build.state)));
    add("Name", build.name.clone());
    add("Created", Some(moment(build.created_at)));
    add("Started", build.started_at.map(moment));
    add("Finished", build.finished_at.map(moment));
    for notice in &build.notices {
        add("Notice", Some(notice.clone()));
    }
    for run in build.runs.iter().filter(|run| run.waiting_for.is_some()) {
        add("Waiting", run.waiting_for.clone());
    }
    lines.push(String::new());
    let rows = build.runs.iter().map(|run| {
        let step = run.step.clone().unwrap_or_default();
        let progress = match run.steps_total {
            0 => step,
            total => format!("{}/{total} {step}", run.steps_done),
        };
        let cleanup = run.cleanup.clone().unwrap_or_default();
        vec![
            run.name.clone(),
            run.builder.clone(),
            run.state.clone(),
            run.attempt.to_string(),
            progress,
            cleanup,
        ]
    });
    lines.push(table(&["RUN", "BUILDER", "STATE", "ATTEMPT", "STEP", "CLEANUP"], rows));
    if super::follow::is_final(build.state) {
        lines.push(result(build));
    }
    lines.join("\n")
}

/// The rows of `fournil list`.
pub fn list_row(build: &Build) -> Vec<String> {
    let artifacts: Vec<_> =
        build.runs.iter().flat_map(model::Run::artifacts).map(|artifact| place(&artifact)).collect();
    let result = match (&build.error, build.state) {
        (Some(error), _) => model::problem(error).title,
        (None, BuildState::Running) => build.runs.iter().find_map(|run| run.step.clone()).unwrap_or_default(),
        (None, _) => artifacts.join(", "),
    };
    let name = build
        .name
        .clone()
        .unwrap_or_else(|| build.runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(", "));
    vec![build.id.to_string(), build.state.to_string(), moment(build.created_at), name, result]
}

/// UTC, to the second.
pub fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Columns as wide as their widest cell; the last one is not padded.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut all = vec![head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()];
    all.extend(rows);
    let width = |column: usize| {
        all.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let lines = all.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use crate::domain::problem::OapiProblem;

    use super::*;

    #[test]
    fn a_call_without_an_answer_is_given_no_words() {
        let oapi =
            OapiProblem { action: "ReadVms".into(), code: None, kind: None, details: None, request_id: None };
        let mut unreachable =
            Problem::new(502, "oapi_unreachable", "The cloud could not be reached", "No route.");
        unreachable.oapi = Some(oapi);
        assert_eq!(problem(&unreachable), "The cloud could not be reached (oapi_unreachable)\n  No route.");
        unreachable.oapi.as_mut().unwrap().code = Some("6".into());
        assert!(problem(&unreachable).ends_with("\n  OUTSCALE answered ReadVms: code 6"));
    }

    #[test]
    fn columns_fit_their_widest_cell_also_in_other_scripts() {
        let rows = vec![vec!["é".to_owned(), "x".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(table(&["A", "B"], rows), "A     B\né     x\nlong");
    }
}

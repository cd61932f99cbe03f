//! `GET /metrics`: numbers for Prometheus, counted in the database, so that every replica tells the same.

use std::fmt::Write;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::{AppState, problem::ApiError};
use crate::{
    domain::{BuildState, RunState},
    store::{
        builds::totals::{self, Count, Totals},
        workers::{self, WorkerRow},
    },
};

/// Shows queue, builds, ledger and workers in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operation",
    responses((status = 200, description = "The numbers.", body = String, content_type = "text/plain")),
)]
pub async fn metrics(State(state): State<AppState>) -> Result<Response, ApiError> {
    let mut db = state.store.acquire().await?;
    let totals = totals::totals(&mut db).await?;
    let workers = workers::all(&mut db).await?;
    let text = write(&totals, &workers, state.version);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn write(totals: &Totals, workers: &[WorkerRow], version: &str) -> String {
    let count = |counts: &[Count], word: &str| {
        counts.iter().find(|count| count.word == word).map_or(0, |found| found.count)
    };
    let mut text = Text::default();
    text.metric("fournil_builds", "Builds by state.");
    for state in BuildState::ALL {
        text.sample(
            "fournil_builds",
            &[("state", state.as_str())],
            count(&totals.builds, state.as_str()) as f64,
        );
    }
    text.metric("fournil_runs", "Runs by state; `queued` is the depth of the queue.");
    for state in RunState::ALL {
        text.sample("fournil_runs", &[("state", state.as_str())], count(&totals.runs, state.as_str()) as f64);
    }
    text.metric("fournil_queue_oldest_seconds", "How long the oldest run that can be claimed has waited.");
    text.sample("fournil_queue_oldest_seconds", &[], totals.oldest_queued_seconds);
    text.metric(
        "fournil_resources_live",
        "Cloud resources that a run works with or that are to be removed, by kind.",
    );
    for kind in ["keypair", "security_group", "public_ip", "vm", "volume", "snapshot", "image"] {
        text.sample("fournil_resources_live", &[("kind", kind)], count(&totals.resources, kind) as f64);
    }
    let singles = [
        ("fournil_cleanups_open", "Runs that have ended and whose cleanup has not.", totals.cleanups as f64),
        (
            "fournil_cleanup_oldest_seconds",
            "How long ago the oldest run ended whose cleanup has not.",
            totals.oldest_cleanup_seconds,
        ),
        (
            "fournil_cleanup_failing_resources",
            "Resources that could not be removed so far; fournil goes on trying.",
            totals.stubborn as f64,
        ),
        (
            "fournil_runs_kept",
            "Runs that keep what they made for a while after an error (on_error: abort).",
            totals.kept as f64,
        ),
        ("fournil_runs_held", "Runs whose VM is held for a person (on_error: hold).", totals.held as f64),
    ];
    for (name, help, value) in singles {
        text.metric(name, help);
        text.sample(name, &[], value);
    }
    text.metric("fournil_workers", "Worker processes.");
    for (word, draining) in [("false", false), ("true", true)] {
        let found = workers.iter().filter(|worker| worker.draining == draining).count();
        text.sample("fournil_workers", &[("draining", word)], found as f64);
    }
    text.metric("fournil_worker_slots", "Runs that all workers can work on at a time.");
    text.sample("fournil_worker_slots", &[], workers.iter().map(|worker| f64::from(worker.slots)).sum());
    text.metric("fournil_worker_slots_busy", "Runs that they work on now.");
    text.sample("fournil_worker_slots_busy", &[], workers.iter().map(|worker| f64::from(worker.busy)).sum());
    text.metric("fournil_info", "The version that runs here.");
    text.sample("fournil_info", &[("version", version)], 1.0);
    text.0
}

/// Prometheus' text format. Label values here are words without quotes or backslashes.
#[derive(Default)]
struct Text(String);

impl Text {
    fn metric(&mut self, name: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

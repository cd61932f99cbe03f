//! What people and programs are shown of a sweep: what was found, run by run, and what became of it.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    find::{Owner, Thing},
    judge::{Found, Verdict},
    remove::RemovalError,
};
use crate::{
    bake::cleanup::label,
    client::{Terminal, chain, moment, table},
    domain::RunId,
    store::ledger::ResourceKind,
};

/// Tells what goes on. Where the result is for programs, people read it beside.
pub struct Reporter<'a> {
    terminal: &'a Terminal,
    json: bool,
}

impl<'a> Reporter<'a> {
    /// Prints to this terminal.
    #[must_use]
    pub const fn new(terminal: &'a Terminal, json: bool) -> Self {
        Self { terminal, json }
    }

    /// Something beside the result.
    pub fn remark(&self, text: &str) {
        // Nobody to tell it to is no reason to stop in the middle.
        let _ = self.terminal.remark(text);
    }

    /// What became of a leftover.
    pub fn removal(&self, thing: &Thing, outcome: &Result<(), RemovalError>) {
        let what = named(thing);
        let text = match outcome {
            Ok(()) => format!("removed {what}"),
            Err(error) => {
                format!("could not remove {what}: {}\n  What to do: {}", chain(error), error.hint())
            }
        };
        let _ = if self.json { self.terminal.aside(&text) } else { self.terminal.say(&text) };
    }
}

/// `VM i-12345678`.
pub fn named(thing: &Thing) -> String {
    format!("{} {}", label(thing.kind), thing.id)
}

/// Where was looked, and with what.
#[derive(Debug, Serialize)]
pub struct Scene {
    /// The account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// The endpoint.
    pub endpoint: String,
    /// The ledger that was asked; absent: none.
    pub ledger: Option<LedgerShown>,
}

/// The ledger that was asked.
#[derive(Debug, Serialize)]
pub struct LedgerShown {
    /// Which database.
    pub database: String,
    /// How many builds it knows: none in one that is new.
    pub builds: i64,
}

/// The result for programs.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    #[serde(flatten)]
    scene: &'a Scene,
    /// All things listed, leftovers and others.
    found: Vec<FoundShown<'a>>,
}

#[derive(Debug, Serialize)]
struct FoundShown<'a> {
    kind: ResourceKind,
    id: &'a str,
    name: Option<&'a str>,
    run: Option<RunId>,
    build: Option<&'a str>,
    made_at: Option<DateTime<Utc>>,
    verdict: Verdict,
    why: &'a str,
    /// Only where it was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// For programs: what is listed, with what became of it.
#[must_use]
pub fn answer<'a>(scene: &'a Scene, listed: &[(&'a Found, Option<&Result<(), RemovalError>>)]) -> Answer<'a> {
    let shown = |(found, outcome): &(&'a Found, Option<&Result<(), RemovalError>>)| {
        let error = outcome.and_then(|outcome| outcome.as_ref().err());
        FoundShown {
            kind: found.thing.kind,
            id: &found.thing.id,
            name: found.thing.name.as_deref(),
            run: found.thing.run(),
            build: found.thing.build.as_deref(),
            made_at: found.thing.made_at.or(found.since),
            verdict: found.verdict,
            why: &found.why,
            removed: outcome.map(Result::is_ok),
            error: error.map(|error| chain(error)),
            hint: error.map(RemovalError::hint),
        }
    };
    Answer { scene, found: listed.iter().map(shown).collect() }
}

/// For people: one table a run.
#[must_use]
pub fn tables(scene: &Scene, listed: &[&Found]) -> String {
    let mut text = format!("Account {}, Region {} ({})", scene.account, scene.region, scene.endpoint);
    if let Some(ledger) = &scene.ledger {
        let plural = if ledger.builds == 1 { "" } else { "s" };
        let _ = write!(text, "; the ledger in {} knows {} build{plural}", ledger.database, ledger.builds);
    }
    let mut owners: Vec<&Owner> = Vec::new();
    for found in listed {
        if !owners.contains(&&found.thing.owner) {
            owners.push(&found.thing.owner);
        }
    }
    for owner in owners {
        let of_owner: Vec<_> = listed.iter().filter(|found| found.thing.owner == *owner).collect();
        let build = of_owner.iter().find_map(|found| found.thing.build.as_deref());
        let build = build.map(|build| format!(" of build {build}")).unwrap_or_default();
        let _ = match owner {
            Owner::Run(run) => write!(text, "\n\nRun {run}{build}\n"),
            Owner::Strange(value) => write!(text, "\n\nfournil:run = {value}\n"),
        };
        let rows = of_owner.iter().map(|found| {
            let thing = &found.thing;
            // A key pair's name is its id.
            vec![
                label(thing.kind).to_owned(),
                thing.id.clone(),
                thing.name.clone().unwrap_or_default(),
                thing.made_at.or(found.since).map(moment).unwrap_or_default(),
                format!("{}: {}", word(found.verdict), found.why),
            ]
        });
        text.push_str(&table(&["KIND", "ID", "NAME", "MADE (UTC)", ""], rows));
    }
    text
}

const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Leftover => "may go",
        Verdict::TooYoung => "too young",
        Verdict::InDoubt => "in doubt",
        Verdict::Artifact => "artifact",
        Verdict::Known => "known",
    }
}

/// The last words: how many of what, and what to do next.
#[must_use]
pub fn summary(found: &[Found], delete: bool, failed: usize) -> String {
    let count = |verdict| found.iter().filter(|found| found.verdict == verdict).count();
    let mut lines = Vec::new();
    let leftovers = count(Verdict::Leftover);
    match (leftovers, delete) {
        (0, _) => lines.push("Nothing to remove.".to_owned()),
        (1, false) => lines.push("1 leftover. `fournil sweep --delete` removes it.".to_owned()),
        (many, false) => lines.push(format!("{many} leftovers. `fournil sweep --delete` removes them.")),
        (many, true) => lines.push(format!("{} of {many} leftovers removed.", many - failed)),
    }
    match count(Verdict::TooYoung) {
        0 => {}
        young => lines.push(format!("{young} kept as too young; --older-than sets the age.")),
    }
    match count(Verdict::InDoubt) {
        0 => {}
        doubtful => lines.push(format!("{doubtful} kept in doubt; look at them yourself.")),
    }
    match (count(Verdict::Known), count(Verdict::Artifact)) {
        (0, 0) => {}
        (known, artifacts) => lines.push(format!(
            "{known} known to the ledger, {artifacts} of announced artifacts; --all lists them too."
        )),
    }
    lines.join("\n")
}

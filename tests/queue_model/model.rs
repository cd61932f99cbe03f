//! The queue as it should be, in memory: one operation after the other, and what each must answer. It keeps the same rows
//! as the database, and beside them what it needs to know who comes first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use fournil::{
    domain::{BuildId, BuildState, CleanupState, RunId, RunState, StepState},
    store::{builds::Cancellation, ledger::ResourceState},
};
use uuid::Uuid;

use crate::{
    operation::{CAPABILITY, Finish, NewBuild, Operation, SLOTS, STEPS, WORKERS, Write, capabilities},
    rows::{BuildRow, LeaseNow, ResourceRow, Row, Rows, RunRow, StepRow},
};

/// How many steps a run says it has.
pub const STEPS_TOTAL: i32 = 9;

/// What an operation answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// There was nothing to claim.
    Nothing,
    Claimed {
        run: RunId,
        token: i64,
        attempt: i32,
        taken_over: bool,
    },
    /// The runs whose lease holds, and whether they are to be cancelled.
    Renewed(BTreeMap<RunId, bool>),
    Cancellation(Cancellation),
    /// Whether the resource was in the ledger already.
    Intended {
        known: bool,
    },
    Attempt(i32),
    LeaseLost,
}

/// The rows that an operation may change: all others stay as they are, byte for byte.
#[derive(Debug, Default)]
pub struct Touched(pub BTreeSet<String>);

#[derive(Debug, Default)]
pub struct Model {
    builds: Vec<Build>,
    runs: Vec<Run>,
    claims: Vec<Claim>,
    /// Grows with every operation.
    now: u32,
}

#[derive(Debug)]
struct Build {
    row: BuildRow,
    /// A run was claimed since the state was derived; its worker says so with its first write.
    claimed_since: bool,
}

#[derive(Debug)]
struct Run {
    row: RunRow,
    build: usize,
    name: String,
    omi_key: Option<u8>,
    requires_capability: bool,
    priority: i32,
    /// Older runs first.
    age: (i64, usize, usize),
    /// When its time came; `None`: it has not yet.
    due: Option<u32>,
    finished: Option<u32>,
    steps: BTreeMap<(i32, usize), StepRow>,
    resources: BTreeMap<(i32, usize), ResourceRow>,
    /// How its present holder has ended it.
    given_back: Option<Finish>,
}

/// A lease as it was given out.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    pub run: usize,
    pub token: i64,
    pub worker: usize,
}

pub fn build_id(build: usize) -> BuildId {
    BuildId(Uuid::from_u128(0xb << 120 | build as u128))
}

pub fn run_id(run: usize) -> RunId {
    RunId(Uuid::from_u128(0xa << 120 | run as u128))
}

impl Run {
    fn live(&self) -> impl Iterator<Item = (i32, usize)> {
        self.resources.iter().filter(|(_, resource)| resource.is_live()).map(|(place, _)| *place)
    }

    fn is_ready_to_be_cleaned(&self) -> bool {
        self.row.state.is_final()
            && matches!(self.row.cleanup, CleanupState::Pending | CleanupState::Failed)
            && self.due.is_some()
            && self.row.lease != LeaseNow::Valid
    }

    fn claim(&mut self, worker: usize) -> i64 {
        self.row.worker = Some(WORKERS[worker].to_owned());
        self.row.token += 1;
        self.row.lease = LeaseNow::Valid;
        self.given_back = None;
        self.row.token
    }
}

/// What can be asked.
impl Model {
    pub fn builds(&self) -> usize {
        self.builds.len()
    }

    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// What the run of a claim will end as, if that is decided.
    pub fn outcome(&self, claim: usize) -> Option<RunState> {
        self.runs[self.claims[claim].run].row.outcome
    }

    pub fn claims(&self) -> usize {
        self.claims.len()
    }

    pub fn claim(&self, claim: usize) -> Claim {
        self.claims[claim]
    }

    pub fn last_claim(&self) -> Option<usize> {
        self.claims.len().checked_sub(1)
    }

    /// Whether the run has been claimed again or was handed over.
    pub fn is_outdated(&self, claim: usize) -> bool {
        let claim = self.claims[claim];
        self.runs[claim.run].row.token != claim.token
    }

    /// Whether the run of the claim has ended under it.
    pub fn is_given_back(&self, claim: usize) -> bool {
        self.runs[self.claims[claim].run].row.lease == LeaseNow::Free
    }

    pub fn runs_with_valid_lease(&self) -> Vec<usize> {
        self.runs_where(|run| run.row.lease == LeaseNow::Valid)
    }

    pub fn runs_that_wait(&self) -> Vec<usize> {
        self.runs_where(|run| run.due.is_none())
    }

    fn runs_where(&self, holds: impl Fn(&Run) -> bool) -> Vec<usize> {
        (0..self.runs.len()).filter(|run| holds(&self.runs[*run])).collect()
    }

    /// The name, attempt and place in the log of a claim's run.
    pub fn subject(&self, claim: usize) -> (&str, i32, BuildId, i64) {
        let run = &self.runs[self.claims[claim].run];
        (&run.name, run.row.attempt, run.row.build, self.builds[run.build].row.lines)
    }

    /// What the holder of a current lease can write next if it keeps to the worker's order of things.
    pub fn writes(&self, claim: usize) -> Vec<Write> {
        let run = &self.runs[self.claims[claim].run];
        // The answer to the last write was lost, so it comes again.
        if let Some(finish) = run.given_back {
            return vec![Write::Finish(finish)];
        }
        let mut writes = vec![Write::Log];
        for (attempt, slot) in run.live() {
            writes.extend([Write::Removed(attempt, slot), Write::RemovalFailed(attempt, slot)]);
        }
        match (run.row.state, run.row.outcome) {
            (RunState::Running, None) => {
                writes.push(Write::Begin);
                writes.extend(self.bakes(run));
            }
            (RunState::Running, Some(outcome)) => {
                writes.push(Write::Decide(outcome));
                writes.extend(self.finishes(run));
            }
            _ => writes.extend(self.finishes(run)),
        }
        writes
    }

    fn bakes(&self, run: &Run) -> Vec<Write> {
        let attempt = run.row.attempt;
        let mut writes = Vec::new();
        for step in 0..STEPS.len() {
            match run.steps.get(&(attempt, step)).map(|row| row.state) {
                Some(StepState::Succeeded) => {}
                Some(StepState::Running) => writes.extend([
                    Write::BeginStep(step),
                    Write::SucceedStep(step),
                    Write::FailStep(step, StepState::Failed),
                    Write::FailStep(step, StepState::Interrupted),
                ]),
                _ => writes.push(Write::BeginStep(step)),
            }
        }
        for slot in 0..SLOTS.len() {
            writes.push(Write::Intend(slot));
            if run.resources.get(&(attempt, slot)).is_some_and(|row| row.state == ResourceState::Intent) {
                writes.push(Write::Created(attempt, slot));
            }
        }
        if attempt < run.row.max_attempts {
            writes.push(Write::NextAttempt);
        }
        writes.extend([RunState::Succeeded, RunState::Failed, RunState::Cancelled].map(Write::Decide));
        writes
    }

    fn finishes(&self, run: &Run) -> Vec<Write> {
        let mut cleanups = vec![CleanupState::Pending, CleanupState::Failed];
        if run.resources.is_empty() {
            cleanups.push(CleanupState::None);
        } else if run.live().next().is_none() {
            cleanups.push(CleanupState::Done);
        }
        let finish = |cleanup| [false, true].map(|later| Write::Finish(Finish { cleanup, later }));
        cleanups.into_iter().flat_map(finish).collect()
    }

    /// What brings a claimed run to its end by the shortest way: the first write of it.
    pub fn way_out(&self, claim: usize) -> Option<Write> {
        let run = &self.runs[self.claims[claim].run];
        if run.given_back.is_some() {
            return None;
        }
        if run.row.outcome.is_none() {
            let cancelled = self.builds[run.build].row.cancel_requested;
            return Some(Write::Decide(if cancelled { RunState::Cancelled } else { RunState::Succeeded }));
        }
        if let Some((attempt, slot)) = run.live().next() {
            return Some(Write::Removed(attempt, slot));
        }
        let cleanup = if run.resources.is_empty() { CleanupState::None } else { CleanupState::Done };
        Some(Write::Finish(Finish { cleanup, later: false }))
    }

    /// The rows as the database must have them.
    pub fn rows(&self) -> Rows {
        let builds = self.builds.iter().map(|build| Row::Build(build.row.clone()));
        let runs = self.runs.iter().map(|run| Row::Run(run.row.clone()));
        let steps = self.runs.iter().flat_map(|run| run.steps.values().cloned().map(Row::Step));
        let resources = self.runs.iter().flat_map(|run| run.resources.values().cloned().map(Row::Resource));
        builds.chain(runs).chain(steps).chain(resources).map(|row| (row.key(), row)).collect()
    }

    pub fn omi_key(&self, run: RunId) -> Option<u8> {
        self.runs.iter().find(|row| row.row.id == run)?.omi_key
    }

    /// Whether the build's stored state may lag behind its runs.
    pub fn was_claimed_since(&self, build: BuildId) -> bool {
        self.builds.iter().any(|row| row.row.id == build && row.claimed_since)
    }
}

/// What happens.
impl Model {
    /// Does the operation; what it answers, and what it may change.
    pub fn apply(&mut self, operation: &Operation) -> (Answer, Touched) {
        self.now += 1;
        let before = self.rows();
        let answer = match operation {
            Operation::Submit(build) => self.submit(build),
            Operation::Claim { worker } => self.claim_next(*worker),
            Operation::ClaimCleanup { worker } => self.claim_next_cleanup(*worker),
            Operation::Renew { claims } => self.renew(claims),
            Operation::Expire { run } => {
                self.runs[*run].row.lease = LeaseNow::Expired;
                Answer::Done
            }
            Operation::HandOver { claim } => self.hand_over(*claim),
            Operation::Cancel { build } => Answer::Cancellation(self.cancel(*build)),
            Operation::Wake { run } => {
                self.runs[*run].due = Some(self.now);
                self.runs[*run].row.due = true;
                Answer::Done
            }
            Operation::Write { claim, .. } if self.is_outdated(*claim) => Answer::LeaseLost,
            Operation::Write { claim, write } => self.write(self.claims[*claim], write),
        };
        // What the reduced rows do not show: moments that move though nothing else does.
        let mut touched: BTreeSet<String> = match operation {
            Operation::Renew { claims } => {
                let current = claims.iter().filter(|claim| !self.is_outdated(**claim));
                current.map(|claim| format!("run {}", run_id(self.claims[*claim].run))).collect()
            }
            Operation::Write { claim, write } if answer != Answer::LeaseLost => {
                self.moments(self.claims[*claim].run, write)
            }
            _ => BTreeSet::new(),
        };
        let after = self.rows();
        touched
            .extend(after.into_iter().filter(|(key, row)| before.get(key) != Some(row)).map(|(key, _)| key));
        (answer, Touched(touched))
    }

    fn moments(&self, run: usize, write: &Write) -> BTreeSet<String> {
        let run = &self.runs[run];
        let row = match write {
            Write::BeginStep(step) | Write::SucceedStep(step) | Write::FailStep(step, _) => {
                run.steps.get(&(run.row.attempt, *step)).cloned().map(Row::Step)
            }
            Write::Created(attempt, slot) | Write::Removed(attempt, slot) => {
                run.resources.get(&(*attempt, *slot)).cloned().map(Row::Resource)
            }
            Write::Finish(_) => Some(Row::Run(run.row.clone())),
            _ => None,
        };
        row.iter().map(Row::key).collect()
    }

    fn submit(&mut self, new: &NewBuild) -> Answer {
        let number = self.builds.len();
        let id = build_id(number);
        for (ordinal, run) in new.runs.iter().enumerate() {
            let row = RunRow {
                id: run_id(self.runs.len()),
                build: id,
                state: RunState::Queued,
                attempt: 1,
                max_attempts: 2,
                step: None,
                steps_done: 0,
                steps_total: 0,
                cleanup: CleanupState::None,
                outcome: None,
                error: None,
                worker: None,
                token: 0,
                lease: LeaseNow::Free,
                due: !run.later,
                started: false,
                finished: false,
                artifacts: 0,
            };
            self.runs.push(Run {
                row,
                build: number,
                name: format!("run-{ordinal}"),
                omi_key: run.omi_key,
                requires_capability: run.requires_capability,
                priority: new.priority,
                age: (new.accepted, number, ordinal),
                due: (!run.later).then_some(self.now),
                finished: None,
                steps: BTreeMap::new(),
                resources: BTreeMap::new(),
                given_back: None,
            });
        }
        let row = BuildRow {
            id,
            state: BuildState::Queued,
            version: 2,
            events: 1,
            lines: 0,
            started: false,
            finished: false,
            cancel_requested: false,
            error: None,
        };
        self.builds.push(Build { row, claimed_since: false });
        Answer::Done
    }

    fn claim_next(&mut self, worker: usize) -> Answer {
        let able = capabilities(worker).iter().any(|capability| capability == CAPABILITY);
        let is_busy = |key, but: usize| {
            let mut others = self.runs.iter().enumerate().filter(|(other, _)| *other != but);
            others.any(|(_, other)| other.omi_key == Some(key) && other.row.state == RunState::Running)
        };
        let next = self
            .runs_where(|run| match run.row.state {
                RunState::Queued => run.due.is_some(),
                RunState::Running => run.row.lease == LeaseNow::Expired,
                _ => false,
            })
            .into_iter()
            .filter(|run| able || !self.runs[*run].requires_capability)
            .filter(|run| self.runs[*run].omi_key.is_none_or(|key| !is_busy(key, *run)))
            .min_by_key(|run| (Reverse(self.runs[*run].priority), self.runs[*run].age));
        let Some(number) = next else { return Answer::Nothing };
        let run = &mut self.runs[number];
        let taken_over = run.row.state == RunState::Running;
        run.row.state = RunState::Running;
        run.row.started = true;
        self.builds[run.build].claimed_since = true;
        self.claimed(number, worker, taken_over)
    }

    fn claim_next_cleanup(&mut self, worker: usize) -> Answer {
        let next =
            self.runs_where(Run::is_ready_to_be_cleaned).into_iter().min_by_key(|run| self.runs[*run].due);
        next.map_or(Answer::Nothing, |run| self.claimed(run, worker, false))
    }

    fn claimed(&mut self, number: usize, worker: usize, taken_over: bool) -> Answer {
        let run = &mut self.runs[number];
        let token = run.claim(worker);
        self.claims.push(Claim { run: number, token, worker });
        Answer::Claimed { run: run.row.id, token, attempt: run.row.attempt, taken_over }
    }

    fn renew(&mut self, claims: &[usize]) -> Answer {
        let mut renewed = BTreeMap::new();
        let current: Vec<_> = claims.iter().filter(|claim| !self.is_outdated(**claim)).collect();
        for claim in current {
            let run = &mut self.runs[self.claims[*claim].run];
            // One that was given back is not taken again by a heartbeat that comes late.
            if run.row.lease != LeaseNow::Free {
                run.row.lease = LeaseNow::Valid;
            }
            renewed.insert(run.row.id, self.builds[run.build].row.cancel_requested);
        }
        Answer::Renewed(renewed)
    }

    fn hand_over(&mut self, claim: usize) -> Answer {
        if !self.is_outdated(claim) {
            let run = &mut self.runs[self.claims[claim].run].row;
            run.lease = LeaseNow::Expired;
            run.token += 1;
            // It cannot be resumed there; the attempt that this costs is given back.
            run.max_attempts += i32::from(run.step.as_deref() == Some("provision"));
        }
        Answer::Done
    }

    fn cancel(&mut self, build: usize) -> Cancellation {
        let row = &mut self.builds[build].row;
        match row.state {
            BuildState::Cancelled => return Cancellation::Accepted,
            state if state.is_final() => return Cancellation::Finished(state),
            _ if row.cancel_requested => return Cancellation::Accepted,
            _ => row.cancel_requested = true,
        }
        for run in self.runs.iter_mut().filter(|run| run.build == build && run.row.state == RunState::Queued)
        {
            run.row.state = RunState::Cancelled;
            run.row.finished = true;
            run.finished = Some(self.now);
        }
        self.refresh(build);
        Cancellation::Accepted
    }

    fn write(&mut self, claim: Claim, write: &Write) -> Answer {
        let now = self.now;
        let run = &mut self.runs[claim.run];
        let build = run.build;
        let (attempt, id) = (run.row.attempt, run.row.id);
        match write {
            Write::Begin => {
                run.row.steps_total = STEPS_TOTAL;
                self.refresh(build);
            }
            Write::BeginStep(step) => {
                let begun = StepRow {
                    run: id,
                    attempt,
                    name: STEPS[*step].to_owned(),
                    state: StepState::Running,
                    output: None,
                };
                run.steps.insert((attempt, *step), begun);
                run.row.step = Some(STEPS[*step].to_owned());
                self.tell(build);
            }
            Write::SucceedStep(step) => {
                if let Some(row) = run.steps.get_mut(&(attempt, *step)) {
                    row.state = StepState::Succeeded;
                    row.output = Some(claim.token);
                }
                run.row.steps_done += 1;
                self.tell(build);
            }
            Write::FailStep(step, state) => {
                if let Some(row) = run.steps.get_mut(&(attempt, *step)) {
                    row.state = *state;
                }
                self.tell(build);
            }
            Write::Intend(slot) => return run.intend(*slot),
            Write::Created(attempt, slot) => {
                if let Some(row) = run.resources.get_mut(&(*attempt, *slot)) {
                    row.state = ResourceState::Created;
                    row.cloud_id = Some(format!("{}-{}", row.slot, claim.token));
                }
            }
            Write::Removed(attempt, slot) => {
                if let Some(row) = run.resources.get_mut(&(*attempt, *slot)) {
                    row.state = ResourceState::Removed;
                }
            }
            Write::RemovalFailed(attempt, slot) => {
                if let Some(row) = run.resources.get_mut(&(*attempt, *slot)) {
                    row.tries += 1;
                }
            }
            Write::Log => self.builds[build].row.lines += 1,
            Write::Decide(outcome) => {
                let artifacts = run.decide(*outcome);
                for _ in 0..artifacts {
                    self.tell(build);
                }
                self.refresh(build);
            }
            Write::NextAttempt => {
                run.row.attempt += 1;
                run.row.steps_done = 0;
                run.row.step = None;
                self.refresh(build);
                return Answer::Attempt(attempt + 1);
            }
            Write::Finish(finish) => {
                run.finish(*finish, now);
                self.refresh(build);
            }
        }
        Answer::Done
    }

    /// An event for the readers of the build.
    fn tell(&mut self, build: usize) {
        let row = &mut self.builds[build].row;
        row.version += 1;
        row.events += 1;
    }

    /// The build follows its runs.
    fn refresh(&mut self, number: usize) {
        let runs: Vec<&Run> = self.runs.iter().filter(|run| run.build == number).collect();
        let states: Vec<RunState> = runs.iter().map(|run| run.row.state).collect();
        let to_blame = runs
            .iter()
            .filter(|run| run.row.error.is_some() && run.row.state != RunState::Succeeded)
            .min_by_key(|run| (run.row.state != RunState::Failed, run.finished));
        let error = to_blame.and_then(|run| run.row.error.clone());
        let started = runs.iter().any(|run| run.row.started);
        let build = &mut self.builds[number];
        build.claimed_since = false;
        build.row.state = BuildState::of_runs(&states);
        build.row.started |= started;
        build.row.finished = build.row.state.is_final();
        build.row.error = error.filter(|_| build.row.finished);
        self.tell(number);
    }
}

/// The detail of the problem of a run that did not succeed.
pub fn problem_of(run: &str, outcome: RunState) -> Option<String> {
    (outcome != RunState::Succeeded).then(|| format!("{run} {outcome}"))
}

impl Run {
    fn intend(&mut self, slot: usize) -> Answer {
        let attempt = self.row.attempt;
        let earlier = self.resources.get(&(attempt, slot));
        if earlier.is_some_and(|row| row.state != ResourceState::Removed) {
            return Answer::Intended { known: true };
        }
        let (name, _, id_is_known) = SLOTS[slot];
        let row = ResourceRow {
            run: self.row.id,
            attempt,
            slot: name.to_owned(),
            state: if id_is_known { ResourceState::Created } else { ResourceState::Intent },
            cloud_id: id_is_known.then(|| name.to_owned()),
            tries: 0,
        };
        self.resources.insert((attempt, slot), row);
        Answer::Intended { known: false }
    }

    /// Answers how many artifacts were announced that were not before.
    fn decide(&mut self, outcome: RunState) -> i64 {
        self.row.outcome = Some(outcome);
        self.row.error = problem_of(&self.name, outcome);
        self.row.cleanup = CleanupState::Pending;
        self.row.step = Some("cleanup".to_owned());
        for step in self.steps.values_mut().filter(|step| step.state == StepState::Running) {
            step.state = StepState::Interrupted;
        }
        if outcome != RunState::Succeeded {
            return 0;
        }
        for ((attempt, slot), row) in &mut self.resources {
            let (_, stays, _) = SLOTS[*slot];
            if *attempt == self.row.attempt && stays && row.state == ResourceState::Created {
                row.state = ResourceState::Kept;
            }
        }
        let announced = 1 - self.row.artifacts;
        self.row.artifacts = 1;
        announced
    }

    fn finish(&mut self, finish: Finish, now: u32) {
        if let Some(outcome) = self.row.outcome {
            self.row.state = outcome;
        }
        self.row.cleanup = finish.cleanup;
        self.row.step = None;
        self.row.lease = LeaseNow::Free;
        self.row.finished = true;
        self.finished.get_or_insert(now);
        self.due = (!finish.later).then_some(now);
        self.row.due = !finish.later;
        self.given_back = Some(finish);
    }
}

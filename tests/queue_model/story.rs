//! Plays a sequence on the model and on the system at once, and compares them after every operation. What holds whatever
//! the model says is checked on the rows alone. In the end the queue is emptied, which must work from everywhere.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
};

use fournil::domain::{BuildState, CleanupState, RunState};
use sqlx::PgPool;

use crate::{
    model::{Answer, Model, Touched},
    operation::{Draw, Operation, WORKERS},
    rows::{LeaseNow, Row, Rows, Snapshot},
    system::System,
};

/// What has happened so far, and whether all was as it should be.
pub struct Story {
    pool: PgPool,
    model: Model,
    system: System,
    before: Snapshot,
    told: String,
    operations: usize,
}

impl Story {
    pub async fn begin(pool: PgPool) -> Self {
        let system = System::start(pool.clone()).await;
        let (model, before) = (Model::default(), Snapshot::default());
        Self { pool, model, system, before, told: String::new(), operations: 0 }
    }

    /// Plays the sequence, then empties the queue. Answers how many operations that were.
    ///
    /// # Errors
    /// What happened until something was wrong, and what was.
    pub async fn play(mut self, draws: &[Draw]) -> Result<usize, String> {
        let played = async {
            for draw in draws {
                if let Some(operation) = draw.look_up(&self.model) {
                    self.step(&operation).await?;
                }
            }
            self.told.push_str("      (the queue is emptied)\n");
            self.empty().await
        }
        .await;
        played.map_err(|wrong| format!("{wrong}\n\nThis happened:\n{}", self.told))?;
        Ok(self.operations)
    }

    /// One operation on both sides.
    async fn step(&mut self, operation: &Operation) -> Result<Answer, String> {
        self.operations += 1;
        let _ = write!(self.told, "{:5} {operation:?}", self.operations);
        let answer = self.system.apply(&self.model, operation).await;
        let (expected, touched) = self.model.apply(operation);
        let after = Snapshot::take(&self.pool).await;
        match answer {
            Ok(answer) if answer == expected => {
                let _ = writeln!(self.told, " -> {answer:?}");
            }
            other => return Err(format!("answered {other:?} instead of {expected:?}")),
        }
        compare(&self.model.rows(), &after.rows)?;
        unchanged(&self.before, &after, &touched)?;
        moves(&self.before, &after)?;
        holds(&self.model, &after)?;
        self.before = after;
        Ok(expected)
    }

    /// No lease holds any more, all times have come: one worker who can do everything does what there is.
    async fn empty(&mut self) -> Result<(), String> {
        for run in self.model.runs_with_valid_lease() {
            self.step(&Operation::Expire { run }).await?;
        }
        for run in self.model.runs_that_wait() {
            self.step(&Operation::Wake { run }).await?;
        }
        let worker = WORKERS.len() - 1;
        while self.step(&Operation::Claim { worker }).await? != Answer::Nothing {
            self.end_claimed().await?;
        }
        while self.step(&Operation::ClaimCleanup { worker }).await? != Answer::Nothing {
            self.end_claimed().await?;
        }
        let stuck: Vec<_> = self.before.rows.values().filter(|row| !is_over(row)).collect();
        if stuck.is_empty() { Ok(()) } else { Err(format!("the queue is empty, but not over is {stuck:#?}")) }
    }

    async fn end_claimed(&mut self) -> Result<(), String> {
        let claim = self.model.last_claim().ok_or("nothing was claimed")?;
        while let Some(write) = self.model.way_out(claim) {
            self.step(&Operation::Write { claim, write }).await?;
        }
        Ok(())
    }
}

/// Whether nothing is left to do about it.
pub fn is_over(row: &Row) -> bool {
    match row {
        Row::Build(build) => build.state.is_final() && build.finished,
        Row::Run(run) => {
            run.state.is_final()
                && run.lease == LeaseNow::Free
                && !matches!(run.cleanup, CleanupState::Pending | CleanupState::Failed)
        }
        Row::Step(_) => true,
        Row::Resource(resource) => !resource.is_live(),
    }
}

/// The database is as the model says.
fn compare(expected: &Rows, found: &Rows) -> Result<(), String> {
    for (key, row) in expected {
        let found = found.get(key);
        if found != Some(row) {
            return Err(format!("expected {row:?}\nfound {found:?}"));
        }
    }
    match found.keys().find(|key| !expected.contains_key(*key)) {
        Some(key) => Err(format!("the model has no {key}")),
        None => Ok(()),
    }
}

/// What the operation has nothing to do with is as it was, byte for byte.
fn unchanged(before: &Snapshot, after: &Snapshot, touched: &Touched) -> Result<(), String> {
    for (key, bytes) in before.bytes.iter().filter(|(key, _)| !touched.0.contains(*key)) {
        let now = after.bytes.get(key);
        if now != Some(bytes) {
            return Err(format!("{key} was changed from\n{bytes}\nto\n{now:?}"));
        }
    }
    Ok(())
}

/// What never goes back.
fn moves(before: &Snapshot, after: &Snapshot) -> Result<(), String> {
    let runs: BTreeMap<_, _> = after.runs().map(|run| (run.id, run)).collect();
    for old in before.runs() {
        let new = runs.get(&old.id).ok_or("a run vanished")?;
        if new.token < old.token {
            return Err(format!("the token of run {} shrank", old.id));
        }
        if new.worker != old.worker && new.token == old.token {
            return Err(format!("run {} changed hands without a new token", old.id));
        }
        if old.state.is_final() && new.state != old.state {
            return Err(format!("run {} had ended and goes on", old.id));
        }
        if old.lease == LeaseNow::Valid && new.token != old.token && new.lease == LeaseNow::Valid {
            return Err(format!("run {} was claimed under a valid lease", old.id));
        }
    }
    let builds: BTreeMap<_, _> = after.builds().map(|build| (build.id, build)).collect();
    for old in before.builds() {
        let new = builds.get(&old.id).ok_or("a build vanished")?;
        let is_seen = new.state != old.state || new.error != old.error || new.events != old.events;
        if new.version < old.version || (is_seen && new.version == old.version) {
            return Err(format!("build {} changed and its version did not grow", old.id));
        }
    }
    Ok(())
}

/// What always holds.
fn holds(model: &Model, now: &Snapshot) -> Result<(), String> {
    let mut keys = HashSet::new();
    for run in now.runs() {
        if run.state == RunState::Running && run.lease == LeaseNow::Free {
            return Err(format!("run {} is running and nobody can ever take it", run.id));
        }
        if run.state == RunState::Running && model.omi_key(run.id).is_some_and(|key| !keys.insert(key)) {
            return Err("two runs make the same OMI".to_owned());
        }
        let leaves_something = now.rows.values().any(
            |row| matches!(row, Row::Resource(resource) if resource.run == run.id && resource.is_live()),
        );
        let is_remembered = matches!(run.cleanup, CleanupState::Pending | CleanupState::Failed);
        if run.state.is_final() && leaves_something && !is_remembered {
            return Err(format!("run {} has ended and what it made is forgotten", run.id));
        }
    }
    for build in now.builds() {
        let states: Vec<_> = now.runs().filter(|run| run.build == build.id).map(|run| run.state).collect();
        if build.state != BuildState::of_runs(&states) && !model.was_claimed_since(build.id) {
            return Err(format!("build {} is {} with runs {states:?}", build.id, build.state));
        }
        if build.version != build.events + 1 {
            return Err(format!(
                "build {} has {} events at version {}",
                build.id, build.events, build.version
            ));
        }
    }
    Ok(())
}

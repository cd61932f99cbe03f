//! The queue as it is: does an operation with the product's own functions, on Postgres. Only the passing of time is
//! played by statements of the test's own.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use fournil::{
    domain::{Artifact, BuildId, Problem, ResourceId, RunId, RunState, log::Stream},
    queue::{self, Lease, finish, finish::Outcome, renew},
    store::{
        StoreError,
        builds::{self, NewBuild, NewRun},
        journal,
        ledger::{self, Intent, Keep, ResourceKind},
        log_lines::{self, Batch, NewLine, Tip},
        runs,
    },
};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use crate::{
    model::{Answer, Model, STEPS_TOTAL, build_id, problem_of, run_id},
    operation::{self, CAPABILITY, Operation, SLOTS, STEPS, WORKERS, Write, capabilities},
};

/// Longer than any test: a lease ends only where a test ends it.
pub const LEASE: Duration = Duration::from_secs(600);

/// How long a run waits that is not to be claimed yet.
const LATER: Duration = Duration::from_secs(3600);

/// A moment at which the first build was accepted.
const ACCEPTED: i64 = 1_800_000_000;

pub struct System {
    pool: PgPool,
    resources: HashMap<(RunId, i32, usize), ResourceId>,
}

impl System {
    /// Starts with empty tables.
    pub async fn start(pool: PgPool) -> Self {
        for statement in ["DELETE FROM builds", "DELETE FROM log_lines"] {
            sqlx::query(statement).execute(&pool).await.expect("the tables can be emptied");
        }
        Self { pool, resources: HashMap::new() }
    }

    /// Does the operation and says what it answered. The model is as it was before the operation.
    pub async fn apply(&mut self, model: &Model, operation: &Operation) -> Result<Answer, StoreError> {
        match operation {
            Operation::Submit(build) => self.submit(model, build).await?,
            Operation::Claim { worker } => {
                let claimed =
                    queue::claim(&self.pool, WORKERS[*worker], &capabilities(*worker), LEASE).await?;
                return Ok(claimed.map_or(Answer::Nothing, answer));
            }
            Operation::ClaimCleanup { worker } => {
                let claimed = queue::claim_cleanup(&self.pool, WORKERS[*worker], LEASE).await?;
                return Ok(claimed.map_or(Answer::Nothing, answer));
            }
            Operation::Renew { claims } => {
                let leases: Vec<_> = claims.iter().map(|claim| lease(model, *claim)).collect();
                let renewed = renew::renew(&self.pool, &leases, LEASE).await?;
                let renewed = renewed.into_iter().map(|(run, renewal)| (run, renewal.cancel_requested));
                return Ok(Answer::Renewed(renewed.collect()));
            }
            Operation::Expire { run } => {
                sqlx::query("UPDATE runs SET lease_expires_at = now() - interval '1 second' WHERE id = $1")
                    .bind(run_id(*run))
                    .execute(&self.pool)
                    .await?;
            }
            Operation::HandOver { claim } => renew::hand_over(&self.pool, &lease(model, *claim)).await?,
            Operation::Cancel { build } => {
                let mut transaction = self.pool.begin().await?;
                let cancellation =
                    builds::request_cancel(&mut transaction, build_id(*build), Utc::now()).await?;
                transaction.commit().await?;
                return Ok(Answer::Cancellation(cancellation.expect("the build is there")));
            }
            Operation::Wake { run } => {
                sqlx::query("UPDATE runs SET run_after = now() WHERE id = $1")
                    .bind(run_id(*run))
                    .execute(&self.pool)
                    .await?;
            }
            Operation::Write { claim, write } => return self.write(model, *claim, write).await,
        }
        Ok(Answer::Done)
    }

    async fn submit(&self, model: &Model, new: &operation::NewBuild) -> Result<(), StoreError> {
        let number = model.builds();
        let accepted = DateTime::from_timestamp(ACCEPTED + new.accepted, 0).expect("a moment")
            + TimeDelta::microseconds(i64::try_from(number).unwrap_or_default());
        let first = model.runs();
        let runs: Vec<_> = new
            .runs
            .iter()
            .enumerate()
            .map(|(ordinal, run)| NewRun {
                id: run_id(first + ordinal),
                name: format!("run-{ordinal}"),
                builder: "osc-bsu",
                plan_sealed: Vec::new(),
                omi_key: run.omi_key.map(|key| format!("eu-west-2/omi-{key}")),
                requires: if run.requires_capability { vec![CAPABILITY.to_owned()] } else { Vec::new() },
            })
            .collect();
        let mut transaction = self.pool.begin().await?;
        insert(&mut transaction, build_id(number), new.priority, accepted, &runs).await?;
        for (run, _) in runs.iter().zip(&new.runs).filter(|(_, new)| new.later) {
            sqlx::query("UPDATE runs SET run_after = now() + $2 * interval '1 second' WHERE id = $1")
                .bind(run.id)
                .bind(LATER.as_secs_f64())
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Commits whatever the answer is: a lease that is lost must be noticed before anything is written.
    async fn write(&mut self, model: &Model, claim: usize, write: &Write) -> Result<Answer, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let written = self.write_in(&mut transaction, model, claim, write).await;
        transaction.commit().await?;
        match written {
            Err(StoreError::LeaseLost(run)) if run == lease(model, claim).run => Ok(Answer::LeaseLost),
            other => other,
        }
    }

    async fn write_in(
        &mut self,
        db: &mut PgConnection,
        model: &Model,
        claim: usize,
        write: &Write,
    ) -> Result<Answer, StoreError> {
        let lease = &lease(model, claim);
        let (name, attempt, build, lines) = model.subject(claim);
        let resource = |attempt, slot| {
            self.resources.get(&(lease.run, attempt, slot)).copied().unwrap_or_else(ResourceId::generate)
        };
        match write {
            Write::Begin => {
                runs::begin(db, lease, STEPS_TOTAL).await?;
                builds::refresh_after(db, build, lease.run).await?;
            }
            Write::BeginStep(step) => {
                journal::begin(db, lease, name, attempt, STEPS[*step], i32::try_from(*step).unwrap_or(0))
                    .await?
            }
            Write::SucceedStep(step) => {
                let output = json!({ "token": lease.token });
                journal::succeed(db, lease, name, attempt, STEPS[*step], &output).await?;
            }
            Write::FailStep(step, state) => {
                journal::fail(db, lease, name, attempt, STEPS[*step], *state, None).await?
            }
            Write::Intend(slot) => {
                let (row, known) = ledger::intend(db, lease, attempt, &intent(*slot)).await?;
                self.resources.insert((lease.run, attempt, *slot), row.id);
                return Ok(Answer::Intended { known });
            }
            Write::Created(attempt, slot) => {
                let cloud_id = format!("{}-{}", SLOTS[*slot].0, lease.token);
                ledger::created(db, lease, resource(*attempt, *slot), &cloud_id).await?;
            }
            Write::Removed(attempt, slot) => {
                ledger::removed(db, lease, resource(*attempt, *slot), None).await?
            }
            Write::RemovalFailed(attempt, slot) => {
                ledger::removal_failed(db, lease, resource(*attempt, *slot), "in use").await?
            }
            Write::Log => return append(db, lease, name, lines).await,
            Write::Decide(state) => {
                let outcome = outcome(name, *state);
                let artifacts = if *state == RunState::Succeeded { vec![omi()] } else { Vec::new() };
                finish::decide(db, lease, name, attempt, &outcome, &artifacts).await?;
                builds::refresh_after(db, build, lease.run).await?;
            }
            Write::NextAttempt => return Ok(Answer::Attempt(finish::next_attempt(db, lease).await?)),
            Write::Finish(end) => {
                let decided = model.outcome(claim).unwrap_or(RunState::Failed);
                let retry_in = if end.later { LATER } else { Duration::ZERO };
                finish::finish(db, lease, &outcome(name, decided), end.cleanup, retry_in, false).await?;
            }
        }
        Ok(Answer::Done)
    }
}

/// Inserts a build of which only the queue's part matters.
pub async fn insert(
    db: &mut PgConnection,
    id: BuildId,
    priority: i32,
    accepted: DateTime<Utc>,
    runs: &[NewRun],
) -> Result<(), StoreError> {
    let build = NewBuild {
        id,
        name: None,
        labels: &json!({}),
        priority,
        on_error: fournil::domain::OnError::Cleanup,
        keep_for: None,
        authorized_keys: &[],
        timeout: None,
        credentials: None,
        template: &json!({}),
        notices: &[],
        request_sealed: b"",
        context: None,
        retry_of: None,
        created_at: accepted,
        created_by: None,
        token: None,
    };
    builds::insert(db, &build, runs).await
}

/// What is written to the ledger for a slot.
pub fn intent(slot: usize) -> Intent {
    let (name, stays, id_is_known) = SLOTS[slot];
    Intent {
        slot: name.to_owned(),
        kind: [ResourceKind::Vm, ResourceKind::Image, ResourceKind::Volume][slot],
        lookup: json!({}),
        cloud_id: id_is_known.then(|| name.to_owned()),
        region: "eu-west-2".to_owned(),
        keep: if stays { Keep::OnSuccess } else { Keep::Never },
    }
}

/// What a run ends as.
pub fn outcome(run: &str, state: RunState) -> Outcome {
    let error =
        problem_of(run, state).map(|detail| Problem::new(500, "model", "So the model wanted", detail));
    Outcome { state, error }
}

fn omi() -> Artifact {
    Artifact::Omi {
        region: "eu-west-2".to_owned(),
        id: "ami-1".to_owned(),
        name: "bread".to_owned(),
        snapshots: Vec::new(),
    }
}

/// Appends a line behind `lines`; each counts 10 bytes.
async fn append(db: &mut PgConnection, lease: &Lease, run: &str, lines: i64) -> Result<Answer, StoreError> {
    let line = NewLine {
        at: DateTime::from_timestamp(ACCEPTED, 0).expect("a moment"),
        step: None,
        stream: Stream::Stdout,
        line: format!("token {}", lease.token),
    };
    let batch = Batch {
        run,
        before: Tip { last_seq: lines, log_bytes: lines * 10 },
        lines: &[line],
        log_bytes: (lines + 1) * 10,
    };
    let stored = log_lines::append(db, lease, batch).await?;
    Ok(if stored { Answer::Done } else { Answer::LeaseLost })
}

fn lease(model: &Model, claim: usize) -> Lease {
    let (_, _, build, _) = model.subject(claim);
    let claim = model.claim(claim);
    Lease { run: run_id(claim.run), build, token: claim.token, worker: WORKERS[claim.worker].to_owned() }
}

fn answer(claimed: queue::Claimed) -> Answer {
    Answer::Claimed {
        run: claimed.lease.run,
        token: claimed.lease.token,
        attempt: claimed.attempt,
        taken_over: claimed.taken_over,
    }
}

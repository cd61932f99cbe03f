//! One claimed run from where it stands to its end: attempts, the decision what it ends as, cleanup, the final state.
//! Every way out leaves the run either ended, or in a state from which another worker goes on.

use std::sync::Arc;

use futures::FutureExt;
use tempfile::TempDir;
use tokio::time::sleep;

use super::{
    Kitchen,
    ending::{CLEANUP_RETRY, clean, conclude, decide},
    kitchen::Opened,
    planning,
};
use crate::{
    bake::{self, Baked, Cx, Failure, StepError, Stop, StopReason},
    domain::{Artifact, CleanupState, Problem, RunState, log::Output},
    logs::{LogWriter, Redactor},
    queue::{self, Claimed, finish, finish::Outcome},
    store::{
        StoreError, builds,
        runs::{self, RunRow},
    },
    template::{ContextFolder, ContextLimits},
};

/// What a worker has open for a run.
struct Bench {
    cx: Cx,
    /// Where the keys came from, for people.
    keys_from: String,
    /// The unpacked folder; removed with this.
    _files: TempDir,
}

/// How the baking part ended.
enum Ended {
    As(Box<Outcome>, Vec<Artifact>),
    /// Another worker goes on.
    Elsewhere(StopReason),
}

/// Works on a claimed run until it has ended or is not this worker's any more.
pub async fn work(kitchen: &Kitchen, claimed: Claimed, stop: Stop) {
    let run = claimed.lease.run;
    // A bug in a step must not take the worker down or leave the run hanging until its lease ends.
    let worked =
        std::panic::AssertUnwindSafe(Box::pin(try_work(kitchen, &claimed, &stop))).catch_unwind().await;
    match worked {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.lost_the_lease() => {
            tracing::warn!(run.id = %run, "stopped working on run {run}: {error}")
        }
        Ok(Err(StepError::Store(error))) if !error.is_transient() => {
            tracing::error!(run.id = %run, error = %error, cause = ?std::error::Error::source(&error), "run {run} cannot be worked on; it ends as failed");
            end_unreadable(kitchen, &claimed, &error).await;
        }
        Ok(Err(error)) => {
            tracing::error!(run.id = %run, error = %error, cause = ?std::error::Error::source(&error), "run {run} could not be worked on, another try follows");
        }
        Err(_) => {
            tracing::error!(run.id = %run, "working on run {run} panicked; it ends as failed");
            let ended = std::panic::AssertUnwindSafe(Box::pin(fail_after_panic(kitchen, &claimed, &stop)))
                .catch_unwind()
                .await;
            if !matches!(ended, Ok(Ok(()))) {
                tracing::error!(run.id = %run, "run {run} could not be ended, another try follows");
            }
        }
    }
}

/// Ends a run that cannot even be read, for example because its plan was damaged. Nothing here needs the plan; what the run
/// made stays in its ledger for the reaper. A plan that was sealed with another master key waits for that key instead.
async fn end_unreadable(kitchen: &Kitchen, claimed: &Claimed, error: &StoreError) {
    if matches!(error, StoreError::Vault(_)) {
        return;
    }
    let problem =
        Problem::new(500, "internal", "fournil has a fault", format!("the run cannot be worked on: {error}"));
    let failed = Outcome { state: RunState::Failed, error: Some(problem) };
    let ended: Result<(), StoreError> = async {
        let mut transaction = kitchen.store.begin().await?;
        finish::decide(&mut transaction, &claimed.lease, &claimed.name, claimed.attempt, &failed, &[])
            .await?;
        finish::finish(
            &mut transaction,
            &claimed.lease,
            &failed,
            CleanupState::Pending,
            CLEANUP_RETRY.1,
            false,
        )
        .await?;
        Ok(transaction.commit().await?)
    }
    .await;
    if let Err(error) = ended {
        tracing::error!(run.id = %claimed.lease.run, error = %error, "the run could not be ended, another try follows");
    }
}

/// Ends a run on which fournil itself stumbled: trying again would stumble again, for ever.
async fn fail_after_panic(kitchen: &Kitchen, claimed: &Claimed, stop: &Stop) -> Result<(), StepError> {
    let row = load(kitchen, claimed).await?;
    let log = open_log(kitchen, claimed, &row);
    let problem = Problem::new(
        500,
        "internal",
        "fournil has a fault",
        "a step ended unexpectedly; the server's log has the details",
    );
    let outcome = row.outcome.clone().unwrap_or(Outcome { state: RunState::Failed, error: Some(problem) });
    decide(kitchen, claimed, stop, &row, &outcome, &[]).await?;
    let result = conclude(kitchen, claimed, stop, &row, &log, outcome).await;
    let closed = log.close().await;
    result?;
    Ok(closed?)
}

async fn try_work(kitchen: &Kitchen, claimed: &Claimed, stop: &Stop) -> Result<(), StepError> {
    let row = load(kitchen, claimed).await?;
    let limit = watch_deadline(&row, stop);
    let log = open_log(kitchen, claimed, &row);
    if claimed.taken_over {
        log.for_step("worker")
            .say(&format!(
                "worker {} goes on with this run, attempt {}: its worker was lost",
                claimed.lease.worker, row.attempt
            ))
            .await;
    }
    let result = async {
        match row.outcome.clone() {
            // The bake is over; only the cleanup was interrupted.
            Some(outcome) => conclude(kitchen, claimed, stop, &row, &log, outcome).await,
            None => {
                begin(kitchen, claimed, &row).await?;
                let (row, ended) = attempts(kitchen, claimed, stop, row, &log).await?;
                match ended {
                    Ended::As(outcome, artifacts) => {
                        decide(kitchen, claimed, stop, &row, &outcome, &artifacts).await?;
                        conclude(kitchen, claimed, stop, &row, &log, *outcome).await
                    }
                    Ended::Elsewhere(reason) => {
                        if reason == StopReason::HandOver {
                            log.for_step("worker").say("this worker shuts down and hands the run over").await;
                            log.flush().await?;
                            queue::renew::hand_over(&kitchen.store, &claimed.lease).await?;
                        }
                        Ok(())
                    }
                }
            }
        }
    }
    .await;
    drop(limit);
    let closed = log.close().await;
    give_back(kitchen, claimed, &result).await?;
    result?;
    Ok(closed?)
}

/// A cleanup that stopped because this worker shuts down goes on elsewhere at once, not only when the lease has run out.
pub(super) async fn give_back(
    kitchen: &Kitchen,
    claimed: &Claimed,
    result: &Result<(), StepError>,
) -> Result<(), StepError> {
    if matches!(result, Err(StepError::Stopped(StopReason::HandOver))) {
        queue::renew::hand_over(&kitchen.store, &claimed.lease).await?;
    }
    Ok(())
}

/// Loads the run; its plan is opened here and nowhere else.
pub(super) async fn load(kitchen: &Kitchen, claimed: &Claimed) -> Result<RunRow, StepError> {
    Ok(runs::load(
        &mut *kitchen.store.acquire().await.map_err(StoreError::from)?,
        &kitchen.vault,
        claimed.lease.run,
    )
    .await?)
}

pub(super) fn open_log(kitchen: &Kitchen, claimed: &Claimed, row: &RunRow) -> LogWriter {
    let redactor = Redactor::new(&row.plan.secrets);
    LogWriter::new(
        kitchen.store.clone(),
        claimed.lease.clone(),
        &row.plan.name,
        kitchen.log_limits,
        redactor,
        chrono::Utc::now,
    )
}

/// Stops the run when the build's time is over; ends with the answer.
fn watch_deadline(row: &RunRow, stop: &Stop) -> Option<AbortOnDrop> {
    let left = row.time_left?;
    let stop = stop.clone();
    Some(AbortOnDrop(tokio::spawn(async move {
        sleep(left).await;
        stop.now(StopReason::TimedOut);
    })))
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn begin(kitchen: &Kitchen, claimed: &Claimed, row: &RunRow) -> Result<(), StepError> {
    let mut transaction = kitchen.store.begin().await.map_err(StoreError::from)?;
    runs::begin(&mut transaction, &claimed.lease, bake::steps_total(&row.plan)).await?;
    builds::refresh_after(&mut transaction, claimed.lease.build, claimed.lease.run).await?;
    Ok(transaction.commit().await.map_err(StoreError::from)?)
}

/// Runs attempts until one ends in a way that decides the run.
async fn attempts(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    mut row: RunRow,
    log: &LogWriter,
) -> Result<(RunRow, Ended), StepError> {
    loop {
        let failure = match attempt(kitchen, claimed, stop, &mut row, log).await {
            Ok(Baked { artifacts, failure: None }) => {
                return Ok((
                    row,
                    Ended::As(Box::new(Outcome { state: RunState::Succeeded, error: None }), artifacts),
                ));
            }
            Ok(Baked { artifacts, failure: Some(failure) }) => {
                return Ok((row, Ended::As(Box::new(failed(&failure, log).await), artifacts)));
            }
            Err(failure) => failure,
        };
        if failure.error.lost_the_lease() {
            return Err(failure.error);
        }
        // Not the run's fault: it is claimed again when its lease has run out, and goes on behind its last finished step.
        if matches!(&failure.error, StepError::Store(error) if error.is_transient()) {
            return Err(failure.error);
        }
        match stop.reason() {
            Some(reason @ (StopReason::LeaseLost | StopReason::HandOver)) => {
                return Ok((row, Ended::Elsewhere(reason)));
            }
            Some(StopReason::Cancelled) => {
                let error = StepError::Stopped(StopReason::Cancelled).problem(failure.step);
                return Ok((
                    row,
                    Ended::As(
                        Box::new(Outcome { state: RunState::Cancelled, error: Some(error) }),
                        Vec::new(),
                    ),
                ));
            }
            Some(StopReason::TimedOut) => {
                let error = StepError::Stopped(StopReason::TimedOut).problem(failure.step);
                return Ok((
                    row,
                    Ended::As(Box::new(Outcome { state: RunState::Failed, error: Some(error) }), Vec::new()),
                ));
            }
            Some(StopReason::StepTimedOut) | None => {}
        }
        if matches!(failure.error, StepError::Interrupted) && row.attempt < row.max_attempts {
            let say = log.for_step("worker");
            say.say("the run was interrupted while provisioning, which cannot be resumed: removing what it works in, then starting anew").await;
            clean(kitchen, claimed, stop, &row, log).await?;
            let mut transaction = kitchen.store.begin().await.map_err(StoreError::from)?;
            row.attempt = finish::next_attempt(&mut transaction, &claimed.lease).await?;
            transaction.commit().await.map_err(StoreError::from)?;
            say.say(&format!("attempt {} of {}", row.attempt, row.max_attempts)).await;
            continue;
        }
        return Ok((row, Ended::As(Box::new(failed(&failure, log).await), Vec::new())));
    }
}

/// The end of a run by this failure, which the log is told.
async fn failed(failure: &Failure, log: &LogWriter) -> Outcome {
    let problem = failure.error.shown(failure.step, log.redactor());
    let hint = problem.hint.as_deref().map(|hint| format!("\n{hint}")).unwrap_or_default();
    log.for_step(failure.step).say(&format!("failed: {}{hint}", problem.detail)).await;
    Outcome { state: RunState::Failed, error: Some(problem) }
}

async fn attempt(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    row: &mut RunRow,
    log: &LogWriter,
) -> Result<Baked, Failure> {
    let in_preparation = |error| Failure { step: "prepare", error };
    if row.plan.needs_data {
        let plan = planning::with_data(kitchen, claimed, stop, row, log);
        row.plan = Arc::new(plan.await.map_err(|error| Failure { step: planning::STEP, error })?);
        log.redactor().add(&row.plan.secrets);
    }
    let bench = bench(kitchen, claimed, stop.clone(), row, log).await.map_err(in_preparation)?;
    log.for_step("prepare").say(&format!("credentials: {}", bench.keys_from)).await;
    bake::bake(bench.cx).await
}

/// Gets ready what steps work with.
async fn bench(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: Stop,
    row: &RunRow,
    log: &LogWriter,
) -> Result<Bench, StepError> {
    let run = claimed.lease.run.to_string();
    let Opened { cloud, keys_from } = kitchen.cloud(row.plan.builder.access(), &run, log.redactor()).await?;
    let files = unpack(kitchen, row).await?;
    let cx = Cx {
        store: kitchen.store.clone(),
        vault: kitchen.vault.clone(),
        lease: claimed.lease.clone(),
        plan: row.plan.clone(),
        attempt: row.attempt,
        on_error: row.on_error,
        cloud,
        log: log.clone(),
        stop,
        files: Arc::new(files.path().to_owned()),
        metadata: kitchen.metadata.clone(),
        cells: kitchen.cells.clone(),
    };
    Ok(Bench { cx, keys_from, _files: files })
}

/// Unpacks the uploaded folder into a private one.
async fn unpack(kitchen: &Kitchen, row: &RunRow) -> Result<TempDir, StepError> {
    let failed = |error: String| {
        StepError::found(500, "no_temporary_folder", "The worker has no room for the build's files", error)
    };
    let archive = match row.context_id {
        Some(id) => {
            let mut db = kitchen.store.acquire().await.map_err(StoreError::from)?;
            crate::store::contexts::load(&mut db, &kitchen.vault, id).await?
        }
        None => None,
    };
    let scratch = kitchen.scratch.clone();
    let unpacked = tokio::task::spawn_blocking(move || {
        let folder = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(&*scratch)
            .map_err(|error| error.to_string())?;
        if let Some(archive) = archive {
            let context = ContextFolder::from_archive(&archive, &ContextLimits::default())
                .map_err(|problem| problem.detail)?;
            context.unpack_into(folder.path()).map_err(|error| error.to_string())?;
        }
        Ok(folder)
    });
    unpacked.await.map_err(|error| failed(error.to_string()))?.map_err(failed)
}

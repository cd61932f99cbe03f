//! The end of a run: the decision what it ends as, then cleanup and the final state. After a failure the build may say that
//! what was made is kept for a while, or that the VM is held for a person.

use std::{sync::Arc, time::Duration};

use super::Kitchen;
use crate::{
    bake::{Cx, StepError, Stop, cleanup, reach},
    domain::{Artifact, CleanupState, OnError, RunState, duration, log::Output, on_error::Release},
    logs::LogWriter,
    queue::{self, Claimed, finish, finish::Outcome},
    store::{
        StoreError, builds, ledger,
        runs::{self, RunRow},
    },
};

/// First and longest pause of the reaper between two passes over a run's leftovers.
pub const CLEANUP_RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1800));

/// Decides what the run ends as; from here on it is not baked again.
///
/// # Errors
/// The run is lost.
pub async fn decide(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    row: &RunRow,
    outcome: &Outcome,
    artifacts: &[Artifact],
) -> Result<(), StepError> {
    let decided = Decided { store: &kitchen.store, stop };
    crate::bake::oven::durable!(decided, |db| async {
        finish::decide(db, &claimed.lease, &row.plan.name, row.attempt, outcome, artifacts).await?;
        builds::refresh_after(db, claimed.lease.build, claimed.lease.run).await
    })?;
    Ok(())
}

/// Lends its parts to `durable!`.
pub(super) struct Decided<'a> {
    pub store: &'a sqlx::PgPool,
    pub stop: &'a Stop,
}

impl Decided<'_> {
    pub(super) const fn store_and_stop(&self) -> (&sqlx::PgPool, &Stop) {
        (self.store, self.stop)
    }
}

/// Cleans up and ends the run as decided; or keeps what it made, or holds it for a person, if that is what the build says.
pub async fn conclude(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    row: &RunRow,
    log: &LogWriter,
    outcome: Outcome,
) -> Result<(), StepError> {
    match aftermath(row, &outcome) {
        Aftermath::Hold if hold(kitchen, claimed, stop, row, log).await? => return Ok(()),
        Aftermath::Keep(time) if keep(kitchen, claimed, stop, row, log, &outcome, time).await? => {
            return Ok(());
        }
        _ => {}
    }
    clean_up(kitchen, claimed, stop, row, log, outcome).await
}

/// Cleans up and ends the run as decided.
pub async fn clean_up(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    row: &RunRow,
    log: &LogWriter,
    outcome: Outcome,
) -> Result<(), StepError> {
    let remaining = clean(kitchen, claimed, stop, row, log).await?;
    end(kitchen, claimed, stop, row, log, &outcome, &remaining).await
}

/// What becomes of what a run made.
#[derive(Debug, PartialEq, Eq)]
enum Aftermath {
    Cleanup,
    Hold,
    Keep(Duration),
}

/// Only a failure keeps anything: who cancels wants it gone.
fn aftermath(row: &RunRow, outcome: &Outcome) -> Aftermath {
    if outcome.state != RunState::Failed || row.cancel_requested {
        return Aftermath::Cleanup;
    }
    let time = |action: OnError| row.keep_for.unwrap_or_else(|| action.usual_time());
    match (row.hold_ended, row.on_error) {
        (Some(Release::Cleanup | Release::Retry), _) | (None, OnError::Cleanup) => Aftermath::Cleanup,
        (Some(Release::Keep), _) => Aftermath::Keep(time(OnError::Abort)),
        (None, OnError::Hold) => Aftermath::Hold,
        (None, action @ (OnError::Abort | OnError::RunCleanupProvisioner)) => Aftermath::Keep(time(action)),
    }
}

/// Parks the run with its VM; `false`: there is no VM, or somebody has asked for the end of the build meanwhile.
async fn hold(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    row: &RunRow,
    log: &LogWriter,
) -> Result<bool, StepError> {
    let log = log.for_step("held");
    let Ok(cx) = bench(kitchen, claimed, stop, row, &log).await else { return Ok(false) };
    let Some(reach) = reach::open(&cx, &row.authorized_keys).await? else {
        log.say("there is no VM that could be held").await;
        return Ok(false);
    };
    let time = row.keep_for.unwrap_or_else(|| OnError::Hold.usual_time());
    let way = match &reach.ssh {
        Some(ssh) if reach.authorized_keys > 0 || row.plan.builder.has_own_key() => ssh.clone(),
        Some(ssh) => {
            format!("{ssh} (only with a key that is in it already: the request had no `authorized_keys`)")
        }
        None => "it cannot be entered by SSH".to_owned(),
    };
    log.say(&format!(
        "VM {} is held for {}: {way}\ngo on with POST /builds/{}/release, `fournil release {2}`: \
         {{\"then\": \"cleanup\"}}, \"keep\", or \"retry\" to run the failed step again on this VM",
        reach.vm,
        duration::format(time),
        claimed.lease.build
    ))
    .await;
    log.flush().await?;
    let decided = Decided { store: &kitchen.store, stop };
    let held = crate::bake::oven::durable!(decided, |db| queue::hold::hold(
        db,
        &claimed.lease,
        &serde_json::json!(reach),
        time
    ))?;
    if let Some(until) = held {
        tracing::info!(run.id = %claimed.lease.run, vm = reach.vm, %until, "run {} is held", claimed.lease.run);
    }
    Ok(held.is_some())
}

/// Ends the run with what it made still there; the reaper removes it later. `false`: it made nothing.
async fn keep(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    row: &RunRow,
    log: &LogWriter,
    outcome: &Outcome,
    time: Duration,
) -> Result<bool, StepError> {
    let log = log.for_step("kept");
    let decided = Decided { store: &kitchen.store, stop };
    let rows = crate::bake::oven::durable!(decided, |db| ledger::live(db, claimed.lease.run))?;
    if rows.is_empty() {
        return Ok(false);
    }
    if let Ok(cx) = bench(kitchen, claimed, stop, row, &log).await
        && let Some(ssh) = reach::open(&cx, &row.authorized_keys).await?.and_then(|reach| reach.ssh)
    {
        log.say(&format!("the VM is reached by {ssh}")).await;
    }
    let list: Vec<_> = rows
        .iter()
        .map(|row| {
            format!("{} {}", cleanup::label(row.kind), row.cloud_id.as_deref().unwrap_or("(id unknown)"))
        })
        .collect();
    log.say(&format!(
        "kept for {}: {}\nPOST /builds/{}/cleanup, `fournil cleanup {2}`, removes it before",
        duration::format(time),
        list.join(", "),
        claimed.lease.build
    ))
    .await;
    finish_as(kitchen, claimed, stop, &log, outcome, CleanupState::Pending, time, true).await?;
    Ok(true)
}

/// What can be done with the run's VM; without the uploaded folder, which is of no use here, and whose unpacking could fail.
pub(super) async fn bench(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    row: &RunRow,
    log: &LogWriter,
) -> Result<Cx, StepError> {
    let run = claimed.lease.run.to_string();
    let cloud = kitchen.cloud(row.plan.builder.access(), &run, log.redactor()).await?.cloud;
    Ok(Cx {
        store: kitchen.store.clone(),
        vault: kitchen.vault.clone(),
        lease: claimed.lease.clone(),
        plan: row.plan.clone(),
        attempt: row.attempt,
        on_error: row.on_error,
        cloud,
        log: log.clone(),
        stop: stop.for_cleanup(),
        files: Arc::default(),
        metadata: kitchen.metadata.clone(),
        cells: kitchen.cells.clone(),
    })
}

/// One pass over what is left; answers what remains.
pub async fn clean(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    row: &RunRow,
    log: &LogWriter,
) -> Result<Vec<String>, StepError> {
    let log = log.for_step("cleanup");
    if !runs::has_live_resources(&kitchen.store, claimed.lease.run).await? {
        return Ok(Vec::new());
    }
    let cx = match bench(kitchen, claimed, stop, row, &log).await {
        Ok(cx) => cx,
        Err(error) => {
            let why = error.problem("cleanup").detail;
            // Counted, so that the pauses between passes grow.
            let noted = Decided { store: &kitchen.store, stop };
            crate::bake::oven::durable!(noted, |db| async {
                for resource in ledger::live(db, claimed.lease.run).await? {
                    ledger::removal_failed(db, &claimed.lease, resource.id, &why).await?;
                }
                Ok::<_, StoreError>(())
            })?;
            return Ok(vec![why]);
        }
    };
    Ok(cleanup::clean(&cx).await?.remaining)
}

async fn end(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    row: &RunRow,
    log: &LogWriter,
    outcome: &Outcome,
    remaining: &[String],
) -> Result<(), StepError> {
    let say = log.for_step("cleanup");
    let cleanup = match (remaining.is_empty(), runs::has_resources(&kitchen.store, claimed.lease.run).await?)
    {
        (false, _) => CleanupState::Pending,
        (true, true) => CleanupState::Done,
        (true, false) => CleanupState::None,
    };
    let retry_in = CLEANUP_RETRY.0.saturating_mul(1 << row.cleanup_tries.min(12)).min(CLEANUP_RETRY.1);
    if !remaining.is_empty() {
        say.say(&format!("{} left to remove; trying again in {} s", remaining.len(), retry_in.as_secs()))
            .await;
    }
    finish_as(kitchen, claimed, stop, log, outcome, cleanup, retry_in, false).await
}

/// Writes the final state.
#[expect(clippy::too_many_arguments, reason = "the state has these parts, and two callers")]
async fn finish_as(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    log: &LogWriter,
    outcome: &Outcome,
    cleanup: CleanupState,
    retry_in: Duration,
    kept: bool,
) -> Result<(), StepError> {
    // All that was said stands in the log before its readers are told that the run has ended.
    log.flush().await?;
    let decided = Decided { store: &kitchen.store, stop };
    crate::bake::oven::durable!(decided, |db| finish::finish(
        db,
        &claimed.lease,
        outcome,
        cleanup,
        retry_in,
        kept
    ))?;
    tracing::info!(
        run.id = %claimed.lease.run, build.id = %claimed.lease.build, run.state = %outcome.state, run.cleanup = %cleanup,
        "run {} {}", claimed.lease.run, outcome.state
    );
    Ok(())
}

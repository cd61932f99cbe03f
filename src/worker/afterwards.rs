//! What is left to do for runs that have ended: removing what their cleanup left, and destroying what they announced when
//! somebody asks for it. Each pass is claimed like a run, and can be taken over like one.

use std::time::Duration;

use super::{
    Kitchen,
    ending::{Decided, bench, clean_up},
    run::{give_back, load, open_log},
};
use crate::{
    bake::{
        StepError, Stop,
        destroy::{Destroyed, destroy},
        oven::durable,
    },
    domain::{DestroyState, log::Output},
    logs::LogWriter,
    queue::{self, Claimed, finish::Outcome},
    store::{artifacts, runs::RunRow},
};

/// Until artifacts are tried again that could not be destroyed for a reason that passes.
const DESTROY_RETRY: Duration = Duration::from_secs(60);

/// Does what is due for an ended run.
pub async fn finish(kitchen: &Kitchen, claimed: Claimed, stop: Stop) {
    let run = claimed.lease.run;
    if let Err(error) = Box::pin(try_finish(kitchen, &claimed, &stop)).await {
        tracing::warn!(run.id = %run, error = %error, "what is left to do for run {run} could not be finished");
    }
}

async fn try_finish(kitchen: &Kitchen, claimed: &Claimed, stop: &Stop) -> Result<(), StepError> {
    let row = load(kitchen, claimed).await?;
    let log = open_log(kitchen, claimed, &row);
    // First the cleanup: a VM that is still there may hold what is to be destroyed.
    let result = if row.cleanup_is_due {
        let outcome = row.outcome.clone().unwrap_or(Outcome { state: row.state, error: None });
        clean_up(kitchen, claimed, stop, &row, &log, outcome).await
    } else {
        destroy_artifacts(kitchen, claimed, stop, &row, &log).await
    };
    let closed = log.close().await;
    give_back(kitchen, claimed, &result).await?;
    result?;
    Ok(closed?)
}

async fn destroy_artifacts(
    kitchen: &Kitchen,
    claimed: &Claimed,
    stop: &Stop,
    row: &RunRow,
    log: &LogWriter,
) -> Result<(), StepError> {
    let step = log.for_step("destroy");
    let cx = Decided { store: &kitchen.store, stop };
    let destroyed = match bench(kitchen, claimed, stop, row, &step).await {
        Ok(cx) => destroy(&cx).await?,
        // Without keys nothing can be done, now or later.
        Err(error) => {
            let why = error.problem("destroy").detail;
            let there = durable!(cx, |db| artifacts::there(db, claimed.lease.run))?;
            for own in &there {
                durable!(cx, |db| artifacts::refused(db, &claimed.lease, own.ordinal, &why))?;
            }
            step.say(&format!("nothing could be destroyed: {why}")).await;
            Destroyed { refused: there.len(), to_try_again: 0 }
        }
    };
    let state = match destroyed {
        Destroyed { to_try_again: 1.., .. } => DestroyState::Pending,
        Destroyed { refused: 1.., .. } => DestroyState::Refused,
        _ => DestroyState::Done,
    };
    // All that was said stands in the log before readers are told.
    log.flush().await?;
    durable!(cx, |db| queue::destroy::finish(db, &claimed.lease, state, DESTROY_RETRY))?;
    tracing::info!(
        run.id = %claimed.lease.run, build.id = %claimed.lease.build, refused = destroyed.refused,
        "artifacts of run {} are destroyed: {state}", claimed.lease.run
    );
    Ok(())
}

//! The pool: claims as long as there are free slots, and drains at shutdown: runs may end within the grace period, what is
//! left then is handed over and goes on elsewhere behind its last finished step.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Kitchen,
    heartbeat::{self, Held},
    reaper, run, wakeups,
};
use crate::{
    bake::{Stop, StopReason},
    queue::{self, Claimed},
    store::workers,
};

/// How often the tables are looked at without having been woken.
const POLL: Duration = Duration::from_secs(1);

/// How long a run may take to notice that it has to hand over.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Works until `drain`, then hands over and returns.
pub async fn serve(kitchen: Kitchen, drain: CancellationToken) {
    let held = Held::default();
    let claimable = Arc::new(Notify::new());
    let ended = CancellationToken::new();
    let helpers = TaskTracker::new();
    let settings = &kitchen.settings;
    helpers.spawn(heartbeat::keep(
        kitchen.store.clone(),
        settings.clone(),
        held.clone(),
        drain.clone(),
        ended.clone(),
    ));
    helpers.spawn(heartbeat::fence(settings.clone(), held.clone(), ended.clone()));
    helpers.spawn(wakeups::listen(kitchen.store.clone(), claimable.clone(), held.clone(), ended.clone()));
    let runs = TaskTracker::new();
    helpers.spawn(reaper::serve(kitchen.clone(), held.clone(), runs.clone(), drain.clone()));
    helpers.close();

    tokio::select! {
        () = claim_for_ever(&kitchen, &held, &claimable, &runs) => {}
        () = drain.cancelled() => {}
    }
    runs.close();
    tracing::info!(runs = held.count(), "draining: no new runs are claimed");
    if timeout(settings.grace, runs.wait()).await.is_err() {
        held.stop_all(StopReason::HandOver);
        if timeout(HAND_OVER, runs.wait()).await.is_err() {
            tracing::warn!(runs = held.count(), "runs did not hand over in time; their leases will run out");
        }
    }
    ended.cancel();
    helpers.wait().await;
    let left = async { workers::left(&mut *kitchen.store.acquire().await?, &kitchen.settings.id).await };
    if let Err(error) = timeout(HAND_OVER, left).await.unwrap_or(Ok(())) {
        tracing::debug!(error = %error, "the worker could not sign off");
    }
}

async fn claim_for_ever(kitchen: &Kitchen, held: &Held, claimable: &Notify, runs: &TaskTracker) {
    let slots = Arc::new(Semaphore::new(kitchen.settings.slots));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let claimed = next(kitchen, claimable).await;
        start(kitchen, held, runs, claimed, slot);
    }
}

/// Waits for something to claim.
async fn next(kitchen: &Kitchen, claimable: &Notify) -> Claimed {
    let settings = &kitchen.settings;
    loop {
        let mut woken = std::pin::pin!(claimable.notified());
        // Armed before the query, so that nothing falls in between.
        woken.as_mut().enable();
        match queue::claim(&kitchen.store, &settings.id, &settings.capabilities, settings.lease).await {
            Ok(Some(claimed)) => return claimed,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error = %error, cause = ?std::error::Error::source(&error), "nothing could be claimed")
            }
        }
        let _ = timeout(POLL, woken).await;
    }
}

fn start(kitchen: &Kitchen, held: &Held, runs: &TaskTracker, claimed: Claimed, slot: OwnedSemaphorePermit) {
    let stop = Stop::default();
    let hold = held.hold(&claimed.lease, &stop);
    let kitchen = kitchen.clone();
    tracing::info!(
        run.id = %claimed.lease.run, build.id = %claimed.lease.build, run.name = claimed.name, run.attempt = claimed.attempt,
        "claimed run {}{}", claimed.lease.run, if claimed.taken_over { " from a lost worker" } else { "" }
    );
    runs.spawn(async move {
        run::work(&kitchen, claimed, stop).await;
        drop(hold);
        drop(slot);
    });
}

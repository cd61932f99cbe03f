//! Finishes what runs could not: removes what their cleanup left, as often as it takes, destroys what somebody does not want
//! any more, and forgets old idempotency keys
//! and workers. Runs in every replica; each piece of work is claimed by one.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Kitchen, afterwards, heartbeat::Held};
use crate::{
    bake::Stop,
    queue,
    store::{StoreError, idempotency, workers},
};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(2);

/// Cleanups at the same time, so that a thousand leftovers do not take the database from the bakes.
const AT_ONCE: usize = 16;

/// Between two times of throwing old things away.
const TIDY: Duration = Duration::from_secs(3600);

/// How long a worker that is not seen any more stays in the list.
const WORKER_MEMORY: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// How long an idempotency key is known: longer than any build.
const KEY_MEMORY: chrono::TimeDelta = chrono::TimeDelta::days(7);

/// Works until `drain`.
pub async fn serve(kitchen: Kitchen, held: Held, runs: TaskTracker, drain: CancellationToken) {
    let mut tidied: Option<std::time::Instant> = None;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while !drain.is_cancelled() {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = drain.cancelled() => return,
        };
        match queue::claim_cleanup(&kitchen.store, &kitchen.settings.id, kitchen.settings.lease).await {
            Ok(Some(claimed)) => {
                let stop = Stop::default();
                let hold = held.hold(&claimed.lease, &stop);
                let kitchen = kitchen.clone();
                runs.spawn(async move {
                    afterwards::finish(&kitchen, claimed, stop).await;
                    drop(hold);
                    drop(place);
                });
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(error = %error, "the reaper could not look"),
        }
        if tidied.is_none_or(|at| at.elapsed() > TIDY) {
            match tidy(&kitchen).await {
                Ok(()) => tidied = Some(std::time::Instant::now()),
                Err(error) => tracing::debug!(error = %error, "the reaper could not tidy up"),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = drain.cancelled() => {}
        }
    }
}

async fn tidy(kitchen: &Kitchen) -> Result<(), StoreError> {
    let mut db = kitchen.store.acquire().await?;
    workers::forget(&mut db, Utc::now() - WORKER_MEMORY).await?;
    idempotency::forget(&mut db, Utc::now() - KEY_MEMORY).await?;
    Ok(())
}

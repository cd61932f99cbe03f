//! Keeps the leases of all runs of this worker with one statement per beat, and tells the runs what it learns: the lease
//! is lost, somebody cancelled, or the database has been away for so long that another worker may have the run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::WorkerSettings;
use crate::{
    bake::{Stop, StopReason},
    domain::RunId,
    queue::{Lease, renew},
    store::workers::{self, WorkerRow},
};

/// The runs that this worker holds.
#[derive(Clone, Default)]
pub struct Held {
    runs: Arc<Mutex<HashMap<RunId, Holding>>>,
    beat: Arc<Notify>,
}

struct Holding {
    lease: Lease,
    stop: Stop,
    renewed: Instant,
}

impl Held {
    /// Adds a run; it is forgotten when the answer is dropped.
    #[must_use]
    pub fn hold(&self, lease: &Lease, stop: &Stop) -> Hold {
        let holding = Holding { lease: lease.clone(), stop: stop.clone(), renewed: Instant::now() };
        let earlier = self.lock().insert(lease.run, holding);
        // This worker has claimed the run again after its own lease ran out: what still works on it has to stop.
        if let Some(earlier) = earlier {
            earlier.stop.now(StopReason::LeaseLost);
        }
        // A cancellation may have been asked for before the run was held.
        self.beat_now();
        Hold { held: self.clone(), run: lease.run, token: lease.token }
    }

    /// Tells every run to stop.
    pub fn stop_all(&self, reason: StopReason) {
        for holding in self.lock().values() {
            holding.stop.now(reason);
        }
    }

    /// Stops the runs that were not renewed for this long: another worker may have them, and whether it does cannot be
    /// known without the database.
    fn stop_expired(&self, lease: std::time::Duration) {
        for holding in self.lock().values().filter(|holding| holding.renewed.elapsed() >= lease) {
            holding.stop.now(StopReason::LeaseLost);
        }
    }

    /// How many runs are held.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Beats now instead of at the next interval.
    pub fn beat_now(&self) {
        self.beat.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Holding>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the run when dropped.
pub struct Hold {
    held: Held,
    run: RunId,
    token: i64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut runs = self.held.lock();
        // It may be held again by now, under a newer claim.
        if runs.get(&self.run).is_some_and(|holding| holding.lease.token == self.token) {
            runs.remove(&self.run);
        }
    }
}

/// Beats until `ended`.
pub async fn keep(
    pool: PgPool,
    settings: WorkerSettings,
    held: Held,
    draining: CancellationToken,
    ended: CancellationToken,
) {
    let started_at = Utc::now();
    loop {
        beat(&pool, &settings, &held).await;
        report(&pool, &settings, &held, draining.is_cancelled(), started_at).await;
        tokio::select! {
            () = tokio::time::sleep(settings.heartbeat()) => {}
            () = held.beat.notified() => {}
            () = ended.cancelled() => return,
        }
    }
}

/// Stops runs whose lease may have run out. A task of its own, so that a database that does not answer cannot hold it up.
pub async fn fence(settings: WorkerSettings, held: Held, ended: CancellationToken) {
    let often = settings.lease / 20;
    loop {
        tokio::select! {
            () = tokio::time::sleep(often) => held.stop_expired(settings.lease),
            () = ended.cancelled() => return,
        }
    }
}

async fn beat(pool: &PgPool, settings: &WorkerSettings, held: &Held) {
    let leases: Vec<Lease> = held.lock().values().map(|holding| holding.lease.clone()).collect();
    if leases.is_empty() {
        return;
    }
    let asked = Instant::now();
    // An answer that comes later than a beat is of no use: the next one asks again.
    let answer =
        tokio::time::timeout(settings.heartbeat(), renew::renew(pool, &leases, settings.lease)).await;
    let mut runs = held.lock();
    match answer {
        Ok(Ok(renewals)) => {
            for lease in &leases {
                let Some(holding) =
                    runs.get_mut(&lease.run).filter(|holding| holding.lease.token == lease.token)
                else {
                    continue;
                };
                match renewals.get(&lease.run) {
                    None => {
                        tracing::warn!(run.id = %lease.run, "run {} belongs to another worker by now", lease.run);
                        holding.stop.now(StopReason::LeaseLost);
                    }
                    Some(renewal) => {
                        holding.renewed = asked;
                        if renewal.cancel_requested {
                            holding.stop.now(StopReason::Cancelled);
                        }
                    }
                }
            }
        }
        Ok(Err(error)) => tracing::warn!(error = %error, "leases could not be renewed"),
        Err(_) => tracing::warn!("leases could not be renewed in time"),
    }
}

async fn report(
    pool: &PgPool,
    settings: &WorkerSettings,
    held: &Held,
    draining: bool,
    started_at: DateTime<Utc>,
) {
    let row = WorkerRow {
        id: settings.id.clone(),
        hostname: settings.hostname.clone(),
        capabilities: settings.capabilities.clone(),
        slots: i32::try_from(settings.slots).unwrap_or(i32::MAX),
        busy: i32::try_from(held.count()).unwrap_or(i32::MAX),
        draining,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at,
        seen_at: Utc::now(),
    };
    let written = async { workers::seen(&mut *pool.acquire().await?, &row).await };
    // Never longer than a beat: the leases wait for it.
    match tokio::time::timeout(settings.heartbeat(), written).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error = %error, "the worker could not report itself"),
        Err(_) => tracing::debug!("the worker could not report itself in time"),
    }
}

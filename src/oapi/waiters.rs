//! Waiting for resources, shared: whatever number of bakes waits, one read an interval asks for all of them.
//! This file is what a waiting bake sees; `polling` reads for it, and `predicates` says what is waited for.

use std::any::type_name;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::error::OapiError;
use super::polling::{History, Look, Pollers, Watched};
use super::predicates;
use super::types::{Image, Snapshot, Vm, Volume};

/// What a look at a resource means for a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<T> {
    /// Not yet; with what it looks like, for the message if time runs out.
    Pending(String),
    /// What was waited for.
    Done(T),
    /// It will never come; with the reason.
    Failed(String),
}

/// Why a wait ended without what it waited for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WaitError {
    /// It took longer than allowed.
    #[error("waited {} s for {kind} {id}: {last}", waited.as_secs())]
    TimedOut {
        /// Such as `VM`.
        kind: &'static str,
        /// Of the resource.
        id: String,
        /// How long.
        waited: Duration,
        /// What it looked like at last.
        last: String,
    },
    /// It reached a state that what is waited for cannot follow.
    #[error("{kind} failed: {reason}")]
    Failed {
        /// Such as `VM`.
        kind: &'static str,
        /// The state and why.
        reason: String,
    },
    /// The caller cancelled it.
    #[error("the wait was cancelled")]
    Cancelled,
    /// OAPI does not list it, for longer than new resources take to appear.
    #[error("{kind} {id} does not exist, or not any more")]
    Missing {
        /// Such as `VM`.
        kind: &'static str,
        /// Of the resource.
        id: String,
    },
    /// OAPI refused to tell.
    #[error(transparent)]
    Oapi(#[from] OapiError),
}

/// How waits read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitConfig {
    /// Between two reads of one kind in one account, at the quickest.
    pub min_interval: Duration,
    /// And at the slowest: how late a failure may be noticed.
    pub max_interval: Duration,
    /// How long a resource may be missing from the list before that is believed.
    pub settle: Duration,
}

impl Default for WaitConfig {
    fn default() -> Self {
        Self {
            min_interval: Duration::from_millis(250),
            max_interval: Duration::from_secs(5),
            settle: Duration::from_secs(30),
        }
    }
}

/// Looks in a row that must miss a resource whose going is waited for.
const LOOKS_UNTIL_GONE: u32 = 2;

/// All waits of this process. The application owns one; cheap to clone. Must be used inside a tokio runtime.
#[derive(Debug, Clone)]
pub struct Waits {
    config: WaitConfig,
    history: Arc<History>,
    vms: Arc<Pollers<Vm>>,
    volumes: Arc<Pollers<Volume>>,
    snapshots: Arc<Pollers<Snapshot>>,
    images: Arc<Pollers<Image>>,
}

impl Default for Waits {
    fn default() -> Self {
        Self::new(WaitConfig::default())
    }
}

impl Waits {
    /// Waits that read like this.
    pub fn new(config: WaitConfig) -> Self {
        Self {
            history: Arc::default(),
            vms: Arc::new(Pollers::new(config.clone())),
            volumes: Arc::new(Pollers::new(config.clone())),
            snapshots: Arc::new(Pollers::new(config.clone())),
            images: Arc::new(Pollers::new(config.clone())),
            config,
        }
    }

    /// Waits until `until` is done with the VM (ReadVms). `deadline` is counted from now.
    pub async fn wait_vm<T>(
        &self,
        client: &Client,
        vm_id: &str,
        until: impl Fn(&Vm) -> Progress<T>,
        deadline: Duration,
        cancel: &CancellationToken,
    ) -> Result<T, WaitError> {
        self.wait(&self.vms, client, vm_id, until, None::<fn() -> T>, deadline, cancel).await
    }

    /// Waits until the VM is terminated or no longer listed.
    pub async fn wait_vm_terminated(
        &self,
        client: &Client,
        vm_id: &str,
        deadline: Duration,
        cancel: &CancellationToken,
    ) -> Result<(), WaitError> {
        self.wait(&self.vms, client, vm_id, predicates::vm_terminated, Some(|| ()), deadline, cancel).await
    }

    /// Waits until `until` is done with the volume (ReadVolumes). `deadline` is counted from now.
    pub async fn wait_volume<T>(
        &self,
        client: &Client,
        volume_id: &str,
        until: impl Fn(&Volume) -> Progress<T>,
        deadline: Duration,
        cancel: &CancellationToken,
    ) -> Result<T, WaitError> {
        self.wait(&self.volumes, client, volume_id, until, None::<fn() -> T>, deadline, cancel).await
    }

    /// Waits until the volume is no longer listed, after DeleteVolume or the end of its VM.
    pub async fn wait_volume_gone(
        &self,
        client: &Client,
        volume_id: &str,
        deadline: Duration,
        cancel: &CancellationToken,
    ) -> Result<(), WaitError> {
        let until =
            |volume: &Volume| Progress::<()>::Pending(format!("{} is {}", volume.volume_id, volume.state));
        self.wait(&self.volumes, client, volume_id, until, Some(|| ()), deadline, cancel).await
    }

    /// Waits until `until` is done with the snapshot (ReadSnapshots). `deadline` is counted from now.
    pub async fn wait_snapshot<T>(
        &self,
        client: &Client,
        snapshot_id: &str,
        until: impl Fn(&Snapshot) -> Progress<T>,
        deadline: Duration,
        cancel: &CancellationToken,
    ) -> Result<T, WaitError> {
        self.wait(&self.snapshots, client, snapshot_id, until, None::<fn() -> T>, deadline, cancel).await
    }

    /// Waits until `until` is done with the image (ReadImages). `deadline` is counted from now.
    pub async fn wait_image<T>(
        &self,
        client: &Client,
        image_id: &str,
        until: impl Fn(&Image) -> Progress<T>,
        deadline: Duration,
        cancel: &CancellationToken,
    ) -> Result<T, WaitError> {
        self.wait(&self.images, client, image_id, until, None::<fn() -> T>, deadline, cancel).await
    }

    /// `when_gone` makes the result if absence is what is waited for; otherwise absence is an error after a while.
    #[expect(clippy::too_many_arguments, reason = "the public waits above are the shorter forms")]
    async fn wait<W: Watched, T, F: Fn(&W) -> Progress<T>>(
        &self,
        pollers: &Arc<Pollers<W>>,
        client: &Client,
        id: &str,
        until: F,
        when_gone: Option<impl Fn() -> T>,
        deadline: Duration,
        cancel: &CancellationToken,
    ) -> Result<T, WaitError> {
        // Waits with the same purpose take similar times, and the predicate's type tells purposes apart.
        let purpose = type_name::<F>();
        let started = Instant::now();
        let mut subscription = pollers.join(client, id, self.history.usual(purpose));
        let mut last = "it was not read yet".to_owned();
        let mut absent_since = None;
        let mut absent_looks = 0;
        let timeout = tokio::time::sleep(deadline);
        tokio::pin!(timeout);
        loop {
            let look = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(WaitError::Cancelled),
                look = subscription.next() => look,
                () = &mut timeout => {
                    return Err(WaitError::TimedOut { kind: W::KIND, id: id.to_owned(), waited: started.elapsed(), last });
                }
            };
            match look {
                Look::Listed(resource) => {
                    (absent_since, absent_looks) = (None, 0);
                    match until(&resource) {
                        Progress::Pending(now) => last = now,
                        Progress::Failed(reason) => return Err(WaitError::Failed { kind: W::KIND, reason }),
                        Progress::Done(result) => {
                            self.history.add(purpose, started.elapsed(), self.config.min_interval);
                            return Ok(result);
                        }
                    }
                }
                Look::NotListed => {
                    absent_looks += 1;
                    last = "it is not listed".to_owned();
                    let absent = absent_since.get_or_insert_with(Instant::now).elapsed();
                    match &when_gone {
                        Some(result) if absent_looks >= LOOKS_UNTIL_GONE => return Ok(result()),
                        None if absent >= self.config.settle => {
                            return Err(WaitError::Missing { kind: W::KIND, id: id.to_owned() });
                        }
                        _ => {}
                    }
                }
                Look::Trouble(error) => last = format!("the last read failed: {error}"),
                Look::Refused(error) => return Err(WaitError::Oapi(error)),
                Look::Ended => return Err(WaitError::Cancelled),
            }
        }
    }
}

#[cfg(test)]
mod tests;

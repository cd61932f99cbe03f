//! The reading behind shared waits: one task for each account and kind, alive only while somebody waits.
//! How often it reads follows from how long such waits usually took.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::warn;

use super::client::{Client, Identity};
use super::error::OapiError;
use super::types::{
    FiltersImage, FiltersSnapshot, FiltersVm, FiltersVolume, Image, ReadImages, ReadSnapshots, ReadVms,
    ReadVolumes, Snapshot, Vm, Volume,
};
use super::waiters::WaitConfig;

/// Ids that one read asks for.
const IDS_A_READ: usize = 500;
/// Durations that are remembered for each purpose.
const REMEMBERED: usize = 32;

/// A kind of resource that can be waited for.
pub(super) trait Watched: Send + Sync + 'static {
    /// For messages.
    const KIND: &'static str;

    fn id(&self) -> &str;

    /// Those of these ids that are listed. `ids` is not empty: without a filter OAPI lists everything.
    fn read(client: &Client, ids: Vec<String>) -> impl Future<Output = Result<Vec<Self>, OapiError>> + Send
    where
        Self: Sized;
}

macro_rules! watched {
    ($item:ty, $kind:literal, $id:ident, $read:ident, $filters:ident { $field:ident }) => {
        impl Watched for $item {
            const KIND: &'static str = $kind;

            fn id(&self) -> &str {
                &self.$id
            }

            async fn read(client: &Client, ids: Vec<String>) -> Result<Vec<Self>, OapiError> {
                client.read_all(&$read::filtered($filters { $field: ids, ..$filters::default() })).await
            }
        }
    };
}

watched!(Vm, "VM", vm_id, ReadVms, FiltersVm { vm_ids });
watched!(Volume, "volume", volume_id, ReadVolumes, FiltersVolume { volume_ids });
watched!(Snapshot, "snapshot", snapshot_id, ReadSnapshots, FiltersSnapshot { snapshot_ids });
watched!(Image, "image", image_id, ReadImages, FiltersImage { image_ids });

/// What a read told about one resource.
#[derive(Debug)]
pub(super) enum Look<W> {
    Listed(Arc<W>),
    NotListed,
    /// The read failed in a way that passes; it goes on.
    Trouble(OapiError),
    /// The read was refused, and would be again.
    Refused(OapiError),
    /// There will be no more looks: the runtime shuts down.
    Ended,
}

impl<W> Clone for Look<W> {
    fn clone(&self) -> Self {
        match self {
            Self::Listed(resource) => Self::Listed(resource.clone()),
            Self::NotListed => Self::NotListed,
            Self::Trouble(error) => Self::Trouble(error.clone()),
            Self::Refused(error) => Self::Refused(error.clone()),
            Self::Ended => Self::Ended,
        }
    }
}

/// The pollers of one kind, by account.
#[derive(Debug)]
pub(super) struct Pollers<W> {
    config: WaitConfig,
    groups: Mutex<HashMap<Identity, Group<W>>>,
}

/// All who wait for one kind in one account. There is a task for it exactly as long as it is in the map.
#[derive(Debug)]
struct Group<W> {
    client: Client,
    waiters: HashMap<u64, Waiter<W>>,
    next_number: u64,
    /// Rings when somebody joins or leaves.
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct Waiter<W> {
    id: String,
    since: Instant,
    usual: Option<Usual>,
    due: Instant,
    looks: watch::Sender<Option<Look<W>>>,
}

/// A place among those who wait; given up on drop.
#[derive(Debug)]
pub(super) struct Subscription<W> {
    pollers: Arc<Pollers<W>>,
    identity: Identity,
    number: u64,
    looks: watch::Receiver<Option<Look<W>>>,
}

impl<W> Subscription<W> {
    /// The next look that began after joining.
    pub async fn next(&mut self) -> Look<W> {
        loop {
            if self.looks.changed().await.is_err() {
                return Look::Ended;
            }
            if let Some(look) = self.looks.borrow_and_update().clone() {
                return look;
            }
        }
    }
}

impl<W> Drop for Subscription<W> {
    fn drop(&mut self) {
        if let Some(group) = self.pollers.lock().get_mut(&self.identity) {
            group.waiters.remove(&self.number);
            group.changed.notify_one();
        }
    }
}

impl<W> Pollers<W> {
    pub fn new(config: WaitConfig) -> Self {
        Self { config, groups: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identity, Group<W>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Watched> Pollers<W> {
    /// Begins to watch a resource.
    pub fn join(self: &Arc<Self>, client: &Client, id: &str, usual: Option<Usual>) -> Subscription<W> {
        let identity = client.identity();
        let (sender, looks) = watch::channel(None);
        let now = Instant::now();
        let waiter = Waiter { id: id.to_owned(), since: now, usual, due: now, looks: sender };
        let mut groups = self.lock();
        let group = groups.entry(identity).or_insert_with(|| {
            tokio::spawn(self.clone().poll(identity));
            Group {
                client: client.trying_once(),
                waiters: HashMap::new(),
                next_number: 0,
                changed: Arc::default(),
            }
        });
        let number = group.next_number;
        group.next_number += 1;
        group.waiters.insert(number, waiter);
        group.changed.notify_one();
        drop(groups);
        Subscription { pollers: self.clone(), identity, number, looks }
    }

    async fn poll(self: Arc<Self>, identity: Identity) {
        let mut alive = Alive { pollers: self.clone(), identity, is_done: false };
        let mut earliest = Instant::now();
        let mut troubles = 0;
        while let Some((due, changed)) = self.next_due(identity) {
            tokio::select! {
                () = changed.notified() => continue,
                () = tokio::time::sleep_until(due.max(earliest)) => {}
            }
            let Some((client, awaited)) = self.awaited(identity) else { continue };
            let began = Instant::now();
            let results = look_at::<W>(&client, awaited.values().cloned().collect()).await;
            let is_troubled = results.values().any(|look| matches!(look, Look::Trouble(_)));
            troubles = if is_troubled { troubles + 1 } else { 0 };
            earliest = began + backed_off(&self.config, troubles);
            self.deliver(identity, &awaited, &results);
        }
        alive.is_done = true;
    }

    /// When the next read is due; `None` if nobody waits, which ends the task.
    fn next_due(&self, identity: Identity) -> Option<(Instant, Arc<Notify>)> {
        let mut groups = self.lock();
        let group = groups.get(&identity)?;
        match group.waiters.values().map(|waiter| waiter.due).min() {
            Some(due) => Some((due, group.changed.clone())),
            None => {
                groups.remove(&identity);
                None
            }
        }
    }

    /// Who waits at this moment, and for what.
    fn awaited(&self, identity: Identity) -> Option<(Client, HashMap<u64, String>)> {
        let groups = self.lock();
        let group = groups.get(&identity)?;
        let awaited: HashMap<_, _> =
            group.waiters.iter().map(|(number, waiter)| (*number, waiter.id.clone())).collect();
        (!awaited.is_empty()).then(|| (group.client.clone(), awaited))
    }

    /// Tells those who waited when the read began. Whoever joined meanwhile waits for the next one, since this one may
    /// show the time before what they wait for.
    fn deliver(
        &self,
        identity: Identity,
        awaited: &HashMap<u64, String>,
        results: &HashMap<String, Look<W>>,
    ) {
        let now = Instant::now();
        if let Some(group) = self.lock().get_mut(&identity) {
            for (number, id) in awaited {
                let Some(waiter) = group.waiters.get_mut(number) else { continue };
                let look = results.get(id).cloned().unwrap_or(Look::NotListed);
                waiter.due = now + interval(&self.config, now.duration_since(waiter.since), waiter.usual);
                waiter.looks.send_replace(Some(look));
            }
        }
    }
}

/// Ends the waits of a task that is ended from outside (its runtime shuts down, an observer panics): without it they
/// would wait for looks that never come.
struct Alive<W> {
    pollers: Arc<Pollers<W>>,
    identity: Identity,
    is_done: bool,
}

impl<W> Drop for Alive<W> {
    fn drop(&mut self) {
        if !self.is_done {
            // Taken out under the lock, but dropped after it.
            let _group = self.pollers.lock().remove(&self.identity);
        }
    }
}

/// Looks at these resources: a look for each that is listed or that could not be read.
async fn look_at<W: Watched>(client: &Client, ids: HashSet<String>) -> HashMap<String, Look<W>> {
    let mut looks = HashMap::new();
    let ids: Vec<String> = ids.into_iter().collect();
    // A stack of batches, since a refused one is halved until it is known which id OAPI does not like.
    let mut batches: Vec<Vec<String>> = ids.chunks(IDS_A_READ).map(<[String]>::to_vec).collect();
    while let Some(batch) = batches.pop() {
        match W::read(client, batch.clone()).await {
            Ok(resources) => {
                looks.extend(
                    resources
                        .into_iter()
                        .map(|resource| (resource.id().to_owned(), Look::Listed(Arc::new(resource)))),
                );
            }
            Err(error) if error.is_transient() => {
                looks.extend(batch.into_iter().map(|id| (id, Look::Trouble(error.clone()))));
            }
            Err(error @ OapiError::Refused { .. }) if batch.len() > 1 => {
                warn!(
                    oapi.code = error.code(),
                    "a shared read of {} {}s was refused, halving it",
                    batch.len(),
                    W::KIND
                );
                let (left, right) = batch.split_at(batch.len() / 2);
                batches.extend([left.to_vec(), right.to_vec()]);
            }
            Err(error) => {
                looks.extend(batch.into_iter().map(|id| (id, Look::Refused(error.clone()))));
            }
        }
    }
    looks
}

/// The least time between the beginnings of two reads; longer after reads that failed.
fn backed_off(config: &WaitConfig, troubles: u32) -> Duration {
    let wait = config.min_interval.saturating_mul(1 << troubles.min(16));
    wait.min(config.max_interval.max(config.min_interval))
}

/// How long waits of one purpose usually take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usual {
    /// Few are done before.
    early: Duration,
    /// Most are done by then.
    late: Duration,
}

/// Reads in the span in which most waits end, at most: keeps a wide span from being read at the quickest interval.
const READS_IN_SPAN: u32 = 60;

/// How long to wait for the next look after this long: slowly before the usual end, quickly around it, then ever slower.
fn interval(config: &WaitConfig, waited: Duration, usual: Option<Usual>) -> Duration {
    let longest = config.max_interval.max(config.min_interval);
    let wanted = match usual {
        None => waited / 10,
        Some(Usual { early, late }) => {
            let from = early.mul_f64(0.85);
            let to = late.mul_f64(1.25);
            if waited < from {
                from - waited
            } else if waited <= to {
                (to - from) / READS_IN_SPAN
            } else {
                (waited - to) / 4
            }
        }
    };
    wanted.clamp(config.min_interval, longest)
}

/// How long waits took, by purpose.
#[derive(Debug, Default)]
pub(super) struct History {
    durations: Mutex<HashMap<&'static str, VecDeque<Duration>>>,
}

/// Waits of a purpose after which their usual duration is believed.
const ENOUGH: usize = 3;

impl History {
    /// Notes that a wait was done after this long, unless there was nothing to wait for.
    pub fn add(&self, purpose: &'static str, duration: Duration, least: Duration) {
        if duration < least {
            return;
        }
        let mut durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let durations = durations.entry(purpose).or_default();
        if durations.len() == REMEMBERED {
            durations.pop_front();
        }
        durations.push_back(duration);
    }

    /// The usual duration, once there is one.
    pub fn usual(&self, purpose: &str) -> Option<Usual> {
        let durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<_> = durations.get(purpose)?.iter().copied().collect();
        drop(durations);
        if sorted.len() < ENOUGH {
            return None;
        }
        sorted.sort_unstable();
        let at = |tenths: usize| sorted.get((sorted.len() - 1) * tenths / 10).copied();
        Some(Usual { early: at(1)?, late: at(9)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_history_looks_grow_rare_slowly() {
        let config = WaitConfig::default();
        let mut waited = Duration::ZERO;
        let mut looks = 0;
        let mut last = Duration::ZERO;
        while waited < 60 * SECOND {
            let next = interval(&config, waited, None);
            assert!(next >= last && next >= config.min_interval && next <= config.max_interval);
            last = next;
            waited += next;
            looks += 1;
        }
        assert!((20..60).contains(&looks), "{looks}");
    }

    #[test]
    fn with_history_looks_are_rare_before_the_usual_end_and_dense_around_it() {
        let config = WaitConfig::default();
        let usual = Some(Usual { early: 20 * SECOND, late: 24 * SECOND });
        assert_eq!(interval(&config, SECOND, usual), config.max_interval);
        assert_eq!(interval(&config, 15 * SECOND, usual), 2 * SECOND);
        for waited in [17, 20, 24, 30] {
            assert_eq!(interval(&config, waited * SECOND, usual), config.min_interval);
        }
        assert_eq!(interval(&config, 300 * SECOND, usual), config.max_interval);
        let wide = Some(Usual { early: 10 * SECOND, late: 400 * SECOND });
        assert!(interval(&config, 100 * SECOND, wide) > config.max_interval / 2);
    }

    #[test]
    fn the_history_keeps_the_latest_and_needs_a_few() {
        let history = History::default();
        history.add("a", SECOND, Duration::ZERO);
        history.add("a", SECOND, Duration::ZERO);
        assert_eq!(history.usual("a"), None);
        for seconds in 0..100 {
            history.add("a", seconds * SECOND, SECOND);
        }
        let usual = history.usual("a").unwrap();
        assert!(usual.early >= 68 * SECOND && usual.late <= 99 * SECOND && usual.early < usual.late);
        assert_eq!(history.usual("b"), None);
    }

    #[test]
    fn reads_that_fail_back_off_within_bounds() {
        let config = WaitConfig::default();
        assert_eq!(backed_off(&config, 0), config.min_interval);
        assert_eq!(backed_off(&config, 2), config.min_interval * 4);
        assert_eq!(backed_off(&config, 1000), config.max_interval);
    }
}

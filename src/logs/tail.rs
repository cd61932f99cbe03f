//! Tells readers in this process when something about a build has changed. One connection listens for all of them;
//! what has changed is read from the tables by whoever is woken, so that a lost notification costs time and nothing else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::Rng;
use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{domain::BuildId, store::changes::BUILD_CHANNEL};

/// How long, in milliseconds, a reader waits before it looks without having been called; spread so that many readers
/// do not look at once.
const POLL_MS: std::ops::Range<u64> = 1_700..2_300;

/// How long the listener waits before it connects again: the first and the longest time.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Wakes the readers of builds. Cheap to clone; one per process.
#[derive(Debug, Clone)]
pub struct LogHub {
    topics: Arc<Topics>,
}

impl LogHub {
    /// Starts to listen, and goes on until `shutdown`. The database may be away: readers poll meanwhile.
    /// Keeps one connection of `pool`.
    #[must_use]
    pub fn start(pool: PgPool, shutdown: CancellationToken) -> Self {
        let topics = Arc::<Topics>::default();
        let listened = Arc::clone(&topics);
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => (),
                () = listen_for_ever(&pool, &listened) => (),
            }
        });
        Self { topics }
    }

    /// Calls whoever holds the answer each time something about the build changes: state, step, artifact or log.
    #[must_use]
    pub fn subscribe(&self, build: BuildId) -> Wake {
        self.topics.subscribe(Some(build))
    }

    /// The same for all builds.
    #[must_use]
    pub fn subscribe_all(&self) -> Wake {
        self.topics.subscribe(None)
    }

    /// How many builds have readers.
    #[must_use]
    pub fn watched_builds(&self) -> usize {
        self.topics.lock().keys().flatten().count()
    }
}

/// One reader's subscription.
#[derive(Debug)]
pub struct Wake {
    /// Present until dropped.
    receiver: Option<watch::Receiver<()>>,
    topic: Option<BuildId>,
    topics: Arc<Topics>,
}

impl Wake {
    /// Returns when there may be something new since the last return (or since the subscription), and anyway after
    /// about 2 s. Safe to cancel.
    pub async fn changed(&mut self) {
        let poll = Duration::from_millis(rand::rng().random_range(POLL_MS));
        if let Some(receiver) = &mut self.receiver {
            // An error would mean that the sender is gone, which lives as long as it has receivers; the time-out
            // keeps even that from spinning.
            if let Ok(Err(_)) = tokio::time::timeout(poll, receiver.changed()).await {
                tokio::time::sleep(poll).await;
            }
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        let mut topics = self.topics.lock();
        // Under the lock, so that of two last readers leaving at once the second sees the first gone.
        drop(self.receiver.take());
        if topics.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            topics.remove(&self.topic);
        }
    }
}

/// The subjects that somebody waits for; `None` is all builds.
#[derive(Debug, Default)]
struct Topics(Mutex<HashMap<Option<BuildId>, watch::Sender<()>>>);

impl Topics {
    fn lock(&self) -> MutexGuard<'_, HashMap<Option<BuildId>, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(self: &Arc<Self>, topic: Option<BuildId>) -> Wake {
        let receiver = self.lock().entry(topic).or_insert_with(|| watch::Sender::new(())).subscribe();
        Wake { receiver: Some(receiver), topic, topics: Arc::clone(self) }
    }

    fn wake(&self, build: BuildId) {
        let topics = self.lock();
        for topic in [Some(build), None] {
            if let Some(sender) = topics.get(&topic) {
                sender.send_replace(());
            }
        }
    }

    fn wake_everybody(&self) {
        for sender in self.lock().values() {
            sender.send_replace(());
        }
    }
}

async fn listen_for_ever(pool: &PgPool, topics: &Topics) {
    let mut pause = RECONNECT.0;
    loop {
        let mut listened = false;
        match listen(pool, topics, &mut listened).await {
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) if listened => {
                pause = RECONNECT.0;
                info!(error = %error, "the listener for changes of builds lost its connection; connecting again");
            }
            Err(error) => {
                warn!(error = %error, "changes of builds cannot be listened for; readers poll until that works");
            }
            Ok(never) => match never {},
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RECONNECT.1);
    }
}

/// Listens until the connection fails; `listened` tells whether it ever worked.
async fn listen(
    pool: &PgPool,
    topics: &Topics,
    listened: &mut bool,
) -> Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(BUILD_CHANNEL).await?;
    *listened = true;
    // What happened before LISTEN took effect was not heard.
    topics.wake_everybody();
    loop {
        match listener.try_recv().await? {
            Some(notification) => match notification.payload().parse() {
                Ok(build) => topics.wake(build),
                Err(_) => topics.wake_everybody(),
            },
            // The connection was lost and made again; notifications in between are gone.
            None => topics.wake_everybody(),
        }
    }
}

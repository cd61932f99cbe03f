//! Ends what is under way for a token when it is revoked, on whichever replica that happened. Streams and long polls watch
//! their token; one connection listens for all of them, from the first watch on.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{PgPool, postgres::PgListener};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::store::{
    StoreError,
    tokens::{self, TOKEN_CHANNEL},
};

/// How often watched tokens are looked up without having been called: a notification can be lost with its connection.
const LOOK: Duration = Duration::from_secs(5);

/// How long the listener waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Who watches which token.
#[derive(Debug)]
pub struct Revocations {
    watched: Arc<Watched>,
    pool: PgPool,
    shutdown: CancellationToken,
    started: Once,
}

#[derive(Debug, Default)]
struct Watched {
    tokens: Mutex<HashMap<Uuid, (CancellationToken, usize)>>,
    /// Grows with every notification.
    generation: AtomicU64,
}

/// One watch.
#[derive(Debug)]
pub struct Watch {
    id: Uuid,
    ended: CancellationToken,
    watched: Arc<Watched>,
}

impl Revocations {
    /// Nothing is watched, and nothing is listened to, yet.
    pub fn new(pool: PgPool, shutdown: CancellationToken) -> Self {
        Self { watched: Arc::default(), pool, shutdown, started: Once::new() }
    }

    /// Changes whenever a token was made or revoked, as far as this process has heard.
    pub fn generation(&self) -> u64 {
        self.watched.generation.load(Ordering::Acquire)
    }

    /// Watches a token; the nil id stands for "there are no tokens".
    pub fn watch(&self, id: Uuid) -> Watch {
        let ended = {
            let mut tokens = self.watched.lock();
            let (ended, watchers) = tokens.entry(id).or_default();
            *watchers += 1;
            ended.clone()
        };
        self.started.call_once(|| {
            let (pool, watched, shutdown) =
                (self.pool.clone(), Arc::clone(&self.watched), self.shutdown.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = shutdown.cancelled() => (),
                    () = listen_for_ever(&pool, &watched) => (),
                }
            });
        });
        Watch { id, ended, watched: Arc::clone(&self.watched) }
    }

    /// Whether a token that was just looked up was revoked since `generation`, of which its watch heard nothing.
    pub async fn is_revoked_since(&self, generation: u64, id: Uuid) -> Result<bool, StoreError> {
        if self.generation() == generation {
            return Ok(false);
        }
        Ok(!still_valid(&self.pool, &[id]).await?.contains(&id))
    }
}

impl Watch {
    /// Returns when the token is no longer valid.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut tokens = self.watched.lock();
        if let Some((_, watchers)) = tokens.get_mut(&self.id) {
            *watchers -= 1;
            if *watchers == 0 {
                tokens.remove(&self.id);
            }
        }
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, (CancellationToken, usize)>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self, id: Uuid) {
        // Before the look at the watchers: one that comes in between sees that it has to look for itself.
        self.generation.fetch_add(1, Ordering::AcqRel);
        if let Some((ended, _)) = self.lock().get(&id) {
            ended.cancel();
        }
    }

    /// Looks all watched tokens up.
    async fn look(&self, pool: &PgPool) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = self.lock().keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let valid = still_valid(pool, &ids).await?;
        let tokens = self.lock();
        for (id, (ended, _)) in tokens.iter() {
            if ids.contains(id) && !valid.contains(id) {
                ended.cancel();
            }
        }
        Ok(())
    }
}

/// Which of these may go on.
async fn still_valid(pool: &PgPool, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
    let mut db = pool.acquire().await?;
    let mut valid = tokens::not_revoked(&mut db, ids).await?;
    if ids.contains(&Uuid::nil()) && !tokens::exist(&mut db).await? {
        valid.push(Uuid::nil());
    }
    Ok(valid)
}

async fn listen_for_ever(pool: &PgPool, watched: &Watched) {
    let listening = async {
        loop {
            match listen(pool, watched).await {
                Err(StoreError::Database(sqlx::Error::PoolClosed)) => return,
                Err(error) => {
                    info!(error = %error, "revoked tokens cannot be listened for; connecting again")
                }
                Ok(never) => match never {},
            }
            tokio::time::sleep(RECONNECT).await;
        }
    };
    let looking = async {
        loop {
            tokio::time::sleep(LOOK).await;
            match watched.look(pool).await {
                Err(StoreError::Database(sqlx::Error::PoolClosed)) => return,
                Err(error) => warn!(error = %error, "tokens of open streams cannot be looked up right now"),
                Ok(()) => {}
            }
        }
    };
    // Neither is cut off in the middle by the other.
    tokio::join!(listening, looking);
}

async fn listen(pool: &PgPool, watched: &Watched) -> Result<Infallible, StoreError> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(TOKEN_CHANNEL).await?;
    // What happened before LISTEN took effect was not heard.
    watched.look(pool).await?;
    loop {
        match listener.try_recv().await? {
            Some(notification) => match notification.payload().parse() {
                Ok(id) => watched.heard(id),
                Err(_) => watched.look(pool).await?,
            },
            // The connection was lost and made again.
            None => watched.look(pool).await?,
        }
    }
}

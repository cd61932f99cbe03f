//! The task that stores the lines of one run: gathers batches, finds each a place in the build's numbering, and goes on
//! trying while the database is away. Nothing is stored twice, also when the answer to a commit is lost.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use sqlx::{Connection, PgConnection, PgPool};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};
use tracing::{error, info, warn};

use super::ingest::Message;
use crate::{
    domain::{RunId, log::Stream},
    queue::Lease,
    store::{
        StoreError,
        log_lines::{self, Batch, NewLine, Tip},
    },
};

/// Lines that are stored by one statement.
const BATCH_LINES: usize = 500;

/// Bytes that are stored by one statement, give or take a line.
const BATCH_BYTES: usize = 1024 * 1024;

/// How long a batch waits for more lines behind its first, unless nothing was stored for that long: then it goes at
/// once.
const GATHER: Duration = Duration::from_millis(15);

/// How long the database may take for one batch before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before a batch is tried again: the first and the longest time.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Why nothing is stored any more.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// Another worker has the run.
    LeaseLost(RunId),
    /// The database refused, and would do so again.
    Refused(Arc<sqlx::Error>),
}

impl Failure {
    /// The same for a caller, each time it asks.
    pub fn to_error(&self) -> StoreError {
        match self {
            Self::LeaseLost(run) => StoreError::LeaseLost(*run),
            Self::Refused(error) => {
                StoreError::Database(sqlx::Error::AnyDriverError(Box::new(Arc::clone(error))))
            }
        }
    }
}

/// Stores what comes until the last sender is gone, a close is asked for, or storing fails for good. Closes `room` at
/// the end, so that sources do not wait for it any more.
pub(super) async fn store_all(
    mut storekeeper: Storekeeper,
    mut messages: mpsc::Receiver<Message>,
    room: Arc<Semaphore>,
    failure: Arc<OnceLock<Failure>>,
) {
    let mut last_stored = None;
    loop {
        let gathered = gather(&mut messages, last_stored).await;
        if !gathered.lines.is_empty() {
            if let Err(cause) = storekeeper.store(&gathered.lines).await {
                if let Failure::Refused(cause) = &cause {
                    error!(run.id = %storekeeper.lease.run, error = %cause, "the log of run {} can no longer be stored", storekeeper.lease.run);
                }
                // Told before anybody is answered.
                let _ = failure.set(cause);
                break;
            }
            last_stored = Some(Instant::now());
        }
        for waiting in gathered.waiting {
            // Who asked may have stopped waiting.
            let _ = waiting.send(());
        }
        if gathered.is_last {
            break;
        }
    }
    room.close();
}

/// Lines to be stored together, and who waits for it. Dropping it makes room for the next.
#[derive(Default)]
struct Gathered {
    lines: Vec<NewLine>,
    bytes: usize,
    room: Option<OwnedSemaphorePermit>,
    waiting: Vec<oneshot::Sender<()>>,
    is_last: bool,
}

impl Gathered {
    fn take(&mut self, message: Option<Message>) {
        match message {
            Some(Message::Line(line, room)) => {
                self.bytes += line.line.len();
                self.lines.push(line);
                match &mut self.room {
                    Some(all) => all.merge(room),
                    None => self.room = Some(room),
                }
            }
            Some(Message::Flush(waiting)) => self.waiting.push(waiting),
            Some(Message::Close(waiting)) => {
                self.waiting.push(waiting);
                self.is_last = true;
            }
            None => self.is_last = true,
        }
    }

    fn is_full(&self) -> bool {
        self.is_last
            || !self.waiting.is_empty()
            || self.lines.len() >= BATCH_LINES
            || self.bytes >= BATCH_BYTES
    }
}

async fn gather(messages: &mut mpsc::Receiver<Message>, last_stored: Option<Instant>) -> Gathered {
    let mut gathered = Gathered::default();
    gathered.take(messages.recv().await);
    let now = Instant::now();
    let deadline = if last_stored.is_some_and(|at| now - at < GATHER) { now + GATHER } else { now };
    while !gathered.is_full() {
        match messages.try_recv() {
            Ok(message) => gathered.take(Some(message)),
            Err(_) if Instant::now() >= deadline => break,
            Err(_) => match tokio::time::timeout_at(deadline, messages.recv()).await {
                Ok(message) => gathered.take(message),
                Err(_) => break,
            },
        }
    }
    gathered
}

/// Puts batches behind each other into the log of a build that other runs may be writing too.
pub(super) struct Storekeeper {
    pool: PgPool,
    lease: Lease,
    run: String,
    build_bytes: i64,
    patience: Duration,
    /// Where the log stood when last seen.
    tip: Option<Tip>,
    /// Others write as well: lock first instead of trying in vain.
    is_contended: bool,
}

/// A batch with its place. Kept until it is known what became of it.
struct Plan {
    before: Tip,
    log_bytes: i64,
    /// The lines, where they are not simply those that came.
    instead: Option<Vec<NewLine>>,
}

impl Plan {
    fn batch<'a>(&'a self, run: &'a str, lines: &'a [NewLine]) -> Batch<'a> {
        let lines = self.instead.as_deref().unwrap_or(lines);
        Batch { run, before: self.before, lines, log_bytes: self.log_bytes }
    }
}

enum Placed {
    /// In the table; the log stands here now.
    Stored(Tip),
    /// Somebody else was faster.
    Overtaken,
    LeaseLost,
}

impl Storekeeper {
    pub(super) fn new(pool: PgPool, lease: Lease, run: &str, build_bytes: u64) -> Self {
        let build_bytes = i64::try_from(build_bytes).unwrap_or(i64::MAX);
        Self {
            pool,
            lease,
            run: run.to_owned(),
            build_bytes,
            patience: PATIENCE,
            tip: None,
            is_contended: false,
        }
    }

    /// Stores the lines once, however long the database is away.
    async fn store(&mut self, lines: &[NewLine]) -> Result<(), Failure> {
        let mut plan = None;
        let mut pause = RETRY.0;
        let mut is_away = false;
        loop {
            let error = match self.attempt(lines, &mut plan).await {
                Ok(Placed::Stored(tip)) => {
                    self.tip = Some(tip);
                    if is_away {
                        info!(run.id = %self.lease.run, "the log of run {} is stored again", self.lease.run);
                    }
                    return Ok(());
                }
                Ok(Placed::Overtaken) => {
                    self.is_contended = true;
                    continue;
                }
                Ok(Placed::LeaseLost) => return Err(Failure::LeaseLost(self.lease.run)),
                Err(StoreError::Database(error @ sqlx::Error::PoolClosed)) => {
                    return Err(Failure::Refused(Arc::new(error)));
                }
                Err(error) if error.is_transient() => error,
                Err(StoreError::Database(error)) => return Err(Failure::Refused(Arc::new(error))),
                Err(error) => {
                    return Err(Failure::Refused(Arc::new(sqlx::Error::AnyDriverError(Box::new(error)))));
                }
            };
            if !is_away {
                is_away = true;
                warn!(run.id = %self.lease.run, error = ?error, "the log of run {} waits for the database", self.lease.run);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    async fn attempt(&mut self, lines: &[NewLine], plan: &mut Option<Plan>) -> Result<Placed, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let patience = self.patience;
        if let Ok(answer) =
            tokio::time::timeout(patience, self.place_or_wait(&mut connection, lines, plan)).await
        {
            return answer;
        }
        // Given back to the pool it would go on waiting for the answer there.
        drop(connection.detach());
        Err(StoreError::Database(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
    }

    async fn place_or_wait(
        &mut self,
        db: &mut PgConnection,
        lines: &[NewLine],
        plan: &mut Option<Plan>,
    ) -> Result<Placed, StoreError> {
        if !self.is_contended {
            return self.place(db, lines, plan).await;
        }
        let mut transaction = db.begin().await?;
        let Some(tip) = log_lines::lock(&mut transaction, &self.lease).await? else {
            return Ok(Placed::LeaseLost);
        };
        let is_alone = self.tip == Some(tip);
        self.tip = Some(tip);
        let placed = self.place(&mut transaction, lines, plan).await?;
        transaction.commit().await?;
        self.is_contended = !is_alone;
        Ok(placed)
    }

    /// One try. `plan` is what was sent by an earlier one, of which it is not known whether it was stored.
    async fn place(
        &self,
        db: &mut PgConnection,
        lines: &[NewLine],
        plan: &mut Option<Plan>,
    ) -> Result<Placed, StoreError> {
        let mut tip = self.tip;
        if plan.is_some() || tip.is_none() {
            let sent = plan.as_ref().map(|plan| plan.batch(&self.run, lines));
            let Some(review) = log_lines::review(db, &self.lease, sent).await? else {
                return Ok(Placed::LeaseLost);
            };
            if review.stored {
                return Ok(Placed::Stored(review.tip));
            }
            if !review.held {
                return Ok(Placed::LeaseLost);
            }
            // Where the log has moved on without it, the batch sent earlier can never be stored any more, because
            // numbers only grow; where it has not, the same is sent again, and one of the two will win.
            plan.take_if(|plan| plan.before != review.tip);
            tip = Some(review.tip);
        }
        let tip = tip.unwrap_or(Tip { last_seq: 0, log_bytes: 0 });
        let plan = plan.get_or_insert_with(|| plan_batch(lines, tip, self.build_bytes));
        let batch = plan.batch(&self.run, lines);
        let count = i64::try_from(batch.lines.len()).unwrap_or(i64::MAX);
        let after = Tip { last_seq: tip.last_seq + count, log_bytes: batch.log_bytes };
        if count == 0 || log_lines::append(db, &self.lease, batch).await? {
            return Ok(Placed::Stored(after));
        }
        Ok(Placed::Overtaken)
    }
}

/// Lays a batch behind `tip`. The build's log is full exactly when `log_bytes` has reached the limit: who fills it
/// writes the one marker, and only fournil's own lines are stored from then on.
fn plan_batch(lines: &[NewLine], tip: Tip, limit: i64) -> Plan {
    let cost = |line: &NewLine| i64::try_from(line.line.len()).unwrap_or(i64::MAX).saturating_add(1);
    let total = lines.iter().map(cost).fold(tip.log_bytes, i64::saturating_add);
    if total < limit {
        return Plan { before: tip, log_bytes: total, instead: None };
    }
    let mut kept = Vec::new();
    let mut log_bytes = tip.log_bytes;
    for line in lines {
        let after = log_bytes.saturating_add(cost(line));
        if after < limit || (line.stream == Stream::Ui && log_bytes >= limit) {
            kept.push(line.clone());
            log_bytes = after;
        } else if log_bytes < limit {
            kept.push(NewLine { stream: Stream::Ui, line: marker(limit), ..line.clone() });
            log_bytes = after.max(limit);
            if line.stream == Stream::Ui {
                kept.push(line.clone());
            }
        }
    }
    Plan { before: tip, log_bytes, instead: Some(kept) }
}

fn marker(limit: i64) -> String {
    format!(
        "… [log cut: this build has reached its limit of {limit} bytes; from here on only fournil's own lines are kept]"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::fixtures::{self, stored, texts};

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn copies_of_a_batch_that_queue_in_the_database_are_stored_once(pool: PgPool) {
        let lease = fixtures::build(&pool, &["osc-bsu"]).await.remove(0);
        let mut blocking = pool.begin().await.unwrap();
        sqlx::query("SELECT FROM builds FOR UPDATE").execute(&mut *blocking).await.unwrap();
        let mut storekeeper = Storekeeper::new(pool.clone(), lease.clone(), "osc-bsu", 1_000);
        storekeeper.patience = Duration::from_millis(100);
        let storing = tokio::spawn(async move { storekeeper.store(&fixtures::lines(["one", "two"])).await });

        let waiting = async || {
            let query = "SELECT count(*) FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event_type = 'Lock'";
            sqlx::query_scalar::<_, i64>(query).fetch_one(&pool).await.unwrap()
        };
        fixtures::until("several copies wait", async || waiting().await >= 3).await;
        blocking.rollback().await.unwrap();
        storing.await.unwrap().unwrap();
        fixtures::until("all copies are through", async || waiting().await == 0).await;
        assert_eq!(texts(&stored(&pool, lease.build).await), ["one", "two"]);
    }

    #[test]
    fn the_marker_stands_where_the_limit_was_met_and_never_twice() {
        let mut lines = fixtures::lines(["1234", "1234", "own", "1234", "own"]);
        lines[2].stream = Stream::Ui;
        lines[4].stream = Stream::Ui;
        let shown = |log_bytes, limit| {
            let plan = plan_batch(&lines, Tip { last_seq: 0, log_bytes }, limit);
            let batch = plan.batch("run", &lines);
            let shown = batch.lines.iter().map(|line| line.line.chars().take(4).collect::<String>());
            (shown.collect::<Vec<_>>().join(" "), batch.log_bytes)
        };
        assert_eq!(shown(0, 100), ("1234 1234 own 1234 own".to_owned(), 23));
        assert_eq!(shown(0, 24), ("1234 1234 own 1234 own".to_owned(), 23));
        // Full by output, by a line of fournil's own, and from the start.
        assert_eq!(shown(0, 8), ("1234 … [l own own".to_owned(), 18));
        assert_eq!(shown(0, 12), ("1234 1234 … [l own own".to_owned(), 18));
        assert_eq!(shown(0, 23), ("1234 1234 own 1234 … [l own".to_owned(), 23));
        assert_eq!(shown(8, 8), ("own own".to_owned(), 16));
    }
}

//! What one reader of a build is sent: its log lines with the changes of state between them, from any point on, to the
//! end. Reads the tables page by page as fast as the reader takes it; nothing is kept for a slow one.

use std::{collections::VecDeque, time::Duration};

use chrono::{DateTime, Utc};
use futures::Stream;
use serde_json::Value;
use sqlx::PgPool;
use tokio::time::Instant;

use super::tail::{LogHub, Wake};
use crate::{
    domain::{BuildId, BuildState, log::LogLine},
    store::{
        StoreError,
        log_lines::{self, BuildEvent, Head},
    },
};

/// Lines, and events, that are read at once.
const PAGE: usize = 500;

/// The least time between two looks of a reader that has caught up: a line that comes after silence is sent at once,
/// the ones that follow it in bunches.
const BREATH: Duration = Duration::from_millis(25);

/// How long a reader goes on asking a database that is away before its stream fails; clients then resume.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it waits between two such tries.
const RETRY: Duration = Duration::from_millis(200);

/// What a reader is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamItem {
    /// A line of the log.
    Log(LogLine),
    /// A change beside the log.
    Event {
        /// `state`, `step` or `artifact`.
        kind: String,
        /// What to tell.
        data: Value,
        /// The build's version after the change.
        version: i64,
        /// When it happened.
        at: DateTime<Utc>,
    },
    /// The build has ended in this state and all was sent. Always the last item.
    End {
        /// The final state.
        state: BuildState,
    },
}

/// The stream of one reader; [`BuildStream::next`] until it is `None`.
#[derive(Debug)]
pub struct BuildStream {
    pool: PgPool,
    wake: Wake,
    build: BuildId,
    run: Option<String>,
    follow: bool,
    /// Where the reader began: events that stand before it are not sent.
    from: i64,
    position: Position,
    ready: VecDeque<StreamItem>,
    phase: Phase,
    is_over: bool,
}

/// How far the tables were read.
#[derive(Debug, Clone, Copy)]
struct Position {
    /// Lines up to this one were read.
    seq: i64,
    /// Events up to this version were read.
    version: i64,
    /// At this version of the build there was nothing else to read but lines.
    settled: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There may be more: read on.
    Reading,
    /// Caught up at this time: wait for a call.
    CaughtUp(Instant),
    /// Everything was read.
    Finished,
}

impl BuildStream {
    /// Opens a stream that begins behind line `after_seq` (0: at the start). With `run`, only its lines and events, and
    /// the events of the build as a whole. With `follow`, it stays open until the build has ended; else it ends where
    /// the log does now. `None`: there is no such build.
    ///
    /// # Errors
    /// The database is away.
    pub async fn open(
        pool: PgPool,
        hub: &LogHub,
        build: BuildId,
        after_seq: i64,
        run: Option<String>,
        follow: bool,
    ) -> Result<Option<Self>, StoreError> {
        // Subscribed before the first look, so that nothing falls between the two.
        let wake = hub.subscribe(build);
        let Some(head) = log_lines::head(&mut *pool.acquire().await?, build).await? else {
            return Ok(None);
        };
        let from = after_seq.max(0);
        Ok(Some(Self {
            pool,
            wake,
            build,
            run,
            follow,
            from,
            position: Position { seq: from, version: 0, settled: None },
            ready: VecDeque::new(),
            phase: Phase::Reading,
            is_over: head.state.is_final() && from >= head.last_seq,
        }))
    }

    /// Whether the build had ended, and had no line behind `after_seq`, when the stream was opened: a reconnect that
    /// has seen everything.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// The next item, as soon as there is one; `None` behind the last. Safe to cancel: nothing is lost. Goes on asking
    /// for 20 s when the database is away.
    ///
    /// # Errors
    /// The database is away for longer; the stream may be asked again.
    pub async fn next(&mut self) -> Option<Result<StreamItem, StoreError>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            match self.phase {
                Phase::Finished => return None,
                Phase::Reading => (),
                Phase::CaughtUp(at) => {
                    self.wake.changed().await;
                    tokio::time::sleep_until(at + BREATH).await;
                }
            }
            if let Err(error) = self.read_patiently().await {
                return Some(Err(error));
            }
        }
    }

    /// The same as a [`Stream`].
    pub fn into_stream(self) -> impl Stream<Item = Result<StreamItem, StoreError>> + Send {
        futures::stream::unfold(self, async |mut stream| stream.next().await.map(|item| (item, stream)))
    }

    async fn read_patiently(&mut self) -> Result<(), StoreError> {
        let began = Instant::now();
        loop {
            match self.read().await {
                Err(error) if error.is_transient() && began.elapsed() < PATIENCE => {
                    tokio::time::sleep(RETRY).await;
                }
                answer => return answer,
            }
        }
    }

    /// Reads the next page. Three statements, without a transaction: the head first, then the lines up to it, then the
    /// events up to the last of these. Lines and events of a build are committed one after the other under the lock on
    /// its row, so that whatever stands before something seen is visible too.
    async fn read(&mut self) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        let db = &mut *connection;
        let run = self.run.as_deref();
        let from = self.position;

        let Some(head) = log_lines::head(db, self.build).await? else {
            // Removed meanwhile.
            self.phase = Phase::Finished;
            return Ok(());
        };
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let mut lines = if head.last_seq > from.seq {
            log_lines::page(db, self.build, from.seq, head.last_seq, run, limit).await?
        } else {
            Vec::new()
        };
        // A page that is not full holds all there is, and the rest was left out by the filter.
        let mut seq = match lines.last() {
            Some(last) if lines.len() == PAGE => last.seq,
            _ => head.last_seq.max(from.seq),
        };
        let events = if from.settled == Some(head.version) {
            Vec::new()
        } else {
            log_lines::events(db, self.build, from.version, self.from..=seq, run, limit).await?
        };
        let more_events = events.len() == PAGE;
        if let Some(last) = events.last().filter(|_| more_events) {
            seq = seq.min(last.after_seq.max(from.seq));
            lines.retain(|line| line.seq <= seq);
        }

        // Nothing is awaited from here on.
        let is_all = !more_events && seq >= head.last_seq;
        self.position = Position {
            seq,
            version: events.last().map_or(from.version, |event| event.version),
            settled: is_all.then_some(head.version),
        };
        merge(lines, events, &mut self.ready);
        self.phase = self.phase_after(is_all, &head);
        Ok(())
    }

    fn phase_after(&mut self, is_all: bool, head: &Head) -> Phase {
        if !is_all {
            return Phase::Reading;
        }
        if head.state.is_final() {
            self.ready.push_back(StreamItem::End { state: head.state });
            return Phase::Finished;
        }
        if self.follow { Phase::CaughtUp(Instant::now()) } else { Phase::Finished }
    }
}

/// Puts each event behind its line.
fn merge(lines: Vec<LogLine>, events: Vec<BuildEvent>, into: &mut VecDeque<StreamItem>) {
    let mut events = events.into_iter().peekable();
    for line in lines {
        while let Some(event) = events.next_if(|event| event.after_seq < line.seq) {
            into.push_back(item(event));
        }
        into.push_back(StreamItem::Log(line));
    }
    into.extend(events.map(item));
}

fn item(event: BuildEvent) -> StreamItem {
    StreamItem::Event { kind: event.kind, data: event.data, version: event.version, at: event.at }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;

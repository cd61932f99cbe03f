//! The log of a build: numbered lines appended under a lease, and pages of them with the events that stand between.
//! Redaction, batching and retries are the business of [`crate::logs`].

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};

use super::{StoreError, changes::BUILD_CHANNEL};
use crate::{
    domain::{
        BuildId, BuildState,
        log::{LogLine, Stream},
    },
    queue::Lease,
};

/// A line that has no number yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    /// When it was written, in whole microseconds (what Postgres keeps).
    pub at: DateTime<Utc>,
    /// The step it belongs to.
    pub step: Option<Arc<str>>,
    /// Where it came from.
    pub stream: Stream,
    /// The text; holds no NUL, which Postgres cannot store.
    pub line: String,
}

/// How far a build's log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Tip {
    /// The number of its last line; 0 before the first.
    pub last_seq: i64,
    /// What its lines count against the limit of the build.
    pub log_bytes: i64,
}

/// What [`append`] stores.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The run's name, shown with each line.
    pub run: &'a str,
    /// Where the log must stand for the batch to be stored.
    pub before: Tip,
    /// The lines, at least one.
    pub lines: &'a [NewLine],
    /// What the log counts against the limit with this batch.
    pub log_bytes: i64,
}

/// Stores a batch behind `batch.before` and notifies readers, or does nothing and says `false`: then the log stands
/// elsewhere by now, or the lease is lost; [`review`] tells which.
///
/// All of it is one statement that commits by itself. It can be sent again when its answer was lost: the number only
/// grows, so that of several copies at most one finds the log at `before`, however late the others arrive. The build's
/// row stays locked until the commit, so that numbers become visible in order. The run's row is locked first, as
/// everywhere where both are.
///
/// # Errors
/// The database is away.
pub async fn append(db: &mut PgConnection, lease: &Lease, batch: Batch<'_>) -> Result<bool, StoreError> {
    let lines = batch.lines;
    let stored = sqlx::query(
        "WITH held AS MATERIALIZED (
             SELECT id FROM runs WHERE id = $2 AND lease_token = $3 FOR SHARE
         ), numbered AS (
             UPDATE builds SET last_seq = $4 + $5, log_bytes = $6
             FROM held
             WHERE builds.id = $1 AND builds.last_seq = $4
             RETURNING builds.id
         ), stored AS (
             INSERT INTO log_lines (build_id, seq, at, run, step, stream, line)
             SELECT numbered.id, $4 + new.position, new.at, $7, new.step, new.stream, new.line
             FROM numbered,
                  unnest($8::timestamptz[], $9::text[], $10::text[], $11::text[])
                      WITH ORDINALITY AS new (at, step, stream, line, position)
         )
         SELECT pg_notify($12, $1::text) FROM numbered",
    )
    .bind(lease.build)
    .bind(lease.run)
    .bind(lease.token)
    .bind(batch.before.last_seq)
    .bind(i64::try_from(lines.len()).unwrap_or(i64::MAX))
    .bind(batch.log_bytes)
    .bind(batch.run)
    .bind(lines.iter().map(|line| line.at).collect::<Vec<_>>())
    .bind(lines.iter().map(|line| line.step.as_deref()).collect::<Vec<_>>())
    .bind(lines.iter().map(|line| word(line.stream)).collect::<Vec<_>>())
    .bind(lines.iter().map(|line| line.line.as_str()).collect::<Vec<_>>())
    .bind(BUILD_CHANNEL)
    .fetch_optional(db)
    .await?;
    Ok(stored.is_some())
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Review {
    /// Where the log stands.
    #[sqlx(flatten)]
    pub tip: Tip,
    /// Whether the lease still holds.
    pub held: bool,
    /// Whether the batch is in the table.
    pub stored: bool,
}

/// Looks where the log stands, whether the lease holds, and whether the batch (if one is given) was stored after all.
/// A line is told by its number, run, time and text. `None`: the run is gone.
///
/// # Errors
/// The database is away.
pub async fn review(
    db: &mut PgConnection,
    lease: &Lease,
    batch: Option<Batch<'_>>,
) -> Result<Option<Review>, StoreError> {
    let first = batch.and_then(|batch| batch.lines.first());
    Ok(sqlx::query_as(
        "SELECT builds.last_seq, builds.log_bytes, runs.lease_token = $3 AS held,
                EXISTS (SELECT FROM log_lines
                        WHERE build_id = $1 AND seq = $4 AND run = $5 AND at = $6 AND line = $7) AS stored
         FROM runs JOIN builds ON builds.id = runs.build_id
         WHERE runs.id = $2 AND builds.id = $1",
    )
    .bind(lease.build)
    .bind(lease.run)
    .bind(lease.token)
    .bind(batch.map(|batch| batch.before.last_seq + 1))
    .bind(batch.map(|batch| batch.run))
    .bind(first.map(|line| line.at))
    .bind(first.map(|line| line.line.as_str()))
    .fetch_optional(db)
    .await?)
}

/// Locks the build's log until the transaction ends and says where it stands: for a writer that others keep
/// overtaking. `None`: the lease is lost.
///
/// # Errors
/// The database is away.
pub async fn lock(db: &mut PgConnection, lease: &Lease) -> Result<Option<Tip>, StoreError> {
    let held = sqlx::query("SELECT FROM runs WHERE id = $1 AND lease_token = $2 FOR SHARE")
        .bind(lease.run)
        .bind(lease.token)
        .fetch_optional(&mut *db)
        .await?;
    if held.is_none() {
        return Ok(None);
    }
    Ok(sqlx::query_as("SELECT last_seq, log_bytes FROM builds WHERE id = $1 FOR NO KEY UPDATE")
        .bind(lease.build)
        .fetch_optional(db)
        .await?)
}

/// What a reader needs to know of a build before it reads on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Head {
    /// The build's state.
    pub state: BuildState,
    /// The number of its last line.
    pub last_seq: i64,
    /// The number of its last change.
    pub version: i64,
}

/// Reads how far a build is. `None`: there is no such build.
///
/// # Errors
/// The database is away.
pub async fn head(db: &mut PgConnection, build: BuildId) -> Result<Option<Head>, StoreError> {
    Ok(sqlx::query_as("SELECT state, last_seq, version FROM builds WHERE id = $1")
        .bind(build)
        .fetch_optional(db)
        .await?)
}

/// The first `limit` lines with `after < seq <= up_to`, in order; only those of one run if it is named.
///
/// # Errors
/// The database is away.
pub async fn page(
    db: &mut PgConnection,
    build: BuildId,
    after: i64,
    up_to: i64,
    run: Option<&str>,
    limit: i64,
) -> Result<Vec<LogLine>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT seq, at, run, step, stream, line FROM log_lines
         WHERE build_id = $1 AND seq > $2 AND seq <= $3 AND ($4::text IS NULL OR run = $4)
         ORDER BY seq LIMIT $5",
    )
    .bind(build)
    .bind(after)
    .bind(up_to)
    .bind(run)
    .bind(limit)
    .fetch_all(db)
    .await?)
}

/// A change of a build beside its log.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct BuildEvent {
    /// The build's version after it.
    pub version: i64,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// `state`, `step` or `artifact`.
    pub kind: String,
    /// It stands behind this line.
    pub after_seq: i64,
    /// What readers are told.
    pub data: Value,
}

/// The first `limit` events behind version `after_version` that stand behind a line of `from..=up_to`, in order. With
/// a run named, the events of other runs are left out; those of the build as a whole stay.
///
/// # Errors
/// The database is away.
pub async fn events(
    db: &mut PgConnection,
    build: BuildId,
    after_version: i64,
    lines: std::ops::RangeInclusive<i64>,
    run: Option<&str>,
    limit: i64,
) -> Result<Vec<BuildEvent>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT version, at, kind, after_seq, data FROM build_events
         WHERE build_id = $1 AND version > $2 AND after_seq BETWEEN $3 AND $4
           AND ($5::text IS NULL OR data ->> 'run' IS NULL OR data ->> 'run' = $5)
         ORDER BY version LIMIT $6",
    )
    .bind(build)
    .bind(after_version)
    .bind(*lines.start())
    .bind(*lines.end())
    .bind(run)
    .bind(limit)
    .fetch_all(db)
    .await?)
}

/// The number to read behind in order to get the last `count` lines; 0 if there are fewer.
///
/// # Errors
/// The database is away.
pub async fn before_last(
    db: &mut PgConnection,
    build: BuildId,
    run: Option<&str>,
    count: u32,
) -> Result<i64, StoreError> {
    // One row further back than the first to show: its number is what is asked for.
    let seq: Option<i64> = sqlx::query_scalar(
        "SELECT seq FROM log_lines WHERE build_id = $1 AND ($2::text IS NULL OR run = $2)
         ORDER BY seq DESC OFFSET $3 LIMIT 1",
    )
    .bind(build)
    .bind(run)
    .bind(i64::from(count))
    .fetch_optional(db)
    .await?;
    Ok(seq.unwrap_or(0))
}

/// The word for a stream in the database.
const fn word(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
        Stream::Ui => "ui",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sqlx::PgPool;

    use super::*;
    use crate::{
        logs::fixtures::{self, lines},
        store::changes::{self, EventKind},
    };

    fn batch<'a>(run: &'a str, last_seq: i64, lines: &'a [NewLine]) -> Batch<'a> {
        Batch { run, before: Tip { last_seq, log_bytes: 10 * last_seq }, lines, log_bytes: 77 }
    }

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn a_batch_is_stored_once_however_often_it_is_sent(pool: PgPool) {
        let lease = fixtures::build(&pool, &["osc-bsu"]).await.remove(0);
        let mut db = pool.acquire().await.unwrap();
        let lines = lines(["one", "two"]);
        let batch = batch("osc-bsu", 0, &lines);

        assert_eq!(
            review(&mut db, &lease, Some(batch)).await.unwrap(),
            Some(Review { tip: Tip { last_seq: 0, log_bytes: 0 }, held: true, stored: false })
        );
        assert!(append(&mut db, &lease, batch).await.unwrap());
        assert!(!append(&mut db, &lease, batch).await.unwrap());

        let tip = Tip { last_seq: 2, log_bytes: 77 };
        assert_eq!(
            review(&mut db, &lease, Some(batch)).await.unwrap(),
            Some(Review { tip, held: true, stored: true })
        );
        // The same text of another run is another batch.
        let other = Batch { run: "other", ..batch };
        assert!(!review(&mut db, &lease, Some(other)).await.unwrap().unwrap().stored);
        let stored = page(&mut db, lease.build, 0, 100, None, 100).await.unwrap();
        assert_eq!(
            stored.iter().map(|line| (line.seq, line.line.as_str())).collect::<Vec<_>>(),
            [(1, "one"), (2, "two")]
        );
        assert_eq!(
            (stored[0].at, stored[0].stream, stored[0].run.as_deref(), stored[0].step.as_deref()),
            (lines[0].at, Stream::Stdout, Some("osc-bsu"), Some("provision"))
        );
    }

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn nothing_is_appended_without_the_lease(pool: PgPool) {
        let lease = fixtures::build(&pool, &["osc-bsu"]).await.remove(0);
        let mut db = pool.acquire().await.unwrap();
        let outdated = Lease { token: lease.token - 1, ..lease.clone() };
        let lines = lines(["late"]);

        assert!(!append(&mut db, &outdated, batch("osc-bsu", 0, &lines)).await.unwrap());
        assert!(!review(&mut db, &outdated, None).await.unwrap().unwrap().held);
        assert_eq!(lock(&mut db, &outdated).await.unwrap(), None);
        assert_eq!(lock(&mut db, &lease).await.unwrap(), Some(Tip { last_seq: 0, log_bytes: 0 }));
        let gone = Lease { run: crate::domain::RunId::generate(), ..lease };
        assert_eq!(review(&mut db, &gone, None).await.unwrap(), None);
    }

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn pages_and_events_can_be_read_from_anywhere(pool: PgPool) {
        let leases = fixtures::build(&pool, &["one", "two"]).await;
        let build = leases[0].build;
        let mut db = pool.acquire().await.unwrap();
        for (index, lease) in leases.iter().cycle().take(6).enumerate() {
            let run = ["one", "two"][index % 2];
            let lines = lines([run]);
            assert!(append(&mut db, lease, batch(run, index as i64, &lines)).await.unwrap());
            let data = json!({"run": run, "index": index});
            changes::record(&mut db, build, EventKind::Step, &data).await.unwrap();
        }
        changes::record(&mut db, build, EventKind::State, &json!({"state": "running"})).await.unwrap();

        let seqs = |lines: Vec<LogLine>| lines.iter().map(|line| line.seq).collect::<Vec<_>>();
        assert_eq!(seqs(page(&mut db, build, 2, 5, None, 100).await.unwrap()), [3, 4, 5]);
        assert_eq!(seqs(page(&mut db, build, 0, 6, None, 2).await.unwrap()), [1, 2]);
        assert_eq!(seqs(page(&mut db, build, 0, 6, Some("two"), 2).await.unwrap()), [2, 4]);

        let places = |events: Vec<BuildEvent>| {
            events.iter().map(|event| (event.version, event.after_seq)).collect::<Vec<_>>()
        };
        assert_eq!(places(events(&mut db, build, 0, 0..=2, None, 9).await.unwrap()), [(2, 1), (3, 2)]);
        assert_eq!(places(events(&mut db, build, 3, 0..=9, None, 2).await.unwrap()), [(4, 3), (5, 4)]);
        assert_eq!(places(events(&mut db, build, 0, 5..=9, Some("two"), 9).await.unwrap()), [(7, 6), (8, 6)]);

        let head = head(&mut db, build).await.unwrap().unwrap();
        assert_eq!((head.state, head.last_seq, head.version), (BuildState::Queued, 6, 8));
        for (run, count, expected) in [(None, 2, 4), (None, 6, 0), (None, 99, 0), (Some("one"), 1, 3)] {
            assert_eq!(before_last(&mut db, build, run, count).await.unwrap(), expected, "{run:?} {count}");
        }
    }
}

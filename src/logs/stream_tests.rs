//! Every reader gets every line and event once and in order, wherever it begins and whatever breaks meanwhile.

use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    domain::log::{Output, Stream as Source},
    logs::fixtures::{self, read_all, writer},
    store::changes::{self, EventKind},
};

fn hub(pool: &PgPool) -> LogHub {
    LogHub::start(pool.clone(), CancellationToken::new())
}

async fn record(pool: &PgPool, build: BuildId, data: Value) {
    changes::record(&mut pool.acquire().await.unwrap(), build, EventKind::Step, &data).await.unwrap();
}

/// A build with `rounds` times some lines of two runs and an event or two, ended.
async fn ended_build(pool: &PgPool, rounds: usize) -> BuildId {
    let leases = fixtures::build(pool, &["one", "two"]).await;
    let build = leases[0].build;
    let logs = [writer(pool, &leases[0], "one"), writer(pool, &leases[1], "two")];
    record(pool, build, json!({"run": null, "round": "before"})).await;
    for round in 0..rounds {
        let (log, run) = if round % 2 == 0 { (&logs[0], "one") } else { (&logs[1], "two") };
        for index in 0..=round % 5 {
            log.say(&format!("line {index} of round {round}")).await;
        }
        log.flush().await.unwrap();
        for _ in 0..round % 3 {
            record(pool, build, json!({"run": run, "round": round})).await;
        }
    }
    fixtures::end(pool, build).await;
    build
}

/// Where an item stands: the line, or the line that an event stands behind.
fn after_seq(all: &[StreamItem], index: usize) -> i64 {
    let mut seqs = all[..=index].iter().filter_map(|item| match item {
        StreamItem::Log(line) => Some(line.seq),
        _ => None,
    });
    seqs.next_back().unwrap_or(0)
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_reader_that_comes_back_gets_exactly_the_rest(pool: PgPool) {
    let hub = hub(&pool);
    let build = ended_build(&pool, 500).await;
    let all = read_all(&pool, &hub, build, 0, None, true).await;
    let seqs = all.iter().filter_map(|item| match item {
        StreamItem::Log(line) => Some(line.seq),
        _ => None,
    });
    assert!(seqs.eq(1..=1_500), "all lines, in order");
    let versions = all.iter().filter_map(|item| match item {
        StreamItem::Event { version, .. } => Some(*version),
        _ => None,
    });
    let versions = versions.collect::<Vec<_>>();
    assert_eq!(versions, (2..=versions.len() as i64 + 1).collect::<Vec<_>>(), "all events, in order");
    assert_eq!(all.last(), Some(&StreamItem::End { state: BuildState::Succeeded }));

    for after in (0..1_500).step_by(61).chain([1, 499, 500, 501, 1_000, 1_499, 1_500, 1_501, 9_999]) {
        let expected: Vec<_> = all
            .iter()
            .enumerate()
            .filter(|(index, item)| match item {
                StreamItem::Log(line) => line.seq > after,
                StreamItem::Event { .. } => after_seq(&all, *index) >= after,
                StreamItem::End { .. } => true,
            })
            .map(|(_, item)| item.clone())
            .collect();
        assert_eq!(
            read_all(&pool, &hub, build, after, None, after % 2 == 0).await,
            expected,
            "after {after}"
        );
    }

    let of_two: Vec<_> = all
        .iter()
        .filter(|item| match item {
            StreamItem::Log(line) => line.run.as_deref() == Some("two"),
            StreamItem::Event { data, .. } => data["run"].is_null() || data["run"] == "two",
            StreamItem::End { .. } => true,
        })
        .cloned()
        .collect();
    assert_eq!(read_all(&pool, &hub, build, 0, Some("two"), true).await, of_two);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn more_events_than_fit_on_a_page_stay_in_order(pool: PgPool) {
    let lease = fixtures::build(&pool, &["one"]).await.remove(0);
    let log = writer(&pool, &lease, "one");
    for line in 0..3 {
        log.say(&line.to_string()).await;
        log.flush().await.unwrap();
        for index in 0..PAGE + 7 {
            record(&pool, lease.build, json!(index)).await;
        }
    }
    let items = read_all(&pool, &hub(&pool), lease.build, 0, None, false).await;
    let lines = items.iter().enumerate().filter(|(_, item)| matches!(item, StreamItem::Log(_)));
    assert_eq!(lines.map(|(index, _)| index).collect::<Vec<_>>(), [0, PAGE + 8, 2 * (PAGE + 8)]);
    assert_eq!(items.len(), 3 * (PAGE + 8));
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn an_unknown_build_is_none_and_one_without_follow_ends_where_the_log_does(pool: PgPool) {
    let hub = hub(&pool);
    assert!(
        BuildStream::open(pool.clone(), &hub, BuildId::generate(), 0, None, true).await.unwrap().is_none()
    );
    let lease = fixtures::build(&pool, &["one"]).await.remove(0);
    let log = writer(&pool, &lease, "one");
    log.say("so far").await;
    log.flush().await.unwrap();
    let items = read_all(&pool, &hub, lease.build, 0, None, false).await;
    assert!(matches!(&items[..], [StreamItem::Log(line)] if line.line == "so far"));

    let over = async |after| {
        BuildStream::open(pool.clone(), &hub, lease.build, after, None, true)
            .await
            .unwrap()
            .unwrap()
            .is_over()
    };
    assert!(!over(1).await, "the build goes on");
    fixtures::end(&pool, lease.build).await;
    assert!(!over(0).await, "there is a line to read");
    assert!(over(1).await);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_build_that_is_removed_ends_the_stream(pool: PgPool) {
    let hub = hub(&pool);
    let lease = fixtures::build(&pool, &["one"]).await.remove(0);
    let mut stream =
        BuildStream::open(pool.clone(), &hub, lease.build, 0, None, true).await.unwrap().unwrap();
    assert_eq!(hub.watched_builds(), 1);
    sqlx::query("DELETE FROM builds").execute(&pool).await.unwrap();
    assert!(stream.next().await.is_none());
    drop(stream);
    assert_eq!(hub.watched_builds(), 0);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_slow_reader_keeps_no_more_than_a_page(pool: PgPool) {
    let lease = fixtures::build(&pool, &["one"]).await.remove(0);
    let log = writer(&pool, &lease, "one");
    log.chunk(Source::Stdout, &b"x\n".repeat(5 * PAGE)).await;
    log.flush().await.unwrap();
    fixtures::end(&pool, lease.build).await;
    let mut stream =
        BuildStream::open(pool.clone(), &hub(&pool), lease.build, 0, None, true).await.unwrap().unwrap();
    let mut count = 0;
    while let Some(item) = stream.next().await {
        item.unwrap();
        count += 1;
        assert!(stream.ready.len() <= 2 * PAGE);
    }
    assert_eq!(count, 5 * PAGE + 2);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn two_hundred_readers_of_a_live_build_see_the_same(pool: PgPool) {
    let hub = hub(&pool);
    let leases = fixtures::build(&pool, &["one", "two"]).await;
    let build = leases[0].build;
    let readers: Vec<_> = (0..200)
        .map(|_| {
            let (pool, hub) = (pool.clone(), hub.clone());
            tokio::spawn(async move { read_all(&pool, &hub, build, 0, None, true).await })
        })
        .collect();
    let writers = leases.iter().zip(["one", "two"]).map(|(lease, name)| {
        let (log, pool) = (writer(&pool, lease, name), pool.clone());
        async move {
            for index in 0..600 {
                log.say(&format!("{name} {index}")).await;
                if index % 40 == 0 {
                    record(&pool, build, json!({"run": name, "index": index})).await;
                    log.flush().await.unwrap();
                }
            }
            log.close().await.unwrap();
        }
    });
    futures::future::join_all(writers).await;
    fixtures::end(&pool, build).await;

    let expected = read_all(&pool, &hub, build, 0, None, true).await;
    assert_eq!(expected.len(), 1_200 + 30 + 2);
    for reader in readers {
        assert!(reader.await.unwrap() == expected, "a reader saw something else");
    }
    assert_eq!(hub.watched_builds(), 0);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn readers_and_the_hub_outlive_their_connections(options: PgPoolOptions, connect: PgConnectOptions) {
    let admin = options.clone().connect_with(connect.clone().application_name("admin")).await.unwrap();
    let pool = PgPoolOptions::new().connect_with(connect).await.unwrap();
    let hub = hub(&pool);
    let lease = fixtures::build(&admin, &["one"]).await.remove(0);
    let listeners = async || {
        let query =
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
        sqlx::query_scalar::<_, i32>(query).fetch_all(&admin).await.unwrap()
    };
    fixtures::until("the hub listens", async || listeners().await.len() == 1).await;
    let before = listeners().await;
    let reading = tokio::spawn({
        let (pool, hub) = (pool.clone(), hub.clone());
        async move { read_all(&pool, &hub, lease.build, 0, None, true).await }
    });
    let log = writer(&pool, &lease, "one");
    log.say("before").await;
    log.flush().await.unwrap();

    fixtures::cut_all_connections(&admin).await;
    fixtures::until("the hub listens again", async || {
        let now = listeners().await;
        now.len() == 1 && now != before
    })
    .await;

    // Called, not polled: of itself the hub never calls.
    let mut wake = hub.subscribe(lease.build);
    let mut any = hub.subscribe_all();
    log.say("behind").await;
    log.flush().await.unwrap();
    tokio::time::timeout(crate::testing::PATIENCE, async { tokio::join!(wake.changed(), any.changed()) })
        .await
        .unwrap();
    fixtures::end(&admin, lease.build).await;
    let items = reading.await.unwrap();
    let lines = items.iter().filter_map(|item| match item {
        StreamItem::Log(line) => Some(line.line.as_str()),
        _ => None,
    });
    assert_eq!(lines.collect::<Vec<_>>(), ["before", "behind"]);
    assert_eq!(items.len(), 4);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_reader_looks_by_itself_when_nobody_calls(pool: PgPool) {
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    let hub = LogHub::start(pool.clone(), shutdown);
    let lease = fixtures::build(&pool, &["one"]).await.remove(0);
    let reading = tokio::spawn({
        let (pool, hub) = (pool.clone(), hub.clone());
        async move { read_all(&pool, &hub, lease.build, 0, None, true).await }
    });
    fixtures::until("the reader is there", async || hub.watched_builds() == 1).await;
    fixtures::end(&pool, lease.build).await;
    assert_eq!(reading.await.unwrap().len(), 2);
}

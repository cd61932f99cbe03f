//! Rows and lines for the tests of this folder and of `store::log_lines`.

use std::{sync::Arc, time::Duration};

use chrono::{SubsecRound, Utc};
use futures::StreamExt;
use sqlx::{PgPool, postgres::PgConnectOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    domain::{
        BuildId, RunId,
        log::{LogLine, Stream},
    },
    logs::{BuildStream, LogHub, LogLimits, LogWriter, Redactor, StreamItem},
    queue::Lease,
    store::log_lines::NewLine,
    testing::PATIENCE,
};

/// A build with these runs, all of them leased with token 7.
pub(crate) async fn build(pool: &PgPool, runs: &[&str]) -> Vec<Lease> {
    let build = BuildId::generate();
    sqlx::query("INSERT INTO builds (id, template, request_sealed, created_at) VALUES ($1, '{}', '', now())")
        .bind(build)
        .execute(pool)
        .await
        .unwrap();
    let mut leases = Vec::new();
    for (ordinal, name) in runs.iter().enumerate() {
        let run = RunId::generate();
        sqlx::query(
            "INSERT INTO runs (id, build_id, ordinal, name, builder, state, plan_sealed, lease_token, created_at)
             VALUES ($1, $2, $3, $4, 'osc-bsu', 'running', '', 7, now())",
        )
        .bind(run)
        .bind(build)
        .bind(i32::try_from(ordinal).unwrap())
        .bind(name)
        .execute(pool)
        .await
        .unwrap();
        leases.push(Lease { run, build, token: 7, worker: "test".to_owned() });
    }
    leases
}

pub(crate) fn lines<const N: usize>(texts: [&str; N]) -> Vec<NewLine> {
    texts
        .map(|line| NewLine {
            at: Utc::now().trunc_subsecs(6),
            step: Some(Arc::from("provision")),
            stream: Stream::Stdout,
            line: line.to_owned(),
        })
        .into()
}

pub(crate) fn writer(pool: &PgPool, lease: &Lease, run: &str) -> LogWriter {
    LogWriter::new(pool.clone(), lease.clone(), run, LogLimits::default(), Redactor::default(), Utc::now)
}

/// Everything that is stored, in order; checks that the numbers have no gap.
pub(crate) async fn stored(pool: &PgPool, build: BuildId) -> Vec<LogLine> {
    let lines: Vec<LogLine> = sqlx::query_as("SELECT * FROM log_lines WHERE build_id = $1 ORDER BY seq")
        .bind(build)
        .fetch_all(pool)
        .await
        .unwrap();
    let last_seq: i64 = sqlx::query_scalar("SELECT last_seq FROM builds WHERE id = $1")
        .bind(build)
        .fetch_one(pool)
        .await
        .unwrap();
    assert!(lines.iter().map(|line| line.seq).eq(1..=last_seq), "numbers are 1..={last_seq}");
    lines
}

pub(crate) fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.line.as_str()).collect()
}

/// Ends the build, as the worker does: the state and its event in one transaction.
pub(crate) async fn end(pool: &PgPool, build: BuildId) {
    use crate::store::changes::{EventKind, record};
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("UPDATE builds SET state = 'succeeded' WHERE id = $1")
        .bind(build)
        .execute(&mut *tx)
        .await
        .unwrap();
    record(&mut tx, build, EventKind::State, &serde_json::json!({"state": "succeeded"})).await.unwrap();
    tx.commit().await.unwrap();
}

/// What a reader gets until its stream ends.
pub(crate) async fn read_all(
    pool: &PgPool,
    hub: &LogHub,
    build: BuildId,
    after: i64,
    run: Option<&str>,
    follow: bool,
) -> Vec<StreamItem> {
    let stream = BuildStream::open(pool.clone(), hub, build, after, run.map(str::to_owned), follow).await;
    stream.unwrap().unwrap().into_stream().map(Result::unwrap).collect().await
}

/// Waits until the condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what} did not come true");
}

/// Cuts every other connection of this database.
pub(crate) async fn cut_all_connections(admin: &PgPool) {
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name <> 'admin' AND pid <> pg_backend_pid()",
    )
    .execute(admin)
    .await
    .unwrap();
}

/// What the bad line to the database does to a request, once in a while.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// Delivers it and loses the answer: the statement is done, and the client does not know.
    LoseAnswer,
    /// Cuts the client off at once and delivers the request later, when the client has long tried again.
    DeliverLate,
}

/// A bad line to the database; gives the options to connect through it. Every seventh message to the server meets the
/// fault.
pub(crate) async fn bad_line(options: &PgConnectOptions, fault: Fault) -> PgConnectOptions {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = (options.get_host().to_owned(), options.get_port());
    let requests = Arc::new(std::sync::atomic::AtomicU64::new(0));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(relay(client, upstream, fault, Arc::clone(&requests)));
        }
    });
    options.clone().host("127.0.0.1").port(port)
}

async fn relay(
    client: TcpStream,
    server: TcpStream,
    fault: Fault,
    requests: Arc<std::sync::atomic::AtomicU64>,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers =
        tokio::spawn(
            async move { tokio::io::copy(&mut from_server, &mut to_client).await.map(|_| from_server) },
        );
    let mut buffer = vec![0; 4 * 1024 * 1024];
    loop {
        let size = from_client.read(&mut buffer).await?;
        if size == 0 {
            answers.abort();
            return Ok(());
        }
        // Small messages are pings and the like.
        let is_hit = size > 200 && requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 7 == 6;
        if !is_hit {
            to_server.write_all(&buffer[..size]).await?;
            continue;
        }
        answers.abort();
        drop(from_client);
        if matches!(fault, Fault::DeliverLate) {
            let _ = answers.await;
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
        to_server.write_all(&buffer[..size]).await?;
        // Left open long enough for the server to do what it was asked.
        tokio::time::sleep(Duration::from_millis(100)).await;
        return Ok(());
    }
}

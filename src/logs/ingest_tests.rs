//! Lines come out once, in order, without gaps and without secrets, whatever happens to the database meanwhile.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use secrecy::SecretString;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::*;
use crate::logs::fixtures::{self, Fault, stored, texts, writer};

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn output_becomes_numbered_lines_with_their_step_and_stream(pool: PgPool) {
    let lease = fixtures::build(&pool, &["osc-bsu"]).await.remove(0);
    let log = writer(&pool, &lease, "osc-bsu");
    log.say("Launching a VM\nwith two lines").await;
    log.set_step(Some("provision"));
    log.chunk(Stream::Stdout, b"out 1\r\nout").await;
    log.chunk(Stream::Stderr, b"err 1\n").await;
    log.chunk(Stream::Stdout, b" 2\n\x1b[1mopen").await;
    log.flush().await.unwrap();
    log.set_step(None);
    log.say("Done").await;
    log.close().await.unwrap();

    let lines = stored(&pool, lease.build).await;
    let shown: Vec<_> =
        lines.iter().map(|line| (line.stream, line.step.as_deref(), line.line.as_str())).collect();
    let step = Some("provision");
    assert_eq!(
        shown,
        [
            (Stream::Ui, None, "Launching a VM"),
            (Stream::Ui, None, "with two lines"),
            (Stream::Stdout, step, "out 1"),
            (Stream::Stderr, step, "err 1"),
            (Stream::Stdout, step, "out 2"),
            (Stream::Stdout, step, "open"),
            (Stream::Ui, None, "Done"),
        ]
    );
    assert!(lines.iter().all(|line| line.run.as_deref() == Some("osc-bsu")));
    assert!(lines.is_sorted_by_key(|line| line.at));
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn commands_at_the_same_time_do_not_mix_within_a_line(pool: PgPool) {
    let lease = fixtures::build(&pool, &["osc-bsu"]).await.remove(0);
    let log = writer(&pool, &lease, "osc-bsu");
    let (one, two) = (log.command(), log.command());
    one.chunk(Stream::Stdout, b"one ").await;
    two.chunk(Stream::Stdout, b"two ").await;
    one.chunk(Stream::Stdout, b"and one\none open").await;
    two.chunk(Stream::Stdout, b"and two\ntwo open").await;
    one.flush().await.unwrap();
    assert_eq!(texts(&stored(&pool, lease.build).await), ["one and one", "two and two", "one open"]);
    drop(two);
    log.flush().await.unwrap();
    assert_eq!(
        texts(&stored(&pool, lease.build).await),
        ["one and one", "two and two", "one open", "two open"]
    );
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn no_secret_is_stored_whatever_is_done_to_hide_it(pool: PgPool) {
    let lease = fixtures::build(&pool, &["osc-bsu"]).await.remove(0);
    let redactor = Redactor::new(&[SecretString::from("hunter2-long")]);
    let log = LogWriter::new(pool.clone(), lease.clone(), "r", LogLimits::default(), redactor, Utc::now);
    for chunk in ["x hun", "ter2-", "long y\n", "\u{1b}[31mhunt\u{1b}[0mer2", "\0-lo\u{8}ng\n"] {
        log.chunk(Stream::Stdout, chunk.as_bytes()).await;
    }
    log.redactor().add(&[SecretString::from("learnt later")]);
    log.say("password: hunter2-\u{1b}[0mlong, learnt later").await;
    log.close().await.unwrap();
    assert_eq!(
        texts(&stored(&pool, lease.build).await),
        ["x <sensitive> y", "<sensitive>", "password: <sensitive>, <sensitive>"]
    );
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn eight_runs_share_one_numbering_without_gaps(pool: PgPool) {
    let names: Vec<String> = (0..8).map(|index| format!("run-{index}")).collect();
    let leases = fixtures::build(&pool, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let build = leases[0].build;
    let tasks = leases.into_iter().zip(names.clone()).map(|(lease, name)| {
        let log = writer(&pool, &lease, &name);
        tokio::spawn(async move {
            for index in 0..800 {
                log.chunk(Stream::Stdout, format!("{index}\n").as_bytes()).await;
                if index % 97 == 0 {
                    log.flush().await.unwrap();
                }
            }
            log.close().await.unwrap();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }

    let lines = stored(&pool, build).await;
    assert_eq!(lines.len(), 8 * 800);
    for name in names {
        let of_run = lines.iter().filter(|line| line.run.as_deref() == Some(&name));
        assert!(of_run.map(|line| line.line.clone()).eq((0..800).map(|index| index.to_string())), "{name}");
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_writer_that_lost_its_lease_stops(pool: PgPool) {
    let lease = fixtures::build(&pool, &["osc-bsu"]).await.remove(0);
    let log = writer(&pool, &lease, "osc-bsu");
    log.say("mine").await;
    log.flush().await.unwrap();
    sqlx::query("UPDATE runs SET lease_token = 8").execute(&pool).await.unwrap();

    log.say("late").await;
    assert!(matches!(log.flush().await, Err(StoreError::LeaseLost(run)) if run == lease.run));
    // More than fits anywhere: discarded, not waited for.
    for _ in 0..100 {
        log.chunk(Stream::Stdout, &b"later\n".repeat(10_000)).await;
    }
    assert!(matches!(log.flush().await, Err(StoreError::LeaseLost(_))));
    assert!(matches!(log.close().await, Err(StoreError::LeaseLost(_))));
    assert_eq!(texts(&stored(&pool, lease.build).await), ["mine"]);

    sqlx::query("DELETE FROM builds").execute(&pool).await.unwrap();
    let log = writer(&pool, &Lease { token: 8, ..lease }, "osc-bsu");
    log.say("of a build that is gone").await;
    assert!(matches!(log.close().await, Err(StoreError::LeaseLost(_))));
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_full_log_says_so_once_and_keeps_fournils_own_lines(pool: PgPool) {
    let leases = fixtures::build(&pool, &["one", "two"]).await;
    let limits = LogLimits { line_bytes: 20, build_bytes: 100 };
    let logs = leases.iter().zip(["one", "two"]).map(|(lease, name)| {
        LogWriter::new(pool.clone(), lease.clone(), name, limits, Redactor::default(), Utc::now)
    });
    let logs: Vec<_> = logs.collect();
    for _ in 0..2 {
        for log in &logs {
            log.chunk(Stream::Stdout, b"0123456789012345678\n0123456789012345678\n").await;
            log.say("a remark").await;
            log.flush().await.unwrap();
        }
    }
    let lines = stored(&pool, leases[0].build).await;
    let own = lines.iter().filter(|line| line.stream == Stream::Ui && line.line == "a remark").count();
    let output = lines.iter().filter(|line| line.stream == Stream::Stdout).count();
    let markers: Vec<_> = lines.iter().filter(|line| line.line.starts_with("… [log cut")).collect();
    assert_eq!((own, output, markers.len()), (4, 4, 1), "{:?}", texts(&lines));
    assert_eq!(markers[0].seq, 7);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_database_that_stands_still_slows_the_source_down_and_loses_nothing(pool: PgPool) {
    let lease = fixtures::build(&pool, &["osc-bsu"]).await.remove(0);
    let log = writer(&pool, &lease, "osc-bsu");
    let mut blocking = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM builds FOR UPDATE").execute(&mut *blocking).await.unwrap();

    let source = tokio::spawn({
        let log = log.clone();
        async move {
            for index in 0..400 {
                log.chunk(Stream::Stdout, format!("{index} {}\n", "x".repeat(16_000)).as_bytes()).await;
            }
        }
    });
    fixtures::until("the source waits", async || log.shared.room.available_permits() < 17_000).await;
    assert!(!source.is_finished());
    assert!(log.shared.sender.max_capacity() - log.shared.sender.capacity() <= WAITING_LINES);

    blocking.rollback().await.unwrap();
    source.await.unwrap();
    log.close().await.unwrap();
    let lines = stored(&pool, lease.build).await;
    assert!(lines.iter().enumerate().all(|(index, line)| line.line.starts_with(&format!("{index} "))));
    assert_eq!(lines.len(), 400);
    assert_eq!(log.shared.room.available_permits(), WAITING_BYTES as usize);
}

/// Three runs write while something goes wrong all the time.
async fn write_from_three_runs(admin: &PgPool, pool: &PgPool) -> Vec<crate::domain::log::LogLine> {
    const LINES: usize = 3_000;
    let names = ["one", "two", "three"];
    let leases = fixtures::build(admin, &names).await;
    let build = leases[0].build;
    let mut tasks = Vec::new();
    for (lease, name) in leases.into_iter().zip(names) {
        let log = writer(pool, &lease, name);
        tasks.push(tokio::spawn(async move {
            for index in 0..LINES {
                // The same text in all runs: lines are not told apart by it.
                log.chunk(Stream::Stdout, format!("line {index}\n").as_bytes()).await;
                if index % 50 == 0 {
                    log.flush().await.unwrap();
                }
            }
            log.close().await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let lines = stored(admin, build).await;
    for name in names {
        let of_run = lines.iter().filter(|line| line.run.as_deref() == Some(name)).map(|line| &line.line);
        assert!(of_run.cloned().eq((0..LINES).map(|index| format!("line {index}"))), "{name}");
    }
    lines
}

fn impatient(options: PgPoolOptions) -> PgPoolOptions {
    options.acquire_timeout(Duration::from_secs(2))
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn connections_killed_in_the_middle_lose_and_double_nothing(
    options: PgPoolOptions,
    connect: PgConnectOptions,
) {
    let admin = options.clone().connect_with(connect.clone().application_name("admin")).await.unwrap();
    let pool = impatient(PgPoolOptions::new()).connect_with(connect).await.unwrap();
    let killing = tokio::spawn({
        let admin = admin.clone();
        async move {
            let mut pause = Duration::from_millis(40);
            loop {
                fixtures::cut_all_connections(&admin).await;
                tokio::time::sleep(pause).await;
                // A busy machine needs longer to get anything through.
                pause = pause * 6 / 5;
            }
        }
    });
    write_from_three_runs(&admin, &pool).await;
    killing.abort();
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn commits_whose_answer_is_lost_are_not_done_twice(options: PgPoolOptions, connect: PgConnectOptions) {
    let admin = options.clone().connect_with(connect.clone()).await.unwrap();
    let bad = fixtures::bad_line(&connect, Fault::LoseAnswer).await;
    let pool = impatient(PgPoolOptions::new()).connect_with(bad).await.unwrap();
    write_from_three_runs(&admin, &pool).await;
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn statements_that_arrive_late_do_nothing(options: PgPoolOptions, connect: PgConnectOptions) {
    let admin = options.clone().connect_with(connect.clone()).await.unwrap();
    let bad = fixtures::bad_line(&connect, Fault::DeliverLate).await;
    let pool = impatient(PgPoolOptions::new()).connect_with(bad).await.unwrap();
    write_from_three_runs(&admin, &pool).await;
}

proptest! {
    #[test]
    fn any_bytes_become_lines_that_postgres_can_hold(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20),
    ) {
        let mut pipe = Pipe::new(&Redactor::default(), 16);
        let mut lines: Vec<String> = chunks.iter().flat_map(|chunk| pipe.push(chunk)).collect();
        lines.extend(pipe.finish());
        let is_plain = lines.iter().all(|line| !line.contains(['\0', '\n', '\r', '\x1b']));
        prop_assert!(is_plain);
    }
}

/// Prints how many lines a second go through: `cargo test log_throughput -- --ignored --nocapture`.
#[sqlx::test(migrator = "crate::store::MIGRATOR")]
#[ignore = "a measurement"]
async fn log_throughput(pool: PgPool) {
    const LINES: usize = 200_000;
    let secrets: Vec<SecretString> = (0..10)
        .map(|index| SecretString::from(format!("secret-number-{index}-{}", "k".repeat(30))))
        .collect();
    for runs in [1, 4] {
        let names: Vec<String> = (0..runs).map(|index| format!("run-{index}")).collect();
        let leases = fixtures::build(&pool, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let began = Instant::now();
        let mut tasks = Vec::new();
        for (lease, name) in leases.into_iter().zip(names) {
            let redactor = Redactor::new(&secrets);
            let log = LogWriter::new(pool.clone(), lease, &name, LogLimits::default(), redactor, Utc::now);
            tasks.push(tokio::spawn(async move {
                let line = "Get:42 http://deb.debian.org/debian bookworm/main amd64 libsomething amd64 1.2-3 [123 kB]\n";
                let chunk = line.repeat(50);
                for _ in 0..LINES / runs / 50 {
                    log.chunk(Stream::Stdout, chunk.as_bytes()).await;
                }
                log.close().await.unwrap();
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let seconds = began.elapsed().as_secs_f64();
        println!("{runs} run(s): {:.0} lines/s", LINES as f64 / seconds);
    }
    let key: String = (0..50)
        .map(|line| format!("{}{line:02}\n", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKc/+wggSjAgEAAoIBAQC7VJTUt9"))
        .collect();
    let began = Instant::now();
    let with_key = Redactor::new(&[SecretString::from(key)]);
    println!("{with_key:?} with a key of 50 lines built in {} ms", began.elapsed().as_millis());
    let redactor = Redactor::new(&secrets);
    let text = "Get:42 http://deb.debian.org/debian bookworm/main amd64 libsomething amd64 1.2-3 [123 kB]\n"
        .repeat(350);
    let began = Instant::now();
    let mut stream = redactor.stream();
    for _ in 0..1_000 {
        stream.push(text.as_bytes(), &mut Vec::with_capacity(text.len()));
    }
    println!("redaction: {:.0} MB/s", text.len() as f64 / 1_000.0 / began.elapsed().as_secs_f64());
}

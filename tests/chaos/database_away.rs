//! The database goes away in the middle of a bake: for a moment, again and again, or for longer than a lease. Nothing that
//! was accepted may be lost, and the log has every line once.

use std::time::Duration;

use serde_json::Value;

use crate::{
    pause::Pause,
    world::{Server, World, template},
};

/// How often connections are cut: over the whole bake, and with the time for a transaction in between.
const CUTS: usize = 16;
const BETWEEN_CUTS: Duration = Duration::from_millis(350);

/// Lines that the provisioner writes, half of them before its pause.
const LINES: usize = 200;

/// A lease that a run which could not even be read after a cut waits for, and that no healthy server loses.
const LEASE_OF_THE_CUT_OFF: (&str, &str) = ("FOURNIL_LEASE", "40s");

/// A lease whose end the test waits for. Before and after that a server has to keep it, however busy the machine is.
const LEASE_THAT_ENDS: (&str, &str) = ("FOURNIL_LEASE", "20s");

/// A line every few milliseconds.
fn writes(from: usize, to: usize) -> String {
    format!("i={from}; while [ $i -le {to} ]; do echo \"line $i of many\"; i=$((i+1)); sleep 0.01; done")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cuts_connections_again_and_again_costs_nothing() {
    let world = World::new().await;
    let server = start(&world, "cut-off", LEASE_OF_THE_CUT_OFF).await;
    let build = world.build(&server, &template("cut-off", &[&writes(1, LINES)])).await;
    let ended = {
        let cutting = async {
            for _ in 0..CUTS {
                tokio::time::sleep(BETWEEN_CUTS).await;
                world.database.cut_connections().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = world.succeeds(&server, &build) => ended,
            () = cutting => unreachable!("it waits for ever"),
        }
    };
    let ended = ended.unwrap_or_else(|why| panic!("{why}\n{}", server.process.output()));
    assert_eq!(ended.attempt(), 1, "{}", server.process.output());
    assert_whole(&world, &server, &build).await;
    assert_eq!(server.process.end().await.0, Some(0));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_for_less_than_a_lease_costs_nothing() {
    let world = World::new().await;
    let server = world.fournil("away").await;
    let (build, pause) = provisioning(&world, &server, "away").await;
    shut_out(&world, &server, "nothing could be claimed").await;
    // The other lines come while they cannot be written.
    pause.end().await;
    world.database.set_open(true).await;
    let ended = world.succeeds(&server, &build).await;
    let ended = ended.unwrap_or_else(|why| panic!("{why}\n{}", server.process.output()));
    assert_eq!(ended.attempt(), 1, "{}", server.process.output());
    assert_whole(&world, &server, &build).await;
    assert_eq!(server.process.end().await.0, Some(0));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_for_longer_than_a_lease_costs_an_attempt_and_nothing_else() {
    let world = World::new().await;
    let server = start(&world, "away-for-long", LEASE_THAT_ENDS).await;
    let (build, pause) = provisioning(&world, &server, "away-for-long").await;
    shut_out(&world, &server, "stopped working on run").await;
    world.database.set_open(true).await;
    world.until_said(&server, &build, "attempt 2 of 2").await;
    pause.end().await;
    let ended = world.succeeds(&server, &build).await;
    let ended = ended.unwrap_or_else(|why| panic!("{why}\n{}", server.process.output()));
    assert_eq!(ended.attempt(), 2, "the lease was over while it provisioned: {}", server.process.output());
    let log = world.log(&server, &build).await;
    assert_contiguous(&log);
    assert_eq!(server.process.end().await.0, Some(0));
    world.close().await;
}

async fn start(world: &World, name: &str, lease: (&str, &str)) -> Server {
    world.fournil_with(name, &[("DATABASE_URL", &world.database.url), lease]).await
}

/// A build whose provisioner has written half of its lines and waits to write the others.
async fn provisioning(world: &World, server: &Server, name: &str) -> (String, Pause) {
    let pause = Pause::new();
    let script = [writes(1, LINES / 2), pause.line(), writes(LINES / 2 + 1, LINES)];
    let script = script.each_ref().map(String::as_str);
    let build = world.build(server, &template(name, &script)).await;
    world.until_said(server, &build, &format!("line {} of many", LINES / 2)).await;
    pause.reached().await;
    (build, pause)
}

/// Shuts the server out of the database until it says this.
async fn shut_out(world: &World, server: &Server, says: &str) {
    let known = server.process.output().len();
    world.database.set_open(false).await;
    server.process.until_written(known, says).await;
}

/// Every line of the provisioner, once and in order.
async fn assert_whole(world: &World, server: &Server, build: &str) {
    let log = world.log(server, build).await;
    assert_contiguous(&log);
    let lines: Vec<&str> = log
        .iter()
        .filter_map(|line| line["line"].as_str())
        .filter(|line| line.ends_with("of many"))
        .collect();
    let expected: Vec<String> = (1..=LINES).map(|number| format!("line {number} of many")).collect();
    assert_eq!(lines, expected);
}

fn assert_contiguous(log: &[Value]) {
    assert!(!log.is_empty());
    let gap = log.iter().zip(1..).find(|(line, seq)| line["seq"] != *seq);
    assert!(gap.is_none(), "the log has a gap at {gap:?}");
}

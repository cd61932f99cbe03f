//! The database goes away in the middle of a bake: for a moment, again and again, or for longer than a lease. Nothing that
//! was accepted may be lost, and the log has every line once.

use std::time::Duration;

use serde_json::Value;

use crate::{
    LEASE, until,
    world::{Server, World, template},
};

/// How often connections are cut: over the whole bake, and with the time for a transaction in between.
const CUTS: usize = 16;
const BETWEEN_CUTS: Duration = Duration::from_millis(350);

/// Lines that the provisioner writes.
const LINES: usize = 200;

/// The provisioner: a line every few milliseconds.
const WRITES: &str = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo \"line $i of many\"; sleep 0.01; done";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cuts_connections_again_and_again_costs_nothing() {
    let world = World::new().await;
    let server = world.fournil("cut-off").await;
    let build = world.build(&server, &template("cut-off", &[WRITES])).await;
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
    let (world, server, build) = baking("away").await;
    world.database.set_open(false).await;
    tokio::time::sleep(LEASE / 2).await;
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
    let (world, server, build) = baking("away-for-long").await;
    world.database.set_open(false).await;
    tokio::time::sleep(LEASE * 2).await;
    world.database.set_open(true).await;
    let ended = world.succeeds(&server, &build).await;
    let ended = ended.unwrap_or_else(|why| panic!("{why}\n{}", server.process.output()));
    assert_eq!(ended.attempt(), 2, "the lease was over while it provisioned: {}", server.process.output());
    let log = world.log(&server, &build).await;
    assert_contiguous(&log);
    assert_eq!(server.process.end().await.0, Some(0));
    world.close().await;
}

/// A build that has begun to provision.
async fn baking(name: &str) -> (World, Server, String) {
    let world = World::new().await;
    let server = world.fournil(name).await;
    let build = world.build(&server, &template(name, &[WRITES])).await;
    until("it provisions", async || world.has_said(&server, &build, "line 20 of many").await.then_some(()))
        .await;
    (world, server, build)
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

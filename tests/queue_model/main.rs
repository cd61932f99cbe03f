//! The queue against a model of it, over real Postgres: claims, leases, fences, hand-overs, cancellations and cleanups in
//! sequences that nobody thought of, and the same with many workers at once. Leases are long and end only by statement, so
//! that nothing here depends on how fast the machine is.
//!
//! `QUEUE_MODEL_CASES` says how many sequences are played, and how many times as many runs the crowd works on;
//! `QUEUE_MODEL_SEED` repeats what a failure has printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(missing_docs, reason = "nobody uses a test")]

mod crowd;
mod model;
mod operation;
mod rows;
mod story;
mod system;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::runtime::Handle;

/// How many sequences are played if nothing else is said.
const CASES: u32 = 48;

/// How many runs the crowd works on if nothing else is said.
const RUNS: usize = 160;

/// The most draws of a sequence.
const LENGTH: usize = 80;

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a number, not `{value}`")))
}

fn seed() -> u64 {
    setting("QUEUE_MODEL_SEED").unwrap_or_else(rand::random)
}

fn cases() -> u32 {
    setting("QUEUE_MODEL_CASES").map_or(CASES, |cases| u32::try_from(cases).unwrap_or(u32::MAX))
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn the_queue_does_what_the_model_does(pool: PgPool) {
    let seed = seed();
    let config = Config {
        cases: cases(),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 1000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let here = Handle::current();
    let played = tokio::task::spawn_blocking(move || {
        let operations = std::cell::Cell::new(0);
        let result = TestRunner::new(config).run(&operation::sequences(LENGTH), |draws| {
            let played = here.block_on(async { story::Story::begin(pool.clone()).await.play(&draws).await });
            operations.set(operations.get() + played.map_err(TestCaseError::fail)?);
            Ok(())
        });
        // Not the draws, which say little: the story is in the reason.
        result.map(|()| operations.get()).map_err(|error| match error {
            TestError::Fail(reason, _) | TestError::Abort(reason) => reason,
        })
    });
    match played.await.expect("the runner does not panic") {
        Ok(operations) => println!("{operations} operations, QUEUE_MODEL_SEED={seed}"),
        Err(reason) => panic!("QUEUE_MODEL_SEED={seed}: {reason}"),
    }
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_crowd_ends_every_run_once_and_who_lost_a_lease_changes_nothing(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let seed = seed();
    println!("QUEUE_MODEL_SEED={seed}");
    let pool = PgPoolOptions::new().max_connections(16).connect_with(options).await.unwrap();
    for round in 0..cases().div_ceil(CASES) {
        system::System::start(pool.clone()).await;
        println!("{}", crowd::work(&pool, seed.wrapping_add(round.into()), RUNS).await);
    }
    pool.close().await;
}

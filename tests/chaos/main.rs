//! Chaos with real processes: `fournil serve` and `oapi-sandbox` with VMs of the `ns` backend, killed, stopped and cut off
//! wherever it could hurt. What must hold afterwards is always the same: the build has ended, and the region holds the
//! announced artifacts and nothing else.
//!
//! Needs root and `DATABASE_URL`, a Postgres server on which databases can be made. `CHAOS=long` tries everything, the
//! default what fits into two minutes.
#![expect(clippy::expect_used, clippy::panic, reason = "a test's helpers fail by panicking, as tests do")]

mod database;
mod database_away;
mod destroying;
mod embedded;
mod every_call;
mod gate;
mod kill_points;
mod lost_answers;
mod pause;
mod processes;
mod takeover;
mod world;

use std::time::Duration;

/// For whatever should happen soon, on a busy machine too; only failures take this long.
const PATIENCE: Duration = Duration::from_secs(180);

/// So long that no healthy server loses it, however busy the machine is, and that nobody waits for its end: what is taken over
/// has been handed over, or its lease was ended by the test (`Database::end_leases`).
const LEASE: Duration = Duration::from_secs(3600);

/// Between two looks at something that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Whether everything is to be tried.
fn is_long() -> bool {
    std::env::var("CHAOS").is_ok_and(|mode| mode == "long")
}

/// Looks until there is something, and panics with `what` if there is nothing after all patience.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("{what}: not within {} s", PATIENCE.as_secs()))
}

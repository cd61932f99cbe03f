//! Trying again while the way into the machine is blocked, as it is for a while when the machine reboots. What went
//! wrong inside the machine is not tried again.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::Failure;

/// The pause before the first further try; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause, which is Packer's only one.
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Does `work` until it succeeds, fails for a reason that will not pass, or has been failing for `window`.
pub(super) async fn retried<'a, T>(
    window: Duration,
    mut work: impl FnMut() -> BoxFuture<'a, Result<T, Failure>>,
) -> Result<T, Failure> {
    let end = Instant::now() + window;
    let mut pause = FIRST_PAUSE;
    loop {
        match work().await {
            Err(Failure::Communicator(error)) if error.is_retryable() && Instant::now() + pause < end => {
                tracing::debug!("Trying again: {error}");
                sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
            done => return done,
        }
    }
}

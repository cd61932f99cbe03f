//! Listens for what should not wait for the next poll: something can be claimed, somebody cancels. Notifications only
//! wake; a lost one costs a poll interval.

use std::{sync::Arc, time::Duration};

use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::heartbeat::Held;
use crate::queue::{CANCEL_CHANNEL, QUEUE_CHANNEL};

/// Before the connection is tried again.
const RECONNECT: Duration = Duration::from_secs(1);

/// Listens until `ended`.
pub async fn listen(pool: PgPool, claimable: Arc<Notify>, held: Held, ended: CancellationToken) {
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            result = session(&pool, &claimable, &held) => {
                if let Err(error) = result {
                    tracing::debug!(error = %error, "not listening for wake-ups at the moment");
                }
            }
        }
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(RECONNECT) => {}
        }
    }
}

async fn session(pool: &PgPool, claimable: &Notify, held: &Held) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen_all([QUEUE_CHANNEL, CANCEL_CHANNEL]).await?;
    loop {
        // What came before we listened is found by looking once.
        claimable.notify_one();
        held.beat_now();
        while let Some(notification) = listener.try_recv().await? {
            if notification.channel() == CANCEL_CHANNEL {
                held.beat_now();
            } else {
                claimable.notify_one();
            }
        }
    }
}

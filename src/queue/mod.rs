//! Enqueue, claim, renew, finish; wake-ups. A run is worked by whoever holds its lease; notifications only wake, the
//! tables tell.

pub mod claim;
pub mod destroy;
pub mod finish;
pub mod hold;
pub mod lease;
pub mod renew;

pub use claim::{Claimed, claim, claim_cleanup};
pub use lease::Lease;

use sqlx::PgConnection;

use crate::store::StoreError;

/// The channel that wakes idle workers: something can be claimed.
pub const QUEUE_CHANNEL: &str = "fournil_queue";

/// The channel on which the id of a build is sent when somebody asked for its cancellation.
pub const CANCEL_CHANNEL: &str = "fournil_cancel";

/// Wakes idle workers of all replicas when the transaction commits.
///
/// # Errors
/// The database is away.
pub async fn wake(db: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_notify($1, '')").bind(QUEUE_CHANNEL).execute(db).await?;
    Ok(())
}

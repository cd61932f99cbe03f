//! All SQL but that of the queue: builds and their reads, the journal, the ledger, logs, events, files. Query functions
//! take the connection they work on, so that the caller decides what commits together.

pub mod artifacts;
pub mod audit;
pub mod builds;
pub mod census;
pub mod changes;
pub mod contexts;
pub mod credential_sets;
pub mod files;
pub mod idempotency;
pub mod journal;
pub mod ledger;
pub mod log_lines;
pub mod master_keys;
pub mod runs;
pub mod sealed;
pub mod tokens;
pub mod workers;

use std::time::Duration;

use sqlx::{PgPool, migrate::Migrator, postgres::PgPoolOptions};

/// The schema, built into the binary.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// How long a request waits for a connection before it is told that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer or refused.
    #[error("the database could not be used")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Another worker holds the run by now; whoever gets this must stop without touching the cloud.
    #[error("the lease on run {0} is lost: another worker has it")]
    LeaseLost(crate::domain::RunId),
    /// A stored value is not what this version of fournil writes.
    #[error("a stored {what} cannot be read")]
    Unreadable {
        /// What kind of value.
        what: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// A sealed value could not be opened or made.
    #[error(transparent)]
    Vault(#[from] crate::credentials::vault::VaultError),
}

impl StoreError {
    /// Whether the same statement can succeed later: the database is away, restarting or out of connections.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) => match error {
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => true,
                // Class 08: connection exceptions; 57P: an operator stopped it; 55000: an operator
                // keeps connections out; 53: no resources; 40: try again;
                // 25P: the transaction was idle for too long.
                sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                    ["08", "57P", "53", "55000", "40", "25P"].iter().any(|class| code.starts_with(class))
                }),
                sqlx::Error::Protocol(_) => true,
                _ => false,
            },
            _ => false,
        }
    }
}

/// Opens a pool of at most `connections` connections; does not connect yet.
///
/// # Errors
/// The URL cannot be read.
pub fn pool(url: &str, connections: u32) -> Result<PgPool, StoreError> {
    Ok(PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(Duration::from_secs(300))
        .after_connect(|connection, _| {
            Box::pin(async move {
                // A machine that vanishes in the middle of a transaction must not keep its row locks for hours.
                sqlx::query("SET idle_in_transaction_session_timeout = '10min'")
                    .execute(&mut *connection)
                    .await?;
                sqlx::query("SET tcp_keepalives_idle = 30").execute(&mut *connection).await?;
                sqlx::query("SET tcp_keepalives_interval = 10").execute(&mut *connection).await?;
                sqlx::query("SET tcp_keepalives_count = 3").execute(&mut *connection).await?;
                Ok(())
            })
        })
        .connect_lazy(url)?)
}

/// Brings the schema up to date; safe to call from several replicas at once.
///
/// # Errors
/// The database is away, or a migration failed.
pub async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    Ok(MIGRATOR.run(pool).await?)
}

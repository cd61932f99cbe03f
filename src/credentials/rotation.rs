//! `fournil rotate-key`: seals everything that is stored under a new master key, beside a running server; and the word that
//! each server gives of which keys it has, so that nothing is sealed under a key that one of them lacks.

use std::{process::ExitCode, str::FromStr, sync::Arc, time::Duration};

use chrono::Utc;
use secrecy::ExposeSecret;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    provider::EnvironmentSource,
    vault::{self, Vault, VaultError},
};
use crate::{
    cli::RotateKeyArgs,
    client::{Terminal, chain},
    config::{Config, ConfigError, Database, is_root},
    embedded_postgres::{self, EmbeddedPostgres, EmbeddedPostgresError},
    store::{
        StoreError,
        master_keys::{self, Holder},
        sealed,
    },
};

/// How often a server says which keys it has.
const BEAT: Duration = Duration::from_secs(20);

/// How long it counts as running without a word.
const ALIVE: Duration = Duration::from_secs(90);

/// Values that cannot be opened which are named; the rest is counted.
const MOST_NAMED: usize = 10;

/// Why the key could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The master key cannot be had.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The file is not in use.
    #[error(
        "{} is set, so the file `{}` is not in use: put the new key there yourself (`fournil rotate-key --help` says how)",
        vault::MASTER_KEY_VARIABLE,
        vault::MASTER_KEY_FILE
    )]
    KeyOfEnvironment,
    /// There is no database.
    #[error(
        "there is no database: DATABASE_URL and --database-url are not set, and {} holds none. Name the one that `fournil \
         serve` uses, or its data folder (--data-dir)", .0.display()
    )]
    Nowhere(std::path::PathBuf),
    /// The embedded database cannot be used.
    #[error("the embedded database cannot be used")]
    Embedded(#[from] EmbeddedPostgresError),
    /// The database cannot be used.
    #[error("the database could not be used")]
    Store(#[from] StoreError),
    /// Standard output is gone.
    #[error("the output could not be written")]
    Output(#[from] std::io::Error),
}

impl From<sqlx::Error> for RotationError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Changes the key and tells what was done, or why not.
pub async fn run(arguments: &RotateKeyArgs, environment: EnvironmentSource, terminal: &Terminal) -> ExitCode {
    match rotate(arguments, &environment, terminal).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // There is nobody left to tell if that fails.
            let _ = terminal.error(&chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn rotate(
    arguments: &RotateKeyArgs,
    environment: &EnvironmentSource,
    terminal: &Terminal,
) -> Result<u8, RotationError> {
    let config = Config::load(&arguments.settings(), &environment.variables, is_root())?;
    let is_of_file = config.master_key.is_none();
    if !is_of_file && (arguments.new_key || arguments.drop_old) {
        return Err(RotationError::KeyOfEnvironment);
    }
    let (mut db, embedded) = connect(&config).await?;
    let done = async {
        if arguments.new_key {
            // A key that is not the database's must not be built upon.
            let old = Vault::load(None, &config.data_dir, false)?;
            master_keys::check(&mut db, &old).await?;
            let id = vault::add_new_key(&config.data_dir)?;
            terminal.say(&format!("made the master key {id}"))?;
        }
        let vault = Vault::load(config.master_key.as_ref(), &config.data_dir, false)?;
        master_keys::check(&mut db, &vault).await?;
        rewrap(&mut db, &vault, arguments.drop_old.then_some(config.data_dir.as_path()), terminal).await
    }
    .await;
    drop(db);
    if let Some(embedded) = embedded {
        embedded.stop().await?;
    }
    done
}

async fn rewrap(
    db: &mut PgConnection,
    vault: &Vault,
    drop_old_of: Option<&std::path::Path>,
    terminal: &Terminal,
) -> Result<u8, RotationError> {
    let running = master_keys::holders(db, Utc::now() - ALIVE).await?;
    let of = |running: Vec<&Holder>| {
        running.iter().map(|holder| holder.hostname.as_str()).collect::<Vec<_>>().join(", ")
    };
    let lacking: Vec<_> = running.iter().filter(|holder| !holder.key_ids.contains(&vault.key_id())).collect();
    if !lacking.is_empty() {
        terminal.say(&format!(
            "`fournil serve` runs without the key {} (on {}): restart it, then run this again",
            vault.key_id(),
            of(lacking)
        ))?;
        return Ok(3);
    }
    let done = sealed::rewrap_all(db, vault).await?;
    terminal.say(&format!("{} values are now sealed under the key {}", done.changed, vault.key_id()))?;
    if !done.lost.is_empty() {
        for lost in done.lost.iter().take(MOST_NAMED) {
            terminal.error(lost)?;
        }
        terminal.error(&format!("{} values cannot be opened with the keys at hand", done.lost.len()))?;
        return Ok(1);
    }
    let others: Vec<String> = vault.key_ids().into_iter().skip(1).collect();
    if others.is_empty() {
        return Ok(0);
    }
    let sealing_otherwise: Vec<_> =
        running.iter().filter(|holder| holder.key_ids.first() != Some(&vault.key_id())).collect();
    if !sealing_otherwise.is_empty() {
        terminal.say(&format!(
            "`fournil serve` still seals under an old key (on {}): put {} first there and restart it, then run this again",
            of(sealing_otherwise),
            vault.key_id()
        ))?;
        return Ok(3);
    }
    match drop_old_of {
        Some(folder) => {
            let dropped = vault::drop_old_keys(folder)?;
            terminal.say(&format!("removed {dropped} old keys from {}", vault::MASTER_KEY_FILE))?;
        }
        None => terminal.say(&format!("nothing needs {} any more", others.join(", ")))?,
    }
    Ok(0)
}

/// The database as `fournil serve` would find it; an embedded one that nobody runs is started.
async fn connect(config: &Config) -> Result<(PgConnection, Option<EmbeddedPostgres>), RotationError> {
    let (url, embedded) = match &config.database {
        Database::Url(url) => (url.expose_secret().to_owned(), None),
        Database::Embedded if !embedded_postgres::exists(&config.data_dir) => {
            return Err(RotationError::Nowhere(config.data_dir.clone()));
        }
        Database::Embedded => {
            match EmbeddedPostgres::start(&config.data_dir, config.postgres_bin.as_deref()).await {
                Ok(embedded) => (embedded.url().to_owned(), Some(embedded)),
                Err(occupied @ EmbeddedPostgresError::Occupied { .. }) => {
                    match embedded_postgres::url_of_running(&config.data_dir) {
                        Some(url) => (url, None),
                        None => return Err(occupied.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    };
    let options = PgConnectOptions::from_str(&url)?.disable_statement_logging();
    Ok((PgConnection::connect_with(&options).await?, embedded))
}

/// Says in the database which keys this process has, until `drain`.
pub async fn keep_telling(pool: PgPool, vault: Arc<Vault>, hostname: String, drain: CancellationToken) {
    let holder = Holder { id: Uuid::new_v4(), hostname, key_ids: vault.key_ids() };
    loop {
        let told = async {
            let now = Utc::now();
            master_keys::seen(&mut *pool.acquire().await?, &holder, now, now - 10 * ALIVE).await
        };
        if let Err(error) = told.await {
            tracing::debug!(error = %error, "the process could not say which master keys it has");
        }
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = drain.cancelled() => break,
        }
    }
    let left: Result<(), StoreError> =
        async { master_keys::left(&mut *pool.acquire().await?, holder.id).await }.await;
    if let Err(error) = left {
        tracing::debug!(error = %error, "the process could not say that it ends");
    }
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;

//! Finds the ledger as `fournil serve` would: the database that is given, else the embedded one, which another fournil may
//! be running. Makes nothing new: a database without a ledger is more likely the wrong one than a lost one.

use std::{path::PathBuf, str::FromStr, time::Duration};

use secrecy::ExposeSecret;
use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

use crate::{
    config::{Config, Database},
    domain::RunId,
    embedded_postgres::{self, EmbeddedPostgres, EmbeddedPostgresError},
    store::{
        StoreError,
        census::{self, Census},
    },
};

/// How long a database may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to do when there is no ledger.
const WITHOUT: &str = "--without-ledger does without, and takes everything for unknown";

/// Why the ledger could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no embedded database.
    #[error(
        "there is no database: DATABASE_URL and --database-url are not set, and {} holds none. Name the one that `fournil \
         serve` uses, or its data folder (--data-dir); {WITHOUT}", .0.display()
    )]
    Nowhere(PathBuf),
    /// The embedded database cannot be used.
    #[error("the embedded database cannot be used; {WITHOUT}")]
    Embedded(#[from] EmbeddedPostgresError),
    /// The database cannot be asked.
    #[error("the ledger in {database} cannot be asked; {WITHOUT}")]
    Away {
        /// Which.
        database: String,
        /// The cause.
        #[source]
        source: StoreError,
    },
    /// The database does not answer.
    #[error("the database {database} does not answer within {} s; {WITHOUT}", PATIENCE.as_secs())]
    Silent {
        /// Which.
        database: String,
    },
    /// The database is not fournil's.
    #[error(
        "{0} has no ledger: is it the right database? If the old one is lost and this one is to replace it, start \
         `fournil serve` on it once; {WITHOUT}"
    )]
    NotOurs(String),
}

/// A ledger that can be asked.
pub struct Ledger {
    options: PgConnectOptions,
    /// Which database, for people.
    pub database: String,
    embedded: Option<EmbeddedPostgres>,
}

impl Ledger {
    /// Finds the ledger; starts the embedded database if nobody has.
    ///
    /// # Errors
    /// There is none.
    pub async fn find(config: &Config) -> Result<Self, LedgerError> {
        match &config.database {
            Database::Url(url) => Self::at(url.expose_secret(), None, None),
            Database::Embedded if !embedded_postgres::exists(&config.data_dir) => {
                Err(LedgerError::Nowhere(config.data_dir.clone()))
            }
            Database::Embedded => {
                let database = config.data_dir.display().to_string();
                match EmbeddedPostgres::start(&config.data_dir, config.postgres_bin.as_deref()).await {
                    Ok(embedded) => {
                        let url = embedded.url().to_owned();
                        Self::at(&url, Some(database), Some(embedded))
                    }
                    Err(occupied @ EmbeddedPostgresError::Occupied { .. }) => {
                        match embedded_postgres::url_of_running(&config.data_dir) {
                            Some(url) => Self::at(&url, Some(database), None),
                            None => Err(occupied.into()),
                        }
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    fn at(url: &str, name: Option<String>, embedded: Option<EmbeddedPostgres>) -> Result<Self, LedgerError> {
        let options = PgConnectOptions::from_str(url).map_err(|source| LedgerError::Away {
            database: "the given URL".to_owned(),
            source: source.into(),
        })?;
        let database = name.unwrap_or_else(|| {
            format!("{}/{}", options.get_host(), options.get_database().unwrap_or_default())
        });
        Ok(Self { options: options.disable_statement_logging(), database, embedded })
    }

    /// Asks what it knows.
    ///
    /// # Errors
    /// It cannot be asked, or is not fournil's.
    pub async fn census(&self, runs: &[RunId], cloud_ids: &[String]) -> Result<Census, LedgerError> {
        let ask = async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            census::take(&mut connection, runs, cloud_ids).await
        };
        match tokio::time::timeout(PATIENCE, ask).await {
            Ok(Ok(census)) => Ok(census),
            Ok(Err(StoreError::Database(sqlx::Error::Database(error))))
                if error.code().is_some_and(|code| code == "42P01") =>
            {
                Err(LedgerError::NotOurs(self.database.clone()))
            }
            Ok(Err(source)) => Err(LedgerError::Away { database: self.database.clone(), source }),
            Err(_) => Err(LedgerError::Silent { database: self.database.clone() }),
        }
    }

    /// Stops what was started for it.
    ///
    /// # Errors
    /// The embedded database could not be stopped.
    pub async fn close(self) -> Result<(), LedgerError> {
        match self.embedded {
            Some(embedded) => Ok(embedded.stop().await?),
            None => Ok(()),
        }
    }
}

//! Commands about secrets: stored sets of credentials, and the master key.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ServerArgs, given};

/// `fournil credentials`.
#[derive(Debug, Clone, Args)]
pub struct CredentialsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CredentialsCommand,
}

/// What can be done with stored sets.
#[derive(Debug, Clone, Subcommand)]
pub enum CredentialsCommand {
    /// Store keys under a name, in place of those that it had.
    ///
    /// Builds use them by `fournil build --credentials NAME`. The secret key is asked for, or read from standard input if that is
    /// no terminal, or from OSC_SECRET_KEY with --from-env; never from the command line, which others can see.
    #[command(verbatim_doc_comment)]
    Set(Box<SetCredentialsArgs>),
    /// List the sets: names and what is no secret.
    List(CredentialsListArgs),
    /// Remove a set.
    Rm(RemoveCredentialsArgs),
}

/// `fournil credentials set`.
#[derive(Debug, Clone, Args)]
pub struct SetCredentialsArgs {
    /// What the set is called.
    pub name: String,
    /// The access key; without it and with --from-env: OSC_ACCESS_KEY.
    #[arg(long, value_name = "KEY")]
    pub access_key: Option<String>,
    /// Take what is not given from OSC_ACCESS_KEY, OSC_SECRET_KEY, OSC_REGION and OSC_ENDPOINT_API of this environment.
    #[arg(long)]
    pub from_env: bool,
    /// The Region that builds use whose template names none.
    #[arg(long)]
    pub region: Option<String>,
    /// The API's address, if it is not that of the Region.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// A file with the client certificate (PEM) that the account's API access rules ask for.
    #[arg(long, value_name = "FILE", requires = "x509_key")]
    pub x509_cert: Option<PathBuf>,
    /// A file with its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "x509_cert")]
    pub x509_key: Option<PathBuf>,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `fournil credentials list`.
#[derive(Debug, Clone, Args)]
pub struct CredentialsListArgs {
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `fournil credentials rm`.
#[derive(Debug, Clone, Args)]
pub struct RemoveCredentialsArgs {
    /// The set.
    pub name: String,
    /// Even if builds still need it, also to remove what they made.
    #[arg(long)]
    pub force: bool,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

impl CredentialsArgs {
    /// Which server is asked.
    #[must_use]
    pub fn server(&self) -> &ServerArgs {
        match &self.command {
            CredentialsCommand::Set(arguments) => &arguments.server,
            CredentialsCommand::List(arguments) => &arguments.server,
            CredentialsCommand::Rm(arguments) => &arguments.server,
        }
    }
}

/// `fournil rotate-key`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Exit codes:
  0  all that is stored is sealed under the first key
  1  something cannot be opened with the keys at hand, or the database could not be asked
  2  the command has no meaning
  3  a running fournil lacks the first key: restart it, then run this again

With the key in the file: `fournil rotate-key --new-key`, restart `fournil serve`, `fournil rotate-key --drop-old`.
With FOURNIL_MASTER_KEY: put the new key behind the old one (`OLD,NEW`) and restart every process, then put it first
(`NEW,OLD`) and restart again, run `fournil rotate-key`, then leave the old one out.")]
pub struct RotateKeyArgs {
    /// Make a new key first, in the file `master.key`; the old ones stay behind it.
    #[arg(long)]
    pub new_key: bool,
    /// At the end remove the keys from `master.key` that nothing needs any more.
    #[arg(long)]
    pub drop_old: bool,
    /// The TOML file with the settings of `fournil serve` [env: FOURNIL_CONFIG].
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// The Postgres database; without it the one in the data folder [env: DATABASE_URL].
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// The data folder [env: FOURNIL_DATA_DIR] [default: as for `fournil serve`].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Where `initdb` and `postgres` are [env: FOURNIL_POSTGRES_BIN] [default: the newest installed].
    #[arg(long, value_name = "DIR")]
    pub postgres_bin: Option<String>,
}

impl RotateKeyArgs {
    /// What was given, by the settings' names, for [`crate::config::Config::load`].
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        given(&[
            ("config", &self.config),
            ("database_url", &self.database_url),
            ("data_dir", &self.data_dir),
            ("postgres_bin", &self.postgres_bin),
        ])
    }
}

//! `fournil token` and `fournil audit`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{ServerArgs, age};
use crate::{auth::Role, domain::BuildId};

/// What can be done with tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it; nobody can have it again.
    Create(Box<TokenCreateArgs>),
    /// List tokens, without their secrets.
    List(TokenListArgs),
    /// Revoke a token at once, also for streams that are open.
    Revoke(TokenRevokeArgs),
}

/// Where the tokens are.
#[derive(Debug, Clone, Args)]
pub struct PlaceArgs {
    /// Work on the database itself, not through a server: for the first token. Without a URL: that of DATABASE_URL.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "", hide_default_value = true)]
    pub database_url: Option<String>,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `fournil token create`.
#[derive(Debug, Clone, Args)]
pub struct TokenCreateArgs {
    /// What it is called: letters, digits, `.`, `_` and `-`.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What it may do: `viewer` reads, `builder` also builds, `admin` also manages tokens and stored keys.
    #[arg(long)]
    pub role: Role,
    /// It asks for builds with these builders only.
    #[arg(long = "builder", value_delimiter = ',', value_name = "NAMES")]
    pub builders: Vec<String>,
    /// Its builds use one of these stored sets of keys.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub credentials: Vec<String>,
    /// Its builds get this label, and it sees and acts on builds with it only; several: with all of them.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// So many of its builds may be queued or running at once.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_builds: Option<u32>,
    /// When it ends to be valid, such as `90d` or `12h`; without it: never.
    #[arg(long, value_name = "TIME", value_parser = age)]
    pub expires: Option<Duration>,
    /// Where it is made.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `fournil token list`.
#[derive(Debug, Clone, Args)]
pub struct TokenListArgs {
    /// Also the revoked ones.
    #[arg(long)]
    pub all: bool,
    /// Where they are.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `fournil token revoke`.
#[derive(Debug, Clone, Args)]
pub struct TokenRevokeArgs {
    /// The token.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where it is.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `fournil audit`.
#[derive(Debug, Clone, Args)]
pub struct AuditArgs {
    /// Only what this token, `oidc:SUBJECT`, `local` or `database` did.
    #[arg(long)]
    pub principal: Option<String>,
    /// Only these actions, such as `build.create`.
    #[arg(long, value_delimiter = ',', value_name = "ACTIONS")]
    pub action: Vec<String>,
    /// Only what was refused.
    #[arg(long)]
    pub denied: bool,
    /// Only what was done to this build.
    #[arg(long, value_name = "ID")]
    pub build: Option<BuildId>,
    /// Only from this moment on, such as `2026-11-22T10:00:00Z`.
    #[arg(long, value_name = "MOMENT")]
    pub after: Option<String>,
    /// Only before this moment.
    #[arg(long, value_name = "MOMENT")]
    pub before: Option<String>,
    /// How many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

impl TokenCommand {
    /// Where the tokens are.
    #[must_use]
    pub fn place(&self) -> &PlaceArgs {
        match self {
            Self::Create(arguments) => &arguments.place,
            Self::List(arguments) => &arguments.place,
            Self::Revoke(arguments) => &arguments.place,
        }
    }
}

//! The command line: what can be typed, in fournil's spelling and in Packer's. Doing it is up to `client` and, for
//! `serve`, to the program.

mod access;
mod secrets;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use secrecy::SecretString;

pub use access::{AuditArgs, PlaceArgs, TokenCommand, TokenCreateArgs, TokenListArgs, TokenRevokeArgs};
pub use secrets::{
    CredentialsArgs, CredentialsCommand, RemoveCredentialsArgs, RotateKeyArgs, SetCredentialsArgs,
};

use crate::domain::{BuildId, BuildState, RunId, duration, on_error::Release};

/// Long flags that Packer spells with one dash.
const PACKER_FLAGS: &[&str] = &[
    "var",
    "var-file",
    "only",
    "except",
    "on-error",
    "machine-readable",
    "timestamp-ui",
    "color",
    "parallel-builds",
    "force",
    "debug",
    "syntax-only",
    "warn-on-undeclared-var",
    "use-sequential-evaluation",
    "ignore-prerelease-plugins",
    "skip-enforcement",
];

/// Bakes OUTSCALE machine images.
#[derive(Debug, Parser)]
#[command(name = "fournil", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What fournil can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the API, bake what it accepts, and remove what is left over.
    Serve(Box<ServeArgs>),
    /// Find what fournil made in an account and no ledger knows any more, and remove it if wanted
    ///
    /// For an account whose ledger was lost: a dropped database, a data folder that is gone. Looks for the tag `fournil:run` and
    /// for names that fournil gives, asks the database which of that it knows, and lists the rest; --delete removes it. OMIs that
    /// builds announced, and what the ledger knows, are never removed. Needs the database of `fournil serve` and the cloud's keys,
    /// both from where `fournil serve` takes them; no server has to run.
    #[command(verbatim_doc_comment)]
    Sweep(Box<SweepArgs>),
    /// Seal all that is stored under another master key
    ///
    /// Works beside a running `fournil serve`, and can be stopped and started again. Needs the database and the master key, both
    /// from where `fournil serve` takes them.
    #[command(verbatim_doc_comment)]
    RotateKey(RotateKeyArgs),
    /// Print the API's OpenAPI document.
    Openapi,
    /// Ask a server.
    #[command(flatten)]
    Client(ClientCommand),
}

/// What is done by asking a server.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Send a template with its folder to the server and follow the build to its end.
    Build(Box<BuildArgs>),
    /// Check a template with its folder, without asking the cloud.
    Validate(Box<ValidateArgs>),
    /// List builds, newest first.
    List(ListArgs),
    /// Show a build.
    Show(BuildRef),
    /// Print the log of a build.
    Logs(LogsArgs),
    /// Stop a build and remove what it made.
    Cancel(BuildRef),
    /// Let a build go on whose VM is held after an error.
    Release(ReleaseArgs),
    /// Remove now what a build has left or kept in the cloud.
    Cleanup(BuildRef),
    /// Remove from the cloud what a build made: OMIs with their snapshots, volumes.
    ///
    /// What is in use stays, and the reason is told; asking again tries again.
    #[command(verbatim_doc_comment)]
    Destroy(DestroyArgs),
    /// Ask for the same again as a new build.
    Retry(BuildRef),
    /// List what a build made in the cloud, and what became of it.
    Resources(BuildRef),
    /// Make, list and revoke tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// List who did what, newest first.
    Audit(Box<AuditArgs>),
    /// Store keys for the cloud at the server under names, for builds to use.
    Credentials(CredentialsArgs),
}

/// Which server, and how to print its answers.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The server.
    #[arg(long, env = "FOURNIL_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub server: String,
    /// A token, if the server asks for one.
    #[arg(long, env = "FOURNIL_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<SecretString>,
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

/// A template, its variables and which of its builds.
#[derive(Debug, Clone, Args)]
pub struct TemplateArgs {
    /// The template, JSON or HCL2, or a folder with one, or `-` for standard input.
    #[arg(value_name = "TEMPLATE|DIR")]
    pub template: PathBuf,
    /// The folder to send, with all scripts and files that the template names; paths in the template are relative to
    /// it. Without it: the folder of the template. `.git` and what `.fournilignore` lists stays here.
    #[arg(long, value_name = "DIR")]
    pub context: Option<PathBuf>,
    /// Set a variable; wins over files.
    #[arg(long = "var", value_name = "NAME=VALUE", allow_hyphen_values = true)]
    pub variables: Vec<String>,
    /// Set variables from a file, which may lie outside the folder; the last one wins.
    #[arg(long = "var-file", value_name = "FILE")]
    pub variable_files: Vec<PathBuf>,
    /// Only these builds of the template.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub only: Vec<String>,
    /// All builds of the template but these.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub except: Vec<String>,
    /// Flags of Packer's that need nothing to be done.
    #[command(flatten)]
    pub ignored: IgnoredArgs,
}

/// Flags that Packer has and that have no effect here, so that a script that sets them works unchanged.
#[derive(Debug, Clone, Args)]
pub struct IgnoredArgs {
    /// fournil never colours a log.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub color: Option<String>,
    /// The server decides how many runs it bakes at once.
    #[arg(long = "parallel-builds", hide = true)]
    pub parallel_builds: Option<String>,
    /// fournil has no plugins.
    #[arg(long = "ignore-prerelease-plugins", hide = true)]
    pub ignore_prerelease_plugins: bool,
    /// fournil has no HCP.
    #[arg(long = "skip-enforcement", hide = true)]
    pub skip_enforcement: bool,
    /// The order of evaluation shows nowhere.
    #[arg(long = "use-sequential-evaluation", hide = true)]
    pub use_sequential_evaluation: bool,
    /// Undeclared variables are always reported.
    #[arg(long = "warn-on-undeclared-var", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub warn_on_undeclared_var: Option<String>,
}

/// `fournil build`.
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    /// What to bake.
    #[command(flatten)]
    pub template: TemplateArgs,
    /// What to do when the build fails: `cleanup`, `abort`, `hold` (or `ask`), `run-cleanup-provisioner`.
    #[arg(long = "on-error", value_name = "ACTION")]
    pub on_error: Option<String>,
    /// How long things are kept or held after an error, such as `2h`.
    #[arg(long = "keep-for", value_name = "TIME")]
    pub keep_for: Option<String>,
    /// A file with public keys that a held or kept VM lets in; with `--on-error` other than `cleanup` the keys in `~/.ssh`
    /// are sent unless this is given.
    #[arg(long = "authorized-keys", value_name = "FILE")]
    pub authorized_keys: Vec<PathBuf>,
    /// The stored set of credentials to bake with.
    #[arg(long, value_name = "NAME")]
    pub credentials: Option<String>,
    /// A name to find the build by.
    #[arg(long)]
    pub name: Option<String>,
    /// Mark the build, to list it by.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// Builds of higher priority start first.
    #[arg(long, allow_negative_numbers = true)]
    pub priority: Option<i32>,
    /// How long the build may take, such as `2h`.
    #[arg(long)]
    pub timeout: Option<String>,
    /// Print the build's id and leave; the build goes on.
    #[arg(long)]
    pub detach: bool,
    /// Print as `packer -machine-readable` does.
    #[arg(long = "machine-readable", conflicts_with = "json")]
    pub machine_readable: bool,
    /// Put the time before each line.
    #[arg(long = "timestamp-ui")]
    pub timestamps: bool,
    /// Packer's; refused with an explanation.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub force: Option<String>,
    /// Packer's; refused with an explanation.
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub debug: Option<String>,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `fournil validate`.
#[derive(Debug, Clone, Args)]
pub struct ValidateArgs {
    /// What to check.
    #[command(flatten)]
    pub template: TemplateArgs,
    /// Packer's; everything is checked anyway.
    #[arg(long = "syntax-only", hide = true)]
    pub syntax_only: bool,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `fournil list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Only builds in one of these states.
    #[arg(long, value_delimiter = ',', value_name = "STATES")]
    pub state: Vec<BuildState>,
    /// Only builds of this name.
    #[arg(long)]
    pub name: Option<String>,
    /// Only builds with this label; several: with all of them.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// How many.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub limit: u32,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// A build by its id.
#[derive(Debug, Clone, Args)]
pub struct BuildRef {
    /// The build.
    #[arg(value_name = "ID")]
    pub build: BuildId,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `fournil release`.
#[derive(Debug, Clone, Args)]
pub struct ReleaseArgs {
    /// The build.
    #[arg(value_name = "ID")]
    pub build: BuildId,
    /// How it goes on: `cleanup`, `keep` (it ends, what it made stays for a while), or `retry` (the failed step again, on the
    /// same VM).
    #[arg(long, default_value = "cleanup", value_name = "HOW")]
    pub then: Release,
    /// Only this run.
    #[arg(long)]
    pub run: Option<String>,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `fournil destroy`.
#[derive(Debug, Clone, Args)]
pub struct DestroyArgs {
    /// The build.
    #[arg(value_name = "ID")]
    pub build: BuildId,
    /// Only what this run made.
    #[arg(long)]
    pub run: Option<String>,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `fournil logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// The build.
    #[arg(value_name = "ID")]
    pub build: BuildId,
    /// Stay until the build ends; the exit code then tells how it ended.
    #[arg(short, long)]
    pub follow: bool,
    /// Only the lines of this run.
    #[arg(long)]
    pub run: Option<String>,
    /// Begin behind this line.
    #[arg(long, value_name = "NUMBER", conflicts_with = "tail")]
    pub after: Option<u32>,
    /// Begin with the last so many lines.
    #[arg(long, value_name = "LINES")]
    pub tail: Option<u32>,
    /// Put the time before each line.
    #[arg(long = "timestamps")]
    pub timestamps: bool,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `fournil serve`. Every flag wins over its environment variable, which wins over the file.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// A TOML file with settings [env: FOURNIL_CONFIG].
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,
    /// Where to listen; other than loopback needs a token [env: FOURNIL_LISTEN] [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// The Postgres database; without it a private one is kept in the data folder [env: DATABASE_URL].
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// The data folder [env: FOURNIL_DATA_DIR] [default: /var/lib/fournil for root, else $XDG_DATA_HOME/fournil].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Where `initdb` and `postgres` are [env: FOURNIL_POSTGRES_BIN] [default: the newest installed].
    #[arg(long, value_name = "DIR")]
    pub postgres_bin: Option<String>,
    /// How many runs to bake at once; 0: serve the API only [env: FOURNIL_WORKERS] [default: 8].
    #[arg(long, value_name = "NUMBER")]
    pub workers: Option<String>,
    /// What this worker is called [env: FOURNIL_WORKER_NAME].
    #[arg(long, value_name = "NAME")]
    pub worker_name: Option<String>,
    /// What templates may do on this host: `chroot`, `shell-local`, `ansible` [env: FOURNIL_CAPABILITIES].
    #[arg(long, value_name = "LIST")]
    pub capabilities: Option<String>,
    /// How long a run stays claimed without a sign of life [env: FOURNIL_LEASE] [default: 25s].
    #[arg(long, value_name = "DURATION")]
    pub lease: Option<String>,
    /// How long runs may go on after SIGTERM [env: FOURNIL_DRAIN_TIMEOUT] [default: 20s].
    #[arg(long, value_name = "DURATION")]
    pub drain_timeout: Option<String>,
    /// How long a build may take whose request has no `timeout` [env: FOURNIL_BUILD_TIMEOUT] [default: 12h].
    #[arg(long, value_name = "TIME")]
    pub build_timeout: Option<String>,
    /// Hosts besides OUTSCALE's that templates may name as the API's [env: FOURNIL_ALLOWED_ENDPOINTS].
    #[arg(long, value_name = "HOSTS")]
    pub allowed_endpoints: Option<String>,
    /// `text` or `json` [env: FOURNIL_LOG_FORMAT] [default: text].
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

/// Which of these settings were given, for [`crate::config::Config::load`].
fn given(settings: &[(&'static str, &Option<String>)]) -> Vec<(&'static str, String)> {
    settings.iter().filter_map(|(name, value)| Some((*name, (*value).clone()?))).collect()
}

impl ServeArgs {
    /// What was given, by the settings' names, for [`crate::config::Config::load`].
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        given(&[
            ("config", &self.config),
            ("listen", &self.listen),
            ("database_url", &self.database_url),
            ("data_dir", &self.data_dir),
            ("postgres_bin", &self.postgres_bin),
            ("workers", &self.workers),
            ("worker_name", &self.worker_name),
            ("capabilities", &self.capabilities),
            ("lease", &self.lease),
            ("drain_timeout", &self.drain_timeout),
            ("build_timeout", &self.build_timeout),
            ("allowed_endpoints", &self.allowed_endpoints),
            ("log_format", &self.log_format),
        ])
    }
}

/// `fournil sweep`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Exit codes:
  0  nothing to remove, or all of it was removed
  1  something could not be removed, or the cloud or the ledger could not be asked
  2  the command has no meaning
  3  leftovers were found and not removed, or something is in doubt and a person has to look

What is too young does not count. The age counts from the last sign of the run that made a thing. Choose it longer than
any bake of another fournil that uses the same account with another database.")]
pub struct SweepArgs {
    /// Remove the leftovers; without it nothing is changed.
    #[arg(long)]
    pub delete: bool,
    /// Keep what may be younger, such as `12h` or `2d`: another fournil may need it.
    #[arg(long, value_name = "AGE", default_value = "1d", value_parser = age)]
    pub older_than: Duration,
    /// Only what this run made; may be given several times.
    #[arg(long = "run", value_name = "ID")]
    pub runs: Vec<RunId>,
    /// List also what the ledger knows, and announced OMIs.
    #[arg(long)]
    pub all: bool,
    /// Do not ask the ledger: take everything for unknown, also what running builds need.
    #[arg(long, conflicts_with = "database_url")]
    pub without_ledger: bool,
    /// The Region [env: OSC_REGION] [default: the profile's].
    #[arg(long, value_parser = region)]
    pub region: Option<String>,
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
    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

impl SweepArgs {
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

impl Cli {
    /// Reads the process's arguments; ends the process with a message if they have no meaning (code 2) or ask for help.
    #[must_use]
    pub fn from_process() -> Self {
        Self::parse_from(in_our_spelling(std::env::args_os()))
    }
}

/// Turns Packer's `-var` into `--var`, and `packer -machine-readable build` into `build --machine-readable`.
fn in_our_spelling(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut result: Vec<OsString> = Vec::new();
    let mut early = Vec::new();
    let mut is_literal = false;
    for argument in arguments {
        let spelt = match argument.to_str() {
            _ if is_literal => argument,
            Some("--") => {
                is_literal = true;
                argument
            }
            Some(text) if is_packer_flag(text) => OsString::from(format!("-{text}")),
            _ => argument,
        };
        // The program's name alone: the subcommand is still to come.
        if result.len() == 1 && spelt == "--machine-readable" {
            early.push(spelt);
            continue;
        }
        result.push(spelt);
        if result.len() == 2 {
            result.append(&mut early);
        }
    }
    result
}

fn is_packer_flag(text: &str) -> bool {
    let Some(flag) = text.strip_prefix('-') else { return false };
    let name = flag.split_once('=').map_or(flag, |(name, _)| name);
    PACKER_FLAGS.contains(&name)
}

/// A duration that may have days: `2d`, `1d12h`, `90m`.
fn age(text: &str) -> Result<Duration, String> {
    let invalid = || format!("`{text}` is no age; write for example `30m`, `12h` or `2d`");
    if text.is_empty() {
        return Err(invalid());
    }
    let (days, rest) = text.split_once('d').map_or(("0", text), |(days, rest)| (days, rest));
    let days: u32 = days.parse().map_err(|_| invalid())?;
    let rest = if rest.is_empty() { Duration::ZERO } else { duration::parse(rest).map_err(|_| invalid())? };
    rest.checked_add(Duration::from_secs(u64::from(days) * 86_400)).ok_or_else(invalid)
}

/// It becomes part of a host name.
fn region(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_name { Ok(text.to_owned()) } else { Err("write for example `eu-west-2`".to_owned()) }
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a Result")]
fn secret(text: &str) -> Result<SecretString, String> {
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use secrecy::ExposeSecret;

    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(in_our_spelling(line.split(' ').map(OsString::from)))
    }

    fn build(line: &str) -> Box<BuildArgs> {
        match read(line).unwrap_or_else(|error| panic!("{error}")).command {
            Command::Client(ClientCommand::Build(arguments)) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn packers_spelling_and_ours_mean_the_same() {
        for line in [
            "fournil build -var a=b=c -var region=x -var-file=v.json -only=a,b -except c -on-error=cleanup -machine-readable t.json",
            "fournil build --var a=b=c --var region=x --var-file v.json --only a,b --except=c --on-error cleanup --machine-readable t.json",
            "fournil -machine-readable build -var a=b=c -var region=x -var-file v.json -only a -only b -except c -on-error cleanup t.json",
        ] {
            let arguments = build(line);
            assert_eq!(arguments.template.variables, ["a=b=c", "region=x"]);
            assert_eq!(arguments.template.variable_files, [PathBuf::from("v.json")]);
            assert_eq!(
                (arguments.template.only.join("+"), arguments.template.except.join("+")),
                ("a+b".into(), "c".into())
            );
            assert_eq!(arguments.on_error.as_deref(), Some("cleanup"));
            assert!(arguments.machine_readable);
            assert_eq!(arguments.template.template, PathBuf::from("t.json"));
        }
    }

    #[test]
    fn packer_flags_without_effect_are_taken() {
        let arguments = build(
            "fournil build -color=false -parallel-builds=1 -timestamp-ui -warn-on-undeclared-var t.json",
        );
        assert!(arguments.timestamps);
        assert_eq!(arguments.template.ignored.color.as_deref(), Some("false"));
        assert!(build("fournil build -force t.json").force.is_some());
    }

    #[test]
    fn values_that_look_like_flags_stay_values() {
        let arguments = build("fournil build --var=note=-only t.json");
        assert_eq!(arguments.template.variables, ["note=-only"]);
        let arguments = build("fournil build -- -only");
        assert_eq!(arguments.template.template, PathBuf::from("-only"));
        assert_eq!(build("fournil build -").template.template, PathBuf::from("-"));
    }

    #[test]
    fn what_has_no_meaning_is_a_usage_error() {
        for line in [
            "fournil",
            "fournil build",
            "fournil show nonsense",
            "fournil list --state done",
            "fournil list --limit 0",
            "fournil build --detach --loud t.json",
        ] {
            assert_eq!(read(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn an_age_may_have_days() {
        for (text, hours) in [("1d", 24), ("1d12h", 36), ("90m", 1), ("0s", 0), ("0", 0), ("0d", 0)] {
            assert_eq!(age(text).map(|age| age.as_secs() / 3600), Ok(hours), "{text}");
        }
        for text in ["", "d", "1", "-1d", "1.5d", "1d1d", "yesterday", "99999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
        assert!(region("eu-west-2").is_ok() && region("evil.example/").is_err() && region("").is_err());
    }

    #[test]
    fn the_token_is_a_secret() {
        let arguments = build("fournil build --token hunter2 t.json");
        assert_eq!(arguments.server.token.as_ref().map(ExposeSecret::expose_secret), Some("hunter2"));
        assert!(!format!("{arguments:?}").contains("hunter2"));
    }

    #[test]
    fn every_flag_of_serve_reaches_the_configuration() {
        let line = "fournil serve --listen 127.0.0.1:1 --data-dir /d --workers 3 --capabilities chroot --lease 10s \
                    --drain-timeout 1s --allowed-endpoints a.org --log-format json --database-url postgres://h/d \
                    --postgres-bin /pg --worker-name w --build-timeout 6h";
        let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        let Command::Serve(arguments) = Cli::try_parse_from(words).unwrap().command else {
            panic!("not serve")
        };
        let settings = arguments.settings();
        assert_eq!(settings.len(), 12);
        assert_eq!(
            settings.iter().find(|(name, _)| *name == "build_timeout").map(|(_, value)| value.as_str()),
            Some("6h")
        );
        let config =
            crate::config::Config::load(&settings, &std::collections::BTreeMap::new(), false).unwrap();
        assert_eq!((config.workers, config.worker_name.as_deref()), (3, Some("w")));
        assert_eq!((config.lease.as_secs(), config.drain_timeout.as_secs()), (10, 1));
    }
}

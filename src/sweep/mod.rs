//! `fournil sweep`: finds what fournil made in an account and no ledger knows, as after a lost database, and removes it if
//! that is wanted. Works without a server. While the ledger is there, removing is the server's business.
//!
//! ```text
//! find (the cloud) ──► ledger (which of it is known?) ──► judge (may it go?) ──► print ──► remove
//! ```

mod find;
mod judge;
mod ledger;
mod print;
mod remove;

use std::process::ExitCode;

use chrono::Utc;

use self::{
    find::Survey,
    judge::{Found, Limits, Verdict},
    ledger::{Ledger, LedgerError},
    print::{LedgerShown, Reporter, Scene},
};
use crate::{
    cli::SweepArgs,
    client::{Terminal, chain},
    config::{Config, ConfigError, is_root},
    credentials::{
        provider::{self, CredentialsError, EnvironmentSource},
        role::Roles,
    },
    domain::plan::AccessPlan,
    metadata::MetadataService,
    oapi::{self, Client, EndpointError, OapiError, OapiPool, PaceConfig, WaitConfig, Waits},
};

/// How a sweep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing to remove (any more).
    Clean,
    /// Something could not be removed.
    Failed,
    /// There is something that could go, or that a person has to look at.
    Found,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Clean => 0,
            Outcome::Failed => 1,
            // 2 is clap's, for a command that has no meaning.
            Outcome::Found => 3,
        })
    }
}

/// Why there was no sweep.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A setting has no meaning.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There are no keys.
    #[error(
        "no keys for OUTSCALE: set OSC_ACCESS_KEY and OSC_SECRET_KEY, or make a profile in ~/.osc/config.json \
         (OSC_PROFILE names it)"
    )]
    NoKeys,
    /// The keys cannot be used.
    #[error("the keys for OUTSCALE cannot be used")]
    Credentials(#[source] CredentialsError),
    /// The endpoint cannot be used.
    #[error("the endpoint of OUTSCALE cannot be used")]
    Endpoint(#[from] EndpointError),
    /// No client can be made.
    #[error("OUTSCALE cannot be called")]
    Client(#[from] oapi::ConfigError),
    /// No HTTP client can be made.
    #[error("no HTTP client can be made")]
    Http(#[source] reqwest::Error),
    /// The account could not be read.
    #[error("the account could not be read{}", .0.hint().map(|hint| format!(" ({hint})")).unwrap_or_default())]
    Cloud(#[from] OapiError),
    /// The ledger could not be asked.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Standard output is gone.
    #[error("the output could not be written")]
    Output(#[from] std::io::Error),
}

/// Sweeps, and prints what was found and done, or why it was not.
pub async fn run(arguments: &SweepArgs, environment: EnvironmentSource, terminal: &Terminal) -> ExitCode {
    match sweep(arguments, environment, terminal).await {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            // There is nobody left to tell if that fails.
            let _ = terminal.error(&chain(&error));
            Outcome::Failed.into()
        }
    }
}

async fn sweep(
    arguments: &SweepArgs,
    environment: EnvironmentSource,
    terminal: &Terminal,
) -> Result<Outcome, SweepError> {
    let config = Config::load(&arguments.settings(), &environment.variables, is_root())?;
    let client = client(arguments, &config, environment).await?;
    let reporter = Reporter::new(terminal, arguments.json);
    if arguments.without_ledger {
        reporter.remark(&format!(
            "WITHOUT A LEDGER: everything tagged counts as unknown, also what running builds need. Only what is younger \
             than {} is kept.",
            crate::domain::duration::format(arguments.older_than)
        ));
    }
    let ledger = if arguments.without_ledger { None } else { Some(Ledger::find(&config).await?) };
    let swept = tokio::select! {
        swept = with_ledger(arguments, &config, &client, ledger.as_ref(), &reporter, terminal) => Some(swept),
        _ = tokio::signal::ctrl_c() => None,
    };
    if let Some(ledger) = ledger {
        ledger.close().await?;
    }
    swept.unwrap_or_else(|| {
        reporter.remark("interrupted; run it again to go on");
        Ok(Outcome::Failed)
    })
}

async fn with_ledger(
    arguments: &SweepArgs,
    config: &Config,
    client: &Client,
    ledger: Option<&Ledger>,
    reporter: &Reporter<'_>,
    terminal: &Terminal,
) -> Result<Outcome, SweepError> {
    // The cloud before the ledger: whatever is seen there and is the ledger's own, the ledger knows by then.
    let survey = Survey::of(client).await?;
    let things = find::marked(&survey);
    let census = match ledger {
        Some(ledger) => {
            let mut runs: Vec<_> = things.iter().filter_map(find::Thing::run).collect();
            runs.sort();
            runs.dedup();
            let ids: Vec<_> = things.iter().map(|thing| thing.id.clone()).collect();
            Some(ledger.census(&runs, &ids).await?)
        }
        None => None,
    };
    let limits = Limits { older_than: arguments.older_than, runs: arguments.runs.clone(), now: Utc::now() };
    let found = judge::judge(&survey, things, census.as_ref(), &limits);
    let scene = Scene {
        account: client.account_id().await?,
        region: client.region().to_owned(),
        endpoint: client.endpoint().to_string(),
        ledger: ledger
            .zip(census)
            .map(|(ledger, census)| LedgerShown { database: ledger.database.clone(), builds: census.builds }),
    };

    let is_listed =
        |found: &&Found| arguments.all || !matches!(found.verdict, Verdict::Known | Verdict::Artifact);
    let listed: Vec<&Found> = found.iter().filter(is_listed).collect();
    if !arguments.json {
        terminal.say(&print::tables(&scene, &listed))?;
        terminal.say("")?;
    }
    let leftovers: Vec<&find::Thing> = found
        .iter()
        .filter(|found| found.verdict == Verdict::Leftover && arguments.delete)
        .map(|found| &found.thing)
        .collect();
    let waits = Waits::new(WaitConfig { min_interval: config.oapi_poll_interval, ..WaitConfig::default() });
    let outcomes = remove::remove_all(client, &waits, &leftovers, reporter).await;
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    if arguments.json {
        let outcome_of = |found: &Found| {
            let place = leftovers.iter().position(|thing| std::ptr::eq(*thing, &found.thing));
            outcomes.get(place?)
        };
        let listed: Vec<_> = listed.iter().map(|found| (*found, outcome_of(found))).collect();
        terminal.json(&print::answer(&scene, &listed))?;
    } else {
        terminal.say(&print::summary(&found, arguments.delete, failed))?;
    }
    Ok(outcome(&found, arguments.delete, failed))
}

fn outcome(found: &[Found], delete: bool, failed: usize) -> Outcome {
    let needs_somebody = |found: &Found| match found.verdict {
        Verdict::Leftover => !delete,
        Verdict::InDoubt => true,
        Verdict::TooYoung | Verdict::Artifact | Verdict::Known => false,
    };
    match failed {
        0 if found.iter().any(needs_somebody) => Outcome::Found,
        0 => Outcome::Clean,
        _ => Outcome::Failed,
    }
}

async fn client(
    arguments: &SweepArgs,
    config: &Config,
    mut environment: EnvironmentSource,
) -> Result<Client, SweepError> {
    if let Some(region) = &arguments.region {
        environment.variables.insert("OSC_REGION".to_owned(), region.clone());
    }
    let roles = Roles::new(MetadataService::new(&config.metadata_url).map_err(SweepError::Http)?);
    let (plan, allowed) = (AccessPlan::default(), &config.allowed_endpoints);
    let resolved = provider::resolve(&plan, None, &environment, allowed, &roles).await;
    let resolved = resolved.map_err(|error| match error {
        CredentialsError::NoKeys { .. } => SweepError::NoKeys,
        error => SweepError::Credentials(error),
    })?;
    let user_agent = concat!("fournil/", env!("CARGO_PKG_VERSION"), " (sweep)").to_owned();
    let mut client = resolved.client_config(user_agent)?;
    config.oapi_trust.add_to(&mut client.tls);
    let pace = PaceConfig { calls_per_second: config.oapi_calls_per_second, ..PaceConfig::default() };
    Ok(OapiPool::new(pace).client(client)?)
}

//! `fournil token` and `fournil audit`. Tokens are managed through the server, or, before there is one that could be asked, in
//! the database itself.

use chrono::{DateTime, SubsecRound, Utc};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{ClientError, commands::Client, print};
use crate::{
    api::tokens::{NewTokenView, TokenList, TokenView},
    auth::{
        Limits,
        setup::{self, SetupError},
        spec::TokenSpec,
    },
    cli::{AuditArgs, TokenCommand, TokenCreateArgs},
    domain::Problem,
    store::{self, tokens},
};

/// A token as it is shown.
#[derive(Debug, Deserialize)]
struct Token {
    name: String,
    role: String,
    #[serde(default)]
    limits: Limits,
    created_at: DateTime<Utc>,
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
    #[serde(default)]
    last_used_at: Option<DateTime<Utc>>,
    #[serde(default)]
    revoked_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
struct Tokens {
    tokens: Vec<Token>,
}

#[derive(Debug, Deserialize)]
struct Entries {
    entries: Vec<Entry>,
}

/// An entry of the audit as it is shown.
#[derive(Debug, Deserialize)]
struct Entry {
    at: DateTime<Utc>,
    principal: String,
    action: String,
    outcome: String,
    #[serde(default)]
    build: Option<String>,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    address: Option<String>,
}

impl Client<'_> {
    /// Makes, lists or revokes tokens.
    pub(super) async fn token(&self, command: &TokenCommand) -> Result<(), ClientError> {
        let answer = match &command.place().database_url {
            Some(url) => in_database(url, command).await?,
            None => self.at_server(command).await?,
        };
        if self.json {
            self.terminal.json(&answer)?;
            return Ok(());
        }
        match command {
            TokenCommand::Create(_) => {
                let token = answer["token"].as_str().unwrap_or_default();
                self.terminal.remark("this token is shown once; keep it as the secret that it is")?;
                self.terminal.say(token)?;
            }
            TokenCommand::List(_) => {
                let Tokens { tokens } = self.server.read(answer)?;
                let head = ["NAME", "ROLE", "LIMITS", "CREATED (UTC)", "LAST USED (UTC)", "EXPIRES (UTC)"];
                self.terminal.say(&print::table(&head, tokens.into_iter().map(row)))?;
            }
            TokenCommand::Revoke(arguments) => {
                self.terminal.say(&format!("Token {} is revoked; its builds go on.", arguments.name))?;
            }
        }
        Ok(())
    }

    async fn at_server(&self, command: &TokenCommand) -> Result<Value, ClientError> {
        match command {
            TokenCommand::Create(arguments) => {
                let spec = spec(arguments)?;
                self.server.post_json_once("tokens", &json!(spec)).await
            }
            TokenCommand::List(arguments) => {
                let all = arguments.all.then(|| ("all".to_owned(), "true".to_owned()));
                self.server.get("tokens", &all.into_iter().collect::<Vec<_>>()).await
            }
            TokenCommand::Revoke(arguments) => {
                crate::auth::token::check_name(&arguments.name).map_err(ClientError::Usage)?;
                self.server.delete(&format!("tokens/{}", arguments.name), &[]).await
            }
        }
    }

    /// Prints the audit.
    pub(super) async fn audit(&self, arguments: &AuditArgs) -> Result<(), ClientError> {
        let mut query = vec![("limit".to_owned(), arguments.limit.to_string())];
        let mut add = |name: &str, value: Option<String>| {
            query.extend(value.filter(|value| !value.is_empty()).map(|value| (name.to_owned(), value)));
        };
        add("principal", arguments.principal.clone());
        add("action", Some(arguments.action.join(",")));
        add("outcome", arguments.denied.then(|| "denied".to_owned()));
        add("build", arguments.build.map(|build| build.to_string()));
        add("after", arguments.after.clone());
        add("before", arguments.before.clone());
        let answer = self.server.get("audit", &query).await?;
        if self.json {
            self.terminal.json(&answer)?;
            return Ok(());
        }
        let Entries { entries } = self.server.read(answer)?;
        let rows = entries.into_iter().map(|entry| {
            let what = [entry.build, entry.target].into_iter().flatten().collect::<Vec<_>>().join(" ");
            let from = entry.address.unwrap_or_default();
            vec![print::moment(entry.at), entry.principal, entry.action, entry.outcome, what, from]
        });
        let head = ["AT (UTC)", "WHO", "ACTION", "OUTCOME", "TO", "FROM"];
        self.terminal.say(&print::table(&head, rows))?;
        Ok(())
    }
}

fn row(token: Token) -> Vec<String> {
    let moment =
        |moment: Option<DateTime<Utc>>, none: &str| moment.map_or_else(|| none.to_owned(), print::moment);
    let ends = match token.revoked_at {
        Some(at) => format!("revoked {}", print::moment(at)),
        None => moment(token.expires_at, "never"),
    };
    let Limits { builders, credentials, labels, max_builds } = token.limits;
    let names = |what: &str, names: Option<std::collections::BTreeSet<String>>| {
        names.map(|names| format!("{what} {}", names.into_iter().collect::<Vec<_>>().join(",")))
    };
    let limits = [
        names("builder", builders),
        names("credentials", credentials),
        max_builds.map(|most| format!("{most} builds")),
    ];
    let labels = labels.into_iter().map(|(name, value)| format!("{name}={value}"));
    let limits: Vec<_> = limits.into_iter().flatten().chain(labels).collect();
    let created = print::moment(token.created_at);
    vec![token.name, token.role, limits.join("; "), created, moment(token.last_used_at, "never"), ends]
}

/// What is asked for, checked here too: the same words, and nothing to send in vain.
fn spec(arguments: &TokenCreateArgs) -> Result<TokenSpec, ClientError> {
    let now = Utc::now().trunc_subsecs(0);
    let mut labels = std::collections::BTreeMap::new();
    for label in &arguments.labels {
        let (name, value) = super::commands::pair(label, "--label", "KEY=VALUE")?;
        labels.insert(name, value);
    }
    let set = |names: &[String]| (!names.is_empty()).then(|| names.iter().cloned().collect());
    let limits = Limits {
        builders: set(&arguments.builders),
        credentials: set(&arguments.credentials),
        labels,
        max_builds: arguments.max_builds,
    };
    let expires_at = arguments.expires.map(|age| {
        let too_long = || ClientError::Usage("`--expires` is too long".to_owned());
        let age = chrono::TimeDelta::from_std(age).map_err(|_| too_long())?;
        now.checked_add_signed(age).ok_or_else(too_long)
    });
    let spec = TokenSpec {
        name: arguments.name.clone(),
        role: arguments.role,
        limits,
        expires_at: expires_at.transpose()?,
    };
    match spec.problems(now).into_iter().next() {
        None => Ok(spec),
        Some(problem) => {
            let field = problem.pointer.unwrap_or_default().trim_start_matches('/').to_owned();
            Err(ClientError::Usage(format!("{field}: {}", problem.detail)))
        }
    }
}

/// Does it in the database, and answers as the server would.
async fn in_database(url: &str, command: &TokenCommand) -> Result<Value, ClientError> {
    let pool = connect(url).await?;
    let done = work(&pool, command).await;
    pool.close().await;
    done
}

async fn connect(url: &str) -> Result<PgPool, ClientError> {
    let url = match url {
        "" => std::env::var("DATABASE_URL").map_err(|_| {
            ClientError::Usage("`--database-url` needs a URL, or DATABASE_URL in the environment".to_owned())
        })?,
        url => url.to_owned(),
    };
    // The text is not repeated: it may hold a password.
    let pool = store::pool(&url, 2)
        .map_err(|_| ClientError::Usage("`--database-url` is no URL of a Postgres database".to_owned()))?;
    let migrated = store::migrate(&pool).await;
    migrated.map_err(|source| ClientError::Database(Box::new(SetupError::Store(source))))?;
    Ok(pool)
}

async fn work(pool: &PgPool, command: &TokenCommand) -> Result<Value, ClientError> {
    let failed = |error: SetupError| ClientError::Database(Box::new(error));
    let lost = |error: sqlx::Error| failed(error.into());
    let (actor, now) = (setup::owner_of_the_database(), Utc::now().trunc_subsecs(6));
    let mut transaction = pool.begin().await.map_err(lost)?;
    let answer = match command {
        TokenCommand::Create(arguments) => {
            let spec = spec(arguments)?;
            let made = setup::make(&mut transaction, &spec, &actor, now).await.map_err(failed)?;
            let made = made.ok_or_else(|| {
                let error = crate::api::ApiError::TokenNameTaken(spec.name.clone());
                ClientError::Refused(Box::new(error.problem()))
            })?;
            let token = made.secret.expose_secret().to_owned();
            json!(NewTokenView { token, stored: made.row.into() })
        }
        TokenCommand::List(arguments) => {
            let rows =
                tokens::list(&mut transaction, arguments.all).await.map_err(|error| failed(error.into()))?;
            json!(TokenList { tokens: rows.into_iter().map(TokenView::from).collect() })
        }
        TokenCommand::Revoke(arguments) => {
            let row = setup::revoke(&mut transaction, &arguments.name, &actor, now).await;
            let row = row.map_err(|error| failed(error.into()))?.ok_or_else(|| not_found(&arguments.name))?;
            json!(TokenView::from(row))
        }
    };
    transaction.commit().await.map_err(lost)?;
    Ok(answer)
}

fn not_found(name: &str) -> ClientError {
    let problem: Problem = crate::api::ApiError::TokenNotFound(name.to_owned()).problem();
    ClientError::Refused(Box::new(problem))
}

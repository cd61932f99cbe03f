//! `fournil credentials`: stored sets at the server. The secret key comes from where others cannot see it.

use std::io::{BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{ClientError, commands::Client, print};
use crate::{
    cli::{CredentialsCommand, SetCredentialsArgs},
    credentials::sets,
};

/// No secret key is longer.
const LONGEST_SECRET: u64 = 4096;

#[derive(Deserialize)]
struct List {
    credentials: Vec<Set>,
}

#[derive(Deserialize)]
struct Set {
    name: String,
    region: Option<String>,
    endpoint_host: Option<String>,
    access_key_end: String,
    updated_at: chrono::DateTime<chrono::Utc>,
    last_used_at: Option<chrono::DateTime<chrono::Utc>>,
}

impl Client<'_> {
    pub(super) async fn credentials(&self, command: &CredentialsCommand) -> Result<(), ClientError> {
        match command {
            CredentialsCommand::Set(arguments) => self.set_credentials(arguments).await,
            CredentialsCommand::List(_) => {
                let answer = self.server.get("credentials", &[]).await?;
                if self.json {
                    return Ok(self.terminal.json(&answer)?);
                }
                let list: List = self.server.read(answer)?;
                if list.credentials.is_empty() {
                    return Ok(self.terminal.remark("no stored credentials")?);
                }
                let head = ["NAME", "ACCESS KEY", "REGION", "ENDPOINT", "STORED (UTC)", "LAST USED (UTC)"];
                let rows = list.credentials.into_iter().map(|set| {
                    vec![
                        set.name,
                        format!("…{}", set.access_key_end),
                        set.region.unwrap_or_default(),
                        set.endpoint_host.unwrap_or_default(),
                        print::moment(set.updated_at),
                        set.last_used_at.map(print::moment).unwrap_or_default(),
                    ]
                });
                Ok(self.terminal.say(&print::table(&head, rows))?)
            }
            CredentialsCommand::Rm(arguments) => {
                sets::check_name(&arguments.name).map_err(ClientError::Usage)?;
                let query: Vec<_> =
                    arguments.force.then(|| ("force".to_owned(), "true".to_owned())).into_iter().collect();
                let answer = self.server.delete(&format!("credentials/{}", arguments.name), &query).await?;
                if self.json {
                    return Ok(self.terminal.json(&answer)?);
                }
                Ok(self.terminal.say(&format!("The credentials {} are removed.", arguments.name))?)
            }
        }
    }

    async fn set_credentials(&self, arguments: &SetCredentialsArgs) -> Result<(), ClientError> {
        sets::check_name(&arguments.name).map_err(ClientError::Usage)?;
        let variable = |name: &str| {
            let value = if arguments.from_env { self.environment.get(name) } else { None };
            value.filter(|value| !value.trim().is_empty()).cloned()
        };
        let access_key = arguments.access_key.clone().or_else(|| variable("OSC_ACCESS_KEY"));
        let access_key = access_key.ok_or_else(|| {
            let text =
                "name the access key with --access-key, or take it from OSC_ACCESS_KEY with --from-env";
            ClientError::Usage(text.to_owned())
        })?;
        let secret = match variable("OSC_SECRET_KEY") {
            Some(secret) => SecretString::from(secret),
            None => read_secret()?,
        };
        let file = |path: &Option<std::path::PathBuf>| -> Result<Value, ClientError> {
            let Some(path) = path else { return Ok(Value::Null) };
            let text = std::fs::read_to_string(path)
                .map_err(|error| ClientError::Usage(format!("{}: {error}", path.display())))?;
            Ok(Value::from(text))
        };
        let body = json!({
            "access_key": access_key,
            "secret_key": secret.expose_secret(),
            "region": arguments.region.clone().or_else(|| variable("OSC_REGION")),
            "endpoint": arguments.endpoint.clone().or_else(|| variable("OSC_ENDPOINT_API")),
            "x509_client_cert": file(&arguments.x509_cert)?,
            "x509_client_key": file(&arguments.x509_key)?,
        });
        let answer = self.server.put_json(&format!("credentials/{}", arguments.name), &body).await?;
        if self.json {
            return Ok(self.terminal.json(&answer)?);
        }
        Ok(self.terminal.say(&format!(
            "The credentials {} are stored; `fournil build --credentials {}` uses them.",
            arguments.name, arguments.name
        ))?)
    }
}

/// Asks for the secret key without showing it; reads it from standard input where that is no terminal.
fn read_secret() -> Result<SecretString, ClientError> {
    let input = std::io::stdin();
    let mut text = Zeroizing::new(String::new());
    if input.is_terminal() {
        eprint!("Secret key: ");
        std::io::stderr().flush()?;
        let before = tcgetattr(&input).map_err(std::io::Error::from)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Flush, &silent).map_err(std::io::Error::from)?;
        let read = input.lock().read_line(&mut text);
        let restored = tcsetattr(&input, OptionalActions::Now, &before).map_err(std::io::Error::from);
        eprintln!();
        read?;
        restored?;
    } else {
        input.lock().take(LONGEST_SECRET).read_to_string(&mut text)?;
    }
    if text.trim().is_empty() {
        return Err(ClientError::Usage(
            "the secret key is empty: type it, or send it to standard input".to_owned(),
        ));
    }
    Ok(SecretString::from(text.trim()))
}

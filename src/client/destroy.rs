//! `fournil destroy`: asks whether that is meant, asks the server, and waits until its workers have done it.

use std::io::{BufRead, IsTerminal, Write};

use super::{
    ClientError, Outcome,
    commands::Client,
    model::{Announced, Build},
    print,
};
use crate::cli::DestroyArgs;

impl Client<'_> {
    /// Destroys what a build announced.
    pub(super) async fn destroy(&self, arguments: &DestroyArgs) -> Result<Outcome, ClientError> {
        let build = self.server.get(&format!("builds/{}", arguments.build), &[]).await?;
        let build: Build = self.server.read(build)?;
        let listed: Vec<String> = there(&build, arguments)
            .map(|own| format!("{}: {}", print::place(&own.artifact), print::describe(&own.artifact)))
            .collect();
        if listed.is_empty() && !self.json {
            self.terminal.say(&format!("There is nothing of build {} to destroy.", build.id))?;
            return Ok(Outcome::Success);
        }
        if !arguments.yes && !listed.is_empty() {
            self.terminal.aside(&format!("This destroys for good:\n  {}", listed.join("\n  ")))?;
            if !confirmed().await? {
                self.terminal.remark("nothing was destroyed")?;
                return Ok(Outcome::Failure);
            }
        }
        let query: Vec<_> = arguments.run.iter().map(|run| ("run".to_owned(), run.clone())).collect();
        let mut answer = self.server.delete(&format!("builds/{}/artifacts", build.id), &query).await?;
        let mut ended: Build = self.server.read(answer.clone())?;
        while ended.runs.iter().any(|run| run.destroy.as_deref() == Some("pending")) {
            let path = format!("builds/{}", build.id);
            let version = answer["version"].to_string();
            let wait = [("wait".to_owned(), "20s".to_owned()), ("version".to_owned(), version)];
            answer = self.server.get(&path, &wait).await?;
            ended = self.server.read(answer.clone())?;
        }
        let refused = there(&ended, arguments).count();
        if self.json {
            self.terminal.json(&answer)?;
        } else {
            for own in chosen(&ended, arguments) {
                self.terminal.say(&line(&own))?;
            }
        }
        Ok(if refused == 0 { Outcome::Success } else { Outcome::Failure })
    }
}

/// What the user means.
fn chosen<'a>(build: &'a Build, arguments: &'a DestroyArgs) -> impl Iterator<Item = Announced> + 'a {
    let is_meant = |name: &str| arguments.run.as_deref().is_none_or(|run| run == name);
    build.runs.iter().filter(move |run| is_meant(&run.name)).flat_map(super::model::Run::announced)
}

/// What of it is still there.
fn there<'a>(build: &'a Build, arguments: &'a DestroyArgs) -> impl Iterator<Item = Announced> + 'a {
    chosen(build, arguments).filter(|own| own.removed_at.is_none())
}

fn line(own: &Announced) -> String {
    let what = format!("{}: {}", print::place(&own.artifact), print::describe(&own.artifact));
    match (&own.removed_at, &own.removal_error) {
        (Some(at), _) => format!("{what}, destroyed {}", print::moment(*at)),
        (None, Some(why)) => format!("{what}, stays: {why}"),
        (None, None) => format!("{what}, stays"),
    }
}

/// Whether somebody at the terminal says so.
async fn confirmed() -> Result<bool, ClientError> {
    if !std::io::stdin().is_terminal() {
        return Err(ClientError::Usage(
            "there is no terminal to ask at: say `--yes` if you mean it".to_owned(),
        ));
    }
    let asked = tokio::task::spawn_blocking(|| {
        eprint!("Type `yes` to go on: ");
        std::io::stderr().flush()?;
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        Ok::<_, std::io::Error>(line.trim() == "yes")
    });
    Ok(asked.await.map_err(std::io::Error::other)??)
}

//! The commands that ask a server: `fournil build` and its relatives. Speaks the HTTP API as anybody could; nothing
//! here touches the cloud, and only `token --database-url` the database, for the first token.

mod commands;
mod credentials;
mod destroy;
mod environment;
mod follow;
mod machine;
mod model;
mod pack;
mod print;
mod public_keys;
mod server;
mod sources;
mod sse;
#[cfg(test)]
mod tests;
mod token;

use std::{io, process::ExitCode};

use tokio::sync::mpsc;

pub use print::Terminal;
pub(crate) use print::{chain, moment, table};

use crate::{cli::ClientCommand, domain::Problem};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is well; for a build: it succeeded.
    Success,
    /// The build failed or was cancelled, or the server refused.
    Failure,
    /// The command cannot be carried out as it was given.
    Usage,
    /// The user wanted to leave at once.
    Interrupted,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Success => 0,
            Outcome::Failure => 1,
            Outcome::Usage => 2,
            Outcome::Interrupted => 130,
        })
    }
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What was typed cannot be done.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers.
    #[error(
        "fournil does not answer at {server}; is `fournil serve` running? (`--server` or FOURNIL_URL names another)"
    )]
    Unreachable {
        /// The server's address.
        server: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The server refused.
    #[error("{}: {}", .0.title, .0.detail)]
    Refused(Box<Problem>),
    /// The server found something wrong with what was sent.
    #[error("{}: {}", .problem.title, .problem.detail)]
    Wrong {
        /// What it said.
        problem: Box<Problem>,
        /// Each error with the line it is about.
        shown: String,
    },
    /// Something answers, but not as fournil does.
    #[error("{server} does not answer as fournil does ({what}); is it the right address?")]
    Strange {
        /// The server's address.
        server: String,
        /// What came.
        what: String,
    },
    /// The build goes on, but cannot be watched.
    #[error(
        "the connection to {server} was lost for good; the build goes on: `fournil logs -f {build}` follows it"
    )]
    Lost {
        /// The server's address.
        server: String,
        /// The build.
        build: String,
    },
    /// The database could not do it.
    #[error("the database could not be used")]
    Database(#[source] Box<crate::auth::setup::SetupError>),
    /// Standard output is gone.
    #[error("the output could not be written")]
    Output(#[from] io::Error),
}

/// Carries a command out. Each message of `interrupts` is a wish of the user's to stop: the first cancels the build that
/// is being followed, the second leaves at once.
pub async fn run(command: ClientCommand, terminal: &Terminal, interrupts: mpsc::Receiver<()>) -> Outcome {
    let json = commands::server_arguments(&command).json;
    let is_for_machines = matches!(&command, ClientCommand::Build(arguments) if arguments.machine_readable);
    match commands::run(command, terminal, interrupts).await {
        Ok(outcome) => outcome,
        // A pager that was closed early has seen enough.
        Err(ClientError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::Success,
        Err(error) => {
            let text = match &error {
                ClientError::Refused(problem) => print::problem(problem),
                ClientError::Wrong { problem, .. } if is_for_machines => print::problem(problem),
                ClientError::Wrong { problem, .. } => print::summary(problem),
                _ => print::chain(&error),
            };
            let told = match &error {
                _ if is_for_machines => terminal.say(&machine::error(&text)),
                ClientError::Refused(problem) | ClientError::Wrong { problem, .. } if json => {
                    terminal.error_json(problem)
                }
                ClientError::Wrong { shown, .. } => {
                    terminal.aside(shown).and_then(|()| terminal.error(&text))
                }
                _ => terminal.error(&text),
            };
            match (told, error) {
                (Ok(()), ClientError::Usage(_)) => Outcome::Usage,
                _ => Outcome::Failure,
            }
        }
    }
}

/// Ctrl-C and SIGTERM as messages, for [`run`].
#[must_use]
pub fn interrupts() -> mpsc::Receiver<()> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        let Ok(mut terminate) = terminate else { return };
        loop {
            tokio::select! {
                pressed = tokio::signal::ctrl_c() => if pressed.is_err() { return },
                _ = terminate.recv() => {}
            }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    receiver
}

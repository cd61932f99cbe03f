//! Follows the log of a build to its end, across lost connections: no line twice, none left out.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    ClientError,
    model::{Build, Line},
    print::Terminal,
    server::Server,
    sse::{Decoder, Event},
};
use crate::domain::{BuildId, BuildState};

/// First pause before a reconnect; doubled each time that nothing came.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause before a reconnect.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long the server may be away before the client gives up. Long enough for a restart or a new replica.
const AWAY_FOR: Duration = Duration::from_secs(600);

/// A user who waits is told after this time that the connection is lost; shorter gaps need no words.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// Where and what to follow.
#[derive(Debug)]
pub struct Follower<'a> {
    /// The server.
    pub server: &'a Server,
    /// For remarks about the connection.
    pub terminal: &'a Terminal,
    /// The build.
    pub build: BuildId,
    /// Only this run's lines.
    pub run: Option<String>,
    /// Behind this line.
    pub after: i64,
    /// Behind which line the server left a hole, if it did.
    pub hole: Option<i64>,
}

/// Why one connection ended.
enum Ended {
    /// The build is over.
    Build,
    /// The connection was lost; whether anything new came through it.
    Lost { came_on: bool },
}

impl Follower<'_> {
    /// Gives each line once and in order to `on_line`, until the build has ended; returns the build as it is then.
    ///
    /// # Errors
    /// The server refuses, stays away, or `on_line` fails.
    pub async fn follow(
        &mut self,
        on_line: &(dyn Fn(&Line) -> Result<(), ClientError> + Sync),
    ) -> Result<serde_json::Value, ClientError> {
        let (mut pause, mut lost_since, mut is_told) = (FIRST_PAUSE, None::<Instant>, false);
        loop {
            match self.connect(on_line).await {
                Ok(Ended::Build) => match self.server.get(&format!("builds/{}", self.build), &[]).await {
                    Ok(build) if is_final(self.server.read::<Build>(build.clone())?.state) => {
                        return Ok(build);
                    }
                    Err(error) if !is_passing(&error) => return Err(error),
                    // The server went away right behind the end, or this reader was sent away by another replica.
                    Ok(_) | Err(_) => {}
                },
                Ok(Ended::Lost { came_on: true }) => {
                    (pause, lost_since) = (FIRST_PAUSE, None);
                    if std::mem::take(&mut is_told) {
                        self.terminal.remark("the connection is back")?;
                    }
                }
                Ok(Ended::Lost { came_on: false }) => {}
                Err(error) if !is_passing(&error) => return Err(error),
                Err(_) => {}
            }
            let since = *lost_since.get_or_insert_with(Instant::now);
            if since.elapsed() > AWAY_FOR {
                let (server, build) = (self.server.address().to_owned(), self.build.to_string());
                return Err(ClientError::Lost { server, build });
            }
            if since.elapsed() > TELL_AFTER && !std::mem::replace(&mut is_told, true) {
                self.terminal.remark("the connection is lost; trying again (the build goes on)")?;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn connect(
        &mut self,
        on_line: &(dyn Fn(&Line) -> Result<(), ClientError> + Sync),
    ) -> Result<Ended, ClientError> {
        let query: Vec<_> = self.run.iter().map(|run| ("run".to_owned(), run.clone())).collect();
        let path = format!("builds/{}/logs", self.build);
        let from = (self.after > 0).then_some(self.after);
        let mut response = self.server.stream(&path, &query, "text/event-stream", from).await?;
        if response.status() == reqwest::StatusCode::NO_CONTENT {
            return Ok(Ended::Build);
        }
        let mut decoder = Decoder::default();
        let mut came_on = false;
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) | Err(_) => return Ok(Ended::Lost { came_on }),
            };
            let too_large = || self.server.strange("an endless event".to_owned());
            for event in decoder.push(&chunk).ok_or_else(too_large)? {
                match event.kind.as_str() {
                    "log" => {
                        let line = self.line(&event)?;
                        if line.seq <= self.after {
                            continue;
                        }
                        // With a filter the numbers of other runs are missing. Without one a hole means lines that are
                        // still to come, or are gone: the server is asked once more from there.
                        let is_hole = self.run.is_none() && line.seq > self.after + 1;
                        if is_hole && self.hole.replace(self.after) != Some(self.after) {
                            return Ok(Ended::Lost { came_on });
                        }
                        if is_hole {
                            let (first, last) = (self.after + 1, line.seq - 1);
                            self.terminal.remark(&format!("the server has no lines {first} to {last}"))?;
                        }
                        on_line(&line)?;
                        self.after = line.seq;
                        came_on = true;
                    }
                    "end" => return Ok(Ended::Build),
                    // States, steps and artifacts are shown at the end, from the build itself.
                    _ => {}
                }
            }
        }
    }

    fn line(&self, event: &Event) -> Result<Line, ClientError> {
        serde_json::from_str(&event.data).map_err(|error| self.server.strange(format!("a log line: {error}")))
    }
}

/// Whether the state is one that does not change any more.
pub const fn is_final(state: BuildState) -> bool {
    matches!(state, BuildState::Succeeded | BuildState::Failed | BuildState::Cancelled)
}

/// Whether a reconnect can help: the server is away, restarting, or hidden by a proxy that says so.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Refused(problem) => problem.retryable || problem.status >= 500,
        ClientError::Strange { what, .. } => what.starts_with("HTTP 5"),
        _ => false,
    }
}

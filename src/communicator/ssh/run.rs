//! Runs one command on a channel and passes its output on as it comes.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Pty, Sig, client::Msg};

use super::{CommunicatorError, Exit, Session};
use crate::domain::log::{Output, Stream};

/// How long a command may take to end before it is told again, more firmly.
const GRACE: Duration = Duration::from_millis(500);
/// How long what ends commands may take itself.
const SWEEP_WITHIN: Duration = Duration::from_secs(10);
/// The stream number of standard error in the protocol (RFC 4254, 5.2).
const STDERR: u32 = 1;

/// Runs `command`; see [`super::Communicator::run`].
pub(super) async fn run(
    session: &Arc<Session>,
    channel: Channel<Msg>,
    command: &str,
    pty: bool,
    output: &dyn Output,
) -> Result<Exit, CommunicatorError> {
    let mut command = start(session, channel, command, pty).await?;
    let mut is_started = false;
    let mut exit = None;
    while let Some(message) = command.read().await {
        match message {
            ChannelMsg::Success => is_started = true,
            ChannelMsg::Failure if !is_started => {
                return Err(CommunicatorError::CommandRefused {
                    address: session.address.clone(),
                    reason: "the server did not start it".to_owned(),
                });
            }
            ChannelMsg::Data { data } => output.chunk(Stream::Stdout, &data).await,
            ChannelMsg::ExtendedData { data, ext: STDERR } => output.chunk(Stream::Stderr, &data).await,
            ChannelMsg::ExitStatus { exit_status } => exit = Some(status(exit_status)),
            ChannelMsg::ExitSignal { signal_name, .. } => exit = Some(Exit::Signal(signal(signal_name))),
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    command.ended();
    match exit {
        Some(exit) => Ok(exit),
        None if is_started => Ok(Exit::Disconnected),
        None => Err(session.lost()),
    }
}

/// A status is 32 bits without sign in the protocol; no system has more than what fits.
pub(super) fn status(status: u32) -> Exit {
    Exit::Status(i32::try_from(status).unwrap_or(i32::MAX))
}

pub(super) fn signal(signal: Sig) -> String {
    match signal {
        Sig::Custom(name) => name,
        // Without fields, the variants print as their names.
        known => format!("{known:?}"),
    }
}

async fn start(
    session: &Arc<Session>,
    channel: Channel<Msg>,
    command: &str,
    pty: bool,
) -> Result<Running, CommunicatorError> {
    let (read, write) = channel.split();
    let lost = |_| session.lost();
    if pty {
        write.request_pty(false, "xterm", 80, 40, 0, 0, &[(Pty::ECHO, 0)]).await.map_err(lost)?;
    }
    write.exec(true, command).await.map_err(lost)?;
    // Commands that read their standard input must see its end, not wait for ever.
    write.eof().await.map_err(lost)?;
    session.running.fetch_add(1, Ordering::AcqRel);
    Ok(Running { session: Arc::clone(session), halves: Some((read, write)) })
}

/// A command that was started. Dropped before its end, it takes the command with it.
struct Running {
    session: Arc<Session>,
    halves: Option<(ChannelReadHalf, ChannelWriteHalf<Msg>)>,
}

impl Running {
    async fn read(&mut self) -> Option<ChannelMsg> {
        match &mut self.halves {
            Some((read, _)) => read.wait().await,
            None => None,
        }
    }

    fn ended(mut self) {
        self.halves = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let others = self.session.running.fetch_sub(1, Ordering::AcqRel) - 1;
        let (Some((read, write)), Ok(runtime)) = (self.halves.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        // Other commands of the connection cannot be told apart, and must not be swept away with this one.
        let session = (others == 0).then(|| Arc::clone(&self.session));
        runtime.spawn(async move {
            end(read, &write, session.as_deref()).await;
            // Without a terminal nothing more happens to the command; with one, it is hung up on.
            let _ = write.close().await;
        });
    }
}

/// Ends a remote command: by a signal, which OpenSSH passes on to every user but root, then by a sweep. Whatever fails
/// here fails because the connection is gone, and then there is nothing left to do.
async fn end(mut read: ChannelReadHalf, write: &ChannelWriteHalf<Msg>, session: Option<&Session>) {
    let _ = write.signal(Sig::TERM).await;
    if closes(&mut read).await {
        return;
    }
    for signal in ["TERM", "KILL"] {
        if let Some(session) = session {
            let _ = tokio::time::timeout(SWEEP_WITHIN, sweep(session, signal)).await;
        } else if signal == "KILL" {
            let _ = write.signal(Sig::KILL).await;
        }
        if closes(&mut read).await {
            return;
        }
    }
}

/// Whether the command ends within [`GRACE`].
async fn closes(read: &mut ChannelReadHalf) -> bool {
    let closing = async {
        // What it still says has no reader, but must be taken, or the connection stands still.
        while let Some(message) = read.wait().await {
            if matches!(message, ChannelMsg::Close) {
                break;
            }
        }
    };
    tokio::time::timeout(GRACE, closing).await.is_ok()
}

/// Signals all that the server runs for this connection, each with its process group: those are the children of the
/// parent of a shell that is started for it.
async fn sweep(session: &Session, signal: &str) {
    let command = format!(
        "for p in $(cat /proc/$PPID/task/$PPID/children 2>/dev/null || ps -o pid= --ppid $PPID); do \
         [ \"$p\" = $$ ] || kill -{signal} -\"$p\" || kill -{signal} \"$p\"; done"
    );
    let Ok(mut channel) = session.channel().await else { return };
    if channel.exec(false, command).await.is_ok() {
        while let Some(message) = channel.wait().await {
            if matches!(message, ChannelMsg::Close) {
                break;
            }
        }
    }
}

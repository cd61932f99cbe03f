//! A remote command with its standard input and output as a pipe, as SCP needs it. Standard error is kept for messages.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};
use tokio::pin;

use super::{CommunicatorError, Exit, Session, SshCommunicator, run};

/// How much of standard error is kept.
const STDERR_LIMIT: usize = 4096;
/// How much may come in while we only write; more is no answer to anything.
const UNREAD_LIMIT: usize = 1 << 20;
/// How long the machine may take to end the command once nothing is left to say.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A running remote command. Dropped, it closes its channel, at which the command ends.
pub(super) struct Pipe {
    session: Arc<Session>,
    read: ChannelReadHalf,
    write: Arc<ChannelWriteHalf<Msg>>,
    incoming: Incoming,
}

#[derive(Default)]
struct Incoming {
    stdout: VecDeque<Bytes>,
    stdout_bytes: usize,
    stderr: BytesMut,
    exit: Option<Exit>,
    is_refused: bool,
    is_lost: bool,
    is_over: bool,
}

impl Incoming {
    fn take(&mut self, message: Option<ChannelMsg>) {
        match message {
            Some(ChannelMsg::Data { data }) if !data.is_empty() => {
                self.stdout_bytes += data.len();
                self.stdout.push_back(data);
            }
            Some(ChannelMsg::ExtendedData { data, .. }) => {
                let room = STDERR_LIMIT - self.stderr.len().min(STDERR_LIMIT);
                self.stderr.extend_from_slice(&data[..data.len().min(room)]);
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => self.exit = Some(run::status(exit_status)),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                self.exit = Some(Exit::Signal(run::signal(signal_name)));
            }
            Some(ChannelMsg::Failure) => (self.is_refused, self.is_over) = (true, true),
            Some(ChannelMsg::Close) => self.is_over = true,
            None => (self.is_lost, self.is_over) = (true, true),
            Some(_) => {}
        }
    }
}

impl Pipe {
    pub(super) async fn start(own: &SshCommunicator, command: &str) -> Result<Self, CommunicatorError> {
        let (session, channel) = own.channel().await?;
        let (read, write) = channel.split();
        write.exec(true, command).await.map_err(|_| session.lost())?;
        Ok(Self { session, read, write: Arc::new(write), incoming: Incoming::default() })
    }

    /// Writes all of `bytes`. Answers are taken meanwhile, or the connection would stand still.
    pub(super) async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        let Self { read, write, incoming, .. } = self;
        let sending = write.data_bytes(bytes);
        pin!(sending);
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => return sent.map_err(|_| Gone),
                message = read.wait() => incoming.take(message),
            }
            if incoming.is_over || incoming.stdout_bytes > UNREAD_LIMIT {
                return Err(Gone);
            }
        }
    }

    /// The next bytes of standard output, at most `most`.
    pub(super) async fn read(&mut self, most: usize) -> Result<Bytes, Gone> {
        while self.incoming.stdout.is_empty() {
            if self.incoming.is_over {
                return Err(Gone);
            }
            let message = self.read.wait().await;
            self.incoming.take(message);
        }
        let Some(mut bytes) = self.incoming.stdout.pop_front() else { return Err(Gone) };
        if bytes.len() > most {
            let rest = bytes.split_off(most);
            self.incoming.stdout.push_front(rest);
        }
        self.incoming.stdout_bytes -= bytes.len();
        Ok(bytes)
    }

    pub(super) async fn read_byte(&mut self) -> Result<u8, Gone> {
        Ok(self.read(1).await?[0])
    }

    /// The rest of a line without its end. A line longer than `most` is cut.
    pub(super) async fn read_line(&mut self, most: usize) -> Result<Vec<u8>, Gone> {
        let mut line = Vec::new();
        loop {
            match self.read_byte().await? {
                b'\n' => return Ok(line),
                byte if line.len() < most => line.push(byte),
                _ => return Ok(line),
            }
        }
    }

    /// Says that nothing more comes, waits for the end, and answers how the command ended and what it complained of.
    pub(super) async fn finish(mut self) -> Ended {
        let ending = async {
            let _ = self.write.eof().await;
            while !self.incoming.is_over {
                let message = self.read.wait().await;
                self.incoming.take(message);
                // Nobody reads it any more, and it must not pile up.
                self.incoming.stdout.clear();
            }
        };
        // A command that does not end by itself is left behind with its channel closed.
        let _ = tokio::time::timeout(END_WITHIN, ending).await;
        let Incoming { exit, stderr, is_refused, is_lost, .. } = mem::take(&mut self.incoming);
        Ended {
            exit,
            complaint: String::from_utf8_lossy(&stderr).trim().to_owned(),
            is_refused,
            lost: is_lost.then(|| self.session.lost()),
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let write = Arc::clone(&self.write);
            // It can only fail because the connection is gone, and the channel with it.
            runtime.spawn(async move { write.close().await });
        }
    }
}

/// The other side stopped listening or talking; [`Pipe::finish`] knows why.
#[derive(Debug)]
pub(super) struct Gone;

/// How a remote command ended.
pub(super) struct Ended {
    /// Absent if it did not say.
    pub(super) exit: Option<Exit>,
    pub(super) complaint: String,
    /// The server did not start it.
    pub(super) is_refused: bool,
    /// Set if the connection is gone.
    pub(super) lost: Option<CommunicatorError>,
}

//! Having something done in a cell by a program of its own, from the worker's side: an order over a socket, bytes either way,
//! an answer.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdSocket},
    path::Path,
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    process::{Child, Command},
};

use super::{
    CellError, ENVIRONMENT, inside,
    order::{Answer, Done, Order, Place, Task},
};
use crate::domain::log::{Output, Stream};

/// How much output is passed on at a time.
const CHUNK: usize = 16 * 1024;

/// When a command has ended, what it wrote is in the pipe. What it left running may hold the pipe open for ever; that is not
/// waited for longer than this without a word.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// One cell, and what does things in it.
#[derive(Clone, Copy)]
pub(super) struct Program<'a> {
    pub program: &'a Path,
    pub place: &'a Place,
}

impl Program<'_> {
    /// Starts the program and gives it its order. It ends what it does when the socket closes.
    async fn start(
        &self,
        task: Task,
        stdout: Stdio,
        stderr: Stdio,
    ) -> Result<(Child, UnixStream), CellError> {
        let failed = |error: io::Error| CellError::failed("start a program of the cell", error);
        let (ours, theirs) = StdSocket::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let mut socket = UnixStream::from_std(ours).map_err(failed)?;
        let child = Command::new(self.program)
            .args([inside::SUBCOMMAND, "do"])
            .env_clear()
            .envs(ENVIRONMENT)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(stdout)
            .stderr(stderr)
            // A signal of the terminal is for the worker.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let order = Order { place: self.place.clone(), task };
        let mut line =
            serde_json::to_vec(&order).map_err(|error| CellError::failed("write an order", error))?;
        line.push(b'\n');
        socket
            .write_all(&line)
            .await
            .map_err(|error| CellError::failed("give an order in the cell", error))?;
        Ok((child, socket))
    }

    /// Has something done that takes and gives no bytes.
    pub async fn ask(&self, task: Task) -> Result<Done, CellError> {
        let (mut child, mut socket) = self.start(task, Stdio::null(), Stdio::null()).await?;
        let answer = answer(&mut socket).await;
        let _ = child.wait().await;
        answer
    }

    /// The same with bytes for it.
    pub async fn send(
        &self,
        task: Task,
        content: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<Done, CellError> {
        let (mut child, mut socket) = self.start(task, Stdio::null(), Stdio::null()).await?;
        // If it wants no more, its answer says why.
        let sent = tokio::io::copy(content, &mut socket).await;
        let _ = socket.shutdown().await;
        let answered = answer(&mut socket).await;
        let _ = child.wait().await;
        match (sent, answered) {
            (Err(error), Ok(_)) => Err(CellError::failed("send a file into the image", error)),
            (_, answered) => answered,
        }
    }

    /// The same with bytes of it, which go into a file.
    pub async fn receive(&self, task: Task, mut to: tokio::fs::File) -> Result<Done, CellError> {
        let (mut child, mut socket) = self.start(task, Stdio::piped(), Stdio::null()).await?;
        let mut output = child.stdout.take().ok_or(CellError::Gone)?;
        let received = match tokio::io::copy(&mut output, &mut to).await {
            Ok(_) => to.flush().await,
            Err(error) => Err(error),
        };
        drop(output);
        let answered = answer(&mut socket).await;
        let _ = child.wait().await;
        let done = answered?;
        received.map_err(|error| CellError::failed("write what was read in the image", error))?;
        Ok(done)
    }

    /// Has a command run, and passes on what it writes.
    pub async fn run(&self, task: Task, output: &dyn Output) -> Result<Done, CellError> {
        let (mut child, mut socket) = self.start(task, Stdio::piped(), Stdio::piped()).await?;
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let (mut out, mut err) = (vec![0; CHUNK], vec![0; CHUNK]);
        let answer = answer(&mut socket);
        tokio::pin!(answer);
        let mut answered = None;
        loop {
            let is_over = answered.is_some();
            if is_over && stdout.is_none() && stderr.is_none() {
                break;
            }
            tokio::select! {
                biased;
                read = read(&mut stdout, &mut out), if stdout.is_some() => match read {
                    0 => stdout = None,
                    bytes => output.chunk(Stream::Stdout, &out[..bytes]).await,
                },
                read = read(&mut stderr, &mut err), if stderr.is_some() => match read {
                    0 => stderr = None,
                    bytes => output.chunk(Stream::Stderr, &err[..bytes]).await,
                },
                done = &mut answer, if !is_over => answered = Some(done),
                () = tokio::time::sleep(LAST_WORDS), if is_over => break,
            }
        }
        let _ = child.wait().await;
        answered.unwrap_or(Err(CellError::Gone))
    }
}

/// Reads what there is; 0: there will be no more.
async fn read(from: &mut Option<impl AsyncRead + Unpin>, into: &mut [u8]) -> usize {
    match from {
        Some(from) => from.read(into).await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

async fn answer(socket: &mut UnixStream) -> Result<Done, CellError> {
    let mut line = String::new();
    let read = BufReader::new(socket).read_line(&mut line).await;
    read.map_err(|error| CellError::failed("hear from a program of the cell", error))?;
    let answer: Answer = serde_json::from_str(&line)
        .map_err(|_| CellError::failed("work in the cell", "its program ended without a word"))?;
    answer
}

/// `KILL` of 9.
pub(super) fn signal_name(number: i32) -> String {
    let names = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM",
    ];
    let name = usize::try_from(number).ok().and_then(|number| names.get(number.checked_sub(1)?));
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

//! Takes the output of a run: replaces secrets, cuts lines, and stores them in batches, each line exactly once.
//! The numbers come from the database; what a line looks like is decided by the stages before.

use std::{
    pin::Pin,
    sync::{Arc, Mutex as SyncMutex, MutexGuard, OnceLock, PoisonError},
};

use chrono::{DateTime, SubsecRound, Utc};
use sqlx::PgPool;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    batch::{Failure, Storekeeper},
    controls::{self, ControlFilter},
    lines::LineCutter,
    redact::{RedactStream, Redactor},
};
use crate::{
    domain::log::{Output, Stream},
    queue::Lease,
    store::{StoreError, log_lines::NewLine},
};

/// Lines that may wait to be stored, for one run.
const WAITING_LINES: usize = 1_000;

/// Bytes that may wait to be stored, for one run; what comes then waits at the source.
const WAITING_BYTES: u32 = 2 * 1024 * 1024;

/// What a waiting line takes beside its text.
const LINE_OVERHEAD: usize = 128;

/// How much log a build may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of one line; the rest is cut and counted in a marker.
    pub line_bytes: usize,
    /// Bytes of all lines of a build together, line ends included. Behind it a marker, then only fournil's own lines.
    pub build_bytes: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { line_bytes: 16 * 1024, build_bytes: 64 * 1024 * 1024 }
    }
}

/// Where a run's output goes. Cheap to clone. Dropping all clones stores what was written in the background; call
/// [`LogWriter::close`] to know that it is stored.
///
/// Standard output and error are cut into lines apart; a line stands where it was completed. What has no line end yet
/// waits for it, for [`LogWriter::flush`] or for [`LogWriter::close`].
#[derive(Debug, Clone)]
pub struct LogWriter {
    shared: Arc<Shared>,
    pipes: Arc<Pipes>,
    /// The step of this handle; without one, the step of the run.
    own_step: Option<Arc<str>>,
}

impl LogWriter {
    /// Starts the task that stores the lines of the run that `lease` is for. `run_name` is shown with each line;
    /// `clock` gives the time of each (`Utc::now`).
    #[must_use]
    pub fn new(
        pool: PgPool,
        lease: Lease,
        run_name: &str,
        limits: LogLimits,
        redactor: Redactor,
        clock: fn() -> DateTime<Utc>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_LINES);
        let failure = Arc::new(OnceLock::new());
        let room = Arc::new(Semaphore::new(WAITING_BYTES as usize));
        let storekeeper = Storekeeper::new(pool, lease, run_name, limits.build_bytes);
        tokio::spawn(super::batch::store_all(storekeeper, receiver, Arc::clone(&room), Arc::clone(&failure)));
        let pipes = Arc::new(Pipes::new(&redactor, limits.line_bytes));
        let shared = Shared {
            sender,
            room,
            failure,
            redactor,
            line_bytes: limits.line_bytes,
            clock,
            step: SyncMutex::new(None),
            commands: SyncMutex::new(Vec::new()),
        };
        Self { shared: Arc::new(shared), pipes, own_step: None }
    }

    /// A handle with line buffers of its own, for a command whose output must not mix with that of others; one per
    /// command. Flush it when the command has ended.
    #[must_use]
    pub fn command(&self) -> Self {
        let pipes = Arc::new(Pipes::new(&self.shared.redactor, self.shared.line_bytes));
        lock(&self.shared.commands).push(Arc::clone(&pipes));
        Self { shared: Arc::clone(&self.shared), pipes, own_step: self.own_step.clone() }
    }

    /// A handle with line buffers of its own whose lines belong to this step, so that steps can run side by side.
    #[must_use]
    pub fn for_step(&self, step: &str) -> Self {
        Self { own_step: Some(Arc::from(step)), ..self.command() }
    }

    fn step(&self) -> Option<Arc<str>> {
        self.own_step.clone().or_else(|| self.shared.step())
    }

    /// Names the step that what is written from now on belongs to.
    pub fn set_step(&self, step: Option<&str>) {
        *lock(&self.shared.step) = step.map(Arc::from);
    }

    /// The secrets that are replaced; more can be added at any time.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.shared.redactor
    }

    /// Ends the open lines of this handle (and of dropped [`LogWriter::command`] handles), and returns when everything
    /// written through it so far is durable.
    ///
    /// # Errors
    /// The lease is lost, or the database refused for a reason that does not go away; the rest of the run's log is
    /// discarded then.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.shared.finish(&self.pipes).await;
        for pipes in self.shared.take_commands(|pipes| Arc::strong_count(pipes) == 1) {
            self.shared.finish(&pipes).await;
        }
        self.shared.wait(Message::Flush).await
    }

    /// Ends the open lines of all handles, and returns when everything is durable. What is written afterwards is
    /// discarded.
    ///
    /// # Errors
    /// As [`LogWriter::flush`].
    pub async fn close(&self) -> Result<(), StoreError> {
        self.shared.finish(&self.pipes).await;
        for pipes in self.shared.take_commands(|_| true) {
            self.shared.finish(&pipes).await;
        }
        self.shared.wait(Message::Close).await
    }
}

impl Output for LogWriter {
    fn chunk<'a>(&'a self, stream: Stream, bytes: &'a [u8]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let mut pipe = self.pipes.of(stream).lock().await;
            pipe.step = self.step();
            let lines = pipe.push(bytes);
            // Sent with the pipe locked, so that lines of one stream cannot overtake each other.
            self.shared.send(stream, pipe.step.as_ref(), lines).await;
        })
    }

    fn say<'a>(&'a self, line: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            let plain = controls::strip(line);
            let clean = self.shared.redactor.redact(&plain);
            let mut cutter = LineCutter::new(self.shared.line_bytes);
            let mut lines = Vec::new();
            cutter.push(clean.as_bytes(), &mut lines);
            lines.extend(cutter.finish());
            self.shared.send(Stream::Ui, self.step().as_ref(), lines).await;
        })
    }
}

/// What goes to the task that stores.
pub(super) enum Message {
    /// A line, and the room it takes until it is stored.
    Line(NewLine, OwnedSemaphorePermit),
    /// Answer when all before is stored.
    Flush(oneshot::Sender<()>),
    /// The same, and end.
    Close(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Shared {
    sender: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    failure: Arc<OnceLock<Failure>>,
    redactor: Redactor,
    line_bytes: usize,
    clock: fn() -> DateTime<Utc>,
    step: SyncMutex<Option<Arc<str>>>,
    /// The buffers of all commands, so that a dropped handle loses nothing.
    commands: SyncMutex<Vec<Arc<Pipes>>>,
}

impl Shared {
    fn step(&self) -> Option<Arc<str>> {
        lock(&self.step).clone()
    }

    fn take_commands(&self, which: impl Fn(&Arc<Pipes>) -> bool) -> Vec<Arc<Pipes>> {
        lock(&self.commands).extract_if(.., |pipes| which(pipes)).collect()
    }

    async fn finish(&self, pipes: &Pipes) {
        for stream in [Stream::Stdout, Stream::Stderr, Stream::Ui] {
            let mut pipe = pipes.of(stream).lock().await;
            let lines = pipe.finish();
            self.send(stream, pipe.step.as_ref(), lines).await;
        }
    }

    /// Hands lines to the task; waits while too much is waiting already. After a failure they are discarded, as
    /// [`LogWriter::flush`] then says.
    async fn send(&self, stream: Stream, step: Option<&Arc<str>>, lines: Vec<String>) {
        for line in lines {
            let cost = u32::try_from(line.len() + LINE_OVERHEAD).unwrap_or(u32::MAX).min(WAITING_BYTES);
            let Ok(room) = Arc::clone(&self.room).acquire_many_owned(cost).await else { return };
            let at = (self.clock)().trunc_subsecs(6);
            let line = NewLine { at, step: step.map(Arc::clone), stream, line };
            if self.sender.send(Message::Line(line, room)).await.is_err() {
                return;
            }
        }
    }

    async fn wait(&self, message: fn(oneshot::Sender<()>) -> Message) -> Result<(), StoreError> {
        let (done, wait) = oneshot::channel();
        // Either of these fails only when the task has ended: by a failure, which is told below, or by an earlier
        // close, which has stored everything.
        if self.sender.send(message(done)).await.is_ok() {
            let _ = wait.await;
        }
        self.failure.get().map_or(Ok(()), |failure| Err(failure.to_error()))
    }
}

/// The line buffers of one command.
#[derive(Debug)]
struct Pipes {
    stdout: Mutex<Pipe>,
    stderr: Mutex<Pipe>,
    ui: Mutex<Pipe>,
}

impl Pipes {
    fn new(redactor: &Redactor, line_bytes: usize) -> Self {
        let pipe = || Mutex::new(Pipe::new(redactor, line_bytes));
        Self { stdout: pipe(), stderr: pipe(), ui: pipe() }
    }

    fn of(&self, stream: Stream) -> &Mutex<Pipe> {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
            Stream::Ui => &self.ui,
        }
    }
}

/// The stages that bytes of one stream pass. Control sequences go first: taken out later, they could put a secret
/// together that was written with a change of colour in its middle.
#[derive(Debug)]
struct Pipe {
    controls: ControlFilter,
    redact: RedactStream,
    lines: LineCutter,
    /// The step that the last bytes belonged to, and so the open line.
    step: Option<Arc<str>>,
}

impl Pipe {
    fn new(redactor: &Redactor, line_bytes: usize) -> Self {
        Self {
            controls: ControlFilter::default(),
            redact: redactor.stream(),
            lines: LineCutter::new(line_bytes),
            step: None,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut plain = Vec::with_capacity(bytes.len());
        self.controls.push(bytes, &mut plain);
        let mut clean = Vec::with_capacity(plain.len());
        self.redact.push(&plain, &mut clean);
        let mut lines = Vec::new();
        self.lines.push(&clean, &mut lines);
        lines
    }

    fn finish(&mut self) -> Vec<String> {
        let (mut plain, mut clean, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        self.controls.finish(&mut plain);
        self.redact.push(&plain, &mut clean);
        self.redact.finish(&mut clean);
        self.lines.push(&clean, &mut lines);
        lines.extend(self.lines.finish());
        lines
    }
}

fn lock<T>(mutex: &SyncMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;

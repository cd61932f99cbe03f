//! Where the mounts and processes of one chroot live: a mount namespace and pid namespaces of its own, and a cgroup where
//! there may be one. Whatever ends the worker, also a `kill -9`, ends them with all that is in them. What is done in a cell is
//! done by fournil itself, started again as a small program (`inside`), so that the worker never leaves its own namespaces.

mod error;
mod inside;
mod leftovers;
mod mount_table;
mod order;
mod program;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::Mutex,
};

pub use error::CellError;
pub use inside::as_program_of_a_cell;
pub use leftovers::clean_leftovers;

use crate::{communicator::Exit, domain::log::Output};
use order::{Begin, Begun, Done, Inside, Place, Task};
use program::Program;

/// What programs of a cell find in their environment. Nothing of fournil's own gets there: it holds keys.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
];

/// How long the namespaces may take to be made.
const START: Duration = Duration::from_secs(60);

/// How long the end of everything in a cell may take.
const RELEASE: Duration = Duration::from_secs(120);

/// How long the keeper may take to clean up after the end.
const KEEPER: Duration = Duration::from_secs(30);

/// The mounts and processes of one run. When it is dropped, all of them end.
pub struct Cell {
    program: PathBuf,
    place: Place,
    notices: Vec<String>,
    alive: Mutex<Option<Alive>>,
}

/// The cell lives as long as the pipe is open.
struct Alive {
    life: ChildStdin,
    keeper: Child,
}

/// What came of the end of a cell.
#[derive(Debug, Default)]
pub struct Released {
    /// How many processes were still running.
    pub ended_processes: usize,
    /// What the user should know.
    pub notices: Vec<String>,
}

impl Cell {
    /// Makes a cell. `program` is fournil itself, `cells` the folder where cells are noted down, `id` a name that no other
    /// cell has, of letters, digits and hyphens.
    ///
    /// # Errors
    /// This process may not, or the system cannot.
    pub async fn start_with(program: &Path, cells: &Path, id: &str) -> Result<Self, CellError> {
        let is_name = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name {
            return Err(CellError::start(format!("{id:?} is no name for a cell")));
        }
        let mut keeper = Command::new(program)
            .args([inside::SUBCOMMAND, "keep"])
            .env_clear()
            .envs(ENVIRONMENT)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // The signals of a terminal are for the worker, which ends the cell in good order.
            .process_group(0)
            .spawn()
            .map_err(CellError::start)?;
        let (Some(mut life), Some(output)) = (keeper.stdin.take(), keeper.stdout.take()) else {
            return Err(CellError::start("no pipes"));
        };
        let begin = Begin { cells: cells.to_owned(), id: id.to_owned() };
        let mut line = serde_json::to_vec(&begin).map_err(CellError::start)?;
        line.push(b'\n');
        let begun = tokio::time::timeout(START, async {
            life.write_all(&line).await.map_err(CellError::start)?;
            life.flush().await.map_err(CellError::start)?;
            let mut answer = String::new();
            BufReader::new(output).read_line(&mut answer).await.map_err(CellError::start)?;
            serde_json::from_str::<Result<Begun, CellError>>(&answer)
                .map_err(|_| CellError::start("the program that makes it ended without a word"))?
        });
        let begun = begun.await.unwrap_or_else(|_| Err(CellError::start("it took too long")))?;
        let alive = Mutex::new(Some(Alive { life, keeper }));
        Ok(Self { program: program.to_owned(), place: begun.place, notices: begun.notices, alive })
    }

    /// What the user should know of how it was made.
    #[must_use]
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Runs `command` by the host's shell on the host's root, among the processes and mounts of the cell. Dropping the
    /// future ends it.
    ///
    /// # Errors
    /// It could not be started.
    pub async fn run_on_host(&self, command: &str, output: &dyn Output) -> Result<Exit, CellError> {
        self.run(Task::RunOnHost { command: command.to_owned(), inside: None }, output).await
    }

    /// Runs `command` by the image's shell on the image's root. Dropping the future ends it.
    ///
    /// # Errors
    /// It could not be started.
    pub(crate) async fn run_inside(&self, command: &str, output: &dyn Output) -> Result<Exit, CellError> {
        self.run(Task::RunInside { command: command.to_owned() }, output).await
    }

    /// Runs `command` as [`Cell::run_inside`] does, by way of a command of the host: `wrap` gets what the host's shell, in
    /// the cell, would run for it, one word list quoted for that shell, and answers what the shell runs instead.
    ///
    /// # Errors
    /// It could not be started, or `wrap` has an error.
    pub(crate) async fn run_inside_wrapped(
        &self,
        command: &str,
        wrap: impl FnOnce(&str) -> Result<String, CellError>,
        output: &dyn Output,
    ) -> Result<Exit, CellError> {
        use crate::communicator::quote::quote;
        let ticket = uuid::Uuid::new_v4().simple().to_string();
        let anchor = self.place.anchor();
        // The first process of the cell is fournil, wherever it was started from.
        let entering =
            format!("/proc/1/exe {} enter {} {ticket}", inside::SUBCOMMAND, quote(&anchor.to_string_lossy()));
        let inside = Some(Inside { ticket, command: command.to_owned() });
        self.run(Task::RunOnHost { command: wrap(&entering)?, inside }, output).await
    }

    /// Mounts `device` at `path`, a folder of the host that is made if it does not exist. Each of `options` is for `mount -o`.
    ///
    /// # Errors
    /// mount(8) refuses, or a root is mounted already.
    pub async fn mount_root(&self, device: &Path, path: &Path, options: &[String]) -> Result<(), CellError> {
        let task =
            Task::MountRoot { device: device.to_owned(), path: path.to_owned(), options: options.to_vec() };
        self.program().ask(task).await.map(drop)
    }

    /// Mounts something at `target`, a path of the image that is made if it does not exist: a folder or file of the host
    /// (`bind`), or a new file system of this kind.
    ///
    /// # Errors
    /// The kernel refuses, or the path leads nowhere.
    pub async fn mount_inside(&self, kind: &str, source: &str, target: &str) -> Result<(), CellError> {
        let (kind, source, target) = (kind.to_owned(), source.to_owned(), target.to_owned());
        self.program().ask(Task::MountInside { kind, source, target }).await.map(drop)
    }

    /// Copies a file of the host to the same path of the image. What was there is put back by [`Cell::release`], unless
    /// somebody has changed the copy.
    ///
    /// # Errors
    /// There is no such file, or it cannot be written in the image.
    pub async fn copy_in(&self, file: &Path) -> Result<(), CellError> {
        self.program().ask(Task::CopyIn { file: file.to_owned() }).await.map(drop)
    }

    /// Writes a file of the image; `content` has `size` bytes.
    pub(crate) async fn write_file(
        &self,
        path: &str,
        mode: Option<u32>,
        size: u64,
        content: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<(), CellError> {
        let task = Task::WriteFile { path: path.to_owned(), mode, size };
        self.program().send(task, content).await.map(drop)
    }

    /// Unpacks a tar archive into a folder of the image, which is made if it does not exist.
    pub(crate) async fn write_folder(
        &self,
        path: &str,
        archive: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<(), CellError> {
        self.program().send(Task::WriteFolder { path: path.to_owned() }, archive).await.map(drop)
    }

    /// Reads a file of the image into a local one; answers its size.
    pub(crate) async fn read_file(
        &self,
        path: &str,
        limit: u64,
        to: tokio::fs::File,
    ) -> Result<u64, CellError> {
        let done = self.program().receive(Task::ReadFile { path: path.to_owned(), limit }, to).await?;
        Ok(done.bytes)
    }

    /// Reads a folder of the image as a tar archive into a local file; answers the size of the files in it.
    pub(crate) async fn read_folder(
        &self,
        path: &str,
        limit: u64,
        to: tokio::fs::File,
    ) -> Result<u64, CellError> {
        let done = self.program().receive(Task::ReadFolder { path: path.to_owned(), limit }, to).await?;
        Ok(done.bytes)
    }

    /// Ends all processes of the cell, puts copies back, unmounts everything and makes sure that nobody uses the device any
    /// more. Again it is no error. However it ends, nothing of the cell is left.
    ///
    /// # Errors
    /// Something could not be put back or did not let go, so that what is on the volume is not what it should be.
    pub async fn release(&self) -> Result<Released, CellError> {
        let mut alive = self.alive.lock().await;
        let Some(Alive { life, mut keeper }) = alive.take() else { return Ok(Released::default()) };
        let asked = tokio::time::timeout(RELEASE, self.program().ask(Task::Release)).await;
        let too_long = CellError::TimedOut { doing: "unmounting".to_owned(), seconds: RELEASE.as_secs() };
        let done = asked.unwrap_or(Err(too_long));
        drop(life);
        let kept = tokio::time::timeout(KEEPER, keeper.wait()).await;
        let Done { ended_processes, notices, .. } = done?;
        match kept {
            Ok(Ok(_)) => Ok(Released { ended_processes, notices }),
            Ok(Err(error)) => Err(CellError::failed("wait for the end of the cell", error)),
            Err(_) => Err(CellError::TimedOut {
                doing: "the end of the cell".to_owned(),
                seconds: KEEPER.as_secs(),
            }),
        }
    }

    async fn run(&self, task: Task, output: &dyn Output) -> Result<Exit, CellError> {
        let done = self.program().run(task, output).await?;
        match (done.status, done.signal) {
            (Some(status), _) => Ok(Exit::Status(status)),
            (None, Some(signal)) => Ok(Exit::Signal(program::signal_name(signal))),
            (None, None) => Ok(Exit::Disconnected),
        }
    }

    fn program(&self) -> Program<'_> {
        Program { program: &self.program, place: &self.place }
    }
}

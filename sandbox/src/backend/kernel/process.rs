//! The process that is a machine: started in the VM's network, bound to its life, watched until it ends.

use std::{
    ffi::OsString,
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tokio::sync::watch;

use crate::{backend::net::Network, machine::sys};

/// How long the kernel gets to end a killed process.
const KILL_PATIENCE: Duration = Duration::from_secs(60);

/// What is started.
pub(super) struct Program {
    /// Its name and arguments. `setpriv`, before it, binds it to the life of the network.
    pub command: Vec<OsString>,
    /// Where it runs; anywhere if absent.
    pub folder: Option<PathBuf>,
    pub input: Stdio,
    pub output: Stdio,
    pub errors: OwnedFd,
}

/// A running program.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    /// Whether it ended well, once it has ended.
    ended: watch::Receiver<Option<bool>>,
}

impl Process {
    /// Starts a program inside a network. Call it inside of a tokio runtime.
    pub async fn start(network: &Network, program: Program) -> io::Result<Self> {
        // The thread that starts it is the one whose end kills it.
        let child = network
            .run(move || {
                let Program { command, folder, input, output, errors } = program;
                Command::new("setpriv")
                    .current_dir(folder.unwrap_or_else(|| PathBuf::from("/")))
                    .args(["--pdeathsig", "KILL", "--"])
                    .args(command)
                    .stdin(input)
                    .stdout(output)
                    .stderr(errors)
                    .spawn()
            })
            .await?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let end = sys::when_readable(sys::pidfd_open(pid)?)?;
        let (announce, ended) = watch::channel(None);
        tokio::spawn(async move {
            let _ = end.readable().await;
            let status = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            announce.send_replace(Some(matches!(status, Ok(WaitStatus::Exited(_, 0)))));
        });
        Ok(Self { pid, ended })
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Becomes something when the process has ended: whether it ended well.
    pub fn ended(&self) -> watch::Receiver<Option<bool>> {
        self.ended.clone()
    }

    /// Whether it ends in time.
    pub async fn ends_within(&self, patience: Duration) -> bool {
        let mut ended = self.ended.clone();
        tokio::time::timeout(patience, ended.wait_for(Option::is_some)).await.is_ok()
    }

    /// Ends it at once, without waiting for it.
    pub fn kill(&self) -> io::Result<()> {
        // Nothing is sent after the end was announced: the pid may be another process's by then.
        if self.ended.borrow().is_some() {
            return Ok(());
        }
        // The first process of a namespace is only gone when all others in it are, and its parent waits for it.
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid));
        let child = children.unwrap_or_default().split_whitespace().find_map(|pid| pid.parse().ok());
        match kill(child.map_or(self.pid, Pid::from_raw), Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends it and waits until it is gone.
    pub async fn end(&self) -> io::Result<()> {
        self.kill()?;
        match self.ends_within(KILL_PATIENCE).await {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::TimedOut, "its process does not end")),
        }
    }
}

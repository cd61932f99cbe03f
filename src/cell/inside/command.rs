//! Running commands: on the host's root among the cell's processes, and on the image's among the image's.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write},
    os::unix::{
        fs::OpenOptionsExt,
        net::UnixStream,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open},
    thread::{CapabilitySet, remove_capability_from_bounding_set},
};

use super::place::{self, Doors};
use crate::cell::{
    CellError, ENVIRONMENT,
    order::{Answer, Done, Inside},
};

/// The folder of the anchor with what commands of the host may have run in the image.
pub(super) const TICKETS: &str = "tickets";

/// What commands of the image are not given. There is no way to keep them from the host altogether, since they are root's and
/// may have its devices; but none of this is needed to make an image, and some of it stops or changes the host by mistake.
const DROPPED: [CapabilitySet; 16] = [
    CapabilitySet::SYS_BOOT,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_TIME,
    CapabilitySet::SYS_PTRACE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::SYS_PACCT,
    CapabilitySet::SYS_TTY_CONFIG,
    CapabilitySet::SYSLOG,
    CapabilitySet::NET_ADMIN,
    CapabilitySet::MAC_OVERRIDE,
    CapabilitySet::AUDIT_CONTROL,
    CapabilitySet::WAKE_ALARM,
    CapabilitySet::BLOCK_SUSPEND,
    CapabilitySet::PERFMON,
    CapabilitySet::BPF,
    CapabilitySet::CHECKPOINT_RESTORE,
];

/// What a shell says of a command that it found and could not run.
const CANNOT_RUN: u8 = 126;

/// Runs a command by the host's shell. `inside` is what it may have run in the image.
pub(super) fn on_host(doors: &Doors, command: &str, inside: Option<Inside>, socket: &UnixStream) -> Answer {
    let failed = |error: io::Error| CellError::failed("run a command on the host", error);
    std::env::set_current_dir("/").map_err(failed)?;
    let ticket = inside.map(|inside| Ticket::write(&doors.place.anchor(), inside)).transpose();
    let _ticket = ticket.map_err(failed)?;
    doors.enter_processes()?;
    let child = start(doors, command).map_err(failed)?;
    watch(doors, child, socket)
}

/// A command for the image in a file of the cell that only root can read, and that is there as long as this is: on a command
/// line everybody on the host would see it.
struct Ticket(PathBuf);

impl Ticket {
    fn write(anchor: &Path, inside: Inside) -> io::Result<Self> {
        let path = anchor.join(TICKETS).join(inside.ticket);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        let ticket = Self(path);
        file.write_all(inside.command.as_bytes())?;
        Ok(ticket)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `sh -c` on the image's root.
pub(super) fn inside(doors: &Doors, command: &str, socket: &UnixStream) -> Answer {
    doors.enter_image()?;
    prepare();
    doors.enter_processes_inside()?;
    let child = start(doors, command).map_err(no_shell)?;
    watch(doors, child, socket)
}

/// Runs by the image's shell what a ticket says, for a program that is in the cell already: the command that the host's
/// shell runs for the user's `command_wrapper`.
pub(super) fn enter(anchor: &Path, ticket: &str) -> ExitCode {
    let entered = (|| {
        let command = std::fs::read_to_string(anchor.join(TICKETS).join(ticket))
            .map_err(|error| CellError::failed("read what is to be run", error))?;
        let processes = std::fs::File::open("/proc/1/ns/pid_for_children").map_err(|_| CellError::Gone)?;
        place::enter_image(anchor)?;
        prepare();
        place::enter_processes(&processes)?;
        shell(&command).status().map_err(no_shell)
    })();
    match entered {
        Ok(status) => ExitCode::from(as_a_shell_says(status)),
        Err(error) => {
            eprintln!("fournil: {error}");
            ExitCode::from(CANNOT_RUN)
        }
    }
}

fn as_a_shell_says(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn no_shell(error: io::Error) -> CellError {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        // The first process of the namespace is gone.
        Some(Errno::NOMEM) => CellError::Gone,
        _ => CellError::NoShell { reason: error.to_string() },
    }
}

/// The folder and the capabilities with which commands of the image start.
fn prepare() {
    // An image without /root has commands all the same.
    if std::env::set_current_dir("/root").is_err() {
        let _ = std::env::set_current_dir("/");
    }
    for capability in DROPPED {
        // Where that is not allowed, the capability is not there.
        let _ = remove_capability_from_bounding_set(capability);
    }
}

/// Starts that shell in a process group of its own, with nothing to read.
fn start(doors: &Doors, command: &str) -> io::Result<Child> {
    shell(command).stdin(doors.null.try_clone()?).process_group(0).spawn()
}

/// A shell that runs `command` as `sh -c` does. The text comes in its environment, which only root can read, and not as an
/// argument, which everybody on the host sees; the command itself does not find it there.
fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "eval \"unset FOURNIL_COMMAND; $FOURNIL_COMMAND\""])
        .env_clear()
        .envs(ENVIRONMENT)
        .env("FOURNIL_COMMAND", command);
    shell
}

/// Waits for the end of a command, or for that of whoever wants it.
fn watch(doors: &Doors, mut child: Child, socket: &UnixStream) -> Answer {
    let failed = |error: io::Error| CellError::failed("wait for a command", error);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(CellError::Gone)?;
    let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    loop {
        let mut fds = [PollFd::new(&ended, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            polled => polled.map_err(|error| failed(error.into()))?,
        };
        if !fds[0].revents().is_empty() {
            break;
        }
        // Nothing more is ever said to us: it is the end of the other side.
        end_with_children(doors, pid);
        break;
    }
    let status = child.wait().map_err(failed)?;
    Ok(Done { status: status.code(), signal: status.signal(), ..Done::default() })
}

/// Ends a process with all that come from it. They are stopped first, so that no new ones come meanwhile.
fn end_with_children(doors: &Doors, first: Pid) {
    let mut family = BTreeSet::from([first.as_raw_nonzero().get()]);
    let _ = kill_process_group(first, Signal::STOP);
    loop {
        for pid in &family {
            send(*pid, Signal::STOP);
        }
        let before = family.len();
        for pid in doors.pids().unwrap_or_default() {
            let parent = doors.read_proc(&format!("{pid}/stat")).ok().and_then(|stat| parent(&stat));
            if let (Some(parent), Ok(pid)) = (parent, i32::try_from(pid))
                && family.contains(&parent)
            {
                family.insert(pid);
            }
        }
        if family.len() == before {
            break;
        }
    }
    let _ = kill_process_group(first, Signal::KILL);
    for pid in family {
        send(pid, Signal::KILL);
    }
}

fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// The parent in a line of `/proc/PID/stat`. The name before it may hold anything.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

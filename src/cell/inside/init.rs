//! The first processes of the two pid namespaces. When one ends, the kernel ends all that are in its namespace.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd},
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount},
    process::{WaitOptions, chroot, wait},
};

use super::{command::TICKETS, place::OF_IMAGE};

/// Between two turns of a process that only has to be there.
const HOLD: Duration = Duration::from_secs(3600);

/// How often processes that ended are collected.
const COLLECT: Duration = Duration::from_millis(250);

/// The first process of the cell. Its standard input is the cell's life: when the worker's end of it closes, also by a
/// `kill -9`, it ends.
pub(super) fn init(anchor: &Path) -> ExitCode {
    let children = match set_up(anchor) {
        Ok(child) => child,
        Err(error) => return failed(&error),
    };
    ready();
    watch(std::io::stdin().as_fd());
    drop(children);
    ExitCode::SUCCESS
}

fn set_up(anchor: &Path) -> std::io::Result<std::process::Child> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let nothing = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", anchor, "tmpfs", nothing, Some(c"mode=0700,size=16m"))?;
    for folder in ["proc", "empty", "copies", TICKETS] {
        fs::create_dir(anchor.join(folder))?;
    }
    // Programs of the cell see the cell's processes only.
    mount("proc", "/proc", "proc", nothing, None)?;
    unshare(CloneFlags::CLONE_NEWPID)?;
    let mut child = Command::new("/proc/self/exe")
        .args(["cell", "root-init"])
        .arg(anchor)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = child.stdout.take().ok_or_else(|| std::io::Error::other("no pipe"))?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    if line.trim_end() == "ready" {
        Ok(child)
    } else {
        Err(std::io::Error::other(line.trim_end().to_owned()))
    }
}

/// The first process of the image's commands. Its root is an empty folder that is nowhere, so that `/proc/1/root` leads
/// nowhere.
pub(super) fn root_init(anchor: &Path) -> ExitCode {
    if let Err(error) = hide(anchor) {
        return failed(&error);
    }
    ready();
    loop {
        collect();
        std::thread::sleep(COLLECT);
    }
}

fn hide(anchor: &Path) -> std::io::Result<()> {
    let nothing = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", anchor.join("proc"), "proc", nothing, None)?;
    // A mount namespace of its own: `/proc/1/ns/mnt` must not lead to the host's files.
    unshare(CloneFlags::CLONE_NEWNS)?;
    let empty = anchor.join("empty");
    mount("tmpfs", &empty, "tmpfs", nothing | MountFlags::RDONLY, Some(c"size=4k"))?;
    std::env::set_current_dir(&empty)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chroot(".")?;
    std::env::set_current_dir("/")
}

/// A process that does nothing but be in the mounts of the image, whose root is at `root` in the cell's.
pub(super) fn hold(root: &Path) -> ExitCode {
    if let Err(error) = go_to(root) {
        return failed(&error);
    }
    ready();
    loop {
        std::thread::sleep(HOLD);
    }
}

fn go_to(root: &Path) -> std::io::Result<()> {
    for (name, kind) in OF_IMAGE {
        match unshare(kind) {
            Ok(()) => {}
            // A kernel without that sort of namespace.
            Err(nix::Error::EINVAL) if !Path::new("/proc/self/ns").join(name).exists() => {}
            Err(error) => return Err(error.into()),
        }
    }
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    std::env::set_current_dir(root)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}

fn failed(error: &std::io::Error) -> ExitCode {
    println!("{error}");
    ExitCode::FAILURE
}

fn ready() {
    let mut output = std::io::stdout();
    let _ = output.write_all(b"ready\n");
    let _ = output.flush();
}

/// Collects what ended, until `life` ends.
fn watch(life: BorrowedFd<'_>) {
    let patience = Timespec { tv_sec: 0, tv_nsec: i64::from(COLLECT.subsec_nanos()) };
    loop {
        let mut fds = [PollFd::new(&life, PollFlags::IN)];
        match poll(&mut fds, Some(&patience)) {
            Ok(0) | Err(Errno::INTR) => collect(),
            Ok(_) => return,
            Err(_) => return,
        }
    }
}

/// Takes note of the end of all processes that ended, as the first process of a namespace must.
fn collect() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

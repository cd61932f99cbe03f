//! The doors of a cell, and going through them.

use std::{
    fs,
    io::{self, BufRead, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::sched::{CloneFlags, setns};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags, open, openat},
    io::Errno,
    mount::{MountPropagationFlags, mount_change},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{belongings::Belongings, root::Root};
use crate::cell::{
    CellError,
    mount_table::{self, Mount},
    order::Place,
};

/// Tells which process holds the image's mounts.
const HOLDER: &str = "image";

/// The namespaces that process has of its own, the mounts last.
pub(super) const OF_IMAGE: [(&str, CloneFlags); 4] = [
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// How long that process may take to end, in seconds.
const HOLDER_ENDS: i64 = 10;

/// A cell, opened from outside: everything is opened in `/proc` of the host before the process goes in, because what
/// is in there cannot be trusted, and `/proc/self` means nothing there.
pub(super) struct Doors {
    pub place: Place,
    /// The host's `/proc`.
    proc: OwnedFd,
    mounts: OwnedFd,
    processes: OwnedFd,
    processes_inside: OwnedFd,
    /// The number of the pid namespace of the image's commands.
    pub inside_number: u64,
    /// The host's `/dev/null`.
    pub null: fs::File,
}

impl Doors {
    /// Opens the doors and goes into the cell's mounts.
    pub fn open(place: Place) -> Result<Self, CellError> {
        let namespace = |name: &str| {
            let path = format!("/proc/{}/ns/{name}", place.init);
            open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|_| CellError::Gone)
        };
        let failed = |error: io::Error| CellError::failed("go into the cell", error);
        let mounts = namespace("mnt")?;
        let processes = namespace("pid")?;
        let processes_inside = namespace("pid_for_children")?;
        // Checked after all are open: as long as it is the same namespace, its first process was alive.
        if number(&processes)? != place.namespace || number(&namespace("pid")?)? != place.namespace {
            return Err(CellError::Gone);
        }
        let inside_number = number(&processes_inside)?;
        let proc = open("/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        let null = fs::File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
        if let Some(cgroup) = &place.cgroup {
            fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).map_err(failed)?;
        }
        let doors = Self { place, proc, mounts, processes, processes_inside, inside_number, null };
        doors.enter_mounts()?;
        Ok(doors)
    }

    /// Goes into the cell's mounts, in which the host's files are seen as well.
    pub fn enter_mounts(&self) -> Result<(), CellError> {
        setns(&self.mounts, CloneFlags::CLONE_NEWNS)
            .map_err(|error| CellError::failed("go into the cell's mounts", error))
    }

    /// Children are from now on among the cell's processes, those of the host's root.
    pub fn enter_processes(&self) -> Result<(), CellError> {
        enter_processes(&self.processes)
    }

    /// Children are from now on among the image's processes.
    pub fn enter_processes_inside(&self) -> Result<(), CellError> {
        enter_processes(&self.processes_inside)
    }

    /// Goes into the mounts of the image, of which its root is the root.
    pub fn enter_image(&self) -> Result<(), CellError> {
        self.root_path()?;
        let pid = self.holder().ok_or(CellError::Gone)?;
        enter(|name| {
            openat(&self.proc, format!("{pid}/ns/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        })
    }

    /// Makes the mounts of the image: a namespace in which the folder `path` is the root, and nothing of the host is.
    /// What is mounted below `path` in the cell comes to it as well. A process of the cell holds it: a mounted namespace
    /// would do too, but Linux 6.18 refuses that at times, because it numbers namespaces out of order.
    pub fn make_image(&self, path: &Path) -> Result<(), CellError> {
        let failed = |error: io::Error| CellError::failed("make the image's mount namespace", error);
        mount_change(path, MountPropagationFlags::SHARED).map_err(|error| failed(error.into()))?;
        self.enter_processes()?;
        let mut holder = Command::new("/proc/1/exe")
            .args([super::SUBCOMMAND, "hold"])
            .arg(path)
            .env_clear()
            .current_dir("/")
            .stdin(self.null.try_clone().map_err(failed)?)
            .stdout(Stdio::piped())
            .stderr(self.null.try_clone().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let pid = holder.id();
        let mut said = String::new();
        if let Some(output) = holder.stdout.take() {
            io::BufReader::new(output).read_line(&mut said).map_err(failed)?;
        }
        if said.trim_end() != "ready" {
            let _ = holder.wait();
            return Err(failed(io::Error::other(said.trim_end().to_owned())));
        }
        let status = self.read_proc(&format!("{pid}/status")).map_err(failed)?;
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        let within = pids.split_whitespace().next_back().unwrap_or_default();
        fs::write(self.place.anchor().join(HOLDER), format!("{pid} {within}")).map_err(failed)
    }

    /// The process that holds the image's mounts, if there is one.
    pub fn holder(&self) -> Option<u32> {
        let pid = holder(&self.place.anchor())?.0.parse().ok()?;
        (self.namespace_of(pid) == Some(self.place.namespace)).then_some(pid)
    }

    /// Lets go of the image's mounts.
    pub fn end_image(&self) {
        let pid = self.holder().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
            && pidfd_send_signal(&process, Signal::KILL).is_ok()
        {
            // Readable once it has ended.
            let patience = Timespec { tv_sec: HOLDER_ENDS, tv_nsec: 0 };
            let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience));
        }
        let _ = fs::remove_file(self.place.anchor().join(HOLDER));
    }

    /// Where the root is mounted.
    pub fn root_path(&self) -> Result<PathBuf, CellError> {
        match fs::read(self.place.anchor().join("root")) {
            Ok(bytes) => {
                Ok(PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(bytes)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CellError::NoRoot),
            Err(error) => Err(CellError::failed("read where the root is", error)),
        }
    }

    /// The root, to find files in it.
    pub fn root(&self) -> Result<Root, CellError> {
        Root::open(&self.root_path()?, Belongings::of(self)?)
    }

    /// The mounts of the cell.
    pub fn mounts(&self) -> Result<Vec<Mount>, CellError> {
        self.read_proc(&format!("{}/mountinfo", self.place.init))
            .map(|table| mount_table::parse(&table))
            .map_err(|error| CellError::failed("read the mounts", error))
    }

    /// Reads a file of the host's `/proc`.
    pub fn read_proc(&self, name: &str) -> io::Result<String> {
        let file = openat(&self.proc, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = String::new();
        fs::File::from(file).read_to_string(&mut text)?;
        Ok(text)
    }

    /// The pids of the host.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let folder =
            openat(&self.proc, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut pids = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder)? {
            if let Some(pid) = entry?.file_name().to_str().ok().and_then(|name| name.parse().ok()) {
                pids.push(pid);
            }
        }
        Ok(pids)
    }

    /// The number of the pid namespace of a process of the host.
    pub fn namespace_of(&self, pid: u32) -> Option<u64> {
        let status = rustix::fs::statat(&self.proc, format!("{pid}/ns/pid"), AtFlags::empty()).ok()?;
        Some(status.st_ino)
    }
}

/// Goes into the mounts of the image that the cell at `anchor` holds, for a program that is in the cell already and sees
/// its processes.
pub(super) fn enter_image(anchor: &Path) -> Result<(), CellError> {
    let (_, within) = holder(anchor).ok_or(CellError::NoRoot)?;
    enter(|name| open(format!("/proc/{within}/ns/{name}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
}

/// Goes into the namespaces of the image; `open` opens one of those of its holder by its name.
fn enter(open: impl Fn(&str) -> rustix::io::Result<OwnedFd>) -> Result<(), CellError> {
    // All are opened before the mounts change, in which there may be no `/proc`.
    let mut namespaces = Vec::new();
    for (name, kind) in OF_IMAGE {
        match open(name) {
            Ok(namespace) => namespaces.push((namespace, kind)),
            // A kernel without that sort of namespace: then the holder has none either.
            Err(Errno::NOENT) if kind != CloneFlags::CLONE_NEWNS => {}
            Err(_) => return Err(CellError::Gone),
        }
    }
    for (namespace, kind) in namespaces {
        setns(&namespace, kind).map_err(|error| CellError::failed("go into the image", error))?;
    }
    Ok(())
}

/// The process that holds the image's mounts: its pid outside of the cell and within.
fn holder(anchor: &Path) -> Option<(String, String)> {
    let pids = fs::read_to_string(anchor.join(HOLDER)).ok()?;
    let (outside, within) = pids.split_once(' ')?;
    Some((outside.to_owned(), within.to_owned()))
}

pub(super) fn enter_processes(namespace: impl AsFd) -> Result<(), CellError> {
    setns(namespace, CloneFlags::CLONE_NEWPID).map_err(|_| CellError::Gone)
}

fn number(namespace: &OwnedFd) -> Result<u64, CellError> {
    let file = namespace.try_clone().map(fs::File::from);
    file.and_then(|file| file.metadata()).map(|metadata| metadata.ino()).map_err(|_| CellError::Gone)
}

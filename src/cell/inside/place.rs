//! The doors of a cell, and going through them.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, CWD, Mode, OFlags, open, openat},
    mount::{
        MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount,
        open_tree, unmount,
    },
};

use super::root::Root;
use crate::cell::{CellError, order::Place};

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
        enter_image(&self.place.anchor())
    }

    /// Makes the mounts of the image: a namespace in which the folder `path` is the root, and nothing of the host is.
    /// What is mounted below `path` in the cell comes to it as well.
    pub fn make_image(&self, path: &Path) -> Result<(), CellError> {
        let failed = |error: io::Error| CellError::failed("make the image's mount namespace", error);
        mount_change(path, MountPropagationFlags::SHARED).map_err(|error| failed(error.into()))?;
        unshare(CloneFlags::CLONE_NEWNS).map_err(|error| failed(error.into()))?;
        let made = (|| {
            mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
            std::env::set_current_dir(path)?;
            rustix::process::pivot_root(".", ".")?;
            unmount(".", UnmountFlags::DETACH)?;
            let own = openat(&self.proc, "self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            io::Result::Ok(own)
        })();
        self.enter_mounts()?;
        let own = made.map_err(failed)?;
        let keep = self.place.anchor().join("image");
        fs::File::create(&keep).map_err(failed)?;
        // A namespace lives as long as it is mounted somewhere.
        (|| {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            let tree = open_tree(&own, "", flags)?;
            move_mount(&tree, "", CWD, &keep, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        })()
        .map_err(|error| failed(error.into()))
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
        Root::open(&self.root_path()?)
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

/// Goes into the mounts of the image that the cell at `anchor` holds.
pub(super) fn enter_image(anchor: &Path) -> Result<(), CellError> {
    let failed = |error: io::Error| CellError::failed("go into the image", error);
    let image = fs::File::open(anchor.join("image")).map_err(failed)?;
    setns(&image, CloneFlags::CLONE_NEWNS).map_err(|error| failed(error.into()))
}

pub(super) fn enter_processes(namespace: impl AsFd) -> Result<(), CellError> {
    setns(namespace, CloneFlags::CLONE_NEWPID).map_err(|_| CellError::Gone)
}

fn number(namespace: &OwnedFd) -> Result<u64, CellError> {
    let file = namespace.try_clone().map(fs::File::from);
    file.and_then(|file| file.metadata()).map(|metadata| metadata.ino()).map_err(|_| CellError::Gone)
}

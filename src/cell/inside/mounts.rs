//! Mounting the image's root, and what belongs in it.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::{
    fd::OwnedFd,
    fs::{CWD, FileType, Mode, OFlags, fstat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
        fsconfig_create, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
    },
};

use super::{belongings::Belongings, place::Doors, root::Root};
use crate::cell::{
    CellError, leftovers,
    order::{Answer, Done},
};

/// Mounts `device` at `path` by mount(8).
pub(super) fn root(doors: &Doors, device: &Path, path: &Path, options: &[String]) -> Answer {
    if let Ok(path) = doors.root_path() {
        return Err(CellError::HasRoot { path: path.display().to_string() });
    }
    let failed = |reason: String| CellError::Mount {
        what: device.display().to_string(),
        target: path.display().to_string(),
        reason,
    };
    let result = make_folders(doors, path).map_err(|error| failed(error.to_string())).and_then(|()| {
        let anchor = doors.place.anchor();
        fs::write(anchor.join("device"), device.as_os_str().as_bytes())
            .and_then(|()| fs::write(anchor.join("root"), path.as_os_str().as_bytes()))
            .map_err(|error| failed(error.to_string()))?;
        doors.enter_processes()?;
        let mut command = Command::new("mount");
        for option in options {
            command.args(["-o", option]);
        }
        let null = || doors.null.try_clone().map(Stdio::from).map_err(|error| failed(error.to_string()));
        let output = command
            .arg("--")
            .args([device, path])
            .stdin(null()?)
            .stdout(null()?)
            .stderr(Stdio::piped())
            .output()
            .map_err(|error| failed(format!("mount(8): {error}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim();
            return Err(failed(if said.is_empty() { output.status.to_string() } else { said.to_owned() }));
        }
        doors.make_image(path).inspect_err(|_| {
            let _ = unmount(path, UnmountFlags::DETACH);
        })
    });
    match result {
        Ok(()) => Ok(Done::default()),
        Err(error) => {
            forget_root(doors);
            Err(error)
        }
    }
}

/// After the root was unmounted: nothing tells of it any more.
pub(super) fn forget_root(doors: &Doors) {
    let anchor = doors.place.anchor();
    doors.end_image();
    for name in ["root", "device"] {
        let _ = fs::remove_file(anchor.join(name));
    }
    Belongings::forget(&anchor);
    leftovers::remove_folders(&doors.place.cells, &doors.place.id);
}

/// Makes the folder for the mount and those above it, for root only, and notes which are ours.
fn make_folders(doors: &Doors, path: &Path) -> io::Result<()> {
    let (cells, id) = (&doors.place.cells, &doors.place.id);
    // Another cell may be about to remove the same ones.
    let _one_at_a_time = leftovers::lock_folders(cells)?;
    let missing: Vec<PathBuf> = path
        .ancestors()
        .take_while(|folder| fs::symlink_metadata(folder).is_err())
        .map(Path::to_owned)
        .collect();
    // Those that another cell has made are needed by this one too.
    let of_others = leftovers::folders_of_others(cells, id)?;
    let ours: Vec<PathBuf> = path
        .ancestors()
        .filter(|folder| missing.iter().chain(&of_others).any(|other| other == folder))
        .map(Path::to_owned)
        .collect();
    if !ours.is_empty() {
        let mut record = leftovers::read(cells, id);
        record.folders = ours;
        leftovers::write(cells, id, &record)?;
    }
    for folder in missing.iter().rev() {
        match fs::DirBuilder::new().mode(0o750).create(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    Ok(())
}

/// Mounts something in the image.
pub(super) fn inside(doors: &Doors, kind: &str, source: &str, target: &str) -> Answer {
    let root = doors.root()?;
    let failed = |error: io::Error| CellError::Mount {
        what: if matches!(kind, "bind" | "rbind") { source.to_owned() } else { kind.to_owned() },
        target: target.to_owned(),
        reason: error.to_string(),
    };
    let tree = match kind {
        "bind" | "rbind" => clone(Path::new(source)).map_err(failed)?,
        // That of the image's processes: one made here would show the host's.
        "proc" => clone(&doors.place.anchor().join("proc")).map_err(failed)?,
        _ => make(kind, source).map_err(|error| match error {
            Errno::NODEV => CellError::UnknownFileSystem { kind: kind.to_owned(), target: target.to_owned() },
            error => failed(error.into()),
        })?,
    };
    let path = Path::new("/").join(target);
    let is_folder = fstat(&tree).map_err(|error| failed(error.into()))?.st_mode;
    let found = if FileType::from_raw_mode(is_folder) == FileType::Directory {
        root.folder(&path)
    } else {
        file(&root, &path)
    };
    let found = found.map_err(failed)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &found, "", flags).map_err(|error| failed(error.into()))?;
    Belongings::note(doors)?;
    Ok(Done::default())
}

/// What is mounted at `path` and below.
fn clone(path: &Path) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(open_tree(CWD, path, flags)?)
}

/// A new mount of a file system, mounted nowhere yet.
fn make(kind: &str, source: &str) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", source)?;
    if kind == "devpts" {
        // As mount(8) is called for it by every distribution; the kernel's own lets nobody open a terminal.
        fsconfig_set_string(&context, "gid", "5")?;
        fsconfig_set_string(&context, "mode", "0620")?;
        fsconfig_set_string(&context, "ptmxmode", "0666")?;
    }
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// The file `path`, made if it does not exist.
fn file(root: &Root, path: &Path) -> io::Result<OwnedFd> {
    match root.find(path, OFlags::PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    root.folder(path.parent().unwrap_or(Path::new("/")))?;
    root.create(path, Mode::from(0o644))?;
    root.find(path, OFlags::PATH)
}

//! The end of a run's image: processes, copies and mounts go, and the device is free again.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    os::unix::{ffi::OsStringExt, fs::FileTypeExt},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open, syncfs},
    io::Errno,
    mount::{UnmountFlags, unmount},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{copies, mounts, place::Doors};
use crate::cell::{
    CellError,
    order::{Answer, Done},
};

/// How long processes may take to end.
const PROCESSES_END: Duration = Duration::from_secs(15);
/// How long the kernel may take to let go of the device.
const DEVICE_FREE: Duration = Duration::from_secs(20);
/// Between two looks.
const STEP: Duration = Duration::from_millis(20);

pub(super) fn release(doors: &Doors) -> Answer {
    let mut done = Done { ended_processes: end_processes(doors)?, ..Done::default() };
    let path = match doors.root_path() {
        Err(CellError::NoRoot) => return Ok(done),
        path => path?,
    };
    let device =
        fs::read(doors.place.anchor().join("device")).map(|bytes| PathBuf::from(OsString::from_vec(bytes)));
    // Not if an earlier release came so far already.
    if mounts_below(doors, &path)?.contains(&path) {
        let root = doors.root()?;
        done.notices = copies::restore(doors, &root)?;
        drop(root);
        let synced =
            open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).and_then(syncfs);
        synced.map_err(|error| CellError::failed("write the image out", error))?;
    }
    doors.end_image();
    unmount_all(doors, &path)?;
    if let Ok(device) = device {
        wait_until_free(&device)?;
    }
    mounts::forget_root(doors);
    Ok(done)
}

/// Ends all processes of the cell but the two first ones. Answers how many there were.
fn end_processes(doors: &Doors) -> Result<usize, CellError> {
    let failed = |error: io::Error| CellError::failed("end the run's processes", error);
    let until = Instant::now() + PROCESSES_END;
    let mut ended = BTreeSet::new();
    loop {
        let living: Vec<u32> =
            doors.pids().map_err(failed)?.into_iter().filter(|pid| is_to_end(doors, *pid)).collect();
        if living.is_empty() {
            return Ok(ended.len());
        }
        for pid in living {
            let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
            let Ok(process) = pidfd_open(raw, PidfdFlags::empty()) else { continue };
            // Looked at again: the pid may be another's since.
            if is_to_end(doors, pid) {
                let _ = pidfd_send_signal(&process, Signal::KILL);
                ended.insert(pid);
            }
        }
        if Instant::now() > until {
            return Err(CellError::TimedOut {
                doing: "ending the run's processes".to_owned(),
                seconds: PROCESSES_END.as_secs(),
            });
        }
        sleep(STEP);
    }
}

fn is_to_end(doors: &Doors, pid: u32) -> bool {
    let namespace = doors.namespace_of(pid);
    if namespace != Some(doors.place.namespace) && namespace != Some(doors.inside_number) {
        return false;
    }
    let Ok(status) = doors.read_proc(&format!("{pid}/status")) else { return false };
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim();
    let is_first = field("NSpid:").split_whitespace().next_back() == Some("1");
    // What is dead only waits to be collected.
    !is_first && doors.holder() != Some(pid) && !field("State:").starts_with(['Z', 'X'])
}

/// Unmounts `path` and all below it, the last mount first.
fn unmount_all(doors: &Doors, path: &Path) -> Result<(), CellError> {
    for target in mounts_below(doors, path)?.into_iter().rev() {
        match unmount(&target, UnmountFlags::NOFOLLOW) {
            // Gone with another one.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            // What holds it has just ended; whether it lets go is seen at the device.
            Err(_) => {
                let _ = unmount(&target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
            }
        }
    }
    match mounts_below(doors, path)?.first() {
        None => Ok(()),
        Some(left) => Err(CellError::Busy {
            what: left.display().to_string(),
            reason: "it could not be unmounted".to_owned(),
        }),
    }
}

/// The mounts of the cell at `path` and below, in their order.
fn mounts_below(doors: &Doors, path: &Path) -> Result<Vec<PathBuf>, CellError> {
    let mounts = doors.mounts()?.into_iter().map(|mount| mount.target);
    Ok(mounts.filter(|target| target.starts_with(path)).collect())
}

/// Waits until nobody uses the device: only then can the volume be detached without loss.
fn wait_until_free(device: &Path) -> Result<(), CellError> {
    if !fs::metadata(device).is_ok_and(|metadata| metadata.file_type().is_block_device()) {
        return Ok(());
    }
    let until = Instant::now() + DEVICE_FREE;
    loop {
        match open(device, OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty()) {
            Ok(_) => return Ok(()),
            Err(Errno::BUSY) if Instant::now() < until => sleep(STEP),
            Err(error) => {
                return Err(CellError::Busy {
                    what: device.display().to_string(),
                    reason: error.to_string(),
                });
            }
        }
    }
}

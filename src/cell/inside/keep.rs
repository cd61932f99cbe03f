//! The keeper: outside of the cell, in the namespaces of the host. It starts the cell, waits for its end, and removes
//! what stays on the host.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{FlockOperation, flock};

use super::{super::CellError, read_begin};
use crate::cell::{
    leftovers,
    order::{Begun, Place, Record, anchor, lock_file},
};

pub(super) fn keep() -> ExitCode {
    let begun = begin();
    let (answer, kept) = match begun {
        Ok((begun, child, lock)) => (Ok(begun), Some((child, lock))),
        Err(error) => (Err(error), None),
    };
    let place = answer.as_ref().ok().map(|begun: &Begun| begun.place.clone());
    let mut line = serde_json::to_vec(&answer).unwrap_or_default();
    line.push(b'\n');
    // If nobody hears it, nobody holds the other end of the cell's life either.
    let _ = std::io::stdout().write_all(&line);
    let _ = std::io::stdout().flush();
    let (Some((mut child, lock)), Some(place)) = (kept, place) else { return ExitCode::FAILURE };
    let _ = child.wait();
    leftovers::remove(&place.cells, &place.id, place.cgroup.as_deref());
    drop(lock);
    ExitCode::SUCCESS
}

fn begin() -> Result<(Begun, std::process::Child, fs::File), CellError> {
    let begin = read_begin()?;
    let (cells, id) = (begin.cells, begin.id);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&cells).map_err(CellError::start)?;
    let lock = fs::File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(lock_file(&cells, &id))
        .map_err(CellError::start)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|error| CellError::start(format!("another cell has the name {id:?}: {error}")))?;
    // The name may have been that of a cell that a power loss ended.
    let started = start(&cells, &id, &lock);
    match started {
        Ok((begun, child)) => Ok((begun, child, lock)),
        Err(error) => {
            leftovers::remove(&cells, &id, None);
            Err(error)
        }
    }
}

fn start(
    cells: &std::path::Path,
    id: &str,
    lock: &fs::File,
) -> Result<(Begun, std::process::Child), CellError> {
    let mut notices = Vec::new();
    let mut record = leftovers::read(cells, id);
    let anchor = anchor(cells, id);
    if let Err(error) = fs::DirBuilder::new().mode(0o700).create(&anchor)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(CellError::start(error));
    }
    let cgroup = match leftovers::cgroup_for(id) {
        Ok(cgroup) => {
            // Noted before it is made: whatever happens in between is cleaned.
            record.cgroup = Some(cgroup.clone());
            leftovers::write(cells, id, &record).map_err(CellError::start)?;
            make_cgroup(cgroup, &mut record, &mut notices)
        }
        Err(error) => {
            notices.push(format!("The run's processes have no cgroup of their own: {error}"));
            None
        }
    };
    leftovers::write(cells, id, &record).map_err(CellError::start)?;

    unshare(CloneFlags::CLONE_NEWPID).map_err(CellError::start)?;
    let lock = lock.try_clone().map_err(CellError::start)?;
    let mut child = Command::new("/proc/self/exe")
        .args(["cell", "init"])
        .arg(&anchor)
        .env_clear()
        .envs(crate::cell::ENVIRONMENT)
        .current_dir("/")
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        // So the cell itself holds the lock as long as it lives, even if somebody kills the keeper.
        .stderr(Stdio::from(lock))
        .spawn()
        .map_err(CellError::start)?;
    let begun = ready(&mut child).and_then(|()| {
        if let Some(cgroup) = &cgroup {
            fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).map_err(CellError::start)?;
        }
        let namespace = fs::metadata(format!("/proc/{}/ns/pid", child.id())).map_err(CellError::start)?.ino();
        Ok(Place { id: id.to_owned(), init: child.id(), namespace, cells: cells.to_owned(), cgroup })
    });
    match begun {
        Ok(place) => Ok((Begun { place, notices }, child)),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

fn make_cgroup(cgroup: PathBuf, record: &mut Record, notices: &mut Vec<String>) -> Option<PathBuf> {
    match fs::create_dir(&cgroup) {
        Ok(()) => Some(cgroup),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Some(cgroup),
        Err(error) => {
            record.cgroup = None;
            notices.push(format!(
                "The run's processes have no cgroup of their own: {}: {error}",
                cgroup.display()
            ));
            None
        }
    }
}

/// Waits until the first process is where it should be.
fn ready(child: &mut std::process::Child) -> Result<(), CellError> {
    let output = child.stdout.take().ok_or_else(|| CellError::start("no pipe"))?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).map_err(CellError::start)?;
    match line.trim_end() {
        "ready" => Ok(()),
        "" => Err(CellError::start("its first process ended")),
        reason => Err(CellError::start(reason)),
    }
}

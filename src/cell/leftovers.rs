//! What a cell leaves on the host, and how it goes away: at its end by its keeper, after a power loss at the next start.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{
    mount_table,
    order::{Record, anchor, lock_file, record_file},
};

/// How long the kernel may take to end the processes of a cgroup.
const CGROUP_PATIENCE: Duration = Duration::from_secs(10);

/// Removes what cells left that nobody holds any more, and answers what that was. Call it before the first run.
///
/// # Errors
/// When the folder cannot be read; that it does not exist is no error.
pub fn clean_leftovers(cells: &Path) -> io::Result<Vec<String>> {
    let mut cleaned = Vec::new();
    let entries = match fs::read_dir(cells) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(cleaned),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let Some(id) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".lock"))
            .map(str::to_owned)
        else {
            continue;
        };
        let Ok(lock) = fs::File::options().read(true).write(true).open(&path) else { continue };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => cleaned.extend(remove(cells, &id, None)),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(cleaned)
}

/// Removes what the cell `id` leaves. To be called with its lock held, after its processes have ended. `cgroup` is that of
/// the cell if the caller knows it: the record may have gone with the data folder.
pub(super) fn remove(cells: &Path, id: &str, cgroup: Option<&Path>) -> Vec<String> {
    let mut told = Vec::new();
    let noted = read(cells, id).cgroup;
    if let Some(cgroup) = cgroup.or(noted.as_deref())
        && cgroup.exists()
    {
        match end_cgroup(cgroup) {
            Ok(()) => told.push(format!("removed the cgroup {}", cgroup.display())),
            Err(error) => told.push(format!("could not remove the cgroup {}: {error}", cgroup.display())),
        }
    }
    told.extend(remove_folders(cells, id));
    let _ = fs::remove_dir(anchor(cells, id));
    let _ = fs::remove_file(record_file(cells, id));
    let _ = fs::remove_file(lock_file(cells, id));
    told
}

/// Removes the folders made for the mount of the cell `id` that no other cell needs, and says what it did.
pub(super) fn remove_folders(cells: &Path, id: &str) -> Vec<String> {
    let mut record = read(cells, id);
    if record.folders.is_empty() {
        return Vec::new();
    }
    let _one_at_a_time = lock_folders(cells);
    let of_others = folders_of_others(cells, id).unwrap_or_default();
    let mut told = Vec::new();
    for folder in std::mem::take(&mut record.folders) {
        // It is noted there as well, and removed with that cell.
        if of_others.contains(&folder) {
            continue;
        }
        // Only ever an empty folder: what somebody put there is not ours.
        match fs::remove_dir(&folder) {
            Ok(()) => told.push(format!("removed the folder {}", folder.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                told.push(format!("could not remove the folder {}: {error}", folder.display()));
                record.folders.push(folder);
            }
        }
    }
    let _ = write(cells, id, &record);
    told
}

/// The folders that other cells have made for their mounts, or need although others made them.
pub(super) fn folders_of_others(cells: &Path, id: &str) -> io::Result<BTreeSet<PathBuf>> {
    let mut folders = BTreeSet::new();
    for entry in fs::read_dir(cells)? {
        let path = entry?.path();
        let name =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
        if let Some(other) = name
            && other != id
        {
            folders.extend(read(cells, other).folders);
        }
    }
    Ok(folders)
}

/// Holds other cells back from making and removing folders, until the answer is dropped.
pub(super) fn lock_folders(cells: &Path) -> io::Result<fs::File> {
    let lock = fs::File::open(cells)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

/// What is noted about the cell `id`; nothing if that cannot be read.
pub(super) fn read(cells: &Path, id: &str) -> Record {
    fs::read(record_file(cells, id))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// Notes it, in one step.
pub(super) fn write(cells: &Path, id: &str, record: &Record) -> io::Result<()> {
    let file = record_file(cells, id);
    let new = cells.join(format!("{id}.json.new"));
    fs::write(&new, serde_json::to_vec(record)?)?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(new, file)
}

/// Ends all processes of a cgroup and removes it.
fn end_cgroup(cgroup: &Path) -> io::Result<()> {
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    let until = Instant::now() + CGROUP_PATIENCE;
    loop {
        match fs::remove_dir(cgroup) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            ended => return ended,
        }
    }
}

/// Where the cgroup of a cell would be: below that of this process, in the hierarchy of version 2.
pub(super) fn cgroup_for(id: &str) -> io::Result<PathBuf> {
    let mounts = mount_table::parse(&fs::read_to_string("/proc/self/mountinfo")?);
    let mount = mounts
        .into_iter()
        .find(|mount| mount.kind == "cgroup2")
        .ok_or_else(|| io::Error::other("there is no cgroup version 2"))?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or_else(|| io::Error::other("there is no cgroup version 2"))?;
    let parent = mount.target.join(own.trim_start_matches('/'));
    Ok(parent.join(format!("fournil-cell-{id}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_power_loss_left_is_removed_and_the_living_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (cells, mount) = (folder.path().join("cells"), folder.path().join("mnt"));
        assert!(clean_leftovers(&cells).unwrap().is_empty(), "there is no folder yet");
        fs::create_dir_all(mount.join("dead")).unwrap();
        fs::create_dir_all(mount.join("used")).unwrap();
        fs::write(mount.join("used/file"), "of somebody else").unwrap();
        for id in ["dead", "living"] {
            fs::create_dir_all(anchor(&cells, id)).unwrap();
            fs::write(lock_file(&cells, id), "").unwrap();
        }
        let folders = vec![mount.join("dead"), mount.join("used")];
        write(&cells, "dead", &Record { folders, cgroup: None }).unwrap();
        write(&cells, "living", &Record::default()).unwrap();
        let held = fs::File::open(lock_file(&cells, "living")).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();

        let told = clean_leftovers(&cells).unwrap();
        assert!(told.iter().any(|line| line.contains("removed") && line.contains("dead")), "{told:?}");
        assert!(!mount.join("dead").exists() && mount.join("used/file").exists());
        assert!(!record_file(&cells, "dead").exists() && !anchor(&cells, "dead").exists());
        assert!(record_file(&cells, "living").exists() && anchor(&cells, "living").exists());
        drop(held);
        clean_leftovers(&cells).unwrap();
        assert_eq!(fs::read_dir(&cells).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_another_cell_needs_stays_until_that_one_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (cells, mount) = (folder.path().join("cells"), folder.path().join("mnt"));
        fs::create_dir_all(&cells).unwrap();
        fs::create_dir_all(mount.join("shared")).unwrap();
        for id in ["first", "second"] {
            let folders = vec![mount.join("shared"), mount.clone()];
            write(&cells, id, &Record { folders, cgroup: None }).unwrap();
        }
        assert!(remove(&cells, "first", None).is_empty());
        assert!(mount.join("shared").exists());
        assert_eq!(remove(&cells, "second", None).len(), 2);
        assert!(!mount.exists());
    }
}

//! The folder for a sandbox's disks: locked while it is used, and cleared before and after, because the region
//! that the disks belong to lives in memory only.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use crate::{backend::host, config::Config};

/// Where disks are. Nobody else uses the folder at the same time, so that what a killed sandbox left can go.
pub struct StateFolder {
    /// Where it is.
    pub path: PathBuf,
    _lock: File,
    /// Removed with everything in it when the sandbox goes.
    _temporary: Option<tempfile::TempDir>,
}

/// How temporary state folders are called.
const TEMPORARY_PREFIX: &str = "oapi-sandbox-";

/// The record of devices in the folder.
const HOST_DEVICES: &str = "host-devices.json";

/// How much must be free in memory-backed `/dev/shm` to be the default place of disks.
const ROOM_IN_MEMORY: u64 = 8 << 30;

impl StateFolder {
    /// Opens the folder that the command line names, or makes a temporary one.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let (path, temporary) = match &config.state_dir {
            Some(folder) => (folder.clone(), None),
            None => {
                remove_abandoned(Path::new("/dev/shm"));
                let mut builder = tempfile::Builder::new();
                let builder = builder.prefix(TEMPORARY_PREFIX);
                // Loop devices sync their files at every start and stop, which costs nothing there.
                let folder = if has_room(Path::new("/dev/shm")) {
                    builder.tempdir_in("/dev/shm")
                } else {
                    builder.tempdir()
                };
                let folder = folder.context("could not make a temporary folder")?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        std::fs::create_dir_all(&path)
            .with_context(|| format!("could not make the folder {}", path.display()))?;
        let lock =
            File::create(path.join("lock")).context("could not make a lock file in the state folder")?;
        lock.try_lock()
            .with_context(|| format!("the folder {} is used by another sandbox", path.display()))?;
        remove_host_devices(&path);
        let disks = path.join("disks");
        if disks.exists() {
            std::fs::remove_dir_all(&disks)
                .with_context(|| format!("could not clear {}", disks.display()))?;
        }
        Ok(Self { path, _lock: lock, _temporary: temporary })
    }

    /// Where the devices are recorded that volumes have become on this machine.
    pub fn host_devices(&self) -> PathBuf {
        self.path.join(HOST_DEVICES)
    }

    /// Removes the disks; they mean nothing without the region, which lives in memory.
    pub fn clear(&self) {
        for name in ["disks", "run"] {
            let folder = self.path.join(name);
            if let Err(error) = std::fs::remove_dir_all(&folder)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "could not remove {}", folder.display());
            }
        }
    }
}

/// Removes the links that a killed sandbox left in `/dev`.
fn remove_host_devices(folder: &Path) {
    if let Err(error) = host::remove_leftovers(&folder.join(HOST_DEVICES)) {
        tracing::warn!(%error, "the links that a killed sandbox left in /dev could not be removed");
    }
}

/// Removes what killed sandboxes left in memory: folders that nobody holds, if they are not brand-new.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX);
        let Ok(lock) = File::open(entry.path().join("lock")) else { continue };
        let age =
            lock.metadata().and_then(|lock| lock.modified()).map(|time| time.elapsed().unwrap_or_default());
        let is_old = age.is_ok_and(|age| age > Duration::from_secs(60));
        if is_ours && is_old && lock.try_lock().is_ok() {
            remove_host_devices(&entry.path());
            match std::fs::remove_dir_all(entry.path()) {
                Ok(()) => tracing::info!("removed {}, which a killed sandbox left", entry.path().display()),
                Err(error) => tracing::warn!(%error, "could not remove {}", entry.path().display()),
            }
        }
    }
}

fn has_room(folder: &Path) -> bool {
    nix::sys::statvfs::statvfs(folder)
        .is_ok_and(|space| space.blocks_available().saturating_mul(space.fragment_size()) >= ROOM_IN_MEMORY)
}

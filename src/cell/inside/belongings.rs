//! Which mounts below the image's root are the image's own, and which are the host's and only lent to it. An image may
//! hold links to these, and its commands may even move the folders that they are mounted on: so each is known by its
//! number and by the path at which it was put there, before any command of the image could run.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::place::Doors;
use crate::cell::{CellError, mount_table::Mount};

/// The file of the anchor in which this is noted.
const NOTE: &str = "mounts";

/// File systems that only hold files, although no block device is behind them. Others of that sort are ways to the kernel.
const OF_FILES: [&str; 5] = ["tmpfs", "ramfs", "btrfs", "overlay", "zfs"];

/// The mounts below an image's root.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Belongings {
    /// Numbers of those that hold files of nobody else, e.g. a `/boot` of its own.
    own: BTreeSet<u64>,
    /// Those of the host or the kernel, and where they are in the image.
    lent: Vec<(u64, PathBuf)>,
}

impl Belongings {
    /// What is noted; to begin with, what is mounted now.
    pub fn of(doors: &Doors) -> Result<Self, CellError> {
        match Self::noted(doors)? {
            Some(known) => Ok(known),
            None => Self::note(doors),
        }
    }

    /// Notes what was mounted since the last time.
    pub fn note(doors: &Doors) -> Result<Self, CellError> {
        let mut known = Self::noted(doors)?.unwrap_or_default();
        known.add(&doors.mounts()?, &doors.root_path()?);
        serde_json::to_vec(&known)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(doors.place.anchor().join(NOTE), text))
            .map_err(|error| CellError::failed("note what is mounted in the image", error))?;
        Ok(known)
    }

    fn noted(doors: &Doors) -> Result<Option<Self>, CellError> {
        let read = match fs::read(doors.place.anchor().join(NOTE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        read.map_err(|error| CellError::failed("read what is mounted in the image", error))
    }

    /// Nothing is mounted any more.
    pub fn forget(anchor: &Path) {
        let _ = fs::remove_file(anchor.join(NOTE));
    }

    fn add(&mut self, mounts: &[Mount], root: &Path) {
        let of_host: BTreeSet<&str> = mounts
            .iter()
            .filter(|mount| !mount.target.starts_with(root))
            .map(|mount| mount.device.as_str())
            .collect();
        for mount in mounts {
            let Ok(within) = mount.target.strip_prefix(root) else { continue };
            let is_known =
                self.own.contains(&mount.id) || self.lent.iter().any(|(lent, _)| *lent == mount.id);
            if is_known || within.as_os_str().is_empty() {
                continue;
            }
            let has_files = !mount.device.starts_with("0:") || OF_FILES.contains(&mount.kind.as_str());
            if has_files && !of_host.contains(mount.device.as_str()) {
                self.own.insert(mount.id);
            } else {
                self.lent.push((mount.id, Path::new("/").join(within)));
            }
        }
    }

    /// Whether links of the image may lead to it.
    pub fn is_own(&self, mount: u64) -> bool {
        self.own.contains(&mount)
    }

    /// Whether who says `path` says that mount.
    pub fn is_named(&self, mount: u64, path: &Path) -> bool {
        let path = Path::new("/").join(path);
        self.lent.iter().any(|(lent, at)| *lent == mount && path.starts_with(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::mount_table::parse;

    const TABLE: &str = "1 0 254:0 / / rw - ext4 /dev/vda rw\n2 1 0:5 / /dev rw - devtmpfs dev rw\n\
        3 1 0:30 / /proc rw - proc proc rw\n\
        10 1 7:1 / /mnt/x rw - ext4 /dev/loop1 rw\n11 10 7:2 / /mnt/x/boot rw - vfat /dev/loop2 rw\n\
        12 10 0:5 / /mnt/x/dev rw - devtmpfs dev rw\n13 10 0:77 / /mnt/x/run rw - tmpfs t rw\n\
        14 10 254:0 /srv /mnt/x/srv rw - ext4 /dev/vda rw\n15 10 0:78 / /mnt/x/fmt rw - binfmt_misc b rw\n\
        16 1 7:9 / /mnt/xy rw - ext4 /dev/loop9 rw\n";

    #[test]
    fn what_the_host_has_too_and_what_leads_to_the_kernel_is_lent() {
        let mut known = Belongings::default();
        known.add(&parse(TABLE), Path::new("/mnt/x"));
        assert_eq!(known.own, BTreeSet::from([11, 13]));
        let lent: Vec<_> = known.lent.iter().map(|(id, at)| (*id, at.to_str().unwrap())).collect();
        assert_eq!(lent, [(12, "/dev"), (14, "/srv"), (15, "/fmt")]);
        assert!(known.is_named(12, Path::new("/dev/shm/x")) && known.is_named(12, Path::new("dev")));
        assert!(!known.is_named(12, Path::new("/device")) && !known.is_named(14, Path::new("/dev/x")));
    }

    #[test]
    fn what_is_known_stays_what_it_was_when_the_image_moves_it() {
        let mut known = Belongings::default();
        known.add(&parse(TABLE), Path::new("/mnt/x"));
        known.add(&parse(&TABLE.replace("/mnt/x/dev ", "/mnt/x/etc ")), Path::new("/mnt/x"));
        assert!(!known.is_named(12, Path::new("/etc/passwd")));
    }
}

//! Who on this machine may make which name in `/dev`: several sandboxes stay out of each other's way, because a name is
//! held by a locked file, which the kernel unlocks when its sandbox ends in whatever way.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{backend::names::letters, machine::loop_device::file_of};

/// Where the lock files are; they stay, and say nothing by being there.
const FOLDER: &str = "/run/lock/oapi-sandbox";

/// Gives out names.
#[derive(Debug)]
pub(super) struct Claims {
    dev: PathBuf,
    folder: PathBuf,
}

/// A name that nobody else gets until this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    /// `f` of `/dev/xvdf` and `/dev/sdf`, which are one disk.
    pub letters: String,
    _lock: File,
}

impl Claims {
    /// Of the names in this folder (`/dev`).
    pub fn new(dev: &Path) -> io::Result<Self> {
        Self::with_folder(dev, Path::new(FOLDER))
    }

    fn with_folder(dev: &Path, folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { dev: dev.to_owned(), folder: folder.to_owned() })
    }

    /// Takes the name that a volume is to be linked as; nothing if it is taken, or there is such a device.
    pub fn take(&self, device_name: &str) -> io::Result<Option<Claim>> {
        let Some(letters) = letters(device_name) else { return Ok(None) };
        let Some(claim) = self.lock(letters)? else { return Ok(None) };
        let link = self.dev.join(format!("xvd{letters}"));
        if is_left_behind(&link) {
            fs::remove_file(&link)?;
        }
        let asked = self.dev.join(device_name.trim_start_matches("/dev/"));
        let is_free = [link, asked].iter().all(|path| fs::symlink_metadata(path).is_err());
        Ok(is_free.then_some(claim))
    }

    /// Takes a name, whatever there is in `/dev`; nothing if another sandbox has it.
    pub fn lock(&self, letters: &str) -> io::Result<Option<Claim>> {
        let lock = File::create(self.folder.join(format!("xvd{letters}")))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Claim { letters: letters.to_owned(), _lock: lock })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Whether a link is one of a killed sandbox: it leads to a loop device that has no file any more.
fn is_left_behind(link: &Path) -> bool {
    let number =
        fs::read_link(link).ok().and_then(|target| target.to_str()?.strip_prefix("loop")?.parse().ok());
    number.is_some_and(|number| file_of(number).is_none())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_name_is_given_once_and_comes_back() {
        let (dev, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let claims = Claims::with_folder(dev.path(), folder.path()).unwrap();
        let others = Claims::with_folder(dev.path(), folder.path()).unwrap();
        let claim = claims.take("/dev/sdf").unwrap().unwrap();
        assert_eq!(claim.letters, "f");
        assert!(others.take("/dev/xvdf").unwrap().is_none() && claims.take("/dev/sdf").unwrap().is_none());
        assert!(others.take("/dev/xvdg").unwrap().is_some());
        drop(claim);
        assert!(others.take("/dev/xvdf").unwrap().is_some());
        assert!(claims.take("/dev/sda1").unwrap().is_none());
    }

    #[test]
    fn a_device_is_left_alone_and_a_dead_link_is_not() {
        let (dev, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let claims = Claims::with_folder(dev.path(), folder.path()).unwrap();
        fs::write(dev.path().join("sdg"), "").unwrap();
        assert!(claims.take("/dev/sdg").unwrap().is_none() && claims.take("/dev/xvdg").unwrap().is_some());
        symlink("sda", dev.path().join("xvdh")).unwrap();
        assert!(claims.take("/dev/xvdh").unwrap().is_none());
        symlink("loop999999", dev.path().join("xvdi")).unwrap();
        assert!(claims.take("/dev/xvdi").unwrap().is_some());
        assert!(fs::symlink_metadata(dev.path().join("xvdi")).is_err());
    }
}

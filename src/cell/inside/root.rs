//! Finding files in the image's root. Every path is found by the kernel as if the root were the process's own, so that
//! no link in the image leads out of it, also while somebody changes it.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags, ResolveFlags, mkdirat, open, openat2},
    io::Errno,
};

use crate::cell::CellError;

/// How often a path is looked for again because it was being renamed meanwhile.
const TRIES: u32 = 128;

/// The image's root.
pub(super) struct Root(OwnedFd);

impl Root {
    /// Opens the folder at which it is mounted.
    pub fn open(path: &Path) -> Result<Self, CellError> {
        open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map(Self)
            .map_err(|error| CellError::failed(format!("open {}", path.display()), error))
    }

    /// Opens `path` in the image.
    pub fn find(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // With O_PATH nothing is opened, and the kernel refuses flags that would say how.
        let further =
            if flags.contains(OFlags::PATH) { OFlags::CLOEXEC } else { OFlags::CLOEXEC | OFlags::NOCTTY };
        let mut tries = 0;
        loop {
            match openat2(&self.0, path, flags | further, mode, resolve) {
                Err(Errno::AGAIN) if tries < TRIES => tries += 1,
                Err(Errno::INTR) => {}
                found => return Ok(found?),
            }
        }
    }

    /// Opens the folder `path`, and makes it and those above it (0755) where they do not exist.
    pub fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut walked = PathBuf::from("/");
        let mut folder = self.find(&walked, flags, Mode::empty())?;
        for part in path.components().filter(|part| !matches!(part, std::path::Component::RootDir)) {
            walked.push(part);
            folder = match self.find(&walked, flags, Mode::empty()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match mkdirat(&folder, part.as_os_str(), Mode::from(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    self.find(&walked, flags, Mode::empty())?
                }
                found => found?,
            };
        }
        Ok(folder)
    }
}

//! Finding files in the image's root. Every path is found by the kernel as if the root were the process's own, so that
//! no link in the image leads out of it, also while somebody changes it. What is mounted from the host below the root is
//! not the image's: a link must not lead there either, and only who names the way there comes to it.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, mkdirat, open, openat2, readlinkat, statx},
    io::Errno,
};

use super::belongings::Belongings;
use crate::cell::CellError;

/// How often a path is looked for again because it was being renamed meanwhile.
const TRIES: u32 = 128;

/// How many links a new file is looked for behind, as in the kernel.
const MOST_LINKS: u32 = 40;

/// Paths are found as if the image's root were that of this process, and those of `/proc` that are no paths lead nowhere.
const IN_IMAGE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// The image's root.
pub(super) struct Root {
    folder: OwnedFd,
    /// The number of its mount.
    mount: u64,
    belongings: Belongings,
}

impl Root {
    /// Opens the folder at which it is mounted.
    pub fn open(path: &Path, belongings: Belongings) -> Result<Self, CellError> {
        let opened = || {
            let folder = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            let mount = mount_of(&folder)?;
            io::Result::Ok((folder, mount))
        };
        opened()
            .map(|(folder, mount)| Self { folder, mount, belongings })
            .map_err(|error| CellError::failed(format!("open {}", path.display()), error))
    }

    /// Opens `path` in the image, which exists; for a new file there is [`Root::create`].
    pub fn find(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.own(path, flags, true)
    }

    /// Makes the file `path`, which does not exist, and opens it to write. Where a link leads to no file yet it is made there.
    pub fn create(&self, path: &Path, mode: Mode) -> io::Result<OwnedFd> {
        let mut path = path.to_owned();
        let mut links = 0;
        loop {
            let name = path.file_name().ok_or_else(|| io::Error::other("it is no name of a file"))?;
            let parent = path.parent().unwrap_or(Path::new("/"));
            // What a link says is not what somebody named.
            let folder = self.own(parent, OFlags::PATH | OFlags::DIRECTORY, links == 0)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            match self.look(&folder, Path::new(name), flags, mode, IN_IMAGE) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    path = parent.join(target(&folder, name)?);
                }
                made => return made,
            }
        }
    }

    /// Opens the folder `path`, and makes it and those above it (0755) where they do not exist.
    pub fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut walked = PathBuf::from("/");
        let mut folder = self.find(&walked, flags)?;
        for part in path.components().filter(|part| !matches!(part, std::path::Component::RootDir)) {
            walked.push(part);
            folder = match self.find(&walked, flags) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match mkdirat(&folder, part.as_os_str(), Mode::from(0o755)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    self.find(&walked, flags)?
                }
                found => found?,
            };
        }
        Ok(folder)
    }

    /// Opens `path` if it is on a mount of the image's own, or if it `is_named` by whoever asks and leads without any link
    /// to what was lent to the image there.
    fn own(&self, path: &Path, flags: OFlags, is_named: bool) -> io::Result<OwnedFd> {
        let found = self.look(&self.folder, path, flags, Mode::empty(), IN_IMAGE)?;
        let mount = mount_of(&found)?;
        if mount == self.mount || self.belongings.is_own(mount) {
            return Ok(found);
        }
        let without_links = IN_IMAGE | ResolveFlags::NO_SYMLINKS;
        if is_named
            && let Ok(named) = self.look(&self.folder, path, flags, Mode::empty(), without_links)
            && self.belongings.is_named(mount_of(&named)?, path)
        {
            return Ok(named);
        }
        Err(io::Error::other(
            "a link in the image leads to what is mounted there; give the path that it leads to if you mean that",
        ))
    }

    fn look(
        &self,
        from: &OwnedFd,
        path: &Path,
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags,
    ) -> io::Result<OwnedFd> {
        // With O_PATH nothing is opened, and the kernel refuses flags that would say how.
        let further =
            if flags.contains(OFlags::PATH) { OFlags::CLOEXEC } else { OFlags::CLOEXEC | OFlags::NOCTTY };
        let mut tries = 0;
        loop {
            match openat2(from, path, flags | further, mode, resolve) {
                Err(Errno::AGAIN) if tries < TRIES => tries += 1,
                Err(Errno::INTR) => {}
                found => return Ok(found?),
            }
        }
    }
}

/// The number of the mount that a file was found on (`statx`, Linux 5.8).
fn mount_of(file: impl AsFd) -> io::Result<u64> {
    let status = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if StatxFlags::from_bits_retain(status.stx_mask).contains(StatxFlags::MNT_ID) {
        Ok(status.stx_mnt_id)
    } else {
        Err(io::Error::other("this kernel does not tell which mount a file is on: it is older than 5.8"))
    }
}

/// Where the link `name` leads.
fn target(folder: &OwnedFd, name: &OsStr) -> io::Result<PathBuf> {
    let target = readlinkat(folder, name, Vec::new()).map_err(|error| match error {
        // No link, and yet it could not be opened as what exists: somebody made it just now.
        Errno::INVAL => io::Error::other("somebody else made it at the same time"),
        error => error.into(),
    })?;
    Ok(PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(target.into_bytes())))
}

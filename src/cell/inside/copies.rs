//! Files of the host that the image has for the time of the run, e.g. `/etc/resolv.conf`. What it had is set aside and
//! put back.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, FileType, Mode, OFlags, fchmod, fstat, openat, renameat, statat, unlinkat},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{place::Doors, root::Root};
use crate::cell::{
    CellError,
    order::{Answer, Done},
};

/// Room for the name of what is set aside, in bytes.
const LONGEST_NAME: usize = 150;

/// A copy that is in the image.
#[derive(Serialize, Deserialize)]
struct Copied {
    file: PathBuf,
    /// What was set aside, in the same folder.
    aside: Option<OsString>,
    /// Of the content that we wrote, in hex.
    sha256: String,
}

/// Copies a file of the host to the same path in the image.
pub(super) fn copy_in(doors: &Doors, file: &Path) -> Answer {
    let root = doors.root()?;
    let path = Path::new("/").join(file);
    let inside = |error: io::Error| CellError::path(path.display().to_string(), error);
    let on_host = |reason: String| CellError::HostFile { path: file.display().to_string(), reason };
    let name = path.file_name().ok_or_else(|| inside(io::Error::other("it is no name of a file")))?;
    if name.len() > LONGEST_NAME {
        return Err(inside(io::Error::other("its name is too long")));
    }
    let known = all(doors)?;
    if known.iter().any(|(_, copied)| copied.file == path) {
        return Ok(Done::default());
    }
    let mut source = fs::File::open(file).map_err(|error| on_host(error.to_string()))?;
    let metadata = source.metadata().map_err(|error| on_host(error.to_string()))?;
    if !metadata.is_file() {
        return Err(on_host("it is not a file".to_owned()));
    }
    let folder = root.folder(path.parent().unwrap_or(Path::new("/"))).map_err(inside)?;
    let had = match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(status) if FileType::from_raw_mode(status.st_mode) == FileType::Directory => {
            return Err(inside(io::Error::other("it is a folder in the image")));
        }
        Ok(_) => true,
        Err(Errno::NOENT) => false,
        Err(error) => return Err(inside(error.into())),
    };

    let new = named(doors, "new", name);
    let _ = unlinkat(&folder, &new, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let written = openat(&folder, &new, flags, Mode::from(0o600)).map_err(|error| inside(error.into()))?;
    let mode = std::os::unix::fs::MetadataExt::mode(&metadata) & 0o777;
    let put = (|| {
        let mut written = fs::File::from(written);
        let mut hashing = Hashing { hash: Sha256::new(), inner: &mut written };
        io::copy(&mut source, &mut hashing)?;
        let sha256 = hex::encode(hashing.hash.finalize());
        fchmod(&written, Mode::from(mode))?;
        let aside = had.then(|| named(doors, "aside", name));
        let note = doors.place.anchor().join("copies").join(format!("{:06}", known.len()));
        // Noted before it is done, so that it can be undone however far it came.
        fs::write(note, serde_json::to_vec(&Copied { file: path.clone(), aside: aside.clone(), sha256 })?)?;
        if let Some(aside) = &aside {
            renameat(&folder, name, &folder, aside)?;
        }
        renameat(&folder, &new, &folder, name)?;
        io::Result::Ok(())
    })();
    put.map_err(|error| {
        let _ = unlinkat(&folder, &new, AtFlags::empty());
        inside(error)
    })?;
    Ok(Done::default())
}

/// Undoes all copies, the last one first. Answers what stayed as somebody made it.
pub(super) fn restore(doors: &Doors, root: &Root) -> Result<Vec<String>, CellError> {
    let mut notices = Vec::new();
    for (note, copied) in all(doors)?.into_iter().rev() {
        let shown = copied.file.display().to_string();
        match put_back(root, &copied) {
            Ok(Some(remark)) => notices.push(format!("{shown} {remark}")),
            Ok(None) => {}
            Err(error) => return Err(CellError::path(shown, format!("could not be put back: {error}"))),
        }
        fs::remove_file(note).map_err(|error| CellError::failed("forget a copy", error))?;
    }
    Ok(notices)
}

fn put_back(root: &Root, copied: &Copied) -> io::Result<Option<&'static str>> {
    let Some(name) = copied.file.file_name() else { return Ok(None) };
    let parent = copied.file.parent().unwrap_or(Path::new("/"));
    let folder = match root.find(parent, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some("is gone with its folder; it was not put back."));
        }
        Err(error) => return Err(error),
    };
    let aside = match &copied.aside {
        // The copy ended before it began.
        Some(aside) if !exists(&folder, aside)? => return Ok(None),
        aside => aside.as_deref(),
    };
    let there = exists(&folder, name)?;
    let unchanged = there && hash(&folder, name)?.is_some_and(|hash| hash == copied.sha256);
    match (unchanged, aside) {
        (true, Some(aside)) => renameat(&folder, aside, &folder, name)?,
        (true, None) => unlinkat(&folder, name, AtFlags::empty())?,
        (false, aside) => {
            if let Some(aside) = aside {
                unlinkat(&folder, aside, AtFlags::empty())?;
            }
            return Ok(there.then_some("was changed during the run and stays so in the image."));
        }
    }
    Ok(None)
}

fn exists(folder: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The hash of a file; nothing if it is none.
fn hash(folder: &OwnedFd, name: &OsStr) -> io::Result<Option<String>> {
    let status = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut hashing = Hashing { hash: Sha256::new(), inner: io::sink() };
    io::copy(&mut fs::File::from(file), &mut hashing)?;
    Ok(Some(hex::encode(hashing.hash.finalize())))
}

/// The copies that are noted, in their order.
fn all(doors: &Doors) -> Result<Vec<(PathBuf, Copied)>, CellError> {
    let read = || {
        let mut notes = fs::read_dir(doors.place.anchor().join("copies"))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        notes.sort();
        notes.into_iter().map(|note| Ok((serde_json::from_slice(&fs::read(&note)?)?, note))).collect()
    };
    let read: io::Result<Vec<(Copied, PathBuf)>> = read();
    let read = read.map_err(|error| CellError::failed("read what was copied", error))?;
    Ok(read.into_iter().map(|(copied, note)| (note, copied)).collect())
}

fn named(doors: &Doors, what: &str, name: &OsStr) -> OsString {
    let mut named = OsString::from(format!(".fournil-{what}-{}-", doors.place.id));
    named.push(name);
    named
}

struct Hashing<W> {
    hash: Sha256,
    inner: W,
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

//! Moving files into the image and out of it.

use std::{
    fs, io,
    io::{Read, Write},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{Dir, FileType, Mode, OFlags, fchmod, fstat, ftruncate};

use super::{place::Doors, root::Root};
use crate::cell::{
    CellError,
    order::{Answer, Done},
};

/// How deep folders may be nested. A link to a folder above itself would be endless.
const MAX_DEPTH: usize = 64;
/// How many files and folders one transfer may hold.
const MAX_ENTRIES: usize = 200_000;

/// Writes one file.
pub(super) fn write(
    doors: &Doors,
    path: &str,
    mode: Option<u32>,
    size: u64,
    content: &mut impl Read,
) -> Answer {
    let root = doors.root()?;
    write_file(&root, Path::new(path), mode, size, content).map_err(|error| CellError::path(path, error))?;
    Ok(Done { bytes: size, ..Done::default() })
}

fn write_file(
    root: &Root,
    path: &Path,
    mode: Option<u32>,
    size: u64,
    content: &mut impl Read,
) -> io::Result<()> {
    // Looked at before it is opened: to open a device is to do something with it.
    let file = match root.find(path, OFlags::PATH) {
        Ok(found) => {
            must_be_file(fstat(found)?.st_mode)?;
            root.find(path, OFlags::WRONLY | OFlags::NONBLOCK)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            root.create(path, Mode::from(mode.unwrap_or(0o644) & 0o777))?
        }
        Err(error) => return Err(error),
    };
    must_be_file(fstat(&file)?.st_mode)?;
    ftruncate(&file, 0)?;
    if let Some(mode) = mode {
        fchmod(&file, Mode::from(mode & 0o7777))?;
    }
    let copied = io::copy(&mut content.take(size), &mut fs::File::from(file))?;
    if copied < size {
        return Err(io::Error::other("the transfer broke off"));
    }
    Ok(())
}

fn must_be_file(mode: u32) -> io::Result<()> {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(io::Error::other("it is a folder, not a file")),
        _ => Err(io::Error::other("it is neither a file nor a folder")),
    }
}

/// Writes what is in a tar archive into a folder.
pub(super) fn write_folder(doors: &Doors, path: &str, archive: &mut impl Read) -> Answer {
    let root = doors.root()?;
    let base = Path::new(path);
    root.folder(base).map_err(|error| CellError::path(path, error))?;
    let broken = |error: io::Error| CellError::failed("read the transfer", error);
    let mut bytes = 0;
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.into_owned();
        if !name.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(broken(io::Error::other(format!("{} leads out of its folder", name.display()))));
        }
        let target = base.join(&name);
        let mode = entry.header().mode().map_err(broken)?;
        let size = entry.size();
        let done = if entry.header().entry_type().is_dir() {
            root.folder(&target)
                .and_then(|_| root.find(&target, OFlags::RDONLY | OFlags::DIRECTORY))
                .and_then(|folder| Ok(fchmod(folder, Mode::from(mode & 0o7777))?))
        } else {
            write_file(&root, &target, Some(mode), size, &mut entry)
        };
        done.map_err(|error| CellError::path(target.display().to_string(), error))?;
        bytes += size;
    }
    Ok(Done { bytes, ..Done::default() })
}

/// Opens a file to read it, with its size and permissions.
fn open_file(root: &Root, path: &Path) -> io::Result<(fs::File, u64, u32)> {
    must_be_file(fstat(root.find(path, OFlags::PATH)?)?.st_mode)?;
    let file = root.find(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let status = fstat(&file)?;
    must_be_file(status.st_mode)?;
    Ok((fs::File::from(file), u64::try_from(status.st_size).unwrap_or(0), status.st_mode & 0o7777))
}

/// Reads one file to the standard output.
pub(super) fn read(doors: &Doors, path: &str, limit: u64) -> Answer {
    let root = doors.root()?;
    let failed = |error: io::Error| CellError::path(path, error);
    let too_large = || CellError::TooLarge { path: path.to_owned(), limit };
    let (file, size, _) = open_file(&root, Path::new(path)).map_err(failed)?;
    if size > limit {
        return Err(too_large());
    }
    // It may grow while it is read.
    let mut output = io::stdout().lock();
    let bytes = io::copy(&mut file.take(limit.saturating_add(1)), &mut output).map_err(failed)?;
    output.flush().map_err(failed)?;
    if bytes > limit {
        return Err(too_large());
    }
    Ok(Done { bytes, ..Done::default() })
}

/// Reads what is in a folder to the standard output, as a tar archive. Links are followed, within the image.
pub(super) fn read_folder(doors: &Doors, path: &str, limit: u64) -> Answer {
    let mut reading = Reading {
        root: doors.root()?,
        archive: tar::Builder::new(io::stdout().lock()),
        limit,
        bytes: 0,
        entries: 0,
    };
    reading.folder(Path::new(path), Path::new(""), 0)?;
    let failed = |error: io::Error| CellError::path(path, error);
    reading.archive.into_inner().and_then(|mut output| output.flush()).map_err(failed)?;
    Ok(Done { bytes: reading.bytes, ..Done::default() })
}

struct Reading<W: Write> {
    root: Root,
    archive: tar::Builder<W>,
    limit: u64,
    bytes: u64,
    entries: usize,
}

impl<W: Write> Reading<W> {
    fn folder(&mut self, path: &Path, name: &Path, depth: usize) -> Result<(), CellError> {
        let failed = |error: io::Error| CellError::path(path.display().to_string(), error);
        if depth > MAX_DEPTH {
            return Err(failed(io::Error::other(
                "its folders are nested too deeply, or a link leads back up",
            )));
        }
        let mut names = self.names(path).map_err(failed)?;
        names.sort();
        for entry in names {
            let (path, name) = (path.join(&entry), name.join(&entry));
            let failed = |error: io::Error| CellError::path(path.display().to_string(), error);
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(failed(io::Error::other(format!("there are more than {MAX_ENTRIES} files"))));
            }
            let status = self.root.find(&path, OFlags::PATH).and_then(|found| Ok(fstat(found)?));
            let mode = status.map_err(failed)?.st_mode;
            if FileType::from_raw_mode(mode) == FileType::Directory {
                let mut header = header(0, mode & 0o7777);
                header.set_entry_type(tar::EntryType::Directory);
                self.archive.append_data(&mut header, &name, io::empty()).map_err(failed)?;
                self.folder(&path, &name, depth + 1)?;
            } else {
                self.file(&path, &name)?;
            }
        }
        Ok(())
    }

    fn names(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let folder = self.root.find(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                let name = name.to_str().map_err(|_| io::Error::other("a name in it is not UTF-8"))?;
                names.push(PathBuf::from(name));
            }
        }
        Ok(names)
    }

    fn file(&mut self, path: &Path, name: &Path) -> Result<(), CellError> {
        let failed = |error: io::Error| CellError::path(path.display().to_string(), error);
        let (file, size, mode) = open_file(&self.root, path).map_err(failed)?;
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limit {
            return Err(CellError::TooLarge { path: path.display().to_string(), limit: self.limit });
        }
        // It may shrink while it is read; the archive must stay whole.
        let content = file.chain(io::repeat(0)).take(size);
        self.archive.append_data(&mut header(size, mode), name, content).map_err(failed)
    }
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header
}

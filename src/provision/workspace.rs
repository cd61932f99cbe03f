//! The working folder of a run on the worker's host: the uploaded files, and what was downloaded from the VM where commands
//! on the host look for it. Files are put into it and taken out of it by their path, and never outside of it: what is a
//! link is no file here.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Folders within folders, and files, that are looked at; a script can make any number.
const MAX_ENTRIES: usize = 100_000;

/// A file below the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Relative to the folder, with `/`.
    pub path: String,
    /// In bytes.
    pub size: u64,
}

/// The regular files below `folder`, by path. Links are neither followed nor listed, nor is a name that is no UTF-8.
///
/// # Errors
/// Those of the file system, or there are too many.
pub fn files_below(folder: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    let mut looked_at = 0;
    while let Some((next, prefix)) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let entry = entry?;
            looked_at += 1;
            if looked_at > MAX_ENTRIES {
                return Err(io::Error::other(format!("there are more than {MAX_ENTRIES} files and folders")));
            }
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push((entry.path(), format!("{path}/")));
            } else if kind.is_file() {
                found.push(Found { path, size: entry.metadata()?.len() });
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The content of a file that [`files_below`] listed.
///
/// # Errors
/// Those of the file system; it became a link meanwhile.
pub fn read(folder: &Path, path: &str) -> io::Result<Vec<u8>> {
    let place = real_place(folder, path, false)?;
    if !fs::symlink_metadata(&place)?.is_file() {
        return Err(io::Error::other("it is no file any more"));
    }
    fs::read(place)
}

/// Puts a file into the folder; what is in its place goes.
///
/// # Errors
/// Those of the file system; one of the folders above it is a link or a file.
pub fn put(folder: &Path, path: &str, data: &[u8]) -> io::Result<()> {
    let place = real_place(folder, path, true)?;
    match fs::remove_file(&place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(place)?;
    io::Write::write_all(&mut file, data)
}

/// Copies the files below one folder to the same places below another, but for those that were changed there since: a script
/// goes on with what the one before it made of a download.
///
/// # Errors
/// Those of [`put`].
pub fn lay_out(from: &Path, to: &Path) -> io::Result<()> {
    for found in files_below(from)? {
        let changed = |folder: &Path| {
            fs::symlink_metadata(real_place(folder, &found.path, false)?).and_then(|about| about.modified())
        };
        if changed(to).is_ok_and(|there| changed(from).is_ok_and(|here| here <= there)) {
            continue;
        }
        put(to, &found.path, &read(from, &found.path)?)?;
    }
    Ok(())
}

/// Does work on files where it holds up no other run.
///
/// # Errors
/// Those of the work.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other).and_then(|done| done)
}

/// Where the path is, with every folder above it a real one.
fn real_place(folder: &Path, path: &str, make: bool) -> io::Result<PathBuf> {
    let mut place = folder.to_owned();
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        if matches!(part, "" | "." | "..") {
            return Err(io::Error::other(format!("{path:?} is no path in the folder")));
        }
        place.push(part);
        if parts.peek().is_none() {
            break;
        }
        match fs::symlink_metadata(&place) {
            Ok(about) if about.is_dir() => {}
            Ok(_) => return Err(io::Error::other(format!("{part:?} in {path:?} is no folder"))),
            Err(error) if make && error.kind() == io::ErrorKind::NotFound => fs::create_dir(&place)?,
            Err(error) => return Err(error),
        }
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_go_in_and_come_out_but_never_through_a_link() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = folder.path();
        fs::write(outside.path().join("secret"), "theirs").unwrap();
        put(root, "a/b/c.txt", b"one").unwrap();
        put(root, "a/b/c.txt", b"three").unwrap();
        symlink(outside.path(), root.join("way-out")).unwrap();
        symlink(outside.path().join("secret"), root.join("secret")).unwrap();

        assert_eq!(files_below(root).unwrap(), [Found { path: "a/b/c.txt".to_owned(), size: 5 }]);
        assert_eq!(read(root, "a/b/c.txt").unwrap(), b"three");
        for path in ["way-out/secret", "secret", "../x", "a//b", "a/b"] {
            assert!(read(root, path).is_err(), "{path}");
        }
        assert!(put(root, "way-out/new", b"x").is_err());
        put(root, "secret", b"mine").unwrap();
        assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"theirs");
        assert_eq!(read(root, "secret").unwrap(), b"mine");

        let copy = tempfile::tempdir().unwrap();
        lay_out(root, copy.path()).unwrap();
        put(copy.path(), "a/b/c.txt", b"changed").unwrap();
        lay_out(root, copy.path()).unwrap();
        assert_eq!(read(copy.path(), "a/b/c.txt").unwrap(), b"changed");
        let later = fs::File::options().write(true).open(root.join("a/b/c.txt")).unwrap();
        later.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(10)).unwrap();
        lay_out(root, copy.path()).unwrap();
        assert_eq!(read(copy.path(), "a/b/c.txt").unwrap(), b"three");
        let copied = files_below(copy.path()).unwrap();
        assert_eq!(
            copied.iter().map(|found| found.path.as_str()).collect::<Vec<_>>(),
            ["a/b/c.txt", "secret"]
        );
    }
}

//! Paths of the uploaded folder: found, and held inside it, links included. Another build's files, or the host's, must
//! not get into a machine because a template names them.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use super::Failure;

/// How deep links and folders are followed when they are checked.
const MAX_DEPTH: usize = 64;

/// The real path of `path` in the folder `root`, with everything below it checked if it is a folder.
pub(super) async fn find(root: &Path, path: &str) -> Result<PathBuf, Failure> {
    let (root, path) = (root.to_owned(), path.to_owned());
    let found = tokio::task::spawn_blocking(move || {
        let failed = |reason: io::Error| Failure::Path { path: root.clone(), reason: reason.to_string() };
        let real_root = fs::canonicalize(&root).map_err(failed)?;
        let found = inside(&real_root, &root.join(&path), &path)?;
        if found.is_dir() {
            check(&real_root, &found, &path, 0)?;
        }
        Ok(found)
    });
    found.await.unwrap_or_else(|error| Err(Failure::Path { path: PathBuf::new(), reason: error.to_string() }))
}

fn inside(root: &Path, path: &Path, shown: &str) -> Result<PathBuf, Failure> {
    let found = fs::canonicalize(path).map_err(|_| Failure::SourceMissing { path: shown.to_owned() })?;
    if found.starts_with(root) { Ok(found) } else { Err(Failure::SourceOutside { path: shown.to_owned() }) }
}

fn check(root: &Path, folder: &Path, shown: &str, depth: usize) -> Result<(), Failure> {
    let failed = |reason: String| Failure::Path { path: folder.to_owned(), reason };
    if depth > MAX_DEPTH {
        return Err(failed("its folders are nested too deeply, or a link leads back up".to_owned()));
    }
    for entry in fs::read_dir(folder).map_err(|error| failed(error.to_string()))? {
        let path = entry.map_err(|error| failed(error.to_string()))?.path();
        if path.is_symlink() {
            inside(
                root,
                &path,
                &format!("{shown}/{}", path.strip_prefix(folder).unwrap_or(&path).display()),
            )?;
        }
        if path.is_dir() {
            check(root, &path, shown, depth + 1)?;
        }
    }
    Ok(())
}

/// Where a download with this destination goes: below `root`, whatever the destination says.
pub(super) fn destination(root: &Path, destination: &str) -> Result<PathBuf, Failure> {
    let mut path = root.to_owned();
    for component in Path::new(destination).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => return Err(Failure::DestinationOutside { path: destination.to_owned() }),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(path)
}

//! Folders on fournil's side: listing one to send it, and names that are safe to write.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::CommunicatorError;

/// How deep folders may be nested. A link to a folder above itself would be endless.
pub(super) const MAX_DEPTH: usize = 64;
/// How many files and folders one transfer may hold.
pub(super) const MAX_ENTRIES: usize = 200_000;

/// One step of a walk through a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Go down into this folder.
    Enter {
        /// Its name.
        name: String,
        /// Its permissions.
        mode: u32,
    },
    /// Here is this file.
    File {
        /// Its name.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
    /// Go up again.
    Leave,
}

/// Lists what is in `folder`, in the order of names. Links are followed; what is neither file nor folder is an error.
pub(super) async fn walk(folder: &Path) -> Result<Vec<Entry>, CommunicatorError> {
    let folder = folder.to_owned();
    let listed = tokio::task::spawn_blocking(move || {
        let mut entries = Vec::new();
        list(&folder, 0, &mut entries).map(|()| entries)
    });
    listed.await.unwrap_or_else(|error| Err(CommunicatorError::reading("", io::Error::other(error))))
}

fn list(folder: &Path, depth: usize, entries: &mut Vec<Entry>) -> Result<(), CommunicatorError> {
    let failed = |source| CommunicatorError::reading(folder, source);
    if depth > MAX_DEPTH {
        return Err(failed(io::Error::other("its folders are nested too deeply, or a link leads back up")));
    }
    let mut found = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(failed)?;
    found.sort_by_key(fs::DirEntry::file_name);
    for entry in found {
        if entries.len() >= MAX_ENTRIES {
            return Err(failed(io::Error::other(format!("it holds more than {MAX_ENTRIES} files"))));
        }
        let path = entry.path();
        let failed = |source| CommunicatorError::reading(&path, source);
        let name =
            entry.file_name().into_string().map_err(|_| failed(io::Error::other("its name is not UTF-8")))?;
        let metadata = fs::metadata(&path).map_err(failed)?;
        if metadata.is_dir() {
            entries.push(Entry::Enter { name, mode: metadata.permissions().mode() & 0o7777 });
            list(&path, depth + 1, entries)?;
            entries.push(Entry::Leave);
        } else if metadata.is_file() {
            entries.push(Entry::File { name, path });
        } else {
            return Err(failed(io::Error::other("it is neither a file nor a folder")));
        }
    }
    Ok(())
}

/// Opens a local file for sending, with its size and permissions.
pub(super) async fn open(path: &Path) -> Result<(tokio::fs::File, u64, u32), CommunicatorError> {
    let failed = |source| CommunicatorError::reading(path, source);
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let metadata = file.metadata().await.map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is not a file")));
    }
    Ok((file, metadata.len(), metadata.permissions().mode() & 0o7777))
}

/// Creates the local file for a download, and the folder for it.
pub(super) async fn create(path: &Path) -> Result<tokio::fs::File, CommunicatorError> {
    if let Some(folder) = path.parent() {
        create_folder(folder).await?;
    }
    tokio::fs::File::create(path).await.map_err(|source| CommunicatorError::writing(path, source))
}

/// Makes a local folder and those above it, if they do not exist.
pub(super) async fn create_folder(path: &Path) -> Result<(), CommunicatorError> {
    tokio::fs::create_dir_all(path).await.map_err(|source| CommunicatorError::writing(path, source))
}

/// Whether a name that the machine sent stays in the folder in which it is written.
pub(super) fn is_safe_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

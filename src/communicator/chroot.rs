//! The way into a chroot on the worker's own machine: commands and files pass through its cell.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::{
    Communicator, CommunicatorError, Content, Exit, Output, Upload,
    tree::{self, Entry},
};
use crate::cell::{Cell, CellError};

/// Puts something around a command: gets one for the host's shell, answers what that shell runs instead.
pub type Wrap = Box<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// Where relative paths start.
const HOME: &str = "/root";

/// A block of a tar archive, in bytes.
const BLOCK: u64 = 512;

/// How much of an archive waits to be read, in bytes.
const PIPE: usize = 64 * 1024;

/// A way into one chroot.
pub struct Chroot {
    cell: Arc<Cell>,
    wrap: Option<Wrap>,
}

impl Chroot {
    /// Into the image that is mounted in this cell; `wrap` is put around each command.
    #[must_use]
    pub fn new(cell: Arc<Cell>, wrap: Option<Wrap>) -> Self {
        Self { cell, wrap }
    }

    async fn run_command(&self, command: &str, output: &dyn Output) -> Result<Exit, CommunicatorError> {
        let Some(wrap) = &self.wrap else { return Ok(self.cell.run_inside(command, output).await?) };
        let wrap = |command: &str| {
            wrap(command)
                .map_err(|reason| CellError::Failed { doing: "render `command_wrapper`".to_owned(), reason })
        };
        Ok(self.cell.run_inside_wrapped(command, wrap, output).await?)
    }

    async fn send(&self, upload: Upload<'_>, remote: &str) -> Result<(), CommunicatorError> {
        let path = absolute(remote);
        match upload.content {
            Content::Bytes(mut bytes) => {
                let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.cell.write_file(&path, upload.mode, size, &mut bytes).await?;
            }
            Content::File(local) => {
                let (mut file, size, mode) = tree::open(local).await?;
                self.cell.write_file(&path, Some(upload.mode.unwrap_or(mode)), size, &mut file).await?;
            }
        }
        Ok(())
    }

    async fn send_folder(&self, local: &Path, remote: &str) -> Result<(), CommunicatorError> {
        let entries = tree::walk(local).await?;
        let path = absolute(remote);
        let (mut reader, writer) = tokio::io::duplex(PIPE);
        let (packed, written) =
            tokio::join!(pack(entries, writer), self.cell.write_folder(&path, &mut reader).map(Ok));
        // What the image refused is why nobody reads the rest of the archive.
        written.and_then(|written: Result<(), CellError>| Ok(written?)).and(packed)
    }

    async fn receive(&self, remote: &str, local: &Path, limit: u64) -> Result<u64, CommunicatorError> {
        let file = tree::create(local).await?;
        match self.cell.read_file(&absolute(remote), limit, file).await {
            Ok(size) => Ok(size),
            Err(error) => {
                // Half a file is none.
                let _ = tokio::fs::remove_file(local).await;
                Err(named(error, remote))
            }
        }
    }

    async fn receive_folder(&self, remote: &str, local: &Path, limit: u64) -> Result<u64, CommunicatorError> {
        tree::create_folder(local).await?;
        let failed = |source| CommunicatorError::writing(local, source);
        let archive = tempfile::tempfile().map_err(failed)?;
        let copy = archive.try_clone().map_err(failed)?;
        let size = self
            .cell
            .read_folder(&absolute(remote), limit, tokio::fs::File::from_std(copy))
            .await
            .map_err(|error| named(error, remote))?;
        let mut archive = tokio::fs::File::from_std(archive);
        archive.rewind().await.map_err(failed)?;
        let (archive, folder) = (archive.into_std().await, local.to_owned());
        let unpacked = tokio::task::spawn_blocking(move || unpack(archive, &folder));
        unpacked.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failed)?;
        Ok(size)
    }
}

impl Communicator for Chroot {
    fn run<'a>(
        &'a self,
        command: &'a str,
        output: &'a dyn Output,
    ) -> BoxFuture<'a, Result<Exit, CommunicatorError>> {
        self.run_command(command, output).boxed()
    }

    fn upload<'a>(
        &'a self,
        upload: Upload<'a>,
        remote: &'a str,
    ) -> BoxFuture<'a, Result<(), CommunicatorError>> {
        self.send(upload, remote).boxed()
    }

    fn upload_folder<'a>(
        &'a self,
        local: &'a Path,
        remote: &'a str,
    ) -> BoxFuture<'a, Result<(), CommunicatorError>> {
        self.send_folder(local, remote).boxed()
    }

    fn download<'a>(
        &'a self,
        remote: &'a str,
        local: &'a Path,
        limit: u64,
    ) -> BoxFuture<'a, Result<u64, CommunicatorError>> {
        self.receive(remote, local, limit).boxed()
    }

    fn download_folder<'a>(
        &'a self,
        remote: &'a str,
        local: &'a Path,
        limit: u64,
    ) -> BoxFuture<'a, Result<u64, CommunicatorError>> {
        self.receive_folder(remote, local, limit).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        // There is no connection; the cell ends with the run.
        std::future::ready(()).boxed()
    }
}

/// The path from the image's root: relative ones and `~/` start at root's home.
fn absolute(remote: &str) -> String {
    match remote.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        Some(rest) => format!("{HOME}{rest}"),
        None if remote.starts_with('/') => remote.to_owned(),
        None => format!("{HOME}/{remote}"),
    }
}

/// The error with the path as the user wrote it.
fn named(error: CellError, remote: &str) -> CommunicatorError {
    match error {
        CellError::TooLarge { limit, .. } => CommunicatorError::TooLarge { path: remote.to_owned(), limit },
        CellError::Path { reason, .. } => CommunicatorError::transfer(remote, reason),
        other => other.into(),
    }
}

/// Writes a folder as a tar archive.
async fn pack(entries: Vec<Entry>, mut to: tokio::io::DuplexStream) -> Result<(), CommunicatorError> {
    let mut folder = PathBuf::new();
    for entry in entries {
        match entry {
            Entry::Enter { name, mode } => {
                folder.push(name);
                let head = head(&folder, 0, mode, tar::EntryType::Directory)
                    .map_err(|error| CommunicatorError::reading(&folder, error))?;
                if to.write_all(&head).await.is_err() {
                    return Ok(());
                }
            }
            Entry::Leave => {
                folder.pop();
            }
            Entry::File { name, path } => {
                let (file, size, mode) = tree::open(&path).await?;
                let failed = |error| CommunicatorError::reading(&path, error);
                let head = head(&folder.join(name), size, mode, tar::EntryType::Regular).map_err(failed)?;
                // It may shrink while it is read; the archive must stay whole.
                let mut content = file.chain(tokio::io::repeat(0)).take(size);
                let rest = vec![0; usize::try_from(size.next_multiple_of(BLOCK) - size).unwrap_or_default()];
                if to.write_all(&head).await.is_err()
                    || !copied(&mut content, &mut to).await.map_err(failed)?
                    || to.write_all(&rest).await.is_err()
                {
                    return Ok(());
                }
            }
        }
    }
    let end = [0; 2 * BLOCK as usize];
    let _ = to.write_all(&end).await;
    let _ = to.shutdown().await;
    Ok(())
}

/// Copies all; `false`: nobody reads any more, for which the other side has the reason.
async fn copied(from: &mut (impl AsyncRead + Unpin), to: &mut tokio::io::DuplexStream) -> io::Result<bool> {
    let mut buffer = vec![0; PIPE];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(true);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return Ok(false);
        }
    }
}

/// What stands before the content of a file in a tar archive.
fn head(name: &Path, size: u64, mode: u32, kind: tar::EntryType) -> io::Result<Vec<u8>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_entry_type(kind);
    // The builder knows how long names are written; of the content it gets nothing.
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, name, io::empty())?;
    // Not finished: what it would add ends the archive.
    Ok(std::mem::take(builder.get_mut()))
}

/// Unpacks an archive of our own making, whose names are the image's.
fn unpack(archive: std::fs::File, folder: &Path) -> io::Result<()> {
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        if !name.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(io::Error::other(format!("{} leads out of the folder", name.display())));
        }
        let path = folder.join(name);
        if entry.header().entry_type().is_dir() {
            std::fs::create_dir_all(&path)?;
        } else {
            let mut file = std::fs::File::create(&path)?;
            io::copy(&mut entry, &mut file)?;
            // Nothing of the image may become more than a file here.
            file.set_permissions(std::fs::Permissions::from_mode(entry.header().mode()? & 0o755))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_at_the_home_of_root() {
        for (path, expected) in [
            ("/etc/x", "/etc/x"),
            ("x", "/root/x"),
            ("~/x", "/root/x"),
            ("~", "/root"),
            ("~other/x", "/root/~other/x"),
        ] {
            assert_eq!(absolute(path), expected);
        }
    }

    #[tokio::test]
    async fn a_folder_becomes_an_archive_and_a_folder_again() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let long = "n".repeat(150);
        std::fs::create_dir(from.path().join("deep")).unwrap();
        std::fs::write(from.path().join("deep").join(&long), vec![7; 1000]).unwrap();
        std::fs::write(from.path().join("empty"), "").unwrap();
        let entries = tree::walk(from.path()).await.unwrap();
        let (mut reader, writer) = tokio::io::duplex(PIPE);
        let mut archive = Vec::new();
        let (packed, read) = tokio::join!(pack(entries, writer), reader.read_to_end(&mut archive));
        packed.unwrap();
        read.unwrap();
        let file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut &file, &archive).unwrap();
        std::io::Seek::rewind(&mut &file).unwrap();
        unpack(file, to.path()).unwrap();
        assert_eq!(std::fs::read(to.path().join("deep").join(&long)).unwrap(), vec![7; 1000]);
        assert_eq!(std::fs::read(to.path().join("empty")).unwrap(), b"");
    }
}

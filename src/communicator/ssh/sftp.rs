//! Moves files by SFTP: the machine's SFTP server is asked for through the connection, and several requests are always
//! on their way, so that a distant machine does not slow a transfer down.

use std::path::Path;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use russh::ChannelMsg;
use russh_sftp::{
    client::{Config, SftpSession, error::Error, fs::Metadata},
    protocol::{FileAttributes, FileType, OpenFlags, StatusCode},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{CommunicatorError, SshCommunicator, Transfer};
use crate::communicator::{
    Content, Upload,
    tree::{self, Entry, MAX_DEPTH, MAX_ENTRIES, is_safe_name},
};

/// Requests on their way for one file; with fewer a distant machine is waited for most of the time.
const REQUESTS: usize = 64;
/// Files of a folder that are on their way at once.
const FILES: usize = 16;
/// How long one request may take, in seconds; disks of a VM that was just made can be slow.
const REQUEST_TIMEOUT: u64 = 60;
/// How much of a file is read at once.
const BLOCK: usize = 256 * 1024;

pub(super) async fn upload(own: &SshCommunicator, upload: Upload<'_>, remote: &str) -> Result<(), Transfer> {
    let sftp = Sftp::open(own, remote).await?;
    let path = sftp.path(remote).await?;
    let done = match upload.content {
        Content::File(local) => sftp.send(local, upload.mode, &path, remote).await,
        Content::Bytes(bytes) => sftp.write(bytes, upload.mode, &path, remote).await,
    };
    Ok(sftp.close(done).await?)
}

pub(super) async fn upload_folder(own: &SshCommunicator, local: &Path, remote: &str) -> Result<(), Transfer> {
    let entries = tree::walk(local).await?;
    let sftp = Sftp::open(own, remote).await?;
    let path = sftp.path(remote).await?;
    let done = sftp.send_entries(&entries, &path).await;
    Ok(sftp.close(done).await?)
}

pub(super) async fn download(
    own: &SshCommunicator,
    remote: &str,
    local: &Path,
    limit: u64,
) -> Result<u64, Transfer> {
    let sftp = Sftp::open(own, remote).await?;
    let path = sftp.path(remote).await?;
    let done = sftp.receive(&path, local, limit, remote).await;
    Ok(sftp.close(done).await?)
}

pub(super) async fn download_folder(
    own: &SshCommunicator,
    remote: &str,
    local: &Path,
    limit: u64,
) -> Result<u64, Transfer> {
    let sftp = Sftp::open(own, remote).await?;
    let path = sftp.path(remote).await?;
    let done = sftp.receive_folder(&path, local, limit, remote).await;
    Ok(sftp.close(done).await?)
}

/// A session with the machine's SFTP server.
struct Sftp<'a> {
    own: &'a SshCommunicator,
    session: SftpSession,
}

impl<'a> Sftp<'a> {
    async fn open(own: &'a SshCommunicator, remote: &str) -> Result<Self, Transfer> {
        let (session, mut channel) = own.channel().await?;
        channel.request_subsystem(true, "sftp").await.map_err(|_| session.lost())?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => break,
                Some(ChannelMsg::Failure | ChannelMsg::Close) => return Err(Transfer::Missing(None)),
                Some(_) => {}
                None => return Err(session.lost().into()),
            }
        }
        let config = Config {
            max_concurrent_reads: REQUESTS,
            max_concurrent_writes: REQUESTS,
            request_timeout_secs: REQUEST_TIMEOUT,
            ..Config::default()
        };
        match SftpSession::new_with_config(channel.into_stream(), config).await {
            Ok(session) => Ok(Self { own, session }),
            // The server has the subsystem, but its program is missing or is none: it ends without a word.
            Err(error) => {
                if own.is_lost().await {
                    return Err(session.lost().into());
                }
                tracing::debug!(ssh.path = remote, "The SFTP server does not start: {error}");
                Err(Transfer::Missing(None))
            }
        }
    }

    /// The path as the server understands it: relative to the home, where a shell has `~`.
    async fn path(&self, remote: &str) -> Result<String, CommunicatorError> {
        match remote.strip_prefix('~') {
            None => Ok(remote.to_owned()),
            Some("" | "/") => Ok(".".to_owned()),
            Some(rest) if rest.starts_with('/') => Ok(rest.trim_start_matches('/').to_owned()),
            Some(_) => match self.session.expand_path(remote).await {
                Ok(Some(path)) => Ok(path),
                // An old server knows no other user's home; then it is a name that begins with a tilde.
                Ok(None) => Ok(remote.to_owned()),
                Err(error) => Err(self.failed(remote, &error)),
            },
        }
    }

    fn failed(&self, path: &str, error: &Error) -> CommunicatorError {
        CommunicatorError::transfer(path, words(error))
    }

    /// Ends the session. A failure that came from a lost connection is told as that.
    async fn close<T>(self, done: Result<T, CommunicatorError>) -> Result<T, CommunicatorError> {
        match done {
            Ok(done) => {
                // All files are closed and confirmed already.
                let _ = self.session.close().await;
                Ok(done)
            }
            Err(CommunicatorError::TransferFailed { .. }) if self.own.is_lost().await => {
                Err(self.own.lost().await)
            }
            Err(error) => Err(error),
        }
    }

    async fn create(
        &self,
        path: &str,
        mode: Option<u32>,
        shown: &str,
    ) -> Result<russh_sftp::client::fs::File, CommunicatorError> {
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        let file = self
            .session
            .open_with_flags_and_attributes(path, flags, permissions(mode))
            .await
            .map_err(|error| self.failed(shown, &error))?;
        // The mode of the request is for new files only, and the umask takes from it. Set before the content comes,
        // which may be a secret.
        if mode.is_some() {
            file.set_metadata(permissions(mode)).await.map_err(|error| self.failed(shown, &error))?;
        }
        Ok(file)
    }

    async fn write(
        &self,
        bytes: &[u8],
        mode: Option<u32>,
        path: &str,
        shown: &str,
    ) -> Result<(), CommunicatorError> {
        let failed = |error: std::io::Error| CommunicatorError::transfer(shown, error.to_string());
        let mut file = self.create(path, mode, shown).await?;
        file.write_all(bytes).await.map_err(failed)?;
        file.close().await.map_err(failed)
    }

    async fn send(
        &self,
        local: &Path,
        mode: Option<u32>,
        path: &str,
        shown: &str,
    ) -> Result<(), CommunicatorError> {
        let failed = |error: std::io::Error| CommunicatorError::transfer(shown, error.to_string());
        let (mut from, _, own_mode) = tree::open(local).await?;
        let mut to = self.create(path, Some(mode.unwrap_or(own_mode)), shown).await?;
        let mut block = vec![0; BLOCK];
        loop {
            let read =
                from.read(&mut block).await.map_err(|source| CommunicatorError::reading(local, source))?;
            if read == 0 {
                break;
            }
            to.write_all(&block[..read]).await.map_err(failed)?;
        }
        to.close().await.map_err(failed)
    }

    async fn send_entries(&self, entries: &[Entry], root: &str) -> Result<(), CommunicatorError> {
        self.make_folders(root).await?;
        let mut folder = root.trim_end_matches('/').to_owned();
        let mut above = Vec::new();
        let mut files = Vec::new();
        let mut modes = Vec::new();
        for entry in entries {
            match entry {
                Entry::Enter { name, mode } => {
                    let path = format!("{folder}/{name}");
                    self.make_folder(&path).await?;
                    modes.push((path.clone(), *mode));
                    above.push(std::mem::replace(&mut folder, path));
                }
                Entry::File { name, path } => files.push((path, format!("{folder}/{name}"))),
                Entry::Leave => folder = above.pop().unwrap_or_else(|| root.to_owned()),
            }
        }
        let sending: Vec<_> =
            files.iter().map(|(local, path)| self.send(local, None, path, path).boxed()).collect();
        stream::iter(sending).buffer_unordered(FILES).try_collect::<()>().await?;
        // Last, and from the deepest up: a folder may be one that must not be written to.
        for (path, mode) in modes.into_iter().rev() {
            let done = self.session.set_metadata(path.as_str(), permissions(Some(mode))).await;
            done.map_err(|error| self.failed(&path, &error))?;
        }
        Ok(())
    }

    async fn make_folder(&self, path: &str) -> Result<(), CommunicatorError> {
        let Err(error) = self.session.create_dir(path).await else { return Ok(()) };
        // Servers do not tell apart why it failed; that it exists is fine.
        match self.session.metadata(path).await {
            Ok(found) if found.file_type().is_dir() => Ok(()),
            _ => Err(self.failed(path, &error)),
        }
    }

    async fn make_folders(&self, path: &str) -> Result<(), CommunicatorError> {
        let path = path.trim_end_matches('/');
        if path.is_empty() {
            return Ok(());
        }
        if self.session.metadata(path).await.is_ok_and(|found| found.file_type().is_dir()) {
            return Ok(());
        }
        let ends = path.match_indices('/').map(|(end, _)| end).filter(|end| *end > 0).chain([path.len()]);
        for end in ends {
            self.make_folder(&path[..end]).await?;
        }
        Ok(())
    }

    async fn receive(
        &self,
        path: &str,
        local: &Path,
        limit: u64,
        shown: &str,
    ) -> Result<u64, CommunicatorError> {
        let found = self.session.metadata(path).await.map_err(|error| self.failed(shown, &error))?;
        if found.file_type().is_dir() {
            return Err(CommunicatorError::transfer(shown, "it is a folder"));
        }
        if found.size.is_some_and(|size| size > limit) {
            return Err(CommunicatorError::TooLarge { path: shown.to_owned(), limit });
        }
        let failed = |error: std::io::Error| CommunicatorError::transfer(shown, error.to_string());
        let mut from = self.session.open(path).await.map_err(|error| self.failed(shown, &error))?;
        let mut to = tree::create(local).await?;
        let mut block = vec![0; BLOCK];
        let mut bytes = 0_u64;
        loop {
            let read = from.read(&mut block).await.map_err(failed)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            // Counted as it comes: a device or a growing file has no size to trust.
            if bytes > limit {
                return Err(CommunicatorError::TooLarge { path: shown.to_owned(), limit });
            }
            to.write_all(&block[..read]).await.map_err(|source| CommunicatorError::writing(local, source))?;
        }
        to.flush().await.map_err(|source| CommunicatorError::writing(local, source))?;
        Ok(bytes)
    }

    async fn receive_folder(
        &self,
        root: &str,
        local: &Path,
        limit: u64,
        shown: &str,
    ) -> Result<u64, CommunicatorError> {
        let mut folders = vec![(root.to_owned(), local.to_owned(), 0)];
        let mut files = Vec::new();
        let (mut announced, mut entries) = (0_u64, 0);
        while let Some((remote, local, depth)) = folders.pop() {
            tree::create_folder(&local).await?;
            let found =
                self.session.read_dir(remote.as_str()).await.map_err(|error| self.failed(&remote, &error))?;
            for entry in found {
                entries += 1;
                let name = entry.file_name();
                let path = entry.path();
                if !is_safe_name(&name) {
                    return Err(CommunicatorError::transfer(path, "the server sent a forbidden name"));
                }
                if entries > MAX_ENTRIES || depth > MAX_DEPTH {
                    return Err(CommunicatorError::transfer(
                        shown,
                        "it holds too many files, is nested too deeply, or a link in it leads back up",
                    ));
                }
                let metadata = self.followed(&path, entry.metadata()).await?;
                match metadata.file_type() {
                    FileType::Dir => folders.push((path, local.join(name), depth + 1)),
                    FileType::File => {
                        announced = announced.saturating_add(metadata.size.unwrap_or(0));
                        files.push((path, local.join(name)));
                    }
                    FileType::Symlink | FileType::Other => {
                        return Err(CommunicatorError::transfer(path, "it is neither a file nor a folder"));
                    }
                }
            }
        }
        if announced > limit {
            return Err(CommunicatorError::TooLarge { path: shown.to_owned(), limit });
        }
        let receiving: Vec<_> =
            files.iter().map(|(remote, local)| self.receive(remote, local, limit, remote).boxed()).collect();
        let mut receiving = stream::iter(receiving).buffer_unordered(FILES);
        let mut sum = 0_u64;
        while let Some(bytes) = receiving.try_next().await? {
            sum += bytes;
            // Files may have grown since they were listed.
            if sum > limit {
                return Err(CommunicatorError::TooLarge { path: shown.to_owned(), limit });
            }
        }
        Ok(sum)
    }

    async fn followed(&self, path: &str, metadata: Metadata) -> Result<Metadata, CommunicatorError> {
        if !metadata.file_type().is_symlink() {
            return Ok(metadata);
        }
        self.session.metadata(path).await.map_err(|error| self.failed(path, &error))
    }
}

fn permissions(mode: Option<u32>) -> FileAttributes {
    let mut attributes = FileAttributes::empty();
    attributes.permissions = mode;
    attributes
}

fn words(error: &Error) -> String {
    match error {
        Error::Status(status) => match status.status_code {
            StatusCode::NoSuchFile => "No such file or directory".to_owned(),
            StatusCode::PermissionDenied => "Permission denied".to_owned(),
            _ if status.error_message.is_empty() => status.status_code.to_string(),
            // OpenSSH says no more than this of a full disk or of a folder in the way.
            _ => format!("the SFTP server says {:?}", status.error_message),
        },
        Error::Timeout => format!("the SFTP server did not answer within {REQUEST_TIMEOUT} s"),
        error => error.to_string(),
    }
}

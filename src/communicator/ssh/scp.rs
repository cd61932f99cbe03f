//! Moves files with the machine's `scp` command, whose protocol is spoken over its standard input and output: records
//! `C` (a file), `D` (down into a folder) and `E` (up again), each answered by one byte.

use std::{io, path::Path, time::Duration};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    CommunicatorError, Exit, SshCommunicator, Transfer,
    pipe::{Gone, Pipe},
};
use crate::communicator::{
    Content, Upload,
    quote::quote_path,
    tree::{self, Entry, MAX_DEPTH, MAX_ENTRIES, is_safe_name},
};

/// How long the command may take to say its first byte. What is silent for longer is something else than scp, such as
/// a login that only ever starts an SFTP server.
const FIRST_ANSWER: Duration = Duration::from_secs(30);
/// How long the rest of a message may take.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How much of a file is read at once.
const BLOCK: usize = 128 * 1024;
/// Longest record or message that is read.
const LINE_LIMIT: usize = 4096;
/// The shell's status for a command that it did not find.
const NOT_FOUND: i32 = 127;
/// Permissions of a new file if none are asked for; the machine's umask takes from them.
const DEFAULT_MODE: u32 = 0o644;

pub(super) async fn upload(own: &SshCommunicator, upload: Upload<'_>, remote: &str) -> Result<(), Transfer> {
    let (folder, name) = split(remote)?;
    // With `-p` permissions are set as they are given, also those of a file that exists.
    let (local, exact) = match upload.content {
        Content::File(path) => (Some(tree::open(path).await?), true),
        Content::Bytes(_) => (None, upload.mode.is_some()),
    };
    let mut scp = Scp::start(
        own,
        &format!("scp {}-d -t {}", if exact { "-p " } else { "" }, quote_path(folder)),
        remote,
    )
    .await?;
    let done = async {
        scp.answer().await?;
        match (upload.content, local) {
            (Content::File(path), Some((file, size, mode))) => {
                scp.send_file(path, file, size, upload.mode.unwrap_or(mode), name).await
            }
            (Content::Bytes(bytes), _) => {
                scp.record(&format!("C{:04o} {} {name}", upload.mode.unwrap_or(DEFAULT_MODE), bytes.len()))
                    .await?;
                scp.pipe.write(Bytes::copy_from_slice(bytes)).await?;
                scp.end_of_file().await
            }
            (Content::File(path), None) => Err(missing(path)),
        }
    };
    let done = done.await;
    scp.finish(done).await
}

fn missing(path: &Path) -> Stop {
    Stop::Failed(CommunicatorError::reading(path, io::ErrorKind::NotFound.into()))
}

pub(super) async fn upload_folder(own: &SshCommunicator, local: &Path, remote: &str) -> Result<(), Transfer> {
    let entries = tree::walk(local).await?;
    let folder = quote_path(remote);
    let mut scp = Scp::start(own, &format!("mkdir -p {folder} && scp -p -r -d -t {folder}"), remote).await?;
    let done = async {
        scp.answer().await?;
        for entry in &entries {
            match entry {
                Entry::Enter { name, mode } => {
                    check_name(name)?;
                    scp.record(&format!("D{mode:04o} 0 {name}")).await?;
                }
                Entry::File { name, path } => {
                    check_name(name)?;
                    let (file, size, mode) = tree::open(path).await?;
                    scp.send_file(path, file, size, mode, name).await?;
                }
                Entry::Leave => scp.record("E").await?,
            }
        }
        Ok(())
    };
    let done = done.await;
    scp.finish(done).await
}

pub(super) async fn download(
    own: &SshCommunicator,
    remote: &str,
    local: &Path,
    limit: u64,
) -> Result<u64, Transfer> {
    let mut scp = Scp::start(own, &format!("scp -f {}", quote_path(remote)), remote).await?;
    let done = async {
        scp.go_on().await?;
        match scp.next().await? {
            Some(Record::File { size, .. }) => {
                if size > limit {
                    return Err(Stop::Failed(CommunicatorError::TooLarge { path: remote.to_owned(), limit }));
                }
                scp.receive_file(local, size).await?;
                Ok(size)
            }
            Some(Record::Enter { .. }) => Err(scp.broken("it is a folder")),
            Some(Record::Leave) | None => Err(scp.broken("nothing came")),
        }
    };
    let done = done.await;
    scp.finish(done).await
}

pub(super) async fn download_folder(
    own: &SshCommunicator,
    remote: &str,
    local: &Path,
    limit: u64,
) -> Result<u64, Transfer> {
    let mut scp = Scp::start(own, &format!("scp -r -f {}", quote_path(remote)), remote).await?;
    let done = async {
        let mut folders = Vec::new();
        let (mut bytes, mut entries) = (0_u64, 0);
        scp.go_on().await?;
        while let Some(record) = scp.next().await? {
            entries += 1;
            if entries > MAX_ENTRIES || folders.len() > MAX_DEPTH {
                return Err(scp.broken("it holds too many files, or is nested too deeply"));
            }
            match (record, folders.last()) {
                // The first record names the folder itself, and its content goes straight into `local`.
                (Record::Enter { .. }, None) => {
                    tree::create_folder(local).await?;
                    folders.push(local.to_owned());
                    scp.go_on().await?;
                }
                (Record::Enter { name }, Some(folder)) => {
                    let folder = folder.join(name);
                    tree::create_folder(&folder).await?;
                    folders.push(folder);
                    scp.go_on().await?;
                }
                (Record::File { .. }, None) => return Err(scp.broken("it is not a folder")),
                (Record::File { name, size }, Some(folder)) => {
                    if size > limit - bytes {
                        return Err(Stop::Failed(CommunicatorError::TooLarge {
                            path: remote.to_owned(),
                            limit,
                        }));
                    }
                    bytes += size;
                    let path = folder.join(name);
                    scp.receive_file(&path, size).await?;
                }
                (Record::Leave, _) => {
                    folders.pop();
                    scp.go_on().await?;
                }
            }
        }
        Ok(bytes)
    };
    let done = done.await;
    scp.finish(done).await
}

/// The folder and the name in it, so that a folder of the file's name is an error and not a place to put it.
fn split(remote: &str) -> Result<(&str, &str), CommunicatorError> {
    let (folder, name) = match remote.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
        None => (".", remote),
    };
    if !is_safe_name(name) {
        return Err(CommunicatorError::transfer(remote, "it names a folder, not a file"));
    }
    check_name(name).map_err(|stop| match stop {
        Stop::Failed(error) | Stop::Foreign(error) => error,
        Stop::Gone => CommunicatorError::transfer(remote, "its name cannot be sent"),
    })?;
    Ok((folder, name))
}

fn check_name(name: &str) -> Result<(), Stop> {
    if name.contains(['\n', '\r']) {
        return Err(Stop::Failed(CommunicatorError::transfer(
            name,
            "scp cannot send a name with a line end; choose sftp",
        )));
    }
    Ok(())
}

/// Why the dialogue ended early.
enum Stop {
    /// The other side is gone; its last words tell why.
    Gone,
    /// We know why.
    Failed(CommunicatorError),
    /// What answers is not scp: a login for SFTP only, or a shell that greets.
    Foreign(CommunicatorError),
}

impl From<Gone> for Stop {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<CommunicatorError> for Stop {
    fn from(error: CommunicatorError) -> Self {
        Self::Failed(error)
    }
}

enum Record {
    File { name: String, size: u64 },
    Enter { name: String },
    Leave,
}

/// A dialogue with a remote scp.
struct Scp<'a> {
    pipe: Pipe,
    remote: &'a str,
    has_answered: bool,
}

impl<'a> Scp<'a> {
    async fn start(own: &SshCommunicator, command: &str, remote: &'a str) -> Result<Self, CommunicatorError> {
        Ok(Self { pipe: Pipe::start(own, command).await?, remote, has_answered: false })
    }

    fn broken(&self, reason: &str) -> Stop {
        Stop::Failed(CommunicatorError::transfer(self.remote, reason))
    }

    async fn read_byte(&mut self) -> Result<u8, Stop> {
        if self.has_answered {
            return Ok(self.pipe.read_byte().await?);
        }
        let byte = tokio::time::timeout(FIRST_ANSWER, self.pipe.read_byte()).await.map_err(|_| Gone)??;
        self.has_answered = true;
        Ok(byte)
    }

    /// The error that follows a byte that is none of the protocol's good ones.
    async fn complaint(&mut self, byte: u8) -> Stop {
        let rest = tokio::time::timeout(LAST_WORDS, self.pipe.read_line(LINE_LIMIT)).await;
        let rest = rest.unwrap_or(Err(Gone)).unwrap_or_default();
        let rest = String::from_utf8_lossy(&rest).into_owned();
        match byte {
            1 | 2 => {
                let message = rest.trim().trim_start_matches("scp: ").trim_start_matches("protocol error: ");
                self.broken(message)
            }
            _ => {
                let text = format!("{}{}", char::from(byte), rest.trim());
                let reason = format!("the login prints text where scp should answer: {text:?}");
                Stop::Foreign(CommunicatorError::transfer(self.remote, reason))
            }
        }
    }

    /// Takes the other side's answer to what was sent.
    async fn answer(&mut self) -> Result<(), Stop> {
        match self.read_byte().await? {
            0 => Ok(()),
            byte => Err(self.complaint(byte).await),
        }
    }

    /// Tells the other side that it was understood.
    async fn go_on(&mut self) -> Result<(), Stop> {
        Ok(self.pipe.write(Bytes::from_static(&[0])).await?)
    }

    async fn record(&mut self, record: &str) -> Result<(), Stop> {
        self.pipe.write(format!("{record}\n")).await?;
        self.answer().await
    }

    async fn end_of_file(&mut self) -> Result<(), Stop> {
        self.go_on().await?;
        self.answer().await
    }

    async fn send_file(
        &mut self,
        path: &Path,
        mut file: tokio::fs::File,
        size: u64,
        mode: u32,
        name: &str,
    ) -> Result<(), Stop> {
        self.record(&format!("C{mode:04o} {size} {name}")).await?;
        let mut left = size;
        let mut block = bytes::BytesMut::new();
        while left > 0 {
            block.reserve(BLOCK);
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK);
            let mut limited = (&mut file).take(most as u64);
            let read = limited
                .read_buf(&mut block)
                .await
                .map_err(|source| CommunicatorError::reading(path, source))?;
            if read == 0 {
                // The size was promised already; the other side would take what follows for the file's content.
                let shorter = io::Error::other("it became shorter while it was sent");
                return Err(CommunicatorError::reading(path, shorter).into());
            }
            left -= read as u64;
            self.pipe.write(block.split().freeze()).await?;
        }
        self.end_of_file().await
    }

    /// The next record, or nothing at the end. Times (`T`) are passed over.
    async fn next(&mut self) -> Result<Option<Record>, Stop> {
        loop {
            let kind = match self.read_byte().await {
                Ok(kind) => kind,
                // A source that has said all ends; whether it ended well is seen by its status.
                Err(Stop::Gone) if self.has_answered => return Ok(None),
                Err(stop) => return Err(stop),
            };
            match kind {
                b'T' => {
                    self.pipe.read_line(LINE_LIMIT).await?;
                    self.go_on().await?;
                }
                b'E' => {
                    self.pipe.read_line(LINE_LIMIT).await?;
                    return Ok(Some(Record::Leave));
                }
                b'C' | b'D' => {
                    let line = self.pipe.read_line(LINE_LIMIT).await?;
                    let line =
                        String::from_utf8(line).map_err(|_| self.broken("a name in it is not UTF-8"))?;
                    let mut parts = line.splitn(3, ' ');
                    let (Some(_mode), Some(Ok(size)), Some(name)) =
                        (parts.next(), parts.next().map(str::parse::<u64>), parts.next())
                    else {
                        return Err(self.broken("scp sent a record that cannot be read"));
                    };
                    if !is_safe_name(name) {
                        return Err(self.broken(&format!("scp sent the forbidden name {name:?}")));
                    }
                    let name = name.to_owned();
                    return Ok(Some(if kind == b'C' {
                        Record::File { name, size }
                    } else {
                        Record::Enter { name }
                    }));
                }
                byte => return Err(self.complaint(byte).await),
            }
        }
    }

    async fn receive_file(&mut self, path: &Path, size: u64) -> Result<(), Stop> {
        let mut file = tree::create(path).await?;
        let failed = |source| CommunicatorError::writing(path, source);
        self.go_on().await?;
        let mut left = size;
        while left > 0 {
            let bytes = self.pipe.read(usize::try_from(left).unwrap_or(usize::MAX)).await?;
            left -= bytes.len() as u64;
            file.write_all(&bytes).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        self.answer().await?;
        self.go_on().await
    }

    /// Ends the dialogue, and finds the reason if it ended too early.
    async fn finish<T>(self, done: Result<T, Stop>) -> Result<T, Transfer> {
        // Whoever is still sending to us will not end by itself: dropping the pipe ends it.
        let done = match done {
            Err(Stop::Failed(error)) => return Err(error.into()),
            Err(Stop::Foreign(error)) => return Err(Transfer::Missing(Some(error))),
            Err(Stop::Gone) => Err(Gone),
            Ok(done) => Ok(done),
        };
        let (remote, has_answered) = (self.remote, self.has_answered);
        let ended = self.pipe.finish().await;
        if let (None, Some(lost)) = (&ended.exit, ended.lost) {
            return Err(lost.into());
        }
        match (done, ended.exit) {
            (Ok(done), Some(Exit::Status(0))) => Ok(done),
            (Err(_), Some(Exit::Status(NOT_FOUND)) | None) if !has_answered => Err(Transfer::Missing(None)),
            (Err(_), _) if ended.is_refused => Err(Transfer::Missing(None)),
            (_, exit) => {
                let reason = match (ended.complaint.is_empty(), exit) {
                    (false, _) => ended.complaint,
                    (true, Some(Exit::Status(status))) => format!("scp ended with status {status}"),
                    (true, Some(Exit::Signal(signal))) => format!("scp was ended by signal {signal}"),
                    (true, Some(Exit::Disconnected) | None) => "scp went silent".to_owned(),
                };
                Err(CommunicatorError::transfer(remote, reason).into())
            }
        }
    }
}

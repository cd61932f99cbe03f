//! Ways into a machine: one trait to run commands and to move files, and the errors that come of it. How a way is
//! opened is the matter of the modules below; what is done inside the machine is that of `provision`.

use std::path::Path;

use futures::future::BoxFuture;

use crate::domain::log::Output;

pub mod chroot;
pub mod error;
pub mod keys;
pub mod quote;
pub mod ssh;
mod tree;

pub use error::{CommunicatorError, UnreachableReason};

/// A way into one machine. All methods may be called at the same time.
///
/// Dropping a future stops what it was doing: a remote command is told to end, a transfer stays incomplete.
pub trait Communicator: Send + Sync {
    /// Runs `command` by the login user's shell, with nothing on its standard input, and passes its output on in the
    /// order and in the pieces in which it comes. Awaiting `output` holds the remote command back.
    ///
    /// # Errors
    /// When the command could not be started. What became of a command that was started is an [`Exit`].
    fn run<'a>(
        &'a self,
        command: &'a str,
        output: &'a dyn Output,
    ) -> BoxFuture<'a, Result<Exit, CommunicatorError>>;

    /// Writes one file. `remote` is its full name, not a folder; its folder must exist. A leading `~/` is the login
    /// user's home, as is the start of a relative path.
    fn upload<'a>(
        &'a self,
        upload: Upload<'a>,
        remote: &'a str,
    ) -> BoxFuture<'a, Result<(), CommunicatorError>>;

    /// Copies what is in the folder `local` into the folder `remote`, which is made if it does not exist. Links are
    /// followed, modes are kept. (Packer's rule of the trailing slash is the file provisioner's matter.)
    fn upload_folder<'a>(
        &'a self,
        local: &'a Path,
        remote: &'a str,
    ) -> BoxFuture<'a, Result<(), CommunicatorError>>;

    /// Reads the file `remote` into the file `local`, whose folder is made if it does not exist. Answers the number of
    /// bytes; more than `limit` is an error.
    fn download<'a>(
        &'a self,
        remote: &'a str,
        local: &'a Path,
        limit: u64,
    ) -> BoxFuture<'a, Result<u64, CommunicatorError>>;

    /// Copies what is in the folder `remote` into the folder `local`, which is made if it does not exist. Answers the
    /// number of bytes; more than `limit` in total is an error.
    fn download_folder<'a>(
        &'a self,
        remote: &'a str,
        local: &'a Path,
        limit: u64,
    ) -> BoxFuture<'a, Result<u64, CommunicatorError>>;

    /// Says goodbye. Closing again, or closing what is lost already, is no error.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// How a remote command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself with this status.
    Status(i32),
    /// A signal ended it, e.g. `KILL`.
    Signal(String),
    /// The connection went away before the command said how it ended.
    Disconnected,
}

/// A file to write into the machine.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// What goes into it.
    pub content: Content<'a>,
    /// Its permissions, e.g. `0o600`. Absent: those of the local file; for bytes the machine's default for a new file,
    /// and those it has for one that exists.
    pub mode: Option<u32>,
}

impl<'a> Upload<'a> {
    /// These bytes, with the machine's default permissions.
    #[must_use]
    pub const fn bytes(bytes: &'a [u8]) -> Self {
        Self { content: Content::Bytes(bytes), mode: None }
    }

    /// This local file, with its permissions.
    #[must_use]
    pub const fn file(path: &'a Path) -> Self {
        Self { content: Content::File(path), mode: None }
    }

    /// The same with these permissions.
    #[must_use]
    pub const fn with_mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }
}

/// Where the content of an upload comes from.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// From memory.
    Bytes(&'a [u8]),
    /// From this local file, which is read as it is sent.
    File(&'a Path),
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // The bytes may be somebody's secret.
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

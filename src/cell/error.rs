//! What can go wrong in a cell, in words for the user. The programs inside a cell send these over to the worker.

use serde::{Deserialize, Serialize};

/// Why something did not happen in a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum CellError {
    /// There is no cell.
    #[error("could not make a mount and process namespace for the run: {reason}")]
    Start {
        /// What the system says.
        reason: String,
    },
    /// The cell's first process is gone, e.g. somebody killed it.
    #[error("the namespaces of the run are gone")]
    Gone,
    /// There is no mounted root yet, or no longer.
    #[error("no root is mounted")]
    NoRoot,
    /// A second root.
    #[error("a root is mounted already, at {path:?}")]
    HasRoot {
        /// Where.
        path: String,
    },
    /// A mount failed.
    #[error("could not mount {what} at {target:?}: {reason}")]
    Mount {
        /// The device, the folder or the kind of file system.
        what: String,
        /// Where it was to be.
        target: String,
        /// What the system or mount(8) says.
        reason: String,
    },
    /// The kernel has no such file system.
    #[error("this kernel has no file system {kind:?}, which was to be mounted at {target:?}")]
    UnknownFileSystem {
        /// Its name, e.g. `binfmt_misc`.
        kind: String,
        /// Where it was to be.
        target: String,
    },
    /// A path in the image is not usable.
    #[error("{path:?} in the image: {reason}")]
    Path {
        /// The path as it was given.
        path: String,
        /// What is the matter.
        reason: String,
    },
    /// A file of the host is not usable.
    #[error("{path:?} on the host: {reason}")]
    HostFile {
        /// The path.
        path: String,
        /// What is the matter.
        reason: String,
    },
    /// A file in the image exceeds what may be downloaded.
    #[error("{path:?} is larger than the {limit} bytes a build may download")]
    TooLarge {
        /// The path in the image.
        path: String,
        /// Bytes.
        limit: u64,
    },
    /// No shell to run commands with.
    #[error("the image has no usable /bin/sh: {reason}")]
    NoShell {
        /// What the system says.
        reason: String,
    },
    /// The device is still in use after everything was unmounted.
    #[error("{what} is still in use: {reason}")]
    Busy {
        /// The device or the mount.
        what: String,
        /// What the system says.
        reason: String,
    },
    /// An operation took too long.
    #[error("{doing} did not end within {seconds} s")]
    TimedOut {
        /// What.
        doing: String,
        /// How long it was given.
        seconds: u64,
    },
    /// Anything else.
    #[error("could not {doing}: {reason}")]
    Failed {
        /// What was tried.
        doing: String,
        /// What the system says.
        reason: String,
    },
}

impl CellError {
    /// A short word that programs can switch on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Start { .. } => "chroot_cell",
            Self::Gone => "chroot_cell_gone",
            Self::NoRoot | Self::HasRoot { .. } => "chroot_root",
            Self::Mount { .. } => "chroot_mount",
            Self::UnknownFileSystem { .. } => "chroot_file_system",
            Self::Path { .. } => "chroot_path",
            Self::HostFile { .. } => "chroot_host_file",
            Self::TooLarge { .. } => "download_too_large",
            Self::NoShell { .. } => "chroot_no_shell",
            Self::Busy { .. } => "chroot_busy",
            Self::TimedOut { .. } => "chroot_timeout",
            Self::Failed { .. } => "chroot_failed",
        }
    }

    /// What a user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Start { .. } => {
                "fournil must be root with the capability SYS_ADMIN, on Linux 5.8 or newer, to work in a chroot; a \
                 container needs `--privileged`."
            }
            Self::Gone => {
                "Something on fournil's host killed the run's processes: look at the kernel's log for `oom`."
            }
            Self::Mount { .. } => {
                "Check `mount_partition`, `mount_options` and `chroot_mounts`, and that the host's kernel knows the \
                 image's file system."
            }
            Self::UnknownFileSystem { .. } => {
                "Load the kernel's module on fournil's host, or leave the entry out of `chroot_mounts`."
            }
            Self::Path { .. } => {
                "Check the path in the template, and whether a link in the image leads elsewhere."
            }
            Self::HostFile { .. } => "Check `copy_files` and the file on fournil's host.",
            Self::TooLarge { .. } => "Download less, or ask the operator to raise the limit.",
            Self::NoShell { .. } => {
                "Check that the right partition is mounted (`mount_partition`), and that the image is for the \
                 processor of fournil's host."
            }
            Self::Busy { .. } => {
                "Something outside of the run uses the device: look at `lsblk` and `fuser -m` on the host."
            }
            Self::NoRoot | Self::HasRoot { .. } | Self::TimedOut { .. } | Self::Failed { .. } => return None,
        })
    }

    pub(super) fn start(reason: impl ToString) -> Self {
        Self::Start { reason: reason.to_string() }
    }

    pub(super) fn failed(doing: impl Into<String>, reason: impl ToString) -> Self {
        Self::Failed { doing: doing.into(), reason: reason.to_string() }
    }

    pub(super) fn path(path: impl Into<String>, reason: impl ToString) -> Self {
        Self::Path { path: path.into(), reason: reason.to_string() }
    }
}

//! How a provisioner fails, in words for the user, with advice and with the short code by which programs know it.

use std::{path::PathBuf, time::Duration};

use crate::{
    communicator::{CommunicatorError, Exit},
    domain::duration,
};

/// A provisioner that failed.
#[derive(Debug, thiserror::Error)]
#[error("provisioner {} ({kind}) failed{}: {failure}", index + 1, after_tries(*tries))]
pub struct ProvisionError {
    /// Its place in the plan, from 0.
    pub index: usize,
    /// Packer's name of the kind: `shell`, `file`.
    pub kind: &'static str,
    /// How often it was tried.
    pub tries: u32,
    /// How the last try ended.
    pub failure: Box<Failure>,
}

impl ProvisionError {
    /// A short word that programs can switch on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match &*self.failure {
            Failure::Script { .. } => "provisioner_failed",
            Failure::Disconnected { .. } => "provisioner_disconnected",
            Failure::TimedOut { .. } => "provisioner_timeout",
            Failure::Render { .. } => "template_invalid",
            Failure::SourceMissing { .. } | Failure::SourceOutside { .. } | Failure::Path { .. } => {
                "file_missing"
            }
            Failure::DestinationOutside { .. } => "destination_outside",
            Failure::NothingMatches { .. } => "download_missing",
            Failure::Communicator(error) => error.code(),
        }
    }

    /// What a user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match &*self.failure {
            Failure::Script { exit: Exit::Status(126), .. } => {
                "The machine may not execute the script: check the shebang, and set `remote_folder` if /tmp is mounted noexec."
            }
            Failure::Script { exit: Exit::Status(127), .. } => {
                "A command was not found: check the script's shebang and the PATH, and that the file has no Windows line ends."
            }
            Failure::Script { .. } => {
                "Look at the script's last lines above. If the status is expected, name it in `valid_exit_codes`."
            }
            Failure::Disconnected { .. } => {
                "If the script reboots the VM or restarts its network, set `expect_disconnect = true` on the provisioner."
            }
            Failure::TimedOut { .. } => {
                "Raise the provisioner's `timeout`, or find what the command waits for."
            }
            Failure::Render { .. } => "Check the template's functions and variables.",
            Failure::SourceMissing { .. } | Failure::SourceOutside { .. } => {
                "Paths are relative to the template's folder, and only what is in it is uploaded to fournil."
            }
            Failure::NothingMatches { .. } => {
                "Check the path in the machine, e.g. with a shell provisioner that lists it."
            }
            Failure::DestinationOutside { .. } => "Name a relative path without `..`.",
            Failure::Path { .. } => return None,
            Failure::Communicator(error) => return error.hint(),
        })
    }

    /// The last lines that the failed script wrote, oldest first. They have not been redacted.
    #[must_use]
    pub fn last_lines(&self) -> &[String] {
        match &*self.failure {
            Failure::Script { last_lines, .. } | Failure::Disconnected { last_lines, .. } => last_lines,
            _ => &[],
        }
    }

    /// Whether the build was cancelled, which is no fault of the provisioner.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(&*self.failure, Failure::Communicator(CommunicatorError::Cancelled))
    }

    /// Whether a fresh machine may fare better: the way in was lost, not the script at fault.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match &*self.failure {
            Failure::Communicator(error) => error.is_retryable(),
            Failure::Disconnected { .. } => true,
            _ => false,
        }
    }
}

/// How one try of a provisioner failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A script ended in a way that is not allowed.
    #[error("{script} {}", ended(exit))]
    Script {
        /// The script's path, or `the inline script`.
        script: String,
        /// How it ended; never [`Exit::Disconnected`].
        exit: Exit,
        /// The last lines of its output, oldest first.
        last_lines: Vec<String>,
    },
    /// The connection went away while a script ran.
    #[error("the connection was lost while {script} ran")]
    Disconnected {
        /// The script's path, or `the inline script`.
        script: String,
        /// The last lines of its output, oldest first.
        last_lines: Vec<String>,
    },
    /// The provisioner's time was up.
    #[error("it did not end within {}", duration::format(*after))]
    TimedOut {
        /// The time it had.
        after: Duration,
    },
    /// A template cannot be filled in.
    #[error("{what} cannot be rendered: {reason}")]
    Render {
        /// The option, e.g. `execute_command`.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file to upload does not exist.
    #[error("{path:?} is not in the template's folder")]
    SourceMissing {
        /// As the user wrote it.
        path: String,
    },
    /// A file to upload lies elsewhere on fournil's host.
    #[error("{path:?} leads out of the template's folder")]
    SourceOutside {
        /// As the user wrote it.
        path: String,
    },
    /// A download would be written elsewhere on fournil's host.
    #[error("the destination {path:?} leads out of the build's downloads")]
    DestinationOutside {
        /// As the user wrote it.
        path: String,
    },
    /// A file or folder on fournil's side cannot be used.
    #[error("{} could not be used: {reason}", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// What is the matter with it.
        reason: String,
    },
    /// Nothing in the machine has the name of a download.
    #[error("nothing in the machine matches {pattern:?}")]
    NothingMatches {
        /// As the user wrote it.
        pattern: String,
    },
    /// The way into the machine failed, or the build was cancelled.
    #[error(transparent)]
    Communicator(#[from] CommunicatorError),
}

impl Failure {
    /// Whether `max_retries` is for this: everything but what will certainly be the same again.
    pub(super) fn may_be_tried_again(&self) -> bool {
        match self {
            Self::Script { .. }
            | Self::Disconnected { .. }
            | Self::TimedOut { .. }
            | Self::NothingMatches { .. } => true,
            Self::Render { .. }
            | Self::SourceMissing { .. }
            | Self::SourceOutside { .. }
            | Self::DestinationOutside { .. }
            | Self::Path { .. } => false,
            Self::Communicator(error) => {
                !matches!(error, CommunicatorError::Cancelled | CommunicatorError::HostKeyChanged { .. })
            }
        }
    }
}

impl Failure {
    /// Whether `continue_on_error` cannot go on behind it: the build was cancelled, or there is no way into the machine.
    pub(super) fn ends_provisioning(&self) -> bool {
        match self {
            Self::Disconnected { .. } => true,
            Self::Communicator(error) => !matches!(
                error,
                CommunicatorError::TransferFailed { .. }
                    | CommunicatorError::NoTransferMethod { .. }
                    | CommunicatorError::TooLarge { .. }
                    | CommunicatorError::Local { .. }
            ),
            _ => false,
        }
    }
}

fn after_tries(tries: u32) -> String {
    if tries > 1 { format!(" in each of {tries} tries") } else { String::new() }
}

fn ended(exit: &Exit) -> String {
    match exit {
        Exit::Status(status) => format!("ended with status {status}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
        Exit::Disconnected => "ended with the connection".to_owned(),
    }
}

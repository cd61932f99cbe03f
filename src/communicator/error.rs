//! What can go wrong on the way into a machine, in words for the user, each with advice and with the short code by
//! which programs know it.

use std::{io, path::PathBuf, time::Duration};

use crate::{cell::CellError, domain::duration};

use super::keys::KeyError;

/// Why a machine could not be entered, or why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum CommunicatorError {
    /// No SSH server was met.
    #[error("{address} {reason}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What was met instead.
        reason: UnreachableReason,
    },
    /// The server wants none of what we can show.
    #[error("{address} refused to let user {user:?} in with {}{}", list(tried), times(*refusals))]
    AuthenticationRefused {
        /// Host and port.
        address: String,
        /// The login.
        user: String,
        /// What was shown, in order: `private key SHA256:…`, `password`.
        tried: Vec<String>,
        /// What the server would take, in its own words: `publickey`.
        accepted: Vec<String>,
        /// How often it refused.
        refusals: u32,
    },
    /// The two sides did not agree on how to speak.
    #[error("the SSH handshake with {address} failed: {reason}")]
    HandshakeFailed {
        /// Host and port.
        address: String,
        /// What was the matter.
        reason: String,
    },
    /// There is no algorithm that both sides know.
    #[error("{address} and fournil have no {kind} algorithm in common: it offers {theirs}, fournil {ours}")]
    NothingInCommon {
        /// Host and port.
        address: String,
        /// What the algorithm is for: `kex`, `cipher`, `key`, `mac`.
        kind: String,
        /// What we would take.
        ours: String,
        /// What it would take.
        theirs: String,
    },
    /// Another machine answers than the one that answered before.
    #[error("{address} shows the host key {found}, but showed {expected} before")]
    HostKeyChanged {
        /// Host and port.
        address: String,
        /// The fingerprint of the first connection.
        expected: String,
        /// The fingerprint shown now.
        found: String,
    },
    /// The way over the bastion is blocked.
    #[error("the bastion {bastion} could not be passed: {source}")]
    Bastion {
        /// Host and port of the bastion.
        bastion: String,
        /// What was the matter.
        source: Box<CommunicatorError>,
    },
    /// The bastion would not open a connection to the machine.
    #[error("the bastion {bastion} could not reach {address}: {reason}")]
    NoWayThrough {
        /// Host and port of the bastion.
        bastion: String,
        /// Host and port of the machine.
        address: String,
        /// The bastion's words.
        reason: String,
    },
    /// An option of the plan that this SSH client cannot follow.
    #[error("{option} names {value:?}, which fournil does not know; it knows {known}")]
    UnknownAlgorithm {
        /// `ssh_ciphers` or `ssh_key_exchange_algorithms`.
        option: &'static str,
        /// The name.
        value: String,
        /// What may be named.
        known: String,
    },
    /// A key of the plan is none.
    #[error("{option} is no usable key: {source}")]
    InvalidKey {
        /// Where the key came from, e.g. `ssh_private_key_file`.
        option: &'static str,
        /// What is the matter with it.
        source: KeyError,
    },
    /// The plan names no way to prove who we are.
    #[error("there is neither a private key nor a password to enter {address} with")]
    NoCredentials {
        /// Host and port.
        address: String,
    },
    /// The server would not start a command.
    #[error("{address} refused to run a command: {reason}")]
    CommandRefused {
        /// Host and port.
        address: String,
        /// What is known about it.
        reason: String,
    },
    /// The connection went away.
    #[error("the SSH connection to {address} was lost{}", because(reason))]
    ConnectionLost {
        /// Host and port.
        address: String,
        /// What is known about it; may be empty.
        reason: String,
    },
    /// A file did not get across.
    #[error("{path:?} could not be transferred: {reason}")]
    TransferFailed {
        /// The path at which it failed, as the user wrote it.
        path: String,
        /// The machine's words, or ours.
        reason: String,
    },
    /// The machine has neither `scp` nor an SFTP server.
    #[error("files cannot be moved to or from {address}: it has neither the scp command nor an SFTP server")]
    NoTransferMethod {
        /// Host and port.
        address: String,
    },
    /// A download exceeds what is allowed.
    #[error("{path:?} is larger than the {limit} bytes a build may download")]
    TooLarge {
        /// The path in the machine.
        path: String,
        /// What is left, in bytes.
        limit: u64,
    },
    /// A local file or folder did not do as it should.
    #[error("{} could not be {doing}", path.display())]
    Local {
        /// The file on fournil's side.
        path: PathBuf,
        /// `read`, `written`.
        doing: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Time was up.
    #[error("no SSH connection to {address} within {}{}", duration::format(*after), finally(last.as_deref()))]
    TimedOut {
        /// Host and port.
        address: String,
        /// The time that was given.
        after: Duration,
        /// What the last try met.
        last: Option<Box<CommunicatorError>>,
    },
    /// The chroot on the worker's own machine cannot be worked in.
    #[error(transparent)]
    Cell(#[from] CellError),
    /// Somebody cancelled the build.
    #[error("cancelled")]
    Cancelled,
}

/// What was met where an SSH server was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreachableReason {
    /// The port is closed.
    #[error("refuses connections")]
    Refused,
    /// The network knows no way.
    #[error("cannot be reached: no route to it")]
    NoRoute,
    /// Nothing answers.
    #[error("does not answer")]
    TimedOut,
    /// Something answers, but says nothing.
    #[error("accepts connections, but sends no SSH banner")]
    NoBanner,
    /// Something answers, and hangs up.
    #[error("accepts connections, but closes them at once")]
    HungUp,
    /// The name is in no DNS.
    #[error("cannot be found: {0}")]
    NameNotFound(String),
    /// Something else.
    #[error("cannot be reached: {0}")]
    Other(String),
}

impl CommunicatorError {
    /// A short word that programs can switch on. A connection that was never made has the code of what the last try met.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { reason, .. } => match reason {
                UnreachableReason::Refused => "ssh_refused",
                UnreachableReason::NoRoute => "ssh_no_route",
                UnreachableReason::TimedOut => "ssh_timeout",
                UnreachableReason::NoBanner | UnreachableReason::HungUp => "ssh_no_banner",
                UnreachableReason::NameNotFound(_) => "ssh_unknown_host",
                UnreachableReason::Other(_) => "ssh_unreachable",
            },
            Self::AuthenticationRefused { .. } | Self::NoCredentials { .. } => "ssh_auth",
            Self::HandshakeFailed { .. } | Self::NothingInCommon { .. } => "ssh_handshake",
            Self::HostKeyChanged { .. } => "ssh_host_key",
            Self::Bastion { .. } | Self::NoWayThrough { .. } => "ssh_bastion",
            Self::UnknownAlgorithm { .. } | Self::InvalidKey { .. } => "ssh_option",
            Self::CommandRefused { .. } => "ssh_command_refused",
            Self::ConnectionLost { .. } => "ssh_lost",
            Self::TransferFailed { .. } | Self::NoTransferMethod { .. } => "transfer_failed",
            Self::TooLarge { .. } => "download_too_large",
            Self::Local { .. } => "local_file",
            Self::Cell(error) => error.code(),
            Self::TimedOut { last, .. } => last.as_deref().map_or("ssh_timeout", Self::code),
            Self::Cancelled => "cancelled",
        }
    }

    /// What a user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Unreachable { reason, .. } => match reason {
                UnreachableReason::Refused => {
                    "The VM is up but nothing answers on the port: check `ssh_port`, that the source OMI starts an SSH \
                     server at boot, and that the security group opens the port."
                }
                UnreachableReason::NoRoute | UnreachableReason::TimedOut => {
                    "Check that fournil's host can reach the VM: the security group (`temporary_security_group_source_cidr`), \
                     the subnet's route to the internet, a public IP (`associate_public_ip_address`), or a bastion."
                }
                UnreachableReason::NoBanner | UnreachableReason::HungUp => {
                    "Something other than a ready SSH server answers: check `ssh_port`, or give the VM more time with `ssh_timeout`."
                }
                UnreachableReason::NameNotFound(_) => {
                    "Check that fournil's host can resolve the name, or choose an address with `ssh_interface`."
                }
                UnreachableReason::Other(_) => return None,
            },
            Self::AuthenticationRefused { .. } => {
                "Check `ssh_username` (OUTSCALE's images use `outscale`), and that cloud-init of the source OMI installs the \
                 key pair for that user."
            }
            Self::NoCredentials { .. } => {
                "Set `ssh_private_key_file` or `ssh_password`, or let fournil make a key pair."
            }
            Self::HandshakeFailed { .. } => {
                "Check `ssh_port`, and look at the SSH server's log in the machine."
            }
            Self::NothingInCommon { .. } => {
                "Check `ssh_ciphers` and `ssh_key_exchange_algorithms`; a very old SSH server may offer nothing that is \
                 still considered safe."
            }
            Self::HostKeyChanged { .. } => {
                "Another machine answers at the VM's address, or the VM made itself new host keys: do not regenerate them \
                 before the last provisioner."
            }
            Self::Bastion { source, .. } => {
                return source.hint().or(Some("Check the `ssh_bastion_*` options."));
            }
            Self::NoWayThrough { .. } => {
                "Check that the bastion may forward (`AllowTcpForwarding`) and that its security group reaches the VM."
            }
            Self::UnknownAlgorithm { .. } => "Leave the option out to use fournil's choice.",
            Self::InvalidKey { source, .. } => source.hint(),
            Self::CommandRefused { .. } => "Check the SSH server's `ForceCommand` and `MaxSessions`.",
            Self::ConnectionLost { .. } => {
                "If a script reboots the VM, set `expect_disconnect` on its provisioner; else look at the VM's console output."
            }
            Self::TransferFailed { .. } => {
                "Files are written as the login user: upload to a folder that user may write to, and move them with a shell \
                 provisioner and sudo."
            }
            Self::NoTransferMethod { .. } => {
                "Install openssh-client (for scp) or an SFTP server in the source OMI."
            }
            Self::TooLarge { .. } => "Download less, or ask the operator to raise the limit.",
            Self::TimedOut { last, .. } => {
                return last
                    .as_deref()
                    .map_or(Some("Raise `ssh_timeout` if the VM needs longer to boot."), Self::hint);
            }
            Self::Cell(error) => return error.hint(),
            Self::Local { .. } | Self::Cancelled => return None,
        })
    }

    /// Whether the same thing can succeed if it is tried again in a moment.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::AuthenticationRefused { .. }
            | Self::HandshakeFailed { .. }
            | Self::NoWayThrough { .. }
            | Self::CommandRefused { .. }
            | Self::ConnectionLost { .. }
            | Self::TimedOut { .. } => true,
            // A bastion does not boot with the VM: what it refuses now it will refuse later.
            Self::Bastion { source, .. } => {
                source.is_retryable() && !matches!(**source, Self::AuthenticationRefused { .. })
            }
            Self::HostKeyChanged { .. }
            | Self::NothingInCommon { .. }
            | Self::NoCredentials { .. }
            | Self::UnknownAlgorithm { .. }
            | Self::InvalidKey { .. }
            | Self::TransferFailed { .. }
            | Self::NoTransferMethod { .. }
            | Self::TooLarge { .. }
            | Self::Local { .. }
            | Self::Cell(_)
            | Self::Cancelled => false,
        }
    }

    pub(super) fn transfer(path: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::TransferFailed { path: path.into(), reason: reason.into() }
    }

    pub(super) fn reading(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Local { path: path.into(), doing: "read", source }
    }

    pub(super) fn writing(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Local { path: path.into(), doing: "written", source }
    }
}

fn list(tried: &[String]) -> String {
    if tried.is_empty() { "anything it has".to_owned() } else { tried.join(", ") }
}

fn times(refusals: u32) -> String {
    if refusals > 1 { format!(" ({refusals} times)") } else { String::new() }
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

fn finally(last: Option<&CommunicatorError>) -> String {
    last.map_or_else(String::new, |last| format!(": {last}"))
}

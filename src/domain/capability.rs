//! What templates may make the worker's host do: off until the operator turns it on, wanted by a run, offered by a worker.

use std::fmt;

/// Something that templates make the worker's host do, off until the operator turns it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Attach volumes to the worker's own VM and work in them (`osc-chroot`).
    Chroot,
    /// Run commands on the worker's host (`shell-local`).
    ShellLocal,
    /// Run Ansible on the worker's host.
    Ansible,
}

impl Capability {
    /// Every one there is.
    pub const ALL: &'static [Self] = &[Self::Chroot, Self::ShellLocal, Self::Ansible];

    /// The word in the configuration, in `runs.requires` and in `workers.capabilities`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chroot => "chroot",
            Self::ShellLocal => "shell-local",
            Self::Ansible => "ansible",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

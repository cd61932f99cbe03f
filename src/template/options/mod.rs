//! Options of builders and provisioners → plans. Every option of Packer's OUTSCALE plugin is known here: done, without
//! effect, not done yet, or impossible in a service; nothing is silently dropped.

mod access;
mod block_device;
mod bsu;
mod bsusurrogate;
mod bsuvolume;
mod chroot;
mod data_omi;
pub mod fields;
mod file;
mod files;
mod lookup;
mod omi;
mod post_processor;
mod provisioner;
mod shell;
mod shell_local;
mod ssh;
mod table;
mod vm;

pub use data_omi::data_omi;
pub use post_processor::post_processor;
pub use provisioner::{COMMON, provisioner};

use self::fields::Fields;
use crate::domain::plan::{Builder, Communicator};

/// What becomes of an option that is known but not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Packer takes it and does nothing with it; so do we, and say so.
    Ignored(&'static str),
    /// It will be done.
    NotYet,
    /// A service cannot do it.
    Never(&'static str),
}

/// What to do with a builder of this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuilderKind {
    /// `osc-bsu`
    Bsu,
    /// `osc-bsusurrogate`
    Bsusurrogate,
    /// `osc-bsuvolume`
    Bsuvolume,
    /// `osc-chroot`
    Chroot,
}

/// Reads the options of a builder. `is_provisioned`: the template has provisioners for it.
pub fn builder(kind: BuilderKind, fields: &Fields<'_>, is_provisioned: bool) -> Builder {
    let builder = match kind {
        BuilderKind::Bsu => Builder::OscBsu(Box::new(bsu::bsu(fields))),
        BuilderKind::Bsusurrogate => Builder::OscBsusurrogate(Box::new(bsusurrogate::bsusurrogate(fields))),
        BuilderKind::Bsuvolume => Builder::OscBsuvolume(Box::new(bsuvolume::bsuvolume(fields))),
        BuilderKind::Chroot => Builder::OscChroot(Box::new(chroot::chroot(fields))),
    };
    if !matches!(kind, BuilderKind::Chroot)
        && matches!(builder.communicator(), Communicator::None)
        && is_provisioned
        && fields.filled("communicator").as_deref() == Some("none")
    {
        fields.fail("communicator", "with the communicator `none` there can be no provisioners");
    }
    builder
}

/// The builder types, with their old and new names.
pub const BUILDERS: [(&str, BuilderKind); 8] = [
    ("osc-bsu", BuilderKind::Bsu),
    ("outscale-bsu", BuilderKind::Bsu),
    ("osc-bsusurrogate", BuilderKind::Bsusurrogate),
    ("outscale-bsusurrogate", BuilderKind::Bsusurrogate),
    ("osc-bsuvolume", BuilderKind::Bsuvolume),
    ("outscale-bsuvolume", BuilderKind::Bsuvolume),
    ("osc-chroot", BuilderKind::Chroot),
    ("outscale-chroot", BuilderKind::Chroot),
];

#[cfg(test)]
mod chroot_tests;
#[cfg(test)]
mod post_processor_tests;
#[cfg(test)]
mod provisioner_tests;
#[cfg(test)]
mod surrogate_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod volume_tests;

//! Options of builders and provisioners → plans. Every option of Packer's OUTSCALE plugin is known here: done, without
//! effect, not done yet, or impossible in a service; nothing is silently dropped.

mod access;
mod block_device;
mod bsu;
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

pub use bsu::bsu;
pub use data_omi::data_omi;
pub use post_processor::post_processor;
pub use provisioner::{COMMON, provisioner};

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
    /// One of the plugin's others.
    NotYet,
}

/// The builder types, with their old and new names.
pub const BUILDERS: [(&str, BuilderKind); 8] = [
    ("osc-bsu", BuilderKind::Bsu),
    ("outscale-bsu", BuilderKind::Bsu),
    ("osc-bsusurrogate", BuilderKind::NotYet),
    ("outscale-bsusurrogate", BuilderKind::NotYet),
    ("osc-bsuvolume", BuilderKind::NotYet),
    ("outscale-bsuvolume", BuilderKind::NotYet),
    ("osc-chroot", BuilderKind::NotYet),
    ("outscale-chroot", BuilderKind::NotYet),
];

#[cfg(test)]
mod post_processor_tests;
#[cfg(test)]
mod provisioner_tests;
#[cfg(test)]
mod tests;

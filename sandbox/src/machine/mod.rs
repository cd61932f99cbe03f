//! What machines are made of on this computer: disks, loop devices and the images they start from.
//! Knows nothing of OAPI; backends (`crate::backend`) turn these parts into running VMs.

pub mod disk;
pub mod loop_device;
pub mod partitions;
pub mod seed;
pub mod sys;

pub use disk::DiskStore;

//! A small OUTSCALE region on this machine: it speaks OAPI, and its VMs, disks, snapshots and images are real
//! ones, as far as the chosen backend goes. Never linked into fournil.

mod actions;
pub mod backend;
mod clock;
pub mod config;
mod control;
mod error;
mod faults;
mod http;
pub mod latency;
pub mod machine;
mod quirks;
mod region;
mod requests;
mod role;
pub mod server;
mod signature;
mod state_folder;

/// The fields of every request that the sandbox knows, by action.
pub fn schema() -> serde_json::Value {
    actions::schema()
}

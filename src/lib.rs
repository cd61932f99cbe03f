//! fournil bakes OUTSCALE machine images as a service: a request is stored, a worker runs it against the OUTSCALE API,
//! its log streams back live, and whatever happens nothing is lost or left behind. `main.rs` is only the command line.

#![forbid(unsafe_code)]

pub mod api;
pub mod auth;
pub mod bake;
pub mod cell;
pub mod cli;
pub mod client;
pub mod communicator;
pub mod config;
pub mod credentials;
pub mod domain;
pub mod embedded_postgres;
pub mod hcl;
pub mod logs;
pub mod metadata;
pub mod oapi;
pub mod post_process;
pub mod provision;
pub mod queue;
pub mod serve;
pub mod store;
pub mod sweep;
pub mod telemetry;
pub mod template;
pub mod worker;

#[cfg(test)]
mod testing;

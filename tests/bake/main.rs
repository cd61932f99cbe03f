//! Whole bakes, end to end: fournil's API and workers in this process, a Postgres database of its own for each test, and
//! `oapi-sandbox` as the cloud. Stories that need machines run as root only and say so where they are skipped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(missing_docs, reason = "nobody uses a test")]

mod app;
mod canary_search;
mod machine;
mod sandbox;
mod served;
mod template;

mod after_errors;
mod again;
mod baking;
mod bodies;
mod booting;
mod canaries;
mod cancelling;
mod capacity;
mod chroot;
mod chroot_errors;
mod cloud_errors;
mod credentials;
mod destroying;
mod following;
mod hcl2;
mod many;
mod options;
mod post_processing;
mod refused;
mod secrets;
mod surrogate;
mod sweeping;
mod vm_errors;
mod volumes;

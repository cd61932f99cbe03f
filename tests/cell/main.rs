//! Cells on real block devices: what is done in one does not reach the host, and nothing of it stays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(missing_docs, reason = "nobody uses a test")]

mod disk;
mod hostile;
mod namespaces;
mod shared;

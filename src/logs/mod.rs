//! The log of a build: source → secrets replaced → cut into lines → numbered → stored → told to readers.
//! A line is shown only after it is durable; a slow database slows the source down, and nothing is dropped but what the
//! configured limits cut, with a visible marker.

mod batch;
pub mod controls;
#[cfg(test)]
pub(crate) mod fixtures;
mod forms;
pub mod ingest;
pub mod lines;
pub mod redact;
pub mod stream;
pub mod tail;

pub use ingest::{LogLimits, LogWriter};
pub use redact::Redactor;
pub use stream::{BuildStream, StreamItem};
pub use tail::{LogHub, Wake};

//! What fournil says to OUTSCALE and what it hears: one struct a request, one an answer, one file a kind of resource.
//! Field names are OAPI's own in snake case, so the user guide of the API explains them; only oddities have a comment here.
//! Requests are strict (OAPI refuses unknown fields), answers are lenient (unknown fields and words are no error).

mod account;
mod images;
mod keypairs;
mod network;
mod public_ips;
mod request;
mod security_groups;
mod snapshots;
mod tags;
mod vms;
mod volumes;
mod words;

pub use account::*;
pub use images::*;
pub use keypairs::*;
pub use network::*;
pub use public_ips::*;
pub use request::{Done, PagedRequest, Request, Retry};
pub use security_groups::*;
pub use snapshots::*;
pub use tags::*;
pub use vms::*;
pub use volumes::*;
pub use words::*;

#[cfg(test)]
mod tests;

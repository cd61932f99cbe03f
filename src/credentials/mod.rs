//! Keys of the cloud: where those of a build come from (`provider`), which hosts they may be used with (`endpoints`),
//! and how secrets rest in the database (`vault`).

mod client_certificate;
pub mod endpoints;
pub mod provider;
pub mod vault;

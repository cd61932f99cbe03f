//! Keys of the cloud: where those of a build come from (`provider`), the stored sets among them (`sets`), which hosts they may
//! be used with (`endpoints`), how secrets rest in the database (`vault`), and how they get another master key (`rotation`).

mod aws_file;
mod client_certificate;
pub mod endpoints;
mod environment;
mod error;
pub mod provider;
pub mod role;
pub mod rotation;
pub mod sets;
mod shared_file;
pub mod vault;

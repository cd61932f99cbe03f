//! The steps that pipelines are made of, one a file.

mod allocate_public_ip;
mod check_credentials;
mod check_name;
mod connect;
mod create_keypair;
mod create_omi;
mod launch_vm;
mod make_key;
mod open_security_group;
mod provision;
mod replace_omi;
mod resolve_network;
mod resolve_source;
mod share_omi;
mod stop_vm;
mod tag_omi;
mod wait_for_omi;
mod wait_for_vm;

pub use allocate_public_ip::{AllocatePublicIp, PublicAddress};
pub use check_credentials::{Account, CheckCredentials};
pub use check_name::{CheckName, NameCheck, OldImage};
pub use connect::{Connect, Connected, Connection};
pub use create_keypair::CreateKeypair;
pub use create_omi::{CreateOmi, OmiId};
pub use launch_vm::{LaunchVm, LaunchedVm};
pub use make_key::{Key, MakeKey};
pub use open_security_group::{OpenSecurityGroup, SecurityGroups};
pub use provision::Provision;
pub use replace_omi::ReplaceOmi;
pub use resolve_network::{Network, ResolveNetwork};
pub use resolve_source::{ResolveSource, SourceImage};
pub use share_omi::ShareOmi;
pub use stop_vm::StopVm;
pub use tag_omi::TagOmi;
pub use wait_for_omi::{Omi, WaitForOmi};
pub use wait_for_vm::{ReadyVm, WaitForVm};

//! The steps that pipelines are made of, one a file.

mod allocate_public_ip;
mod check_credentials;
mod check_name;
mod connect;
mod create_keypair;
mod create_omi;
mod create_volume;
mod finish_volumes;
mod identify_vm;
mod in_cell;
mod launch_vm;
mod link_volume;
mod make_key;
mod open_security_group;
mod own_source;
mod post_process;
mod provision;
mod register_omi;
mod replace_omi;
mod resolve_network;
mod resolve_source;
mod share_omi;
mod share_snapshots;
mod snapshot_volumes;
mod stop_vm;
mod tag_omi;
mod unlink_volume;
mod wait_for_omi;
mod wait_for_vm;

pub use allocate_public_ip::{AllocatePublicIp, PublicAddress};
pub use check_credentials::{Account, CheckCredentials};
pub use check_name::{CheckName, NameCheck, OldImage};
pub use connect::{Connect, Connected, Connection};
pub(super) use connect::{address, open as connect_to};
pub use create_keypair::CreateKeypair;
pub use create_omi::{CreateOmi, OmiId};
pub use create_volume::{CreateVolume, WorkVolume};
pub use finish_volumes::{FinishVolumes, FinishedVolume};
pub(super) use identify_vm::vm_id;
pub use identify_vm::{HostVm, IdentifyVm};
pub use in_cell::{
    InCell, MountVolume, Mounted, OpenCell, PostMount, PreMount, PrepareChroot, ProvisionChroot,
    ReleaseChroot,
};
pub(super) use launch_vm::adopt_volumes;
pub use launch_vm::{AttachedVolume, LaunchVm, LaunchedVm};
pub use link_volume::{LinkVolume, LinkedVolume};
pub use make_key::{Key, MakeKey};
pub use open_security_group::{OpenSecurityGroup, SecurityGroups};
pub use own_source::{OwnSource, UsableSource};
pub use post_process::post_process;
pub use provision::Provision;
pub(super) use provision::Silent;
pub use register_omi::{Inherited, RegisterOmi};
pub use replace_omi::{FreeName, ReplaceOmi};
pub use resolve_network::{Network, ResolveNetwork};
pub use resolve_source::{ResolveSource, SourceImage};
pub use share_omi::ShareOmi;
pub use share_snapshots::ShareSnapshots;
pub use snapshot_volumes::{SnapshotVolumes, ToSnapshot, VolumeSnapshot};
pub use stop_vm::StopVm;
pub use tag_omi::TagOmi;
pub use unlink_volume::UnlinkVolume;
pub use wait_for_omi::{Omi, WaitForOmi};
use wait_for_vm::attached;
pub use wait_for_vm::{ReadyVm, WaitForVm};

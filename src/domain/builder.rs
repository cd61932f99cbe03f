//! The builders: what each makes, and the options that are its own. What they share is in `plan`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::{AccessPlan, BlockDevice, Communicator, OmiPlan, SourceOmi, VmPlan};

/// A builder with its options.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Builder {
    /// Launch a VM, provision it, stop it, make an OMI of it.
    #[serde(rename = "osc-bsu")]
    OscBsu(Box<BsuPlan>),
    /// Launch a VM, fill other volumes of it, make an OMI of their snapshots.
    #[serde(rename = "osc-bsusurrogate")]
    OscBsusurrogate(Box<SurrogatePlan>),
    /// Launch a VM, fill other volumes of it, keep those.
    #[serde(rename = "osc-bsuvolume")]
    OscBsuvolume(Box<VolumePlan>),
    /// Launch nothing: fill a volume of the VM that the worker runs on, make an OMI of its snapshot.
    #[serde(rename = "osc-chroot")]
    OscChroot(Box<ChrootPlan>),
}

impl Builder {
    /// The contract's name of the builder.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::OscBsu(_) => "osc-bsu",
            Self::OscBsusurrogate(_) => "osc-bsusurrogate",
            Self::OscBsuvolume(_) => "osc-bsuvolume",
            Self::OscChroot(_) => "osc-chroot",
        }
    }

    /// How to reach the cloud.
    #[must_use]
    pub const fn access(&self) -> &AccessPlan {
        match self {
            Self::OscBsu(plan) => &plan.access,
            Self::OscBsusurrogate(plan) => &plan.access,
            Self::OscBsuvolume(plan) => &plan.access,
            Self::OscChroot(plan) => &plan.access,
        }
    }

    /// The same to be changed.
    pub const fn access_mut(&mut self) -> &mut AccessPlan {
        match self {
            Self::OscBsu(plan) => &mut plan.access,
            Self::OscBsusurrogate(plan) => &mut plan.access,
            Self::OscBsuvolume(plan) => &mut plan.access,
            Self::OscChroot(plan) => &mut plan.access,
        }
    }

    /// How to get into the VM; a builder that has none needs no way in.
    #[must_use]
    pub const fn communicator(&self) -> &Communicator {
        match self {
            Self::OscBsu(plan) => &plan.communicator,
            Self::OscBsusurrogate(plan) => &plan.communicator,
            Self::OscBsuvolume(plan) => &plan.communicator,
            Self::OscChroot(_) => &Communicator::None,
        }
    }

    /// The OMI, for builders that make one.
    #[must_use]
    pub fn omi(&self) -> Option<&OmiPlan> {
        match self {
            Self::OscBsu(plan) => (!plan.skip_create_omi).then_some(&plan.omi),
            Self::OscBsusurrogate(plan) => Some(&plan.omi),
            Self::OscBsuvolume(_) => None,
            Self::OscChroot(plan) => Some(&plan.omi),
        }
    }

    /// The name of the OMI, for builders that make one.
    #[must_use]
    pub fn omi_name(&self) -> Option<&str> {
        self.omi().map(|omi| omi.name.as_str())
    }

    /// Whether the user has a key to the VM, since the template brings it.
    #[must_use]
    pub fn has_own_key(&self) -> bool {
        match self.communicator() {
            Communicator::Ssh(ssh) => ssh.password.is_some() || ssh.private_key.is_some(),
            Communicator::None => false,
        }
    }

    /// Whether a run that succeeds has an artifact.
    #[must_use]
    pub fn makes_artifact(&self) -> bool {
        match self {
            Self::OscBsuvolume(plan) => plan.kept().next().is_some(),
            other => other.omi().is_some(),
        }
    }
}

/// The options of `osc-bsu`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BsuPlan {
    /// How to reach the cloud.
    pub access: AccessPlan,
    /// The result.
    pub omi: OmiPlan,
    /// The VM in which it is made.
    pub vm: VmPlan,
    /// How to get into the VM.
    pub communicator: Communicator,
    /// Tags of the VM's volumes (`run_volume_tags`); values are late templates.
    pub volume_tags: BTreeMap<String, String>,
    /// `skip_create_omi`: provision, but make no OMI.
    pub skip_create_omi: bool,
}

/// The options of `osc-bsusurrogate`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SurrogatePlan {
    /// How to reach the cloud.
    pub access: AccessPlan,
    /// The result.
    pub omi: OmiPlan,
    /// The VM in which its volumes are filled.
    pub vm: VmPlan,
    /// How to get into the VM.
    pub communicator: Communicator,
    /// Tags of the VM's volumes (`run_volume_tags`); values are late templates.
    pub volume_tags: BTreeMap<String, String>,
    /// `omi_root_device.device_name`: one of `devices`.
    pub root_device_name: String,
    /// The volumes of a VM of the OMI, the root first.
    pub devices: Vec<OmiDevice>,
}

/// A volume that a VM of the OMI gets: `omi_root_device`, or an entry of one of the mappings, with all that bears on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OmiDevice {
    /// Its name in such a VM.
    pub device_name: String,
    /// What is on it.
    pub source: DeviceSource,
    /// `standard`, `gp2`, `io1`; absent: the cloud's usual.
    pub volume_type: Option<String>,
    /// In GiB; absent: as large as its snapshot.
    pub volume_size: Option<i64>,
    /// With `io1` only.
    pub iops: Option<i64>,
    /// Whether it goes with such a VM.
    pub delete_on_vm_deletion: bool,
}

impl OmiDevice {
    /// An entry of a mapping, with this on it.
    #[must_use]
    pub fn of(device: &BlockDevice, source: DeviceSource) -> Self {
        Self {
            device_name: device.device_name.clone(),
            source,
            volume_type: device.volume_type.clone(),
            volume_size: device.volume_size,
            iops: device.iops,
            delete_on_vm_deletion: device.delete_on_vm_deletion,
        }
    }
}

/// What is on a volume of the OMI.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceSource {
    /// What was written to the volume that the build's VM has under this name.
    Volume(String),
    /// A snapshot that was there before and belongs to somebody else.
    Snapshot(String),
}

/// The options of `osc-bsuvolume`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VolumePlan {
    /// How to reach the cloud.
    pub access: AccessPlan,
    /// The VM in which the volumes are filled; they are its `block_devices`.
    pub vm: VmPlan,
    /// How to get into the VM.
    pub communicator: Communicator,
    /// What becomes of each volume, in the order of the VM's `block_devices`.
    pub volumes: Vec<VolumeToKeep>,
}

impl VolumePlan {
    /// The volumes that stay.
    pub fn kept(&self) -> impl Iterator<Item = &VolumeToKeep> {
        self.volumes.iter().filter(|volume| volume.is_kept)
    }
}

/// What becomes of an entry of `bsu_volumes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeToKeep {
    /// `device_name`.
    pub device_name: String,
    /// Not `delete_on_vm_deletion`.
    pub is_kept: bool,
    /// `tags`; keys and values are late templates.
    pub tags: BTreeMap<String, String>,
    /// `snapshot_volume`, with its options.
    pub snapshot: Option<SnapshotPlan>,
}

/// The snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPlan {
    /// `snapshot_description`; a late template.
    pub description: Option<String>,
    /// `snapshot_tags`; keys and values are late templates.
    pub tags: BTreeMap<String, String>,
    /// `snapshot_account_ids`: who may make volumes of it.
    pub account_ids: Vec<String>,
}

/// The options of `osc-chroot`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChrootPlan {
    /// How to reach the cloud.
    pub access: AccessPlan,
    /// The result.
    pub omi: OmiPlan,
    /// What is on the volume at first.
    pub source: ChrootSource,
    /// `root_volume_size` in GiB; of a source OMI the volume is at least as large as its root.
    pub root_volume_size: Option<i64>,
    /// `root_volume_type`; absent: as the source OMI's root.
    pub root_volume_type: Option<String>,
    /// `root_volume_tags`; keys and values are late templates.
    pub root_volume_tags: BTreeMap<String, String>,
    /// `device_path`: the name under which the volume is linked; absent: the first free one.
    pub device_path: Option<String>,
    /// `nvme_device_path`: where the kernel shows it.
    pub nvme_device_path: Option<String>,
    /// `mount_path`; a late template.
    pub mount_path: String,
    /// `mount_partition`: its number; absent: the whole volume.
    pub mount_partition: Option<u32>,
    /// `mount_options`.
    pub mount_options: Vec<String>,
    /// `chroot_mounts`.
    pub chroot_mounts: Vec<ChrootMount>,
    /// `copy_files`: absolute paths of the worker's host.
    pub copy_files: Vec<CopiedFile>,
    /// `command_wrapper`, a late template; absent: nothing is around the commands.
    pub command_wrapper: Option<String>,
    /// `pre_mount_commands`; late templates.
    pub pre_mount_commands: Vec<String>,
    /// `post_mount_commands`; late templates.
    pub post_mount_commands: Vec<String>,
}

/// What is on the volume at first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChrootSource {
    /// The root of this OMI.
    Omi(SourceOmi),
    /// Nothing (`from_scratch`).
    Scratch(ScratchPlan),
}

/// The OMI of a volume that was blank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScratchPlan {
    /// `root_device_name`: one of `devices`.
    pub root_device_name: String,
    /// `omi_block_device_mappings`.
    pub devices: Vec<BlockDevice>,
}

/// An entry of `chroot_mounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChrootMount {
    /// The type of file system, or `bind`.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Where, as seen from inside.
    pub target: String,
    /// Whether the bake goes on without it: the template did not ask for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_optional: bool,
}

/// An entry of `copy_files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedFile {
    /// Its path, outside and inside.
    pub path: String,
    /// Whether the bake goes on without it: the template did not ask for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_optional: bool,
}

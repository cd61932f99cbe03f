//! The builders: what each makes, and the options that are its own. What they share is in `plan`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::{AccessPlan, Communicator, OmiPlan, VmPlan};

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
}

impl Builder {
    /// The contract's name of the builder.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::OscBsu(_) => "osc-bsu",
            Self::OscBsusurrogate(_) => "osc-bsusurrogate",
            Self::OscBsuvolume(_) => "osc-bsuvolume",
        }
    }

    /// How to reach the cloud.
    #[must_use]
    pub const fn access(&self) -> &AccessPlan {
        match self {
            Self::OscBsu(plan) => &plan.access,
            Self::OscBsusurrogate(plan) => &plan.access,
            Self::OscBsuvolume(plan) => &plan.access,
        }
    }

    /// The same to be changed.
    pub const fn access_mut(&mut self) -> &mut AccessPlan {
        match self {
            Self::OscBsu(plan) => &mut plan.access,
            Self::OscBsusurrogate(plan) => &mut plan.access,
            Self::OscBsuvolume(plan) => &mut plan.access,
        }
    }

    /// How to get into the VM.
    #[must_use]
    pub const fn communicator(&self) -> &Communicator {
        match self {
            Self::OscBsu(plan) => &plan.communicator,
            Self::OscBsusurrogate(plan) => &plan.communicator,
            Self::OscBsuvolume(plan) => &plan.communicator,
        }
    }

    /// The OMI, for builders that make one.
    #[must_use]
    pub fn omi(&self) -> Option<&OmiPlan> {
        match self {
            Self::OscBsu(plan) => (!plan.skip_create_omi).then_some(&plan.omi),
            Self::OscBsusurrogate(plan) => Some(&plan.omi),
            Self::OscBsuvolume(_) => None,
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

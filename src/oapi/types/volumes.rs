//! Volumes: CreateVolume, ReadVolumes, LinkVolume, UnlinkVolume, DeleteVolume.
#![expect(missing_docs, reason = "fields carry OAPI's names and meaning")]

use serde::{Deserialize, Serialize};

use super::request::{Done, paged, request};
use super::{LinkState, ResourceTag, VolumeState, VolumeType};

/// A volume that CreateVms or CreateImage makes for a device. Sizes are in GiB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BsuToCreate {
    pub delete_on_vm_deletion: Option<bool>,
    /// With `io1` only.
    pub iops: Option<u32>,
    pub snapshot_id: Option<String>,
    pub volume_size: Option<u32>,
    pub volume_type: Option<VolumeType>,
}

/// Makes a volume, blank (`size`) or from a snapshot. Sizes are in GiB.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateVolume {
    pub subregion_name: String,
    pub size: Option<u32>,
    pub snapshot_id: Option<String>,
    pub volume_type: Option<VolumeType>,
    /// With `io1` only: at most 13000, and 300 per GiB.
    pub iops: Option<u32>,
    /// At most 64 characters.
    pub client_token: Option<String>,
}
request!(CreateVolume => CreateVolumeAnswer, WithToken);

/// The new volume.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateVolumeAnswer {
    pub volume: Volume,
}

paged! {
    /// Lists volumes.
    ReadVolumes, FiltersVolume => ReadVolumesAnswer { volumes: Volume }
}

/// What ReadVolumes can look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FiltersVolume {
    pub volume_ids: Vec<String>,
    pub client_tokens: Vec<String>,
    pub creation_dates: Vec<String>,
    pub link_volume_delete_on_vm_deletion: Option<bool>,
    pub link_volume_device_names: Vec<String>,
    pub link_volume_link_dates: Vec<String>,
    pub link_volume_link_states: Vec<LinkState>,
    pub link_volume_vm_ids: Vec<String>,
    pub snapshot_ids: Vec<String>,
    pub subregion_names: Vec<String>,
    pub tag_keys: Vec<String>,
    pub tag_values: Vec<String>,
    /// `KEY=VALUE`.
    pub tags: Vec<String>,
    pub volume_sizes: Vec<u32>,
    pub volume_states: Vec<VolumeState>,
    pub volume_types: Vec<VolumeType>,
}

/// A volume. The size is in GiB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    pub volume_id: String,
    #[serde(default)]
    pub state: VolumeState,
    pub size: Option<u32>,
    pub volume_type: Option<VolumeType>,
    pub iops: Option<u32>,
    pub snapshot_id: Option<String>,
    pub subregion_name: Option<String>,
    pub client_token: Option<String>,
    pub creation_date: Option<String>,
    #[serde(default)]
    pub linked_volumes: Vec<LinkedVolume>,
    #[serde(default)]
    pub tags: Vec<ResourceTag>,
}

impl Volume {
    /// The link to this VM, if there is one.
    pub fn link_to(&self, vm_id: &str) -> Option<&LinkedVolume> {
        self.linked_volumes.iter().find(|link| link.vm_id.as_deref() == Some(vm_id))
    }
}

/// The link of a volume to a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LinkedVolume {
    pub vm_id: Option<String>,
    pub device_name: Option<String>,
    #[serde(default)]
    pub state: LinkState,
    pub delete_on_vm_deletion: Option<bool>,
}

/// Links a volume to a running or stopped VM of the same Subregion.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LinkVolume {
    pub device_name: String,
    pub vm_id: String,
    pub volume_id: String,
}
request!(LinkVolume => Done, Always);

/// Takes a volume off its VM; the root volume only from a stopped one.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnlinkVolume {
    pub volume_id: String,
    pub force_unlink: Option<bool>,
}
request!(UnlinkVolume => Done, Always);

/// Deletes an available volume.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteVolume {
    pub volume_id: String,
}
request!(DeleteVolume => Done, Always);

//! Images (OMIs): CreateImage, ReadImages, UpdateImage, DeleteImage.
#![expect(missing_docs, reason = "fields carry OAPI's names and meaning")]

use serde::{Deserialize, Serialize};

use super::request::{Done, paged, request};
use super::{BootMode, BsuToCreate, ImageState, ResourceTag, VolumeType};

/// Makes an image. The fields that are set choose the way: from a VM (`vm_id`), a copy inside the Region
/// (`source_image_id`, `source_region_name`), from snapshots (`block_device_mappings`, `root_device_name`), or from an
/// export (`file_location`). OAPI takes no token here: after a lost answer look for the name among the own images.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateImage {
    pub image_name: Option<String>,
    pub description: Option<String>,
    pub vm_id: Option<String>,
    /// `Some(true)` does not stop the VM first.
    pub no_reboot: Option<bool>,
    pub source_image_id: Option<String>,
    /// Must be the own Region.
    pub source_region_name: Option<String>,
    pub block_device_mappings: Vec<BlockDeviceMappingImage>,
    pub root_device_name: Option<String>,
    pub architecture: Option<String>,
    /// Pre-signed address of an export's manifest.
    pub file_location: Option<String>,
    pub product_codes: Vec<String>,
    /// Cannot be changed afterwards; without it an image from a snapshot becomes `legacy` only.
    pub boot_modes: Vec<BootMode>,
    pub tpm_mandatory: Option<bool>,
}
request!(CreateImage => ImageAnswer, OnlyIfNotRun);

/// The image that was made or changed.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageAnswer {
    pub image: Image,
}

/// A device of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockDeviceMappingImage {
    pub device_name: Option<String>,
    pub bsu: Option<BsuToCreate>,
    pub virtual_device_name: Option<String>,
}

paged! {
    /// Lists images: own, shared and public ones unless `account_ids` or `account_aliases` say otherwise.
    ReadImages, FiltersImage => ReadImagesAnswer { images: Image }
}

/// What ReadImages can look for. Names may hold `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FiltersImage {
    pub account_aliases: Vec<String>,
    pub account_ids: Vec<String>,
    pub architectures: Vec<String>,
    pub block_device_mapping_delete_on_vm_deletion: Option<bool>,
    pub block_device_mapping_device_names: Vec<String>,
    pub block_device_mapping_snapshot_ids: Vec<String>,
    pub block_device_mapping_volume_sizes: Vec<u32>,
    pub block_device_mapping_volume_types: Vec<VolumeType>,
    pub boot_modes: Vec<BootMode>,
    pub descriptions: Vec<String>,
    pub file_locations: Vec<String>,
    pub hypervisors: Vec<String>,
    pub image_ids: Vec<String>,
    pub image_names: Vec<String>,
    pub permissions_to_launch_account_ids: Vec<String>,
    pub permissions_to_launch_global_permission: Option<bool>,
    pub product_code_names: Vec<String>,
    pub product_codes: Vec<String>,
    pub root_device_names: Vec<String>,
    pub root_device_types: Vec<String>,
    pub secure_boot: Option<bool>,
    pub states: Vec<ImageState>,
    pub tag_keys: Vec<String>,
    pub tag_values: Vec<String>,
    /// `KEY=VALUE`.
    pub tags: Vec<String>,
    pub tpm_mandatory: Option<bool>,
    pub virtualization_types: Vec<String>,
}

/// An image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    pub image_id: String,
    #[serde(default)]
    pub state: ImageState,
    /// Says why if the image failed.
    pub state_comment: Option<StateComment>,
    pub image_name: Option<String>,
    pub description: Option<String>,
    pub account_id: Option<String>,
    pub account_alias: Option<String>,
    pub architecture: Option<String>,
    #[serde(default)]
    pub block_device_mappings: Vec<BlockDeviceMappingImage>,
    #[serde(default)]
    pub boot_modes: Vec<BootMode>,
    pub creation_date: Option<String>,
    pub image_type: Option<String>,
    pub permissions_to_launch: Option<PermissionsOnResource>,
    #[serde(default)]
    pub product_codes: Vec<String>,
    pub root_device_name: Option<String>,
    pub root_device_type: Option<String>,
    pub secure_boot: Option<bool>,
    pub tpm_mandatory: Option<bool>,
    #[serde(default)]
    pub tags: Vec<ResourceTag>,
}

impl Image {
    /// The snapshots that the image is made of, in the order of its devices.
    pub fn snapshot_ids(&self) -> Vec<&str> {
        self.block_device_mappings
            .iter()
            .filter_map(|mapping| mapping.bsu.as_ref()?.snapshot_id.as_deref())
            .collect()
    }
}

/// Why an image is in its state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StateComment {
    pub state_code: Option<String>,
    pub state_message: Option<String>,
}

/// Who may launch an image, or make a volume of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PermissionsOnResource {
    #[serde(default)]
    pub account_ids: Vec<String>,
    /// Everybody; `Some(true)` under `removals` takes it back.
    pub global_permission: Option<bool>,
}

/// A change of permissions: either additions or removals in one call, never both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PermissionsOnResourceCreation {
    pub additions: Option<PermissionsOnResource>,
    pub removals: Option<PermissionsOnResource>,
}

/// Changes description, product codes or permissions of an image.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateImage {
    pub image_id: String,
    pub description: Option<String>,
    /// Replaces all.
    pub product_codes: Vec<String>,
    pub permissions_to_launch: Option<PermissionsOnResourceCreation>,
}
request!(UpdateImage => ImageAnswer, Always);

/// Deletes an image; its snapshots stay.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteImage {
    pub image_id: String,
}
request!(DeleteImage => Done, Always);

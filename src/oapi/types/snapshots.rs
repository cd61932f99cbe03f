//! Snapshots: CreateSnapshot, ReadSnapshots, UpdateSnapshot, DeleteSnapshot.
#![expect(missing_docs, reason = "fields carry OAPI's names and meaning")]

use serde::{Deserialize, Serialize};

use super::request::{Done, paged, request};
use super::{PermissionsOnResource, PermissionsOnResourceCreation, ResourceTag, SnapshotState};

/// Makes a snapshot: of a volume (`volume_id`), a copy inside the Region (`source_snapshot_id`, `source_region_name`), or
/// of a disk file (`file_location`, `snapshot_size`).
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateSnapshot {
    pub description: Option<String>,
    pub volume_id: Option<String>,
    pub source_snapshot_id: Option<String>,
    /// Must be the own Region.
    pub source_region_name: Option<String>,
    /// Pre-signed address of a qcow2 or raw file.
    pub file_location: Option<String>,
    /// In bytes, not GiB.
    pub snapshot_size: Option<u64>,
    /// At most 64 characters.
    pub client_token: Option<String>,
}
request!(CreateSnapshot => SnapshotAnswer, WithToken);

/// The snapshot that was made or changed.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SnapshotAnswer {
    pub snapshot: Snapshot,
}

paged! {
    /// Lists snapshots: own, shared and public ones unless `account_ids` says otherwise.
    ReadSnapshots, FiltersSnapshot => ReadSnapshotsAnswer { snapshots: Snapshot }
}

/// What ReadSnapshots can look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FiltersSnapshot {
    pub account_aliases: Vec<String>,
    pub account_ids: Vec<String>,
    pub client_tokens: Vec<String>,
    pub descriptions: Vec<String>,
    pub from_creation_date: Option<String>,
    pub permissions_to_create_volume_account_ids: Vec<String>,
    pub permissions_to_create_volume_global_permission: Option<bool>,
    pub progresses: Vec<u32>,
    pub snapshot_ids: Vec<String>,
    pub states: Vec<SnapshotState>,
    pub tag_keys: Vec<String>,
    pub tag_values: Vec<String>,
    /// `KEY=VALUE`.
    pub tags: Vec<String>,
    pub to_creation_date: Option<String>,
    pub volume_ids: Vec<String>,
    pub volume_sizes: Vec<u32>,
}

/// A snapshot. The size is that of its volume, in GiB.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Snapshot {
    pub snapshot_id: String,
    #[serde(default)]
    pub state: SnapshotState,
    /// Percent.
    pub progress: Option<u32>,
    pub volume_id: Option<String>,
    pub volume_size: Option<u32>,
    pub description: Option<String>,
    pub account_id: Option<String>,
    pub account_alias: Option<String>,
    pub client_token: Option<String>,
    pub creation_date: Option<String>,
    pub permissions_to_create_volume: Option<PermissionsOnResource>,
    #[serde(default)]
    pub tags: Vec<ResourceTag>,
}

/// Changes who may make volumes of a snapshot.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateSnapshot {
    pub snapshot_id: String,
    pub permissions_to_create_volume: PermissionsOnResourceCreation,
}
request!(UpdateSnapshot => SnapshotAnswer, Always);

/// Deletes a snapshot; refused while an image uses it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteSnapshot {
    pub snapshot_id: String,
}
request!(DeleteSnapshot => Done, Always);

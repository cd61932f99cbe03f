//! What a client may send about snapshots: every field of the official document, and no other.
//! The region gives the fields their meaning; `known` refuses what is not listed here.

use super::{images::PermissionsOnResourceCreation, known::object};

object! {
    /// Parameters of `CreateSnapshot`.
    CreateSnapshotRequest {
        client_token: String,
        description: String,
        dry_run: bool,
        file_location: String,
        snapshot_size: i64,
        source_region_name: String,
        source_snapshot_id: String,
        volume_id: String,
    }
}

object! {
    /// Filters of the call that reads `Snapshot` objects.
    FiltersSnapshot {
        account_aliases: Vec<String>,
        account_ids: Vec<String>,
        client_tokens: Vec<String>,
        descriptions: Vec<String>,
        from_creation_date: String,
        permissions_to_create_volume_account_ids: Vec<String>,
        permissions_to_create_volume_global_permission: bool,
        progresses: Vec<i64>,
        snapshot_ids: Vec<String>,
        states: Vec<String>,
        tag_keys: Vec<String>,
        tag_values: Vec<String>,
        tags: Vec<String>,
        to_creation_date: String,
        volume_ids: Vec<String>,
        volume_sizes: Vec<i64>,
    }
}

object! {
    /// Parameters of `ReadSnapshots`.
    ReadSnapshotsRequest {
        dry_run: bool,
        filters: FiltersSnapshot,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// Parameters of `UpdateSnapshot`.
    UpdateSnapshotRequest {
        dry_run: bool,
        [permissions_to_create_volume: PermissionsOnResourceCreation],
        [snapshot_id: String],
    }
}

object! {
    /// Parameters of `DeleteSnapshot`.
    DeleteSnapshotRequest {
        dry_run: bool,
        [snapshot_id: String],
    }
}

//! What a client may send about volumes: every field of the official document, and no other.
//! The region gives the fields their meaning; `known` refuses what is not listed here.

use super::known::object;

object! {
    /// Parameters of `CreateVolume`.
    CreateVolumeRequest {
        client_token: String,
        dry_run: bool,
        iops: i64,
        size: i64,
        snapshot_id: String,
        [subregion_name: String],
        volume_type: String,
    }
}

object! {
    /// Filters of the call that reads `Volume` objects.
    FiltersVolume {
        client_tokens: Vec<String>,
        creation_dates: Vec<String>,
        link_volume_delete_on_vm_deletion: bool,
        link_volume_device_names: Vec<String>,
        link_volume_link_dates: Vec<String>,
        link_volume_link_states: Vec<String>,
        link_volume_vm_ids: Vec<String>,
        snapshot_ids: Vec<String>,
        subregion_names: Vec<String>,
        tag_keys: Vec<String>,
        tag_values: Vec<String>,
        tags: Vec<String>,
        volume_ids: Vec<String>,
        volume_sizes: Vec<i64>,
        volume_states: Vec<String>,
        volume_types: Vec<String>,
    }
}

object! {
    /// Parameters of `ReadVolumes`.
    ReadVolumesRequest {
        dry_run: bool,
        filters: FiltersVolume,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// Parameters of `UpdateVolume`.
    UpdateVolumeRequest {
        dry_run: bool,
        iops: i64,
        size: i64,
        [volume_id: String],
        volume_type: String,
    }
}

object! {
    /// Parameters of `LinkVolume`.
    LinkVolumeRequest {
        [device_name: String],
        dry_run: bool,
        [vm_id: String],
        [volume_id: String],
    }
}

object! {
    /// Parameters of `UnlinkVolume`.
    UnlinkVolumeRequest {
        dry_run: bool,
        force_unlink: bool,
        [volume_id: String],
    }
}

object! {
    /// Parameters of `DeleteVolume`.
    DeleteVolumeRequest {
        dry_run: bool,
        [volume_id: String],
    }
}

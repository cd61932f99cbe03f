//! What a client may send about images: every field of the official document, and no other.
//! The region gives the fields their meaning; `known` refuses what is not listed here.

use super::{known::object, vms::BsuToCreate};

object! {
    /// `BlockDeviceMappingImage`, as part of a request.
    BlockDeviceMappingImage {
        bsu: BsuToCreate,
        device_name: String,
        virtual_device_name: String,
    }
}

object! {
    /// Parameters of `CreateImage`.
    CreateImageRequest {
        architecture: String,
        block_device_mappings: Vec<BlockDeviceMappingImage>,
        boot_modes: Vec<String>,
        description: String,
        dry_run: bool,
        file_location: String,
        image_name: String,
        no_reboot: bool,
        product_codes: Vec<String>,
        root_device_name: String,
        source_image_id: String,
        source_region_name: String,
        tpm_mandatory: bool,
        vm_id: String,
    }
}

object! {
    /// Filters of the call that reads `Image` objects.
    FiltersImage {
        account_aliases: Vec<String>,
        account_ids: Vec<String>,
        architectures: Vec<String>,
        block_device_mapping_delete_on_vm_deletion: bool,
        block_device_mapping_device_names: Vec<String>,
        block_device_mapping_snapshot_ids: Vec<String>,
        block_device_mapping_volume_sizes: Vec<i64>,
        block_device_mapping_volume_types: Vec<String>,
        boot_modes: Vec<String>,
        descriptions: Vec<String>,
        file_locations: Vec<String>,
        hypervisors: Vec<String>,
        image_ids: Vec<String>,
        image_names: Vec<String>,
        permissions_to_launch_account_ids: Vec<String>,
        permissions_to_launch_global_permission: bool,
        product_code_names: Vec<String>,
        product_codes: Vec<String>,
        root_device_names: Vec<String>,
        root_device_types: Vec<String>,
        secure_boot: bool,
        states: Vec<String>,
        tag_keys: Vec<String>,
        tag_values: Vec<String>,
        tags: Vec<String>,
        tpm_mandatory: bool,
        virtualization_types: Vec<String>,
    }
}

object! {
    /// Parameters of `ReadImages`.
    ReadImagesRequest {
        dry_run: bool,
        filters: FiltersImage,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// `PermissionsOnResource`, as part of a request.
    PermissionsOnResource {
        account_ids: Vec<String>,
        global_permission: bool,
    }
}

object! {
    /// `PermissionsOnResourceCreation`, as part of a request.
    PermissionsOnResourceCreation {
        additions: PermissionsOnResource,
        removals: PermissionsOnResource,
    }
}

object! {
    /// Parameters of `UpdateImage`.
    UpdateImageRequest {
        description: String,
        dry_run: bool,
        [image_id: String],
        permissions_to_launch: PermissionsOnResourceCreation,
        product_codes: Vec<String>,
    }
}

object! {
    /// Parameters of `DeleteImage`.
    DeleteImageRequest {
        dry_run: bool,
        [image_id: String],
    }
}

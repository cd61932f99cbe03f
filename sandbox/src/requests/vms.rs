//! What a client may send about VMs: every field of the official document, and no other.
//! The region gives the fields their meaning; `known` refuses what is not listed here.

use super::known::object;

object! {
    /// Filters of the call that reads `Vm` objects.
    FiltersVm {
        architectures: Vec<String>,
        block_device_mapping_delete_on_vm_deletion: bool,
        block_device_mapping_device_names: Vec<String>,
        block_device_mapping_link_dates: Vec<String>,
        block_device_mapping_states: Vec<String>,
        block_device_mapping_volume_ids: Vec<String>,
        boot_modes: Vec<String>,
        client_tokens: Vec<String>,
        creation_dates: Vec<String>,
        image_ids: Vec<String>,
        is_source_dest_checked: bool,
        keypair_names: Vec<String>,
        launch_numbers: Vec<i64>,
        lifecycles: Vec<String>,
        net_ids: Vec<String>,
        nic_account_ids: Vec<String>,
        nic_descriptions: Vec<String>,
        nic_is_source_dest_checked: bool,
        nic_link_nic_delete_on_vm_deletion: bool,
        nic_link_nic_device_numbers: Vec<i64>,
        nic_link_nic_link_nic_dates: Vec<String>,
        nic_link_nic_link_nic_ids: Vec<String>,
        nic_link_nic_states: Vec<String>,
        nic_link_nic_vm_account_ids: Vec<String>,
        nic_link_nic_vm_ids: Vec<String>,
        nic_link_public_ip_account_ids: Vec<String>,
        nic_link_public_ip_link_public_ip_ids: Vec<String>,
        nic_link_public_ip_public_ip_ids: Vec<String>,
        nic_link_public_ip_public_ips: Vec<String>,
        nic_mac_addresses: Vec<String>,
        nic_net_ids: Vec<String>,
        nic_nic_ids: Vec<String>,
        nic_private_ips_link_public_ip_account_ids: Vec<String>,
        nic_private_ips_link_public_ip_ids: Vec<String>,
        nic_private_ips_primary_ip: bool,
        nic_private_ips_private_ips: Vec<String>,
        nic_security_group_ids: Vec<String>,
        nic_security_group_names: Vec<String>,
        nic_states: Vec<String>,
        nic_subnet_ids: Vec<String>,
        nic_subregion_names: Vec<String>,
        platforms: Vec<String>,
        private_ips: Vec<String>,
        product_codes: Vec<String>,
        public_ips: Vec<String>,
        reservation_ids: Vec<String>,
        root_device_names: Vec<String>,
        root_device_types: Vec<String>,
        security_group_ids: Vec<String>,
        security_group_names: Vec<String>,
        state_reason_codes: Vec<i64>,
        state_reason_messages: Vec<String>,
        state_reasons: Vec<String>,
        subnet_ids: Vec<String>,
        subregion_names: Vec<String>,
        tag_keys: Vec<String>,
        tag_values: Vec<String>,
        tags: Vec<String>,
        tenancies: Vec<String>,
        tpm_enabled: bool,
        vm_ids: Vec<String>,
        vm_security_group_ids: Vec<String>,
        vm_security_group_names: Vec<String>,
        vm_state_codes: Vec<i64>,
        vm_state_names: Vec<String>,
        vm_types: Vec<String>,
    }
}

object! {
    /// Parameters of `ReadVms`.
    ReadVmsRequest {
        dry_run: bool,
        filters: FiltersVm,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// `ActionsOnNextBoot`, as part of a request.
    ActionsOnNextBoot {
        secure_boot: String,
    }
}

object! {
    /// `BsuToCreate`, as part of a request.
    BsuToCreate {
        delete_on_vm_deletion: bool,
        iops: i64,
        snapshot_id: String,
        volume_size: i64,
        volume_type: String,
    }
}

object! {
    /// `BlockDeviceMappingVmCreation`, as part of a request.
    BlockDeviceMappingVmCreation {
        bsu: BsuToCreate,
        device_name: String,
        no_device: String,
        virtual_device_name: String,
    }
}

object! {
    /// `PrivateIpLight`, as part of a request.
    PrivateIpLight {
        is_primary: bool,
        private_ip: String,
    }
}

object! {
    /// `NicForVmCreation`, as part of a request.
    NicForVmCreation {
        delete_on_vm_deletion: bool,
        description: String,
        device_number: i64,
        nic_id: String,
        private_ips: Vec<PrivateIpLight>,
        secondary_private_ip_count: i64,
        security_group_ids: Vec<String>,
        subnet_id: String,
    }
}

object! {
    /// `Placement`, as part of a request.
    Placement {
        subregion_name: String,
        tenancy: String,
    }
}

object! {
    /// `ShutdownBehaviorConfiguration`, as part of a request.
    ShutdownBehaviorConfiguration {
        guest_action: String,
        host_action: String,
    }
}

object! {
    /// Parameters of `CreateVms`.
    CreateVmsRequest {
        actions_on_next_boot: ActionsOnNextBoot,
        block_device_mappings: Vec<BlockDeviceMappingVmCreation>,
        boot_mode: String,
        boot_on_creation: bool,
        bsu_optimized: bool,
        client_token: String,
        deletion_protection: bool,
        dry_run: bool,
        [image_id: String],
        keypair_name: String,
        max_vms_count: i64,
        min_vms_count: i64,
        nested_virtualization: bool,
        nics: Vec<NicForVmCreation>,
        performance: String,
        placement: Placement,
        private_ips: Vec<String>,
        security_group_ids: Vec<String>,
        security_groups: Vec<String>,
        shutdown_behavior_configuration: ShutdownBehaviorConfiguration,
        subnet_id: String,
        tpm_enabled: bool,
        user_data: String,
        vm_initiated_shutdown_behavior: String,
        vm_type: String,
    }
}

object! {
    /// Parameters of `StartVms`.
    StartVmsRequest {
        dry_run: bool,
        [vm_ids: Vec<String>],
    }
}

object! {
    /// Parameters of `StopVms`.
    StopVmsRequest {
        dry_run: bool,
        force_stop: bool,
        [vm_ids: Vec<String>],
    }
}

object! {
    /// Parameters of `RebootVms`.
    RebootVmsRequest {
        dry_run: bool,
        [vm_ids: Vec<String>],
    }
}

object! {
    /// Parameters of `DeleteVms`.
    DeleteVmsRequest {
        dry_run: bool,
        [vm_ids: Vec<String>],
    }
}

object! {
    /// `BsuToUpdateVm`, as part of a request.
    BsuToUpdateVm {
        delete_on_vm_deletion: bool,
        volume_id: String,
    }
}

object! {
    /// `BlockDeviceMappingVmUpdate`, as part of a request.
    BlockDeviceMappingVmUpdate {
        bsu: BsuToUpdateVm,
        device_name: String,
        no_device: String,
        virtual_device_name: String,
    }
}

object! {
    /// Parameters of `UpdateVm`.
    UpdateVmRequest {
        actions_on_next_boot: ActionsOnNextBoot,
        block_device_mappings: Vec<BlockDeviceMappingVmUpdate>,
        bsu_optimized: bool,
        deletion_protection: bool,
        dry_run: bool,
        is_source_dest_checked: bool,
        keypair_name: String,
        nested_virtualization: bool,
        performance: String,
        security_group_ids: Vec<String>,
        shutdown_behavior_configuration: ShutdownBehaviorConfiguration,
        user_data: String,
        [vm_id: String],
        vm_initiated_shutdown_behavior: String,
        vm_type: String,
    }
}

object! {
    /// Filters of the call that reads `VmsState` objects.
    FiltersVmsState {
        maintenance_event_codes: Vec<String>,
        maintenance_event_descriptions: Vec<String>,
        maintenance_events_not_after: Vec<String>,
        maintenance_events_not_before: Vec<String>,
        subregion_names: Vec<String>,
        vm_ids: Vec<String>,
        vm_states: Vec<String>,
    }
}

object! {
    /// Parameters of `ReadVmsState`.
    ReadVmsStateRequest {
        all_vms: bool,
        dry_run: bool,
        filters: FiltersVmsState,
        next_page_token: String,
        results_per_page: i64,
    }
}

object! {
    /// Parameters of `ReadConsoleOutput`.
    ReadConsoleOutputRequest {
        dry_run: bool,
        [vm_id: String],
    }
}

object! {
    /// Parameters of `ReadAdminPassword`.
    ReadAdminPasswordRequest {
        dry_run: bool,
        [vm_id: String],
    }
}

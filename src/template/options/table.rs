//! Options that are known but not used, and what is said about each. Options that are used stand where they are read.

use super::Treatment::{self, Ignored, Never, NotYet};

const UNUSED: &str = "Packer's OUTSCALE plugin takes it, but does nothing with it";
const NO_AGENT: &str =
    "a service has no SSH agent; send the key in the folder and name it in `ssh_private_key_file`";
const NO_TERMINAL: &str = "a service has no terminal to ask at";
const INTERNAL: &str = "it is Packer's own; use `ssh_private_key_file`";
const OF_SURROGATE: &str = "it belongs to `osc-bsusurrogate`";
const OF_VOLUME: &str = "it belongs to `osc-bsuvolume`";
const OF_CHROOT: &str = "it belongs to `osc-chroot`";
const NO_VM: &str = "`osc-chroot` launches no VM: it works on a volume of the VM that the worker runs on";
const NO_OMI: &str = "`osc-bsuvolume` makes volumes, not an OMI";
const SNAPSHOT_ACCOUNTS: &str = "name the accounts in `snapshot_account_ids`";
const SNAPSHOTS_OF_VOLUMES: &str = "it stands in the entries of `bsu_volumes`";
const LATER_VM: &str = "the address is that of the VM, which is known only when it runs";

/// Options of all builders that launch a VM.
const VM: [(&str, Treatment); 37] = [
    // Access.
    ("mfa_code", Ignored(UNUSED)),
    ("token", Ignored(UNUSED)),
    ("skip_metadata_api_check", Ignored(UNUSED)),
    // The VM.
    ("iam_vm_profile", Ignored(UNUSED)),
    ("enable_t2_unlimited", Ignored(UNUSED)),
    ("block_duration_minutes", Ignored(UNUSED)),
    ("windows_password_timeout", NotYet),
    // The communicator.
    ("ssh_host", Ignored(LATER_VM)),
    ("ssh_agent_auth", Never(NO_AGENT)),
    ("ssh_disable_agent_forwarding", Ignored("there is no SSH agent to forward")),
    ("temporary_key_pair_bits", Ignored("RSA keys have 2048 bits or more, the other kinds a fixed size")),
    ("ssh_bastion_certificate_file", NotYet),
    ("ssh_bastion_agent_auth", Never(NO_AGENT)),
    ("ssh_bastion_interactive", Never(NO_TERMINAL)),
    ("ssh_proxy_host", NotYet),
    ("ssh_proxy_port", NotYet),
    ("ssh_proxy_username", NotYet),
    ("ssh_proxy_password", NotYet),
    ("ssh_local_tunnels", NotYet),
    ("ssh_remote_tunnels", NotYet),
    ("ssh_public_key", Never(INTERNAL)),
    ("ssh_private_key", Never(INTERNAL)),
    ("winrm_username", NotYet),
    ("winrm_password", NotYet),
    ("winrm_host", Ignored(LATER_VM)),
    ("winrm_port", NotYet),
    ("winrm_use_ssl", NotYet),
    ("winrm_insecure", NotYet),
    ("winrm_use_ntlm", NotYet),
    ("winrm_no_proxy", NotYet),
    ("winrm_timeout", NotYet),
    // Names of long ago, for which Packer says to run `packer fix`.
    ("ssh_key_path", Never("its name is `ssh_private_key_file` now")),
    ("ssh_disable_agent", Never("its name is `ssh_disable_agent_forwarding` now")),
    ("ssh_host_port_min", Never("it belongs to other builders")),
    ("ssh_host_port_max", Never("it belongs to other builders")),
    ("ssh_skip_nat_mapping", Never("it belongs to other builders")),
    ("from_scratch", Never(OF_CHROOT)),
];

/// Options of the OMI, of all builders that make one.
const OMI: [(&str, Treatment); 7] = [
    (
        "omi_regions",
        Ignored("there is no copy to other regions, neither in Packer's OUTSCALE plugin nor here"),
    ),
    ("skip_region_validation", Ignored(UNUSED)),
    ("omi_groups", Ignored(UNUSED)),
    ("omi_product_codes", Ignored("use `product_codes`")),
    ("omi_virtualization_type", Ignored("OUTSCALE has one kind of virtualization")),
    ("snapshot_groups", Never(SNAPSHOT_ACCOUNTS)),
    ("snapshot_users", Never(SNAPSHOT_ACCOUNTS)),
];

/// Options that are `osc-bsu`'s own.
const BSU: [(&str, Treatment); 4] = [
    ("root_device_name", Ignored("the OMI is made of the VM, which has its own root device")),
    (
        "omi_block_device_mappings",
        Never(
            "with it the OMI would be made of the snapshots you name instead of the VM, and everything the \
             provisioners did would be lost; set up volumes with `launch_block_device_mappings`",
        ),
    ),
    ("omi_root_device", Never(OF_SURROGATE)),
    ("bsu_volumes", Never(OF_VOLUME)),
];

/// Options that are `osc-bsusurrogate`'s own.
const BSUSURROGATE: [(&str, Treatment); 3] = [
    ("root_device_name", Ignored("use `device_name` in `omi_root_device`")),
    ("skip_create_omi", Never("it belongs to `osc-bsu`")),
    ("bsu_volumes", Never(OF_VOLUME)),
];

/// Options that are `osc-bsuvolume`'s own.
const BSUVOLUME: [(&str, Treatment); 26] = [
    ("ebs_volumes", Never("its name is `bsu_volumes` here")),
    ("launch_block_device_mappings", Never("list the volumes in `bsu_volumes`")),
    ("run_volume_tags", Never("tag each volume by `tags` in `bsu_volumes`")),
    ("tags", Never("tag each volume by `tags` in `bsu_volumes`")),
    ("snapshot_tags", Never(SNAPSHOTS_OF_VOLUMES)),
    ("snapshot_account_ids", Never(SNAPSHOTS_OF_VOLUMES)),
    ("snapshot_users", Never(SNAPSHOTS_OF_VOLUMES)),
    ("snapshot_volume", Never(SNAPSHOTS_OF_VOLUMES)),
    ("snapshot_description", Never(SNAPSHOTS_OF_VOLUMES)),
    ("omi_name", Never(NO_OMI)),
    ("omi_description", Never(NO_OMI)),
    ("omi_account_ids", Never(NO_OMI)),
    ("global_permission", Never(NO_OMI)),
    ("product_codes", Never(NO_OMI)),
    ("omi_boot_modes", Never(NO_OMI)),
    ("root_device_name", Never(NO_OMI)),
    ("omi_regions", Never(NO_OMI)),
    ("omi_groups", Never(NO_OMI)),
    ("omi_product_codes", Never(NO_OMI)),
    ("skip_region_validation", Never(NO_OMI)),
    ("omi_block_device_mappings", Never(NO_OMI)),
    ("force_deregister", Never(NO_OMI)),
    ("force_delete_snapshot", Never(NO_OMI)),
    ("skip_create_omi", Never(NO_OMI)),
    ("omi_virtualization_type", Never(NO_OMI)),
    ("omi_root_device", Never(OF_SURROGATE)),
];

/// Options that are `osc-chroot`'s own.
const CHROOT: [(&str, Treatment); 18] = [
    // Access.
    ("mfa_code", Ignored(UNUSED)),
    ("token", Ignored(UNUSED)),
    ("skip_metadata_api_check", Ignored(UNUSED)),
    ("ami_name", Never("its name is `omi_name` here")),
    ("source_ami", Never("its name is `source_omi` here")),
    ("source_ami_filter", Never("its name is `source_omi_filter` here")),
    ("boot_mode", Never("`osc-chroot` launches no VM; what the OMI boots with is `omi_boot_modes`")),
    ("vm_type", Never(NO_VM)),
    ("communicator", Never(NO_VM)),
    ("ssh_username", Never(NO_VM)),
    ("ssh_interface", Never(NO_VM)),
    ("ssh_timeout", Never(NO_VM)),
    ("security_group_id", Never(NO_VM)),
    ("subnet_id", Never(NO_VM)),
    ("launch_block_device_mappings", Never(NO_VM)),
    ("omi_root_device", Never(OF_SURROGATE)),
    ("bsu_volumes", Never(OF_VOLUME)),
    ("skip_create_omi", Never("it belongs to `osc-bsu`")),
];

/// What is known of `osc-chroot`.
pub fn chroot() -> Vec<(&'static str, Treatment)> {
    [OMI.as_slice(), &CHROOT].concat()
}

/// What is known of `osc-bsu`.
pub fn bsu() -> Vec<(&'static str, Treatment)> {
    [VM.as_slice(), &OMI, &BSU].concat()
}

/// What is known of `osc-bsusurrogate`.
pub fn bsusurrogate() -> Vec<(&'static str, Treatment)> {
    [VM.as_slice(), &OMI, &BSUSURROGATE].concat()
}

/// What is known of `osc-bsuvolume`.
pub fn bsuvolume() -> Vec<(&'static str, Treatment)> {
    [VM.as_slice(), &BSUVOLUME].concat()
}

/// Options of the data source `outscale-omi`.
pub const DATA_OMI: [(&str, Treatment); 3] =
    [("mfa_code", Ignored(UNUSED)), ("token", Ignored(UNUSED)), ("skip_metadata_api_check", Ignored(UNUSED))];

/// Keys of `launch_block_device_mappings` and `omi_block_device_mappings`.
pub const BLOCK_DEVICE: [(&str, Treatment); 4] = [
    ("tags", Never("tag the volumes with `run_volume_tags`")),
    ("omit_from_artifact", Never("it belongs to `launch_block_device_mappings` of `osc-bsusurrogate`")),
    ("snapshot_volume", Never(OF_VOLUME)),
    ("virtual_name", Never("OUTSCALE has no ephemeral volumes")),
];

/// Keys of `bsu_volumes`.
pub const BSU_VOLUME: [(&str, Treatment); 2] = [
    ("virtual_name", Never("OUTSCALE has no ephemeral volumes")),
    ("snapshot_users", Never(SNAPSHOT_ACCOUNTS)),
];

/// Provisioners that are known but not done.
pub const PROVISIONER_KINDS: [(&str, Treatment); 15] = [
    ("powershell", NotYet),
    ("windows-shell", NotYet),
    ("windows-restart", NotYet),
    ("windows-update", NotYet),
    ("ansible", NotYet),
    ("ansible-local", NotYet),
    ("chef-client", NotYet),
    ("chef-solo", NotYet),
    ("puppet-masterless", NotYet),
    ("puppet-server", NotYet),
    ("salt-masterless", NotYet),
    ("converge", NotYet),
    ("inspec", NotYet),
    ("hcp-sbom", NotYet),
    (
        "breakpoint",
        Never("a service has no console at which somebody could press Enter; remove it or set `disable`"),
    ),
];

/// What stands for post-processors that make something of another builder's artifact.
const OTHER_ARTIFACT: &str = "it works on the artifact of another kind of builder, not on an OMI";

/// Post-processors that are known but not done.
pub const POST_PROCESSOR_KINDS: [(&str, Treatment); 21] = [
    (
        "compress",
        Never(
            "an OMI has no files to pack, and Packer would delete the OMI after that; pack files in the VM before they \
             are downloaded",
        ),
    ),
    ("provenance", Never("it fails on the artifact of every OUTSCALE builder, also in Packer")),
    ("docker-import", Never(OTHER_ARTIFACT)),
    ("docker-push", Never(OTHER_ARTIFACT)),
    ("docker-save", Never(OTHER_ARTIFACT)),
    ("docker-tag", Never(OTHER_ARTIFACT)),
    ("vagrant", Never(OTHER_ARTIFACT)),
    ("vagrant-cloud", Never(OTHER_ARTIFACT)),
    ("vagrant-registry", Never(OTHER_ARTIFACT)),
    ("amazon-import", Never(OTHER_ARTIFACT)),
    ("alicloud-import", Never(OTHER_ARTIFACT)),
    ("digitalocean-import", Never(OTHER_ARTIFACT)),
    ("exoscale-import", Never(OTHER_ARTIFACT)),
    ("googlecompute-export", Never(OTHER_ARTIFACT)),
    ("googlecompute-import", Never(OTHER_ARTIFACT)),
    ("ucloud-import", Never(OTHER_ARTIFACT)),
    ("vsphere", Never(OTHER_ARTIFACT)),
    ("vsphere-template", Never(OTHER_ARTIFACT)),
    ("yandex-export", Never(OTHER_ARTIFACT)),
    ("yandex-import", Never(OTHER_ARTIFACT)),
    ("atlas", Never("the service behind it has been shut down")),
];

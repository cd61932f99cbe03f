//! VMs: CreateVms, ReadVms, StartVms, StopVms, DeleteVms, UpdateVm, ReadConsoleOutput, ReadAdminPassword.
#![expect(missing_docs, reason = "fields carry OAPI's names and meaning")]

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::request::{paged, request};
use super::{BootMode, BsuToCreate, LinkState, Performance, ResourceTag, SecureBootAction, VmState};

/// Launches VMs. With the same `client_token` OAPI answers the VMs of the first call.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateVms {
    pub image_id: String,
    pub vm_type: Option<String>,
    pub performance: Option<Performance>,
    pub block_device_mappings: Vec<BlockDeviceMappingVmCreation>,
    pub keypair_name: Option<String>,
    /// Already in base64, at most 500 KiB. Kept secret because users put passwords there.
    #[serde(serialize_with = "exposed")]
    pub user_data: Option<SecretString>,
    pub subnet_id: Option<String>,
    /// Excludes `subnet_id`, `private_ips` and the security groups below.
    pub nics: Vec<NicForVmCreation>,
    pub private_ips: Vec<String>,
    pub security_group_ids: Vec<String>,
    /// Names, not ids.
    pub security_groups: Vec<String>,
    pub placement: Option<Placement>,
    pub boot_mode: Option<BootMode>,
    pub actions_on_next_boot: Option<ActionsOnNextBoot>,
    pub tpm_enabled: Option<bool>,
    /// `Some(false)` leaves the VM stopped.
    pub boot_on_creation: Option<bool>,
    /// `stop`, `restart` or `terminate`; also decides what StopVms does.
    pub vm_initiated_shutdown_behavior: Option<String>,
    pub min_vms_count: Option<u32>,
    pub max_vms_count: Option<u32>,
    pub deletion_protection: Option<bool>,
    pub nested_virtualization: Option<bool>,
    pub bsu_optimized: Option<bool>,
    /// At most 64 characters.
    pub client_token: Option<String>,
}
request!(CreateVms => VmsAnswer, WithToken);

/// The launched VMs.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VmsAnswer {
    #[serde(default)]
    pub vms: Vec<Vm>,
}

/// A device of a VM to launch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockDeviceMappingVmCreation {
    pub device_name: Option<String>,
    pub bsu: Option<BsuToCreate>,
    /// Drops a device of the image.
    pub no_device: Option<String>,
    pub virtual_device_name: Option<String>,
}

/// A network card of a VM to launch: a new one (`subnet_id`, `device_number`) or an existing one (`nic_id`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NicForVmCreation {
    pub delete_on_vm_deletion: Option<bool>,
    pub description: Option<String>,
    pub device_number: Option<u32>,
    pub nic_id: Option<String>,
    #[serde(default)]
    pub private_ips: Vec<PrivateIpLight>,
    pub secondary_private_ip_count: Option<u32>,
    #[serde(default)]
    pub security_group_ids: Vec<String>,
    pub subnet_id: Option<String>,
}

/// A private address of a network card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PrivateIpLight {
    pub is_primary: Option<bool>,
    pub private_ip: Option<String>,
}

/// Where a VM runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Placement {
    pub subregion_name: Option<String>,
    /// `default`, `dedicated`, or the id of a dedicated group.
    pub tenancy: Option<String>,
}

/// What happens when the VM next passes through stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ActionsOnNextBoot {
    pub secure_boot: Option<SecureBootAction>,
}

paged! {
    /// Lists VMs. A terminated VM stays listed for minutes, at most about an hour.
    ReadVms, FiltersVm => ReadVmsAnswer { vms: Vm }
}

/// What ReadVms can look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FiltersVm {
    pub vm_ids: Vec<String>,
    pub vm_state_names: Vec<VmState>,
    pub client_tokens: Vec<String>,
    pub image_ids: Vec<String>,
    pub keypair_names: Vec<String>,
    pub security_group_ids: Vec<String>,
    pub subnet_ids: Vec<String>,
    pub net_ids: Vec<String>,
    pub subregion_names: Vec<String>,
    pub public_ips: Vec<String>,
    pub private_ips: Vec<String>,
    pub tag_keys: Vec<String>,
    pub tag_values: Vec<String>,
    /// `KEY=VALUE`.
    pub tags: Vec<String>,
}

/// A VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Vm {
    pub vm_id: String,
    #[serde(default)]
    pub state: VmState,
    /// Empty while pending; why the VM stopped or ended afterwards.
    pub state_reason: Option<String>,
    pub vm_type: Option<String>,
    pub image_id: Option<String>,
    pub keypair_name: Option<String>,
    pub client_token: Option<String>,
    pub creation_date: Option<String>,
    pub architecture: Option<String>,
    pub os_family: Option<String>,
    pub boot_mode: Option<BootMode>,
    pub tpm_enabled: Option<bool>,
    pub deletion_protection: Option<bool>,
    pub root_device_name: Option<String>,
    pub root_device_type: Option<String>,
    #[serde(default)]
    pub block_device_mappings: Vec<BlockDeviceMappingCreated>,
    pub placement: Option<Placement>,
    pub net_id: Option<String>,
    pub subnet_id: Option<String>,
    pub private_ip: Option<String>,
    pub private_dns_name: Option<String>,
    /// Only while a public IP is linked.
    pub public_ip: Option<String>,
    pub public_dns_name: Option<String>,
    #[serde(default)]
    pub nics: Vec<NicLight>,
    #[serde(default)]
    pub security_groups: Vec<SecurityGroupLight>,
    #[serde(default)]
    pub product_codes: Vec<String>,
    pub vm_initiated_shutdown_behavior: Option<String>,
    #[serde(default)]
    pub tags: Vec<ResourceTag>,
}

impl Vm {
    /// The volume at this device name, if one is linked there.
    pub fn volume_at(&self, device_name: &str) -> Option<&BsuCreated> {
        self.block_device_mappings
            .iter()
            .find(|mapping| mapping.device_name.as_deref() == Some(device_name))
            .and_then(|mapping| mapping.bsu.as_ref())
    }

    /// The volume that the VM boots from.
    pub fn root_volume(&self) -> Option<&BsuCreated> {
        self.volume_at(self.root_device_name.as_deref()?)
    }
}

/// A device of a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockDeviceMappingCreated {
    pub device_name: Option<String>,
    pub bsu: Option<BsuCreated>,
}

/// A volume as linked to a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BsuCreated {
    pub volume_id: Option<String>,
    #[serde(default)]
    pub state: LinkState,
    pub delete_on_vm_deletion: Option<bool>,
    pub link_date: Option<String>,
}

/// A network card of a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NicLight {
    pub nic_id: Option<String>,
    pub subnet_id: Option<String>,
    pub net_id: Option<String>,
    pub mac_address: Option<String>,
    pub link_public_ip: Option<LinkPublicIpLight>,
    #[serde(default)]
    pub private_ips: Vec<PrivateIpLight>,
    #[serde(default)]
    pub security_groups: Vec<SecurityGroupLight>,
}

/// The public IP of a network card.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LinkPublicIpLight {
    pub public_ip: Option<String>,
    pub public_dns_name: Option<String>,
    pub public_ip_account_id: Option<String>,
}

/// A security group as named by a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecurityGroupLight {
    pub security_group_id: Option<String>,
    pub security_group_name: Option<String>,
}

/// Starts stopped VMs. A running VM gives a conflict.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartVms {
    pub vm_ids: Vec<String>,
}
request!(StartVms => VmStatesAnswer, Always);

/// Stops running VMs; a VM whose shutdown behaviour is `terminate` is deleted by it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StopVms {
    pub vm_ids: Vec<String>,
    pub force_stop: Option<bool>,
}
request!(StopVms => VmStatesAnswer, Always);

/// Deletes VMs, in any state. Repeatable; an unknown id is "not found".
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteVms {
    pub vm_ids: Vec<String>,
}
request!(DeleteVms => VmStatesAnswer, Always);

/// States before and after a start, stop or deletion.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VmStatesAnswer {
    #[serde(default)]
    pub vms: Vec<VmStateChange>,
}

/// State of one VM before and after a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VmStateChange {
    pub vm_id: Option<String>,
    #[serde(default)]
    pub previous_state: VmState,
    #[serde(default)]
    pub current_state: VmState,
}

/// Changes a VM. Type, performance, user data and nesting need a stopped VM.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateVm {
    pub vm_id: String,
    pub actions_on_next_boot: Option<ActionsOnNextBoot>,
    pub block_device_mappings: Vec<BlockDeviceMappingVmUpdate>,
    pub bsu_optimized: Option<bool>,
    pub deletion_protection: Option<bool>,
    pub is_source_dest_checked: Option<bool>,
    pub keypair_name: Option<String>,
    pub nested_virtualization: Option<bool>,
    pub performance: Option<Performance>,
    /// Replaces all groups.
    pub security_group_ids: Vec<String>,
    /// Already in base64.
    #[serde(serialize_with = "exposed")]
    pub user_data: Option<SecretString>,
    pub vm_initiated_shutdown_behavior: Option<String>,
    pub vm_type: Option<String>,
}
request!(UpdateVm => UpdateVmAnswer, Always);

/// A device to change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockDeviceMappingVmUpdate {
    pub device_name: Option<String>,
    pub bsu: Option<BsuToUpdateVm>,
    pub no_device: Option<String>,
    pub virtual_device_name: Option<String>,
}

/// What to change of a linked volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BsuToUpdateVm {
    pub delete_on_vm_deletion: Option<bool>,
    pub volume_id: Option<String>,
}

/// The VM after the change.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateVmAnswer {
    pub vm: Vm,
}

/// Reads the last 64 KiB of a VM's console.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReadConsoleOutput {
    pub vm_id: String,
}
request!(ReadConsoleOutput => ReadConsoleOutputAnswer, Always);

/// What the console showed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReadConsoleOutputAnswer {
    /// Base64; empty when nothing was shown yet.
    #[serde(default)]
    pub console_output: String,
}

/// Asks for the administrator password of a Windows VM.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReadAdminPassword {
    pub vm_id: String,
}
request!(ReadAdminPassword => ReadAdminPasswordAnswer, Always);

/// The encrypted password.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReadAdminPasswordAnswer {
    /// Base64 of the RSA PKCS#1 v1.5 ciphertext under the VM's keypair; empty until it is ready.
    #[serde(default)]
    pub admin_password: String,
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn exposed<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|secret| secret.expose_secret()).serialize(serializer)
}

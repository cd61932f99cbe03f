//! A valid plan of a build: what `template` makes of a request, and all that a pipeline needs to know. Past
//! `template::parse` a plan is valid and no one checks again. Its serial form holds secrets and is only for the vault.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use super::builder::{
    BsuPlan, Builder, ChrootMount, ChrootPlan, ChrootSource, CopiedFile, DeviceSource, OmiDevice,
    ScratchPlan, SnapshotPlan, SurrogatePlan, VolumePlan, VolumeToKeep,
};
use super::{
    Capability,
    duration::serde_text,
    post_processor::{PostProcessor, PostProcessorAction},
    provisioner::{Provisioner, ProvisionerAction},
    secret_text,
};
use crate::hcl::Deferred;

/// A build: one run for each source of the template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BuildPlan {
    /// The runs, in the template's order; never empty.
    pub runs: Vec<RunPlan>,
    /// What the user should know though it is no error, e.g. options that never had an effect in Packer.
    pub notices: Vec<String>,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunPlan {
    /// Packer's name of the build: the builder's `name`, else its type.
    pub name: String,
    /// What makes the artifact.
    pub builder: Builder,
    /// What happens inside the VM, in order. `only`, `except` and `override` are resolved already.
    pub provisioners: Vec<Provisioner>,
    /// Runs in the VM when provisioning failed, before the VM goes.
    #[serde(default)]
    pub error_cleanup: Option<Provisioner>,
    /// What Packer calls the build inside of provisioners (`PACKER_BUILD_NAME`), if that is not the run's name: the name
    /// of an HCL2 source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packer_name: Option<String>,
    /// The builder's type as the template has it (`PACKER_BUILDER_TYPE`), if that is not the contract's name of it:
    /// `outscale-bsu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packer_type: Option<String>,
    /// HCL2 expressions that wait for the VM, by the number under which texts name them (`{{hcl 0}}`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deferred: BTreeMap<usize, Deferred>,
    /// Whether parts of the plan wait for data sources: the worker asks the cloud, and plans the run again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_data: bool,
    /// What happens to the artifact: chains, each from the artifact on. `only` and `except` are resolved already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_processors: Vec<Vec<PostProcessor>>,
    /// Texts that must never appear in a log: passwords, secret keys, sensitive variables.
    #[serde(with = "secret_text::list")]
    pub secrets: Vec<SecretString>,
}

impl RunPlan {
    /// What Packer calls the build inside of provisioners.
    #[must_use]
    pub fn packer_name(&self) -> &str {
        self.packer_name.as_deref().unwrap_or(&self.name)
    }

    /// The builder's type as the template has it.
    #[must_use]
    pub fn packer_type(&self) -> &str {
        self.packer_type.as_deref().unwrap_or(self.builder.kind())
    }

    /// What a worker must be able to do for this run.
    #[must_use]
    pub fn requires(&self) -> BTreeSet<Capability> {
        let is_local =
            |provisioner: &Provisioner| matches!(provisioner.action, ProvisionerAction::ShellLocal(_));
        let uses_host = self.provisioners.iter().chain(&self.error_cleanup).any(is_local)
            || self
                .post_processors
                .iter()
                .flatten()
                .any(|each| matches!(each.action, PostProcessorAction::ShellLocal(_)));
        let in_chroot = matches!(self.builder, Builder::OscChroot(_));
        let needs = [(uses_host, Capability::ShellLocal), (in_chroot, Capability::Chroot)];
        needs.into_iter().filter_map(|(is_needed, capability)| is_needed.then_some(capability)).collect()
    }

    /// Whether there is an artifact, and something that happens to it.
    #[must_use]
    pub fn has_post_processing(&self) -> bool {
        !self.post_processors.is_empty() && self.builder.makes_artifact()
    }
}

/// Access options. What is absent comes from the other sources of the provider chain.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AccessPlan {
    /// `access_key`.
    pub access_key: Option<String>,
    /// `secret_key`.
    #[serde(with = "secret_text::option", default)]
    pub secret_key: Option<SecretString>,
    /// `region`.
    pub region: Option<String>,
    /// `custom_endpoint_oapi`, or the older `oapi_custom_endpoint`.
    pub endpoint: Option<String>,
    /// `insecure_skip_tls_verify`.
    pub insecure_skip_tls_verify: bool,
    /// `profile`: of the shared file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The files of `x509_cert_path` and `x509_key_path`, as PEM one after the other.
    #[serde(with = "secret_text::option", default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<SecretString>,
    /// The stored set that the request names (`credentials`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
}

/// The image to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OmiPlan {
    /// `omi_name`.
    pub name: String,
    /// `omi_description`; a late template.
    pub description: Option<String>,
    /// `omi_account_ids`: who may launch it (and, as in Packer, make volumes from its snapshots).
    pub account_ids: Vec<String>,
    /// `snapshot_account_ids`: who may make volumes from its snapshots.
    pub snapshot_account_ids: Vec<String>,
    /// `global_permission`: anybody may launch it.
    pub global_permission: bool,
    /// `product_codes`.
    pub product_codes: Vec<String>,
    /// `omi_boot_modes`: `legacy`, `uefi`.
    pub boot_modes: Vec<String>,
    /// `tags` of the OMI and its snapshots; keys and values are late templates.
    pub tags: BTreeMap<String, String>,
    /// `snapshot_tags`, after `tags`; keys and values are late templates.
    pub snapshot_tags: BTreeMap<String, String>,
    /// `force_deregister`: an own OMI of the same name goes once the new one is ready.
    pub force_deregister: bool,
    /// `force_delete_snapshot`: and its snapshots with it.
    pub force_delete_snapshot: bool,
}

impl OmiPlan {
    /// What it can be booted with, as OAPI takes it: what the template says, else these.
    #[must_use]
    pub fn boot_modes_or<T: for<'a> From<&'a str>>(&self, inherited: &[String]) -> Vec<T> {
        let modes = if self.boot_modes.is_empty() { inherited } else { &self.boot_modes };
        modes.iter().map(|mode| mode.as_str().into()).collect()
    }
}

/// The VM to launch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VmPlan {
    /// `vm_type`, or the first of `vm_types`.
    pub vm_type: String,
    /// The others of `vm_types`, tried in turn when the cloud has no room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_vm_types: Vec<String>,
    /// `source_omi` or `source_omi_filter`.
    pub source: SourceOmi,
    /// `subregion_name`, or the first of `subregions`.
    pub subregion: Option<String>,
    /// The others of `subregions`, tried in turn when the cloud has no room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_subregions: Vec<String>,
    /// `associate_public_ip_address`.
    pub associate_public_ip: bool,
    /// `net_id` or `net_filter`.
    pub net: Option<Lookup>,
    /// `subnet_id` or `subnet_filter`.
    pub subnet: Option<Lookup>,
    /// How to choose when `subnet_filter` finds several.
    pub subnet_choice: SubnetChoice,
    /// `security_group_id`, `security_group_ids` or `security_group_filter`; absent: a temporary group.
    pub security_groups: Option<Lookup>,
    /// `temporary_security_group_source_cidr`: who may reach the communicator's port.
    pub source_cidr: String,
    /// `user_data` as text, not base64 (also from `user_data_file`).
    #[serde(with = "secret_text::option", default)]
    pub user_data: Option<SecretString>,
    /// `disable_stop_vm`: the VM stops by itself.
    pub disable_stop: bool,
    /// `boot_mode`: `legacy` or `uefi`.
    pub boot_mode: Option<String>,
    /// `launch_block_device_mappings`.
    pub block_devices: Vec<BlockDevice>,
    /// `run_tags`; keys and values are late templates.
    pub tags: BTreeMap<String, String>,
    /// `bsu_optimized`.
    pub bsu_optimized: bool,
}

/// Which image to start from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceOmi {
    /// `source_omi`.
    pub id: Option<String>,
    /// `source_omi_filter.filters`: OAPI's filter name (`ImageNames`) → value. `source_omi` and filters are combined.
    pub filters: BTreeMap<String, Vec<String>>,
    /// `owners` that are account ids; `self` is resolved when the run starts.
    pub owners: Vec<String>,
    /// `most_recent`.
    pub most_recent: bool,
}

/// What a data source asks the cloud for: one image.
#[derive(Debug, Clone)]
pub struct DataQuery {
    /// The data source's type, as the template has it.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How to reach the cloud.
    pub access: AccessPlan,
    /// Which image.
    pub source: SourceOmi,
}

/// Something that exists already in the account: by ids, or by OAPI filters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lookup {
    /// These ids.
    Ids(Vec<String>),
    /// OAPI's filter name → value as OAPI wants it (a list, or a boolean).
    Filters(BTreeMap<String, serde_json::Value>),
}

/// Which subnet to take of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubnetChoice {
    /// Several are an error.
    Only,
    /// `most_free`.
    MostFree,
    /// `random`.
    Random,
}

/// An entry of `launch_block_device_mappings`, `omi_block_device_mappings` or `bsu_volumes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// `device_name`.
    pub device_name: String,
    /// `delete_on_vm_deletion`: of an OMI's users, except in `bsu_volumes`, where it says whether the build's volume goes.
    pub delete_on_vm_deletion: bool,
    /// `volume_type`: `standard`, `gp2`, `io1`.
    pub volume_type: Option<String>,
    /// `volume_size` in GiB.
    pub volume_size: Option<i64>,
    /// `iops`, with `io1` only.
    pub iops: Option<i64>,
    /// `snapshot_id`.
    pub snapshot_id: Option<String>,
    /// `no_device`: leave out this device of the source OMI.
    pub no_device: bool,
    /// `omit_from_artifact`: the OMI of a surrogate is made without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub omit_from_artifact: bool,
}

/// How to get into the VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Communicator {
    /// SSH.
    Ssh(Box<SshPlan>),
    /// Not at all: no provisioners.
    None,
}

/// SSH options.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SshPlan {
    /// `ssh_username`.
    pub username: String,
    /// `ssh_port`.
    pub port: u16,
    /// `ssh_password`.
    #[serde(with = "secret_text::option", default)]
    pub password: Option<SecretString>,
    /// `ssh_keypair_name`: a key pair of the account.
    pub keypair_name: Option<String>,
    /// The text of `ssh_private_key_file`, read from the uploaded folder.
    #[serde(with = "secret_text::option", default)]
    pub private_key: Option<SecretString>,
    /// The text of `ssh_certificate_file`, read from the uploaded folder.
    pub certificate: Option<String>,
    /// `temporary_key_pair_name`; absent: derived from the run.
    pub temporary_key_pair_name: Option<String>,
    /// `temporary_key_pair_type`.
    pub temporary_key_pair_type: KeyType,
    /// `ssh_clear_authorized_keys`.
    pub clear_authorized_keys: bool,
    /// `ssh_timeout`: how long to try to get in.
    #[serde(with = "serde_text")]
    pub timeout: Duration,
    /// `ssh_handshake_attempts`: refused authentications before giving up; 0: until the timeout.
    pub handshake_attempts: u32,
    /// `ssh_interface`.
    pub interface: SshInterface,
    /// `ssh_pty`.
    pub pty: bool,
    /// `ssh_keep_alive_interval`; zero: off.
    #[serde(with = "serde_text")]
    pub keep_alive_interval: Duration,
    /// `ssh_read_write_timeout`; zero: off.
    #[serde(with = "serde_text")]
    pub read_write_timeout: Duration,
    /// `ssh_file_transfer_method`.
    pub file_transfer: FileTransfer,
    /// `ssh_bastion_*`.
    pub bastion: Option<BastionPlan>,
    /// `ssh_ciphers`; empty: ours.
    pub ciphers: Vec<String>,
    /// `ssh_key_exchange_algorithms`; empty: ours.
    pub key_exchange_algorithms: Vec<String>,
    /// `pause_before_connecting`.
    #[serde(with = "serde_text")]
    pub pause_before_connecting: Duration,
}

/// A jump host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BastionPlan {
    /// `ssh_bastion_host`.
    pub host: String,
    /// `ssh_bastion_port`.
    pub port: u16,
    /// `ssh_bastion_username`.
    pub username: String,
    /// `ssh_bastion_password`.
    #[serde(with = "secret_text::option", default)]
    pub password: Option<SecretString>,
    /// The text of `ssh_bastion_private_key_file`; absent: the VM's key.
    #[serde(with = "secret_text::option", default)]
    pub private_key: Option<SecretString>,
}

/// The kinds of temporary key that fournil makes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// The default.
    Ed25519,
    /// NIST P-256.
    Ecdsa,
    /// 2048 bits or more; slow to make.
    Rsa,
}

/// Which address of the VM to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SshInterface {
    /// The public one if there is one, else the private one.
    Automatic,
    /// `public_ip`.
    PublicIp,
    /// `private_ip`.
    PrivateIp,
    /// `public_dns`.
    PublicDns,
    /// `private_dns`.
    PrivateDns,
}

/// How files get into the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileTransfer {
    /// SCP, Packer's default.
    Scp,
    /// SFTP.
    Sftp,
}

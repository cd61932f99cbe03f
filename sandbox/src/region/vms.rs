//! VMs as the region keeps them, and the calls that read and change them. How they come to be is in `vm_create`,
//! what happens to them over time in `vm_life`.

use std::{net::Ipv4Addr, sync::Arc};

use super::{Meta, Region, State, check_id, keypairs::Keypair, volumes::Volume, words::VmState};
use crate::error::ApiError;

/// A VM.
#[derive(Debug, Clone)]
pub struct Vm {
    pub meta: Meta,
    pub id: String,
    pub reservation_id: String,
    pub client_token: Option<String>,
    pub image_id: String,
    pub architecture: String,
    pub product_codes: Vec<String>,
    pub root_device: String,
    pub vm_type: String,
    pub performance: String,
    /// As it was at the creation: deleting a key pair does not take it from its VMs.
    pub keypair: Option<Keypair>,
    /// Base64, as sent.
    pub user_data: String,
    /// In the public cloud there are none.
    pub nics: Vec<Nic>,
    /// Of the VM in the public cloud, else of its first card.
    pub security_groups: Vec<String>,
    pub private_ip: Ipv4Addr,
    /// The public address that a VM of the public cloud has unless another one is linked.
    pub automatic_ip: Option<Ipv4Addr>,
    /// Whether it wants such an address.
    pub is_public: bool,
    pub subregion: String,
    pub tenancy: String,
    pub boot_mode: String,
    pub tpm_enabled: bool,
    pub secure_boot_action: Option<String>,
    pub deletion_protection: bool,
    pub nested_virtualization: bool,
    pub bsu_optimized: bool,
    pub is_source_dest_checked: bool,
    /// `stop`, `restart` or `terminate`.
    pub shutdown_behavior: String,
    /// `GuestAction` and `HostAction`.
    pub shutdown_configuration: (String, String),
    pub launch_number: i64,
    pub boot_on_creation: bool,
    pub state: VmState,
    pub state_reason: String,
    pub was_started: bool,
    /// Grows with every change that a call orders; what a task does for an older one is not wanted any more.
    pub generation: u64,
    /// Held while a backend works on this VM.
    pub gate: Arc<tokio::sync::Mutex<()>>,
}

/// A network card of a VM in a Net.
#[derive(Debug, Clone)]
pub struct Nic {
    pub id: String,
    pub link_id: String,
    pub device_number: i64,
    pub subnet_id: String,
    pub net_id: String,
    pub mac: String,
    pub description: String,
    pub private_ips: Vec<Ipv4Addr>,
    pub security_groups: Vec<String>,
    pub delete_on_vm_deletion: bool,
}

impl Vm {
    /// Moves on to a state that a call ordered, and answers the new generation.
    pub fn order(&mut self, state: VmState) -> u64 {
        self.state = state;
        self.generation += 1;
        self.generation
    }

    /// All groups of the VM and its cards.
    pub fn all_groups(&self) -> impl Iterator<Item = &String> {
        self.security_groups.iter().chain(self.nics.iter().flat_map(|nic| nic.security_groups.iter()))
    }

    /// `ip-127-64-0-4`.
    pub fn host_name(&self) -> String {
        format!("ip-{}", self.private_ip.to_string().replace('.', "-"))
    }

    /// The Net that it is in.
    pub fn net_id(&self) -> Option<&String> {
        self.nics.first().map(|nic| &nic.net_id)
    }
}

impl State {
    /// A VM that calls can find.
    pub fn vm(&self, id: &str) -> Result<&Vm, ApiError> {
        check_id("VmId", "i", id)?;
        self.vms.get(id).filter(|vm| vm.meta.is_visible()).ok_or_else(|| ApiError::missing(5063, "VmId", id))
    }

    /// A VM that calls can find, to change it.
    pub fn vm_mut(&mut self, id: &str) -> Result<&mut Vm, ApiError> {
        self.vm(id)?;
        self.vms.get_mut(id).ok_or_else(|| ApiError::missing(5063, "VmId", id))
    }

    /// The volumes of a VM, in the order in which they were attached.
    pub fn volumes_of(&self, vm_id: &str) -> Vec<&Volume> {
        let mut volumes: Vec<(&Volume, u64)> = self
            .volumes
            .values()
            .filter_map(|volume| {
                volume.link.as_ref().filter(|link| link.vm_id == vm_id).map(|link| (volume, link.sequence))
            })
            .collect();
        volumes.sort_by_key(|(_, sequence)| *sequence);
        volumes.into_iter().map(|(volume, _)| volume).collect()
    }
}

impl Region {
    /// Whether a change of this generation is still what the VM is waiting for.
    pub fn is_wanted(&self, vm_id: &str, generation: u64) -> bool {
        self.state().vms.get(vm_id).is_some_and(|vm| vm.generation == generation)
    }
}

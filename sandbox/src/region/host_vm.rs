//! The VM that this machine is (`--host-vm`): what fournil runs on, as far as the region is concerned. Its identity outlives
//! the sandbox, so that whoever has noted its id finds it again.

use std::{collections::BTreeMap, fs, io, net::Ipv4Addr, path::Path, sync::Arc, time::Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    Meta, Region, State,
    addresses::Addresses,
    new_id,
    vms::Vm,
    volumes::{Link, Volume},
    words::{LinkState, VmState, VolumeState},
};
use crate::error::ApiError;

/// Where its root volume is linked.
const ROOT_DEVICE: &str = "/dev/sda1";
/// How large the API says that it is, in GiB.
const ROOT_SIZE: i64 = 50;

/// What stays the same about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub vm_id: String,
    reservation_id: String,
    image_id: String,
    root_volume_id: String,
    private_ip: Ipv4Addr,
    created: DateTime<Utc>,
}

impl Identity {
    /// Reads it from a file, or makes one and writes it there. Takes its address.
    pub fn open(path: &Path, addresses: &mut Addresses, now: DateTime<Utc>) -> io::Result<Self> {
        let known: Option<Self> = match fs::read(path) {
            Ok(text) => Some(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if let Some(known) = known.as_ref().filter(|known| addresses.take_this(known.private_ip)) {
            return Ok(known.clone());
        }
        let private_ip = addresses.take_private().ok_or_else(|| io::Error::other("no address is left"))?;
        let identity = match known {
            // Somebody else has its address by now.
            Some(known) => Self { private_ip, ..known },
            None => Self {
                vm_id: new_id("i"),
                reservation_id: new_id("r"),
                image_id: new_id("ami"),
                root_volume_id: new_id("vol"),
                private_ip,
                created: now,
            },
        };
        fs::write(path, serde_json::to_vec(&identity)?)?;
        Ok(identity)
    }
}

/// Puts it there, running.
pub fn plant(state: &mut State, region: &str, identity: &Identity) {
    let groups = state.group_named("default", None).map(|group| group.id.clone());
    let vm = Vm {
        meta: meta(state, identity.created),
        id: identity.vm_id.clone(),
        reservation_id: identity.reservation_id.clone(),
        client_token: None,
        // Of an image that is not there any more, as of many old VMs.
        image_id: identity.image_id.clone(),
        architecture: "x86_64".to_owned(),
        product_codes: vec!["0001".to_owned()],
        root_device: ROOT_DEVICE.to_owned(),
        vm_type: "tinav5.c2r4p1".to_owned(),
        performance: "highest".to_owned(),
        keypair: None,
        user_data: String::new(),
        nics: Vec::new(),
        security_groups: groups.into_iter().collect(),
        private_ip: identity.private_ip,
        automatic_ip: None,
        is_public: false,
        subregion: format!("{region}a"),
        tenancy: "default".to_owned(),
        boot_mode: "legacy".to_owned(),
        tpm_enabled: false,
        secure_boot_action: None,
        deletion_protection: true,
        nested_virtualization: false,
        bsu_optimized: false,
        is_source_dest_checked: true,
        shutdown_behavior: "stop".to_owned(),
        shutdown_configuration: ("stop".to_owned(), "stop".to_owned()),
        launch_number: 0,
        boot_on_creation: true,
        state: VmState::Running,
        state_reason: String::new(),
        was_started: true,
        generation: 0,
        gate: Arc::default(),
    };
    let root = root_volume(state, &vm, identity);
    state.volumes.insert(root.id.clone(), root);
    state.vms.insert(vm.id.clone(), vm);
}

/// The root volume is a name: nobody gets at this machine's own disk.
fn root_volume(state: &mut State, vm: &Vm, identity: &Identity) -> Volume {
    let meta = meta(state, identity.created);
    let link = Link {
        vm_id: vm.id.clone(),
        device: ROOT_DEVICE.to_owned(),
        delete_on_vm_deletion: true,
        state: LinkState::Attached,
        date: identity.created,
        sequence: meta.sequence,
    };
    Volume {
        meta,
        id: identity.root_volume_id.clone(),
        client_token: None,
        size: ROOT_SIZE,
        kind: "standard".to_owned(),
        iops: None,
        snapshot_id: None,
        source: None,
        subregion: vm.subregion.clone(),
        state: VolumeState::InUse,
        link: Some(link),
        disk: None,
        task_id: None,
    }
}

fn meta(state: &mut State, created: DateTime<Utc>) -> Meta {
    Meta {
        sequence: state.next_sequence(),
        created,
        visible_from: Instant::now(),
        tags: BTreeMap::new(),
        doom: None,
        is_seed: true,
    }
}

impl Region {
    /// Refuses what cannot be done to the machine that the sandbox runs on.
    pub fn spare_host(&self, vm_id: &str, done: &str) -> Result<(), ApiError> {
        if self.host_vm.as_deref() != Some(vm_id) {
            return Ok(());
        }
        Err(ApiError::new(
            self.quirks().unsupported_action_code,
            format!("The VM '{vm_id}' is the machine that the sandbox runs on: it cannot be {done}."),
        ))
    }

    /// Refuses what cannot be done to that machine's root volume.
    pub fn spare_host_root(&self, volume: &Volume) -> Result<(), ApiError> {
        let is_root = |link: &Link| self.host_vm.as_ref() == Some(&link.vm_id) && link.device == ROOT_DEVICE;
        if !volume.link.as_ref().is_some_and(is_root) {
            return Ok(());
        }
        Err(ApiError::new(
            self.quirks().unsupported_action_code,
            format!(
                "The volume '{}' is the disk of the machine that the sandbox runs on, and cannot be read.",
                volume.id
            ),
        ))
    }
}

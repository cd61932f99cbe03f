//! Launches the VM and tags it at once. CreateVms carries a client token, so that a lost answer never means a second VM.

use std::sync::{Mutex, PoisonError};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Key, Network, SecurityGroups, SourceImage};
use crate::{
    bake::{
        error::StepError,
        late::Late,
        oven::{Cx, Step, durable},
        tags,
    },
    domain::plan::{BlockDevice, VmPlan, VolumeToKeep},
    oapi::{
        OapiError,
        types::{BlockDeviceMappingVmCreation, BsuToCreate, CreateVms, Placement, ResourceTag, Vm},
    },
    store::ledger::{self, Intent, Keep, ResourceKind},
};

/// Launches the VM.
pub struct LaunchVm<'a> {
    /// What the template says.
    pub vm: &'a VmPlan,
    /// The OMI to start from.
    pub source: &'a SourceImage,
    /// The key pair it gets.
    pub key: &'a Key,
    /// The groups it gets.
    pub groups: &'a SecurityGroups,
    /// Where it goes.
    pub network: &'a Network,
    /// Volumes of it that may stay.
    pub volumes: &'a [VolumeToKeep],
}

/// The VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LaunchedVm {
    /// `i-…`.
    pub id: String,
}

impl Step for LaunchVm<'_> {
    const NAME: &'static str = "launch_vm";
    type Output = LaunchedVm;

    async fn run(&self, cx: &Cx) -> Result<LaunchedVm, StepError> {
        let late = Late::new(cx, Some(self.source));
        let mut vm_tags = tags::rendered(&self.vm.tags, &late)?;
        if !vm_tags.iter().any(|tag| tag.key == "Name") {
            vm_tags.push(ResourceTag::new("Name", format!("fournil: {}", cx.plan.name)));
        }
        vm_tags.extend(tags::own(cx));
        let id = self.launch(cx).await?;
        cx.say(format!("VM: {id}")).await;
        match tags::set(cx, std::slice::from_ref(&id), vm_tags).await {
            // A VM that has ended already cannot be tagged; that it has ended, and why, is told by the wait for it.
            Err(StepError::Oapi(error)) if error.is_not_found() => {
                cx.say(format!("could not tag VM {id}: {error}")).await
            }
            result => result?,
        }
        Ok(LaunchedVm { id })
    }
}

/// A type of VM in a place, to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    vm_type: String,
    subregion: Option<String>,
}

impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.subregion {
            Some(subregion) => write!(f, "{} in {subregion}", self.vm_type),
            None => f.write_str(&self.vm_type),
        }
    }
}

impl LaunchVm<'_> {
    /// What to ask for, in order: the preferred type in all its places first.
    fn candidates(&self) -> Vec<Candidate> {
        let types = std::iter::once(&self.vm.vm_type).chain(&self.vm.other_vm_types);
        let others = self.vm.other_subregions.iter().cloned().map(Some);
        let places: Vec<_> = std::iter::once(self.network.subregion.clone()).chain(others).collect();
        let in_places = |vm_type: &String| {
            let vm_type = vm_type.clone();
            places.iter().map(move |place| Candidate { vm_type: vm_type.clone(), subregion: place.clone() })
        };
        types.flat_map(in_places).collect()
    }

    /// Asks for one candidate after the other until the cloud has room; answers the VM.
    async fn launch(&self, cx: &Cx) -> Result<String, StepError> {
        let candidates = self.candidates();
        let slots: Vec<String> = (1..=candidates.len()).map(slot).collect();
        // An earlier try of this step goes on with the candidate that it had come to: that one may have been launched.
        let rows = durable!(cx, |db| ledger::live(db, cx.lease.run))?;
        let begun = |slot: &String| rows.iter().any(|row| row.attempt == cx.attempt && row.slot == *slot);
        let first = slots.iter().position(begun).unwrap_or_default();
        let mut refused: Vec<String> = Vec::new();
        for (candidate, slot) in candidates.iter().zip(&slots).skip(first) {
            cx.say(format!("launching a {candidate} from {}", self.source.id)).await;
            match self.launch_one(cx, candidate, slot).await {
                Err(StepError::Oapi(error)) if error.is_capacity() && candidates.len() > 1 => {
                    cx.say(format!("there is no room for a {candidate}: {error}")).await;
                    refused.push(candidate.to_string());
                    if refused.len() + first == candidates.len() {
                        return Err(nowhere(&error, &refused));
                    }
                }
                result => return result,
            }
        }
        Err(StepError::found(500, "internal", "fournil has a fault", "there was nothing to launch"))
    }

    async fn launch_one(&self, cx: &Cx, candidate: &Candidate, slot: &str) -> Result<String, StepError> {
        let token = cx.client_token(slot);
        let request = self.request(candidate, &token);
        let intent = Intent {
            slot: slot.to_owned(),
            kind: ResourceKind::Vm,
            lookup: json!({ "client_token": token }),
            cloud_id: None,
            region: cx.cloud.region.clone(),
            keep: Keep::Never,
        };
        // With the answer, if there is one: a VM that ends before it is read again does not tell its volumes any more.
        let answered = Mutex::new(None);
        let id = cx
            .create(intent, || async {
                let vm = cx.cloud.client.call(&request).await?.vms.into_iter().next();
                let id = vm.as_ref().map(|vm| vm.vm_id.clone()).unwrap_or_default();
                *answered.lock().unwrap_or_else(PoisonError::into_inner) = vm;
                Ok(id)
            })
            .await?;
        if let Some(vm) = answered.into_inner().unwrap_or_else(PoisonError::into_inner) {
            adopt_volumes(cx, &vm, self.volumes).await?;
        }
        Ok(id)
    }

    fn request(&self, candidate: &Candidate, token: &str) -> CreateVms {
        CreateVms {
            image_id: self.source.id.clone(),
            vm_type: Some(candidate.vm_type.clone()),
            keypair_name: self.key.keypair_name.clone(),
            security_group_ids: self.groups.ids.clone(),
            subnet_id: self.network.subnet.clone(),
            placement: candidate
                .subregion
                .clone()
                .map(|subregion| Placement { subregion_name: Some(subregion), tenancy: None }),
            boot_mode: self.vm.boot_mode.as_deref().map(Into::into),
            user_data: self
                .vm
                .user_data
                .as_ref()
                .map(|text| SecretString::from(STANDARD.encode(text.expose_secret()))),
            block_device_mappings: self.vm.block_devices.iter().map(mapping).collect(),
            bsu_optimized: self.vm.bsu_optimized.then_some(true),
            vm_initiated_shutdown_behavior: Some("stop".to_owned()),
            min_vms_count: Some(1),
            max_vms_count: Some(1),
            client_token: Some(token.to_owned()),
            ..CreateVms::default()
        }
    }
}

/// The ledger's slot of a candidate, counted from 1. The first has the name that a VM without alternatives has.
fn slot(number: usize) -> String {
    if number == 1 { "vm".to_owned() } else { format!("vm-{number}") }
}

/// The refusal of the last candidate, with all that was tried.
fn nowhere(error: &OapiError, refused: &[String]) -> StepError {
    let mut problem = StepError::describe(error);
    problem.detail = format!(
        "there is no room for any of these: {}; the last answer: {}",
        refused.join(", "),
        problem.detail
    );
    StepError::Found(Box::new(problem))
}

fn mapping(device: &BlockDevice) -> BlockDeviceMappingVmCreation {
    let bsu = (!device.no_device).then(|| BsuToCreate {
        delete_on_vm_deletion: Some(device.delete_on_vm_deletion),
        volume_type: device.volume_type.as_deref().map(Into::into),
        volume_size: device.volume_size.and_then(|size| u32::try_from(size).ok()),
        iops: device.iops.and_then(|iops| u32::try_from(iops).ok()),
        snapshot_id: device.snapshot_id.clone(),
    });
    BlockDeviceMappingVmCreation {
        device_name: Some(device.device_name.clone()),
        bsu,
        no_device: device.no_device.then(String::new),
        virtual_device_name: None,
    }
}

/// A volume of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedVolume {
    /// What the VM calls it.
    pub device: String,
    /// `vol-…`.
    pub id: String,
}

/// Puts the VM's volumes into the ledger: those that do not go with the VM would stay behind. The flag
/// `delete_on_vm_deletion` is for the OMI's users; of the VM of the bake nothing stays but what `may_stay` says.
///
/// # Errors
/// The lease is lost.
pub(in crate::bake) async fn adopt_volumes(
    cx: &Cx,
    vm: &Vm,
    may_stay: &[VolumeToKeep],
) -> Result<Vec<AttachedVolume>, StepError> {
    let mut volumes = Vec::new();
    for mapping in &vm.block_device_mappings {
        let Some(id) = mapping.bsu.as_ref().and_then(|bsu| bsu.volume_id.clone()) else { continue };
        let device = mapping.device_name.clone().unwrap_or_default();
        let stays = may_stay.iter().any(|volume| volume.is_kept && volume.device_name == device);
        cx.adopt(Intent {
            slot: format!("volume {id}"),
            kind: ResourceKind::Volume,
            lookup: json!({ "device": mapping.device_name }),
            cloud_id: Some(id.clone()),
            region: cx.cloud.region.clone(),
            keep: if stays { Keep::OnSuccess } else { Keep::Never },
        })
        .await?;
        volumes.push(AttachedVolume { device, id });
    }
    Ok(volumes)
}

//! Launches the VM and tags it at once. CreateVms carries a client token, so that a lost answer never means a second VM.

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Key, Network, SecurityGroups, SourceImage};
use crate::{
    bake::{
        error::StepError,
        late::Late,
        oven::{Cx, Step},
        tags,
    },
    domain::plan::{BlockDevice, VmPlan},
    oapi::types::{BlockDeviceMappingVmCreation, BsuToCreate, CreateVms, Placement, ResourceTag, Vm},
    store::ledger::{Intent, Keep, ResourceKind},
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
        let token = cx.client_token("vm");
        let request = self.request(&token);
        let intent = Intent {
            slot: "vm".to_owned(),
            kind: ResourceKind::Vm,
            lookup: json!({ "client_token": token }),
            cloud_id: None,
            region: cx.cloud.region.clone(),
            keep: Keep::Never,
        };
        cx.say(format!("launching a {} from {}", self.vm.vm_type, self.source.id)).await;
        let id = cx
            .create(intent, || async {
                let vms = cx.cloud.client.call(&request).await?.vms;
                Ok(vms.into_iter().next().map(|vm| vm.vm_id).unwrap_or_default())
            })
            .await?;
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

impl LaunchVm<'_> {
    fn request(&self, token: &str) -> CreateVms {
        CreateVms {
            image_id: self.source.id.clone(),
            vm_type: Some(self.vm.vm_type.clone()),
            keypair_name: self.key.keypair_name.clone(),
            security_group_ids: self.groups.ids.clone(),
            subnet_id: self.network.subnet.clone(),
            placement: self
                .network
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

/// Puts the VM's volumes into the ledger: those that do not go with the VM would stay behind. The flag
/// `delete_on_vm_deletion` is for the OMI's users; of the VM of the bake nothing stays.
///
/// # Errors
/// The lease is lost.
pub(in crate::bake) async fn adopt_volumes(cx: &Cx, vm: &Vm) -> Result<Vec<String>, StepError> {
    let mut ids = Vec::new();
    for mapping in &vm.block_device_mappings {
        let Some(id) = mapping.bsu.as_ref().and_then(|bsu| bsu.volume_id.clone()) else { continue };
        cx.adopt(Intent {
            slot: format!("volume {id}"),
            kind: ResourceKind::Volume,
            lookup: json!({ "device": mapping.device_name }),
            cloud_id: Some(id.clone()),
            region: cx.cloud.region.clone(),
            keep: Keep::Never,
        })
        .await?;
        ids.push(id);
    }
    Ok(ids)
}

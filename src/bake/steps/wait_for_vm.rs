//! Waits until the VM runs, links the public IP, tags the volumes, and tells where the VM is reached.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{AttachedVolume, LaunchedVm, PublicAddress, SourceImage, launch_vm::adopt_volumes};
use crate::{
    bake::{
        error::StepError,
        late::Late,
        oven::{Cx, Step},
        tags,
    },
    domain::plan::VolumeToKeep,
    oapi::{
        predicates,
        types::{LinkPublicIp, Vm},
    },
};

/// How long a VM may take from its launch until it runs.
const BOOT: Duration = Duration::from_secs(900);

/// Waits for the VM.
pub struct WaitForVm<'a> {
    /// The VM.
    pub vm: &'a LaunchedVm,
    /// The public IP to link, if any.
    pub public_ip: &'a PublicAddress,
    /// `run_volume_tags`.
    pub volume_tags: &'a BTreeMap<String, String>,
    /// Volumes that have tags of their own and may stay.
    pub volumes: &'a [VolumeToKeep],
    /// For late templates in the tags.
    pub source: &'a SourceImage,
}

/// A running VM.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadyVm {
    /// `i-…`.
    pub id: String,
    /// In a Net.
    pub in_net: bool,
    /// Where it is reached.
    pub public_ip: Option<String>,
    /// Where it is reached from the same network.
    pub private_ip: Option<String>,
    /// The name of the public address.
    pub public_dns: Option<String>,
    /// The name of the private address.
    pub private_dns: Option<String>,
    /// Its volumes.
    #[serde(default)]
    pub volumes: Vec<AttachedVolume>,
}

impl ReadyVm {
    /// The id of the volume with this name.
    ///
    /// # Errors
    /// The VM has none.
    pub fn volume(&self, device: &str) -> Result<&str, StepError> {
        attached(&self.volumes, device)
    }
}

/// The id of the volume that the VM calls so.
pub(super) fn attached<'a>(volumes: &'a [AttachedVolume], device: &str) -> Result<&'a str, StepError> {
    let found = volumes.iter().find(|volume| volume.device == device);
    found.map(|volume| volume.id.as_str()).ok_or_else(|| {
        let known: Vec<&str> = volumes.iter().map(|volume| volume.device.as_str()).collect();
        let detail = format!("the VM has no volume {device}, but {}", known.join(", "));
        StepError::found(502, "volume_missing", "The VM lacks a volume", detail)
    })
}

impl Step for WaitForVm<'_> {
    const NAME: &'static str = "wait_for_vm";
    type Output = ReadyVm;

    async fn run(&self, cx: &Cx) -> Result<ReadyVm, StepError> {
        let mut vm = running(cx, &self.vm.id).await?;
        let volumes = adopt_volumes(cx, &vm, self.volumes).await?;
        self.tag(cx, &volumes).await?;
        if let Some(id) = &self.public_ip.id {
            let link = LinkPublicIp {
                public_ip_id: Some(id.clone()),
                vm_id: Some(vm.vm_id.clone()),
                ..LinkPublicIp::default()
            };
            cx.cloud.client.call(&link).await?;
            vm = running(cx, &self.vm.id).await?;
        }
        cx.say(format!("VM {} is running", vm.vm_id)).await;
        Ok(ReadyVm {
            id: vm.vm_id,
            in_net: vm.net_id.is_some(),
            public_ip: vm.public_ip,
            private_ip: vm.private_ip,
            public_dns: vm.public_dns_name,
            private_dns: vm.private_dns_name,
            volumes,
        })
    }
}

impl WaitForVm<'_> {
    async fn tag(&self, cx: &Cx, volumes: &[AttachedVolume]) -> Result<(), StepError> {
        let late = Late::new(cx, Some(self.source));
        let mut common = tags::rendered(self.volume_tags, &late)?;
        common.extend(tags::own(cx));
        let ids: Vec<String> = volumes.iter().map(|volume| volume.id.clone()).collect();
        tags::set(cx, &ids, common).await?;
        for plan in self.volumes.iter().filter(|plan| !plan.tags.is_empty()) {
            let own: Vec<String> = volumes
                .iter()
                .filter(|volume| volume.device == plan.device_name)
                .map(|volume| volume.id.clone())
                .collect();
            // Whether it is finished is fournil's to say.
            let mut wanted = tags::rendered(&plan.tags, &late)?;
            wanted.retain(|tag| {
                ![tags::RUN_TAG, tags::BUILD_TAG, tags::ARTIFACT_TAG].contains(&tag.key.as_str())
            });
            tags::set(cx, &own, wanted).await?;
        }
        Ok(())
    }
}

async fn running(cx: &Cx, id: &str) -> Result<Vm, StepError> {
    let wait =
        cx.cloud.waits.wait_vm(&cx.cloud.client, id, predicates::vm_running, BOOT, cx.stop.token()).await;
    wait.map_err(|source| StepError::wait(cx, format!("waiting until VM {id} runs"), source))
}

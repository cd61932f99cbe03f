//! Waits until the VM runs, links the public IP, tags the volumes, and tells where the VM is reached.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{LaunchedVm, PublicAddress, SourceImage, launch_vm::adopt_volumes};
use crate::{
    bake::{
        error::StepError,
        late::Late,
        oven::{Cx, Step},
        tags,
    },
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
}

impl Step for WaitForVm<'_> {
    const NAME: &'static str = "wait_for_vm";
    type Output = ReadyVm;

    async fn run(&self, cx: &Cx) -> Result<ReadyVm, StepError> {
        let mut vm = running(cx, &self.vm.id).await?;
        let volumes = adopt_volumes(cx, &vm).await?;
        let mut volume_tags = tags::rendered(self.volume_tags, &Late::new(cx, Some(self.source)))?;
        volume_tags.extend(tags::own(cx));
        tags::set(cx, &volumes, volume_tags).await?;
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
        })
    }
}

async fn running(cx: &Cx, id: &str) -> Result<Vm, StepError> {
    let wait =
        cx.cloud.waits.wait_vm(&cx.cloud.client, id, predicates::vm_running, BOOT, cx.stop.token()).await;
    wait.map_err(|source| StepError::wait(cx, format!("waiting until VM {id} runs"), source))
}

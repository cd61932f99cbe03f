//! `osc-bsuvolume`: launch a VM with more volumes, let provisioners fill them, stop the VM, make
//! snapshots of them if wanted, and take them off the VM. Until then they would go with it, however it ends.

use super::{
    Baked,
    in_vm::{InVm, steps_in_vm},
    oven::{Failure, Oven},
    steps::{FinishVolumes, ShareSnapshots, SnapshotVolumes, ToSnapshot},
};
use crate::domain::{Artifact, plan::VolumePlan};

/// How many steps a run of this plan has, for the progress that readers see.
#[must_use]
pub fn steps_total(plan: &VolumePlan) -> i32 {
    let snapshots = if has_snapshots(plan) { 2 } else { 0 };
    steps_in_vm(&plan.communicator, false) + snapshots + 1
}

fn has_snapshots(plan: &VolumePlan) -> bool {
    plan.kept().any(|volume| volume.snapshot.is_some())
}

/// Bakes, and answers what was made.
///
/// # Errors
/// The step that did not succeed, and why.
pub async fn bake(oven: &Oven, plan: &VolumePlan) -> Result<Baked, Failure> {
    let in_vm = InVm {
        vm: &plan.vm,
        communicator: &plan.communicator,
        volume_tags: &std::collections::BTreeMap::new(),
        volumes: &plan.volumes,
        omi: None,
    };
    let done = Box::pin(in_vm.provisioned(oven)).await?;
    let mut snapshots = Vec::new();
    if has_snapshots(plan) {
        let volumes = plan.kept().filter_map(|volume| {
            let description = volume.snapshot.as_ref()?.description.as_deref();
            Some(ToSnapshot { device: &volume.device_name, description })
        });
        let take = SnapshotVolumes {
            volumes: volumes.collect(),
            attached: &done.vm.volumes,
            source: Some(&done.source),
        };
        snapshots = oven.step(take).await?;
        oven.step(ShareSnapshots { plan, snapshots: &snapshots }).await?;
    }
    let volumes =
        oven.step(FinishVolumes { plan, vm: &done.vm, snapshots: &snapshots, source: &done.source }).await?;
    let region = &oven.cx().cloud.region;
    let artifacts = volumes.into_iter().map(|volume| Artifact::Volume {
        region: region.clone(),
        id: volume.id,
        device: volume.device,
        size: volume.size,
        snapshot: volume.snapshot,
    });
    done.announce(oven, artifacts.collect()).await
}

//! `osc-bsusurrogate`: launch a VM with more volumes, let provisioners make a system on one of them, stop the VM, make
//! snapshots of the volumes, and register an OMI of those, with that volume as its root.

use super::{
    Baked,
    in_vm::{InVm, STEPS_OF_OMI, steps_in_vm},
    oven::{Failure, Oven},
    steps::{FreeName, RegisterOmi, SnapshotVolumes, ToSnapshot},
};
use crate::domain::plan::{DeviceSource, SurrogatePlan};

/// How many steps a run of this plan has, for the progress that readers see.
#[must_use]
pub const fn steps_total(plan: &SurrogatePlan) -> i32 {
    steps_in_vm(&plan.communicator, true) + 3 + STEPS_OF_OMI
}

/// Bakes, and answers what was made.
///
/// # Errors
/// The step that did not succeed, and why.
pub async fn bake(oven: &Oven, plan: &SurrogatePlan) -> Result<Baked, Failure> {
    let in_vm = InVm {
        vm: &plan.vm,
        communicator: &plan.communicator,
        volume_tags: &plan.volume_tags,
        volumes: &[],
        omi: Some(&plan.omi),
    };
    let done = Box::pin(in_vm.provisioned(oven)).await?;
    let volumes = plan.devices.iter().filter_map(|device| match &device.source {
        DeviceSource::Volume(name) => Some(ToSnapshot { device: name, description: None }),
        DeviceSource::Snapshot(_) => None,
    });
    let snapshots =
        oven.step(SnapshotVolumes { volumes: volumes.collect(), vm: &done.vm, source: &done.source }).await?;
    oven.step(FreeName { old: &done.name }).await?;
    let register = RegisterOmi {
        plan,
        snapshots: &snapshots,
        source: &done.source,
        account: &done.account,
        name: &done.name,
    };
    let omi = oven.step(register).await?;
    let own: Vec<String> = snapshots.into_iter().map(|snapshot| snapshot.id).collect();
    done.finish(oven, &plan.omi, &omi, Some(&own)).await
}

//! `osc-bsusurrogate`: launch a VM with more volumes, let provisioners make a system on one of them, stop the VM, make
//! snapshots of the volumes, and register an OMI of those, with that volume as its root.

use super::{
    Baked,
    finish::STEPS_OF_OMI,
    in_vm::{InVm, steps_in_vm},
    oven::{Failure, Oven},
    steps::{FreeName, Inherited, RegisterOmi, SnapshotVolumes, ToSnapshot},
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
    let snapshots = oven
        .step(SnapshotVolumes {
            volumes: volumes.collect(),
            attached: &done.vm.volumes,
            source: Some(&done.source),
        })
        .await?;
    oven.step(FreeName { old: &done.name }).await?;
    let register = RegisterOmi {
        omi: &plan.omi,
        root_device_name: &plan.root_device_name,
        devices: &plan.devices,
        snapshots: &snapshots,
        source: Some(&done.source),
        // Of the source only the processor is left: what is on the new disk has licences and a boot loader of its own.
        inherited: Inherited { architecture: done.source.architecture.as_deref(), ..Inherited::default() },
        account: &done.account,
        name: &done.name,
    };
    let omi = oven.step(register).await?;
    let own: Vec<String> = snapshots.into_iter().map(|snapshot| snapshot.id).collect();
    done.finish(oven, &plan.omi, &omi, Some(&own)).await
}

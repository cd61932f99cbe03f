//! `osc-bsu`: launch a VM from a source OMI, provision it, stop it, make an OMI of it.

use super::{
    Baked,
    finish::STEPS_OF_OMI,
    in_vm::{InVm, steps_in_vm},
    oven::{Failure, Oven},
    steps::{CreateOmi, FreeName},
};
use crate::domain::plan::BsuPlan;

/// How many steps a run of this plan has, for the progress that readers see.
#[must_use]
pub fn steps_total(plan: &BsuPlan) -> i32 {
    let image = if plan.skip_create_omi { 0 } else { 2 + STEPS_OF_OMI };
    steps_in_vm(&plan.communicator, !plan.skip_create_omi) + image
}

/// Bakes, and answers what was made.
///
/// # Errors
/// The step that did not succeed, and why.
pub async fn bake(oven: &Oven, plan: &BsuPlan) -> Result<Baked, Failure> {
    let in_vm = InVm {
        vm: &plan.vm,
        communicator: &plan.communicator,
        volume_tags: &plan.volume_tags,
        volumes: &[],
        omi: (!plan.skip_create_omi).then_some(&plan.omi),
    };
    let done = Box::pin(in_vm.provisioned(oven)).await?;
    if plan.skip_create_omi {
        return Ok(Baked { artifacts: Vec::new(), failure: None });
    }
    oven.step(FreeName { old: &done.name }).await?;
    let create = CreateOmi {
        omi: &plan.omi,
        vm: &done.vm,
        source: &done.source,
        account: &done.account,
        name: &done.name,
    };
    let omi = oven.step(create).await?;
    done.finish(oven, &plan.omi, &omi, None).await
}

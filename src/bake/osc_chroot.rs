//! `osc-chroot`: make a volume of the source OMI's root (or a blank one), link it to the VM that the worker runs on, work in
//! it as in a system of its own, take it off again, and register an OMI of its snapshot. No VM is launched.

use super::{
    Baked, chroot_omi,
    error::StepError,
    finish::{STEPS_OF_OMI, Unfinished},
    late::Late,
    oven::{Failure, Oven, Step},
    steps::{
        AttachedVolume, CheckCredentials, CheckName, CreateVolume, FreeName, HostVm, IdentifyVm, InCell,
        Inherited, LinkVolume, LinkedVolume, MountVolume, OpenCell, OwnSource, PostMount, PreMount,
        PrepareChroot, ProvisionChroot, RegisterOmi, ReleaseChroot, ResolveSource, SnapshotVolumes,
        SourceImage, ToSnapshot, UnlinkVolume, post_process, vm_id,
    },
};
use crate::domain::{
    StepState,
    plan::{ChrootPlan, ChrootSource},
};

/// Of a system from scratch, as in Packer.
const ARCHITECTURE: &str = "x86_64";

/// How many steps a run of this plan has, for the progress that readers see.
#[must_use]
pub const fn steps_total(plan: &ChrootPlan) -> i32 {
    let of_source = match plan.source {
        ChrootSource::Omi(_) => 2,
        ChrootSource::Scratch(_) => 0,
    };
    of_source + 15 + STEPS_OF_OMI
}

/// Bakes, and answers what was made.
///
/// # Errors
/// The step that did not succeed, and why.
pub async fn bake(oven: &Oven, plan: &ChrootPlan) -> Result<Baked, Failure> {
    let was_linked = oven.is_known(LinkVolume::NAME, None);
    if was_linked && !oven.is_known(ReleaseChroot::NAME, Some(StepState::Succeeded)) {
        // The mounts ended with their worker, and what was written by then is not known.
        return Err(Failure { step: ProvisionChroot::NAME, error: StepError::Interrupted });
    }
    let account = oven.step(CheckCredentials).await?;
    // Steps beside each other all come to their end, also when one fails.
    let (name, vm, source) = tokio::join!(
        oven.step(CheckName { omi: &plan.omi, account: &account }),
        oven.step(IdentifyVm),
        resolve(oven, plan),
    );
    let (name, vm, source) = (name?, vm?, source?);
    let usable = match &source {
        Some(source) => Some(oven.step(OwnSource { plan, source, account: &account }).await?),
        None => None,
    };
    let usable_image = usable.as_ref().map(|usable| &usable.image);
    let volume =
        oven.step(CreateVolume { plan, vm: &vm, usable: usable_image, source: source.as_ref() }).await?;
    if !was_linked {
        stay_here(oven, &vm).await?;
    }
    let linked = oven.step(LinkVolume { plan, vm: &vm, volume: &volume }).await?;
    if !oven.is_known(ReleaseChroot::NAME, Some(StepState::Succeeded)) {
        fill(oven, plan, &vm, &linked, source.as_ref()).await?;
    }
    oven.step(UnlinkVolume { volume: &volume, vm: &vm }).await?;

    let (root_name, devices) = match (&plan.source, usable_image) {
        (ChrootSource::Scratch(scratch), _) => {
            (scratch.root_device_name.clone(), chroot_omi::of_scratch(scratch, volume.size))
        }
        (ChrootSource::Omi(_), Some(image)) => {
            let root_name = image.root_device_name.clone().unwrap_or_default();
            let devices = chroot_omi::of_source(image, &root_name, volume.size);
            (root_name, devices)
        }
        (ChrootSource::Omi(_), None) => (String::new(), Vec::new()),
    };
    let attached = [AttachedVolume { device: root_name.clone(), id: volume.id.clone() }];
    let volumes = vec![ToSnapshot { device: &root_name, description: None }];
    let take = SnapshotVolumes { volumes, attached: &attached, source: source.as_ref() };
    let snapshots = oven.step(take).await?;
    oven.step(FreeName { old: &name }).await?;
    let inherited = match &source {
        // It is the same system with changes: it boots in the same ways, and has the same licences.
        Some(source) => Inherited {
            architecture: source.architecture.as_deref(),
            boot_modes: &source.boot_modes,
            product_codes: &source.product_codes,
        },
        None => Inherited { architecture: Some(ARCHITECTURE), ..Inherited::default() },
    };
    let register = RegisterOmi {
        omi: &plan.omi,
        root_device_name: &root_name,
        devices: &devices,
        snapshots: &snapshots,
        source: source.as_ref(),
        inherited,
        account: &account,
        name: &name,
    };
    let omi = oven.step(register).await?;
    let mut own: Vec<String> = snapshots.into_iter().map(|snapshot| snapshot.id).collect();
    own.extend(usable.into_iter().flat_map(|usable| usable.kept_snapshots));
    let unfinished =
        Unfinished { plan: &plan.omi, omi: &omi, snapshots: Some(&own), source: source.as_ref(), old: &name };
    let artifact = unfinished.finish(oven).await?;
    let late = Late::new(oven.cx(), source.as_ref()).in_chroot(oven.cx(), &vm.id);
    post_process(oven, vec![artifact], Ok(late)).await
}

async fn resolve(oven: &Oven, plan: &ChrootPlan) -> Result<Option<SourceImage>, Failure> {
    match &plan.source {
        ChrootSource::Omi(source) => Ok(Some(oven.step(ResolveSource { source }).await?)),
        ChrootSource::Scratch(_) => Ok(None),
    }
}

/// An attempt that another worker began may have its volume where this one cannot link it.
async fn stay_here(oven: &Oven, vm: &HostVm) -> Result<(), Failure> {
    let failure = |error| Failure { step: LinkVolume::NAME, error };
    let here = vm_id(oven.cx()).await.map_err(failure)?;
    if here != vm.id {
        oven.cx().say(format!("this attempt began on VM {}, and this worker runs on {here}", vm.id)).await;
        return Err(failure(StepError::Interrupted));
    }
    Ok(())
}

/// All that happens while the volume is mounted. However it ends, nothing stays mounted.
async fn fill(
    oven: &Oven,
    plan: &ChrootPlan,
    vm: &HostVm,
    linked: &LinkedVolume,
    source: Option<&SourceImage>,
) -> Result<(), Failure> {
    let cell = OpenCell::default();
    let in_cell = InCell { plan, vm, linked, source, cell: &cell };
    let filled = async {
        oven.step(PreMount(in_cell)).await?;
        let mounted = oven.step(MountVolume(in_cell)).await?;
        oven.step(PostMount { in_cell, mounted: &mounted }).await?;
        oven.step(PrepareChroot(in_cell)).await?;
        oven.step(ProvisionChroot(in_cell)).await?;
        oven.step(ReleaseChroot(in_cell)).await
    };
    let result = filled.await;
    if result.is_err()
        && let Some(Err(error)) = cell.release(oven.cx()).await
    {
        oven.cx().say(format!("the chroot did not end in good order: {error}")).await;
    }
    result
}

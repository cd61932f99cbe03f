//! Removal, written once for each kind of resource. Gone already is done.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    error::StepError,
    find::is_settled,
    oven::{Cx, durable},
    steps::adopt_volumes,
};
use crate::{
    oapi::{
        Request,
        types::{
            DeleteImage, DeleteKeypair, DeletePublicIp, DeleteSecurityGroup, DeleteSnapshot, DeleteVms,
            DeleteVolume, FiltersImage, FiltersSnapshot, FiltersVm, FiltersVolume, LinkState, ReadImages,
            ReadSnapshots, ReadVms, ReadVolumes, UnlinkVolume,
        },
    },
    store::ledger::{self, Intent, Keep, Resource, ResourceKind},
};

/// How long one pass tries to remove something that is still in use. A security group stays in use for up to 90 s after
/// its VM is gone (DeleteSecurityGroup, code 9085).
pub(crate) const IN_USE: Duration = Duration::from_secs(240);

/// How long a VM may take to end.
pub(crate) const TERMINATION: Duration = Duration::from_secs(600);

/// First and longest pause between two tries.
pub(crate) const PAUSES: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(5));

/// Removes one resource whose id is known and returns when it is gone.
///
/// # Errors
/// It could not be removed in this pass.
pub async fn remove(cx: &Cx, row: &Resource, id: &str) -> Result<(), StepError> {
    let client = &cx.cloud.client;
    match row.kind {
        ResourceKind::Vm => {
            until_gone(cx, row, id, &DeleteVms { vm_ids: vec![id.to_owned()] }).await?;
            let wait = cx.cloud.waits.wait_vm_terminated(client, id, TERMINATION, cx.stop.token()).await;
            wait.map_err(|source| StepError::wait(cx, format!("waiting for the end of VM {id}"), source))
        }
        ResourceKind::Keypair => {
            let name = row.lookup.get("name").and_then(Value::as_str).unwrap_or(id).to_owned();
            until_gone(
                cx,
                row,
                id,
                &DeleteKeypair { keypair_name: Some(name.clone()), ..DeleteKeypair::default() },
            )
            .await
        }
        ResourceKind::SecurityGroup => {
            let request = DeleteSecurityGroup {
                security_group_id: Some(id.to_owned()),
                ..DeleteSecurityGroup::default()
            };
            until_gone(cx, row, id, &request).await
        }
        ResourceKind::PublicIp => remove_public_ip(cx, row, id).await,
        ResourceKind::Volume => until_gone(cx, row, id, &DeleteVolume { volume_id: id.to_owned() }).await,
        ResourceKind::Snapshot => {
            until_gone(cx, row, id, &DeleteSnapshot { snapshot_id: id.to_owned() }).await
        }
        ResourceKind::Image => {
            until_gone(cx, row, id, &DeleteImage { image_id: id.to_owned() }).await?;
            if makes_snapshots(row) { adopt_stray_snapshots(cx).await } else { Ok(()) }
        }
    }
}

/// Whether the OMI's snapshots came with it. Those of an OMI that was registered from snapshots have rows of their own, or
/// belong to somebody else.
fn makes_snapshots(row: &Resource) -> bool {
    row.lookup.get("makes_snapshots").and_then(Value::as_bool).unwrap_or(true)
}

/// What has to be known of a resource before it goes, read anew before each try: something young may be invisible at the
/// first one.
async fn before_removal(cx: &Cx, row: &Resource, id: &str) -> Result<(), StepError> {
    match row.kind {
        ResourceKind::Vm => adopt_volumes_of(cx, row, id).await,
        ResourceKind::Image if makes_snapshots(row) => adopt_snapshots(cx, row, id).await,
        ResourceKind::Volume => take_off(cx, row, id).await,
        _ => Ok(()),
    }
}

/// A VM that is removed before it ran has volumes that the ledger does not know yet, and those that do not go with the VM
/// would stay. Once some are known, others were attached by somebody else and are left alone.
async fn adopt_volumes_of(cx: &Cx, row: &Resource, id: &str) -> Result<(), StepError> {
    if !durable!(cx, |db| ledger::cloud_ids(db, row.run_id, Some(row.attempt), ResourceKind::Volume))?
        .is_empty()
    {
        return Ok(());
    }
    let filters = FiltersVm { vm_ids: vec![id.to_owned()], ..FiltersVm::default() };
    let cx = Cx { attempt: row.attempt, ..cx.clone() };
    for vm in cx.cloud.client.read_all(&ReadVms::filtered(filters)).await? {
        adopt_volumes(&cx, &vm, &[]).await?;
    }
    Ok(())
}

/// Puts into the ledger what was made of the run's volumes and is not there yet: an image that was removed while it was
/// young may not have told its snapshots.
async fn adopt_stray_snapshots(cx: &Cx) -> Result<(), StepError> {
    let volumes = durable!(cx, |db| ledger::cloud_ids(db, cx.lease.run, None, ResourceKind::Volume))?;
    // Without ids it would list every snapshot there is.
    if volumes.is_empty() {
        return Ok(());
    }
    let known = durable!(cx, |db| ledger::cloud_ids(db, cx.lease.run, None, ResourceKind::Snapshot))?;
    let filters = FiltersSnapshot { volume_ids: volumes.clone(), ..FiltersSnapshot::default() };
    for snapshot in cx.cloud.client.read_all(&ReadSnapshots::filtered(filters)).await? {
        let is_ours = snapshot.volume_id.as_ref().is_some_and(|id| volumes.contains(id));
        if is_ours && !known.contains(&snapshot.snapshot_id) {
            cx.adopt(snapshot_intent(&cx.cloud.region, &snapshot.snapshot_id, Keep::Never)).await?;
        }
    }
    Ok(())
}

/// Takes a volume off the VM that it was made to be linked to. It stays in use until nothing there has it mounted.
async fn take_off(cx: &Cx, row: &Resource, id: &str) -> Result<(), StepError> {
    let Some(vm) = row.lookup.get("linked_to").and_then(Value::as_str) else { return Ok(()) };
    let client = &cx.cloud.client;
    let filters = FiltersVolume { volume_ids: vec![id.to_owned()], ..FiltersVolume::default() };
    let volumes = client.read_all(&ReadVolumes::filtered(filters)).await?;
    let link = volumes.iter().find_map(|volume| volume.link_to(vm));
    if link.is_some_and(|link| link.state != LinkState::Detaching)
        && let Err(error) = client.call(&UnlinkVolume { volume_id: id.to_owned(), force_unlink: None }).await
        && !error.is_conflict()
        && !error.is_not_found()
    {
        return Err(error.into());
    }
    Ok(())
}

/// DeleteImage leaves the snapshots behind; they are put into the ledger before the image, which knows them, goes.
async fn adopt_snapshots(cx: &Cx, row: &Resource, id: &str) -> Result<(), StepError> {
    let filters = FiltersImage { image_ids: vec![id.to_owned()], ..FiltersImage::default() };
    for image in cx.cloud.client.read_all(&ReadImages::filtered(filters)).await? {
        for snapshot in image.snapshot_ids() {
            let cx = Cx { attempt: row.attempt, ..cx.clone() };
            cx.adopt(snapshot_intent(&row.region, snapshot, Keep::Never)).await?;
        }
    }
    Ok(())
}

/// The ledger's row for a snapshot behind an image.
#[must_use]
pub fn snapshot_intent(region: &str, snapshot: &str, keep: Keep) -> Intent {
    Intent {
        slot: format!("snapshot {snapshot}"),
        kind: ResourceKind::Snapshot,
        lookup: json!({}),
        cloud_id: Some(snapshot.to_owned()),
        region: region.to_owned(),
        keep,
    }
}

async fn remove_public_ip(cx: &Cx, row: &Resource, id: &str) -> Result<(), StepError> {
    cx.cloud.client.unlink_public_ip(id).await?;
    until_gone(cx, row, id, &DeletePublicIp { public_ip_id: Some(id.to_owned()), public_ip: None }).await
}

/// Whether "there is no such thing" is the last word. Something young may only be invisible still; but a volume of a VM comes
/// into the ledger by a read of that VM, so it was visible before, and it usually goes with that VM. Not to believe it
/// would make every short bake last until the settle time is over.
fn is_final(cx: &Cx, row: &Resource) -> bool {
    let came_with_its_vm = row.kind == ResourceKind::Volume && row.lookup.get("client_token").is_none();
    came_with_its_vm || is_settled(cx, row)
}

/// Calls until the answer is "deleted" or "there is no such thing". Something young that is not found may only be
/// invisible still; something in use is tried again for a while.
async fn until_gone<R: Request>(cx: &Cx, row: &Resource, id: &str, request: &R) -> Result<(), StepError> {
    let give_up = Instant::now() + IN_USE;
    let mut pause = PAUSES.0;
    loop {
        before_removal(cx, row, id).await?;
        match cx.cloud.client.call(request).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() && is_final(cx, row) => return Ok(()),
            Err(error) if error.is_not_found() => {}
            Err(error) if (error.is_conflict() || error.is_dependency()) && Instant::now() < give_up => {}
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSES.1),
            () = cx.stop.token().cancelled() => cx.stop.check()?,
        }
    }
}

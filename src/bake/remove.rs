//! Removal, written once for each kind of resource. Gone already is done.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    error::StepError,
    find::is_settled,
    oven::Cx,
};
use crate::{
    oapi::{
        Request,
        types::{
            DeleteImage, DeleteKeypair, DeletePublicIp, DeleteSecurityGroup, DeleteSnapshot, DeleteVms, DeleteVolume, FiltersImage,
            FiltersPublicIp, ReadImages, ReadPublicIps, UnlinkPublicIp,
        },
    },
    store::ledger::{Intent, Keep, Resource, ResourceKind},
};

/// How long one pass tries to remove something that is still in use. A security group stays in use for up to 90 s after
/// its VM is gone (DeleteSecurityGroup, code 9085).
const IN_USE: Duration = Duration::from_secs(240);

/// How long a VM may take to end.
const TERMINATION: Duration = Duration::from_secs(600);

/// First and longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(5));

/// Removes one resource whose id is known and returns when it is gone.
///
/// # Errors
/// It could not be removed in this pass.
pub async fn remove(cx: &Cx, row: &Resource, id: &str) -> Result<(), StepError> {
    let client = &cx.cloud.client;
    match row.kind {
        ResourceKind::Vm => {
            until_gone(cx, row, &DeleteVms { vm_ids: vec![id.to_owned()] }).await?;
            let wait = cx.cloud.waits.wait_vm_terminated(client, id, TERMINATION, cx.stop.token()).await;
            wait.map_err(|source| StepError::wait(cx, format!("waiting for the end of VM {id}"), source))
        }
        ResourceKind::Keypair => {
            let name = row.lookup.get("name").and_then(Value::as_str).unwrap_or(id).to_owned();
            until_gone(cx, row, &DeleteKeypair { keypair_name: Some(name.clone()), ..DeleteKeypair::default() }).await
        }
        ResourceKind::SecurityGroup => {
            let request = DeleteSecurityGroup { security_group_id: Some(id.to_owned()), ..DeleteSecurityGroup::default() };
            until_gone(cx, row, &request).await
        }
        ResourceKind::PublicIp => remove_public_ip(cx, row, id).await,
        ResourceKind::Volume => until_gone(cx, row, &DeleteVolume { volume_id: id.to_owned() }).await,
        ResourceKind::Snapshot => until_gone(cx, row, &DeleteSnapshot { snapshot_id: id.to_owned() }).await,
        ResourceKind::Image => {
            adopt_snapshots(cx, row, id).await?;
            until_gone(cx, row, &DeleteImage { image_id: id.to_owned() }).await
        }
    }
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
    let client = &cx.cloud.client;
    let filters = FiltersPublicIp { public_ip_ids: vec![id.to_owned()], ..FiltersPublicIp::default() };
    let linked = client
        .read_all(&ReadPublicIps::filtered(filters))
        .await?
        .into_iter()
        .next()
        .and_then(|ip| ip.link_public_ip_id.or_else(|| ip.vm_id.map(|_| ip.public_ip)));
    if let Some(link) = linked {
        let request = if link.starts_with("eipassoc-") {
            UnlinkPublicIp { link_public_ip_id: Some(link), public_ip: None }
        } else {
            UnlinkPublicIp { link_public_ip_id: None, public_ip: Some(link) }
        };
        match client.call(&request).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    until_gone(cx, row, &DeletePublicIp { public_ip_id: Some(id.to_owned()), public_ip: None }).await
}

/// Whether "there is no such thing" is the last word. Something young may only be invisible still; but a volume comes
/// into the ledger by a read of its VM, so it was visible before, and it usually goes with that VM. Not to believe it
/// would make every short bake last until the settle time is over.
fn is_final(cx: &Cx, row: &Resource) -> bool {
    row.kind == ResourceKind::Volume || is_settled(cx, row)
}

/// Calls until the answer is "deleted" or "there is no such thing". Something young that is not found may only be
/// invisible still; something in use is tried again for a while.
async fn until_gone<R: Request>(cx: &Cx, row: &Resource, request: &R) -> Result<(), StepError> {
    let give_up = Instant::now() + IN_USE;
    let mut pause = PAUSES.0;
    loop {
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

//! Cleanup, driven by the ledger alone: the same code after success, failure, cancel and crash, and itself restartable.
//! VMs go first, since they hold groups, addresses and volumes; images before their snapshots; all else at once.

use futures::future::join_all;

use super::{
    error::StepError,
    find,
    oven::{Cx, durable},
    remove,
};
use crate::store::ledger::{self, Resource, ResourceKind};

/// What a pass left.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// What could not be removed: what it is, and why.
    pub remaining: Vec<String>,
}

/// Removes all that the ledger of the run still holds.
///
/// # Errors
/// Only if the run is lost to this worker; what could not be removed is in the answer and in the ledger.
pub async fn clean(cx: &Cx) -> Result<Leftovers, StepError> {
    let rows = durable!(cx, |db| ledger::live(db, cx.lease.run))?;
    if rows.is_empty() {
        return Ok(Leftovers::default());
    }
    let of = |kinds: &[ResourceKind]| rows.iter().filter(|row| kinds.contains(&row.kind)).collect::<Vec<_>>();
    let vms_then_what_they_hold = async {
        let failed = all(cx, &of(&[ResourceKind::Vm])).await?;
        // Trying to take away what a living VM holds would only wait in vain.
        if !failed.is_empty() {
            return Ok(failed);
        }
        // Removing VMs put their volumes into the ledger.
        let rows = durable!(cx, |db| ledger::live(db, cx.lease.run))?;
        let held = [ResourceKind::SecurityGroup, ResourceKind::PublicIp, ResourceKind::Volume];
        all(cx, &rows.iter().filter(|row| held.contains(&row.kind)).collect::<Vec<_>>()).await
    };
    let images = of(&[ResourceKind::Image]);
    let keypairs = of(&[ResourceKind::Keypair]);
    let (held, images, keypairs) =
        tokio::join!(vms_then_what_they_hold, all(cx, &images), all(cx, &keypairs));
    let mut remaining: Vec<String> = [held?, images?, keypairs?].concat();
    // Removing images put their snapshots into the ledger.
    let rows = durable!(cx, |db| ledger::live(db, cx.lease.run))?;
    let snapshots: Vec<_> = rows.iter().filter(|row| row.kind == ResourceKind::Snapshot).collect();
    remaining.extend(all(cx, &snapshots).await?);
    let rows = durable!(cx, |db| ledger::live(db, cx.lease.run))?;
    if remaining.is_empty() && !rows.is_empty() {
        remaining.extend(
            rows.iter()
                .map(|row| format!("{} {}", row.slot, row.cloud_id.as_deref().unwrap_or("(id unknown)"))),
        );
    }
    Ok(Leftovers { remaining })
}

async fn all(cx: &Cx, rows: &[&Resource]) -> Result<Vec<String>, StepError> {
    let mut failed = Vec::new();
    for result in join_all(rows.iter().map(|row| one(cx, row))).await {
        failed.extend(result?);
    }
    Ok(failed)
}

/// Removes one; answers what remains and why, if it does.
async fn one(cx: &Cx, row: &Resource) -> Result<Option<String>, StepError> {
    let outcome = async {
        let id = match &row.cloud_id {
            Some(id) => Some(id.clone()),
            None => {
                // Another run's new public IP would look like this one's.
                let _lock = if row.kind == ResourceKind::PublicIp {
                    Some(find::public_ip_lock(cx).await?)
                } else {
                    None
                };
                let id = find::again(cx, row).await?;
                if let Some(id) = &id {
                    durable!(cx, |db| ledger::created(db, &cx.lease, row.id, id))?;
                }
                id
            }
        };
        let Some(id) = id else {
            return Ok(None);
        };
        remove::remove(cx, row, &id).await?;
        Ok::<_, StepError>(Some(id))
    }
    .await;
    match outcome {
        Ok(id) => {
            durable!(cx, |db| ledger::removed(db, &cx.lease, row.id, None))?;
            if let Some(id) = id {
                cx.say(format!("removed {} {id}", label(row.kind))).await;
            }
            Ok(None)
        }
        Err(error) if error.lost_the_lease() || matches!(error, StepError::Stopped(_)) => Err(error),
        Err(error) => {
            let (what, why) =
                (row.cloud_id.as_deref().unwrap_or("(id unknown)"), error.problem("cleanup").detail);
            durable!(cx, |db| ledger::removal_failed(db, &cx.lease, row.id, &why))?;
            cx.say(format!("could not remove {} {what}: {why}", label(row.kind))).await;
            Ok(Some(format!("{} {what}: {why}", label(row.kind))))
        }
    }
}

/// What people call it.
#[must_use]
pub const fn label(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Keypair => "key pair",
        ResourceKind::SecurityGroup => "security group",
        ResourceKind::PublicIp => "public IP",
        ResourceKind::Vm => "VM",
        ResourceKind::Volume => "volume",
        ResourceKind::Snapshot => "snapshot",
        ResourceKind::Image => "OMI",
    }
}

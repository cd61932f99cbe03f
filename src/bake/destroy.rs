//! Removes what a run announced, when somebody asks for it: an OMI before its snapshots, the rest in any order. Only what
//! the ledger keeps for the run is touched. What the cloud refuses stays, with the reason; nothing is forced.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    cleanup::label,
    error::StepError,
    oven::{Cx, durable},
    remove::PAUSES,
};
use crate::{
    domain::Artifact,
    oapi::{
        OapiError, Request,
        types::{
            DeleteImage, DeleteSnapshot, DeleteVolume, FiltersImage, FiltersVolume, ReadImages, ReadVolumes,
        },
    },
    store::{
        artifacts::{self, OwnArtifact},
        ledger::{self, Resource, ResourceKind, ResourceState},
    },
};

/// What became of the artifacts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Destroyed {
    /// The cloud refused to remove something of so many.
    pub refused: usize,
    /// So many could not be removed for a reason that passes.
    pub to_try_again: usize,
}

/// Why something stays.
struct Stays {
    why: String,
    passes: bool,
}

/// Removes the artifacts of the run that are still there.
///
/// # Errors
/// Only if the run is lost to this worker; what could not be removed is in the answer and with the artifact.
pub async fn destroy(cx: &Cx) -> Result<Destroyed, StepError> {
    let mut destroyed = Destroyed::default();
    for own in durable!(cx, |db| artifacts::there(db, cx.lease.run))? {
        match remove(cx, &own).await? {
            None => durable!(cx, |db| artifacts::removed(db, &cx.lease, &cx.plan.name, own.ordinal))?,
            Some(stays) => {
                cx.say(format!("could not destroy {}: {}", own.artifact.packer_id(), stays.why)).await;
                durable!(cx, |db| artifacts::refused(db, &cx.lease, own.ordinal, &stays.why))?;
                if stays.passes {
                    destroyed.to_try_again += 1;
                } else {
                    destroyed.refused += 1;
                }
            }
        }
    }
    Ok(destroyed)
}

/// Removes one artifact with what is behind it; answers what stays of it, and why.
async fn remove(cx: &Cx, own: &OwnArtifact) -> Result<Option<Stays>, StepError> {
    let rows = durable!(cx, |db| ledger::of_run(db, cx.lease.run))?;
    let kept = |id: &str| {
        let is_it = |row: &&Resource| row.cloud_id.as_deref() == Some(id) && row.state == ResourceState::Kept;
        rows.iter().find(is_it)
    };
    let (first, behind): (&str, Vec<&str>) = match &own.artifact {
        Artifact::Omi { id, snapshots, .. } => (id, snapshots.iter().map(String::as_str).collect()),
        Artifact::Volume { id, snapshot, .. } => (id, snapshot.iter().map(String::as_str).collect()),
    };
    let mut reasons: Vec<Stays> = Vec::new();
    if let Some(row) = kept(first) {
        reasons.extend(one(cx, row, first).await?);
    }
    // The snapshots of an OMI that stays are in use.
    if reasons.is_empty() || matches!(own.artifact, Artifact::Volume { .. }) {
        for id in behind {
            if let Some(row) = kept(id) {
                reasons.extend(one(cx, row, id).await?);
            }
        }
    }
    if reasons.is_empty() {
        return Ok(None);
    }
    let passes = reasons.iter().all(|stays| stays.passes);
    let why: Vec<String> = reasons.into_iter().map(|stays| stays.why).collect();
    Ok(Some(Stays { why: why.join("; "), passes }))
}

async fn one(cx: &Cx, row: &Resource, id: &str) -> Result<Option<Stays>, StepError> {
    cx.stop.check()?;
    let removed = match row.kind {
        ResourceKind::Image => gone(cx, &DeleteImage { image_id: id.to_owned() }).await,
        ResourceKind::Snapshot => gone(cx, &DeleteSnapshot { snapshot_id: id.to_owned() }).await,
        ResourceKind::Volume => gone(cx, &DeleteVolume { volume_id: id.to_owned() }).await,
        // Nothing else is ever kept.
        _ => return Ok(None),
    };
    match removed {
        Ok(()) => {
            durable!(cx, |db| ledger::removed(db, &cx.lease, row.id, None))?;
            cx.say(format!("destroyed {} {id}", label(row.kind))).await;
            Ok(None)
        }
        Err(error) => {
            cx.stop.check()?;
            let passes = error.is_transient();
            let mut why =
                format!("{} {id}: {}", label(row.kind), StepError::from(error).problem("destroy").detail);
            if let Some(user) = user_of(cx, row.kind, id).await {
                why = format!("{why} ({user})");
            }
            durable!(cx, |db| ledger::removal_failed(db, &cx.lease, row.id, &why))?;
            Ok(Some(Stays { why, passes }))
        }
    }
}

/// Calls until the answer is "deleted" or "there is no such thing". What is in use is tried again for as long as a VM that
/// has just gone may still seem to hold its volumes.
async fn gone<R: Request>(cx: &Cx, request: &R) -> Result<(), OapiError> {
    let began = Instant::now();
    let mut pause = PAUSES.0;
    loop {
        let is_last = began.elapsed() >= cx.cloud.settle || cx.stop.reason().is_some();
        match cx.cloud.client.delete(request).await {
            Err(error) if (error.is_conflict() || error.is_dependency()) && !is_last => {}
            result => return result,
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(2)),
            () = cx.stop.token().cancelled() => {}
        }
    }
}

/// Who uses it, as far as that can be read: the cloud's own words do not always tell.
async fn user_of(cx: &Cx, kind: ResourceKind, id: &str) -> Option<String> {
    let client = &cx.cloud.client;
    match kind {
        ResourceKind::Volume => {
            let filters = FiltersVolume { volume_ids: vec![id.to_owned()], ..FiltersVolume::default() };
            let volume = client.read_all(&ReadVolumes::filtered(filters)).await.ok()?.pop()?;
            let vm = volume.linked_volumes.first()?.vm_id.clone()?;
            Some(format!("it is linked to VM {vm}"))
        }
        ResourceKind::Snapshot => {
            let filters = FiltersImage {
                block_device_mapping_snapshot_ids: vec![id.to_owned()],
                ..FiltersImage::default()
            };
            let images = client.read_all(&ReadImages::filtered(filters)).await.ok()?;
            let ids: Vec<&str> = images.iter().map(|image| image.image_id.as_str()).collect();
            (!ids.is_empty()).then(|| format!("it is used by {}", ids.join(", ")))
        }
        _ => None,
    }
}

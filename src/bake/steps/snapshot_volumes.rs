//! Makes snapshots of volumes that nobody writes to, all at once: it takes as long as the slowest. CreateSnapshot carries a
//! client token, so that a lost answer never means a second snapshot.

use std::time::Duration;

use futures::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{AttachedVolume, SourceImage, attached};
use crate::{
    bake::{
        error::StepError,
        late::Late,
        oven::{Cx, Step},
        tags,
    },
    oapi::{
        Progress, predicates,
        types::{CreateSnapshot, Snapshot},
    },
    store::ledger::{Intent, Keep, ResourceKind},
};

/// How long a snapshot may take: that of a large disk takes hours.
const COPY: Duration = Duration::from_secs(4 * 3600);

/// What is around the wait.
const CALLS: Duration = Duration::from_secs(1800);

/// The log tells how far a snapshot is after each such part, in percent.
const TOLD: u32 = 25;

/// A volume to make a snapshot of.
#[derive(Debug, Clone, Copy)]
pub struct ToSnapshot<'a> {
    /// What the VM calls it.
    pub device: &'a str,
    /// A late template; absent: ours.
    pub description: Option<&'a str>,
}

/// Makes the snapshots.
pub struct SnapshotVolumes<'a> {
    /// Of these.
    pub volumes: Vec<ToSnapshot<'a>>,
    /// Which volume has which name.
    pub attached: &'a [AttachedVolume],
    /// For late templates.
    pub source: Option<&'a SourceImage>,
}

/// A complete snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VolumeSnapshot {
    /// What the VM calls the volume.
    pub device: String,
    /// `vol-…`.
    pub volume: String,
    /// `snap-…`.
    pub id: String,
    /// In GiB.
    pub size: Option<u32>,
}

impl Step for SnapshotVolumes<'_> {
    const NAME: &'static str = "snapshot_volumes";
    type Output = Vec<VolumeSnapshot>;

    fn deadline(&self) -> Duration {
        COPY + CALLS
    }

    async fn run(&self, cx: &Cx) -> Result<Vec<VolumeSnapshot>, StepError> {
        let mut found = Vec::new();
        for volume in &self.volumes {
            found.push((volume, attached(self.attached, volume.device)?));
        }
        // All calls come to their end: what one makes must be recorded although another fails.
        let asked = join_all(found.iter().map(|(volume, id)| self.ask(cx, volume, id))).await;
        let ids = asked.into_iter().collect::<Result<Vec<String>, StepError>>()?;
        let waits = found.iter().zip(&ids).map(|((volume, of), id)| async move {
            let snapshot = completed(cx, volume.device, id).await?;
            let (device, volume) = (volume.device.to_owned(), (*of).to_owned());
            Ok::<_, StepError>(VolumeSnapshot { device, volume, id: id.clone(), size: snapshot.volume_size })
        });
        try_join_all(waits).await
    }
}

impl SnapshotVolumes<'_> {
    async fn ask(&self, cx: &Cx, volume: &ToSnapshot<'_>, id: &str) -> Result<String, StepError> {
        let device = volume.device;
        let late = Late::new(cx, self.source);
        let description = match volume.description {
            Some(text) => late.render(text)?,
            None => format!("fournil: {device} of {}", cx.plan.name),
        };
        let token = cx.client_token(&format!("snapshot-{}", device.trim_start_matches("/dev/")));
        let request = CreateSnapshot {
            volume_id: Some(id.to_owned()),
            description: Some(description),
            client_token: Some(token.clone()),
            ..CreateSnapshot::default()
        };
        let intent = Intent {
            slot: format!("snapshot of {device}"),
            kind: ResourceKind::Snapshot,
            lookup: json!({ "client_token": token }),
            cloud_id: None,
            region: cx.cloud.region.clone(),
            keep: Keep::OnSuccess,
        };
        let id = cx
            .create(intent, || async { Ok(cx.cloud.client.call(&request).await?.snapshot.snapshot_id) })
            .await?;
        cx.say(format!("snapshot of {device}: {id}, waiting until it is complete")).await;
        tags::mark_unfinished(cx, std::slice::from_ref(&id)).await;
        Ok(id)
    }
}

/// Waits until the snapshot is complete, and tells how far it is.
async fn completed(cx: &Cx, device: &str, id: &str) -> Result<Snapshot, StepError> {
    let progress = std::sync::atomic::AtomicU32::new(0);
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    let until = |snapshot: &Snapshot| {
        let part = snapshot.progress.unwrap_or_default() / TOLD * TOLD;
        let before = progress.fetch_max(part, std::sync::atomic::Ordering::Relaxed);
        let state = predicates::snapshot_completed(snapshot);
        if part > before && matches!(state, Progress::Pending(_)) {
            // Nobody listens any more when the wait is over.
            let _ = sender.send(part);
        }
        state
    };
    let wait = cx.cloud.waits.wait_snapshot(&cx.cloud.client, id, until, COPY, cx.stop.token());
    tokio::pin!(wait);
    let ended = loop {
        tokio::select! {
            ended = &mut wait => break ended,
            Some(part) = told.recv() => cx.say(format!("snapshot {id} of {device}: {part} %")).await,
        }
    };
    let snapshot = ended.map_err(|source| {
        StepError::wait(cx, format!("waiting until snapshot {id} of {device} is complete"), source)
    })?;
    cx.say(format!("snapshot {id} of {device} is complete")).await;
    Ok(snapshot)
}

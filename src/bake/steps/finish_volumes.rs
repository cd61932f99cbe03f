//! Takes the volumes that stay off the VM, with which they would go, and says of them and of their snapshots that they are
//! finished, which `fournil sweep` heeds.

use std::time::Duration;

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::{ReadyVm, SourceImage, VolumeSnapshot};
use crate::{
    bake::{
        error::StepError,
        late::Late,
        oven::{Cx, Step},
        tags,
    },
    domain::plan::VolumePlan,
    oapi::{
        predicates,
        types::{FiltersVolume, ReadVolumes, UnlinkVolume, Volume, VolumeState},
    },
};

/// How long a stopped VM may take to let go of a volume.
const DETACHING: Duration = Duration::from_secs(600);

/// Finishes the volumes.
pub struct FinishVolumes<'a> {
    /// What the template says.
    pub plan: &'a VolumePlan,
    /// The stopped VM.
    pub vm: &'a ReadyVm,
    /// What was made of the volumes.
    pub snapshots: &'a [VolumeSnapshot],
    /// For late templates in the tags.
    pub source: &'a SourceImage,
}

/// A volume that stays.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FinishedVolume {
    /// `vol-…`.
    pub id: String,
    /// What the VM called it.
    pub device: String,
    /// In GiB.
    pub size: i64,
    /// `snap-…`.
    pub snapshot: Option<String>,
}

impl Step for FinishVolumes<'_> {
    const NAME: &'static str = "finish_volumes";
    type Output = Vec<FinishedVolume>;

    async fn run(&self, cx: &Cx) -> Result<Vec<FinishedVolume>, StepError> {
        let mut finished = Vec::new();
        for volume in self.plan.kept() {
            let snapshot = self.snapshots.iter().find(|snapshot| snapshot.device == volume.device_name);
            finished.push(FinishedVolume {
                id: self.vm.volume(&volume.device_name)?.to_owned(),
                device: volume.device_name.clone(),
                size: 0,
                snapshot: snapshot.map(|snapshot| snapshot.id.clone()),
            });
        }
        if finished.is_empty() {
            return Ok(finished);
        }
        let freed = try_join_all(finished.iter().map(|volume| free(cx, &volume.id, &volume.device))).await?;
        for (volume, freed) in finished.iter_mut().zip(freed) {
            volume.size = freed.size.map(i64::from).unwrap_or_default();
        }
        self.tag(cx, &finished).await?;
        Ok(finished)
    }
}

/// Takes a volume off the VM, if it is not free yet.
pub(super) async fn free(cx: &Cx, id: &str, which: &str) -> Result<Volume, StepError> {
    let client = &cx.cloud.client;
    let filters = FiltersVolume { volume_ids: vec![id.to_owned()], ..FiltersVolume::default() };
    let is_linked = |volume: &Volume| !volume.linked_volumes.is_empty();
    if client.read_all(&ReadVolumes::filtered(filters)).await?.iter().any(is_linked) {
        let request = UnlinkVolume { volume_id: id.to_owned(), force_unlink: None };
        if let Err(error) = client.call(&request).await
            // An earlier try has asked already.
            && !error.is_conflict()
        {
            return Err(error.into());
        }
    }
    let until = predicates::volume_state(VolumeState::Available);
    let wait = cx.cloud.waits.wait_volume(client, id, until, DETACHING, cx.stop.token());
    wait.await
        .map_err(|source| StepError::wait(cx, format!("waiting until volume {id} ({which}) is free"), source))
}

impl FinishVolumes<'_> {
    async fn tag(&self, cx: &Cx, finished: &[FinishedVolume]) -> Result<(), StepError> {
        let late = Late::new(cx, Some(self.source));
        for (plan, volume) in self.plan.kept().zip(finished) {
            if let (Some(snapshot), Some(plan)) = (&volume.snapshot, &plan.snapshot) {
                let wanted = tags::rendered(&plan.tags, &late)?;
                let all = tags::of_finished(cx, wanted, tags::SNAPSHOT);
                tags::set(cx, std::slice::from_ref(snapshot), all).await?;
            }
        }
        let ids: Vec<String> = finished.iter().map(|volume| volume.id.clone()).collect();
        tags::set(cx, &ids, tags::own_of_artifact(cx, tags::VOLUME)).await?;
        for volume in finished {
            cx.say(format!("volume {} ({}, {} GiB) stays", volume.id, volume.device, volume.size)).await;
        }
        Ok(())
    }
}

//! What happens to a volume over time: it is made, attached, detached, changed, deleted.

use std::{sync::Arc, time::Duration};

use super::{
    Causes, Region, pause,
    vm_life::disk_of,
    words::{LinkState, VolumeState},
};
use crate::backend::BackendError;

/// How often a volume that is in use is tried again.
const DETACH_INTERVAL: Duration = Duration::from_millis(50);

impl Region {
    /// creating → available (or what a fault says).
    pub fn begin_creation(self: &Arc<Self>, volume_id: String) {
        let region = Arc::clone(self);
        self.spawn(async move {
            let ((), filled) =
                tokio::join!(pause(region.latency.changes.volume_creating), region.prepare(&volume_id));
            let mut state = region.state();
            let Some(volume) = state.volumes.get_mut(&volume_id) else { return };
            let doom = volume.meta.doom.take().as_deref().and_then(VolumeState::of_word);
            match (filled, doom) {
                (Ok(disk), None) => state.note_filled(&volume_id, disk),
                (Ok(_), Some(doom)) => volume.state = doom,
                (Err(error), _) => {
                    tracing::error!(volume.id = %volume_id, error = %Causes(&error), "could not make a volume");
                    volume.state = VolumeState::Error;
                }
            }
        });
    }

    /// Fills a volume that is still empty, and shows it as attached.
    pub async fn fill_volume(&self, volume_id: &str) -> Result<(), BackendError> {
        let disk = self.prepare(volume_id).await?;
        self.state().note_filled(volume_id, disk);
        Ok(())
    }

    async fn prepare(&self, volume_id: &str) -> Result<Option<Arc<super::disks::DiskFile>>, BackendError> {
        let (source, of_snapshot, size) = {
            let state = self.state();
            let Some(volume) = state.volumes.get(volume_id) else { return Ok(None) };
            (volume.source.clone(), volume.snapshot_id.is_some(), volume.size)
        };
        let made = if of_snapshot {
            self.disks.copy(source.as_ref(), volume_id, size).await
        } else {
            self.disks.blank(volume_id, size).await
        };
        made.map_err(|source| BackendError::Io { what: format!("make the disk of {volume_id}"), source })
    }

    /// attaching → attached; the volume is free again if that fails.
    pub fn begin_attachment(self: &Arc<Self>, vm_id: String, volume_id: String) {
        let region = Arc::clone(self);
        self.spawn(async move {
            let work = async {
                let _gate = region.gate(&vm_id).await;
                let disk = {
                    let state = region.state();
                    let Some(volume) = state.volumes.get(&volume_id) else { return Ok(()) };
                    let Some(link) = volume.link.as_ref() else { return Ok(()) };
                    disk_of(&volume_id, &link.device, volume.disk.as_ref())
                };
                region.backend.attach(&vm_id, disk).await
            };
            let ((), attached) = tokio::join!(pause(region.latency.changes.volume_attaching), work);
            let mut state = region.state();
            let Some(volume) = state.volumes.get_mut(&volume_id) else { return };
            let is_ours = volume.link.as_ref().is_some_and(|link| link.vm_id == vm_id);
            match attached {
                Ok(()) => {
                    if let Some(link) = volume.link.as_mut().filter(|link| link.state == LinkState::Attaching)
                    {
                        link.state = LinkState::Attached;
                    }
                }
                Err(error) => {
                    tracing::error!(vm.id = %vm_id, error = %Causes(&error), "could not attach {volume_id}");
                    if is_ours {
                        volume.link = None;
                        volume.state = VolumeState::Available;
                    }
                }
            }
        });
    }

    /// detaching → available.
    pub fn begin_detachment(self: &Arc<Self>, vm_id: String, volume_id: String) {
        let region = Arc::clone(self);
        self.spawn(async move {
            let work = async {
                loop {
                    let gate = region.gate(&vm_id).await;
                    let detached = region.backend.detach(&vm_id, &volume_id).await;
                    drop(gate);
                    match detached {
                        // As in the cloud the link is there until the VM lets go.
                        Err(BackendError::InUse(_)) => tokio::time::sleep(DETACH_INTERVAL).await,
                        detached => return detached,
                    }
                }
            };
            let ((), detached) = tokio::join!(pause(region.latency.changes.volume_detaching), work);
            let mut state = region.state();
            let Some(volume) = state.volumes.get_mut(&volume_id) else { return };
            let Some(link) = volume.link.as_mut().filter(|link| link.vm_id == vm_id) else { return };
            match detached {
                Ok(()) => {
                    volume.link = None;
                    volume.state = VolumeState::Available;
                }
                Err(error) => {
                    // As when the guest does not let go of a disk.
                    tracing::error!(vm.id = %vm_id, error = %Causes(&error), "could not detach {volume_id}");
                    link.state = LinkState::Attached;
                }
            }
        });
    }

    /// The new size, type and IOPS appear when the task is done.
    pub fn begin_update(self: &Arc<Self>, volume_id: String, size: i64, kind: String, iops: Option<i64>) {
        let region = Arc::clone(self);
        self.spawn(async move {
            let ((), grown) = tokio::join!(
                pause(region.latency.changes.volume_updating),
                region.disks.grow(&volume_id, size)
            );
            let mut state = region.state();
            let Some(volume) = state.volumes.get_mut(&volume_id) else { return };
            volume.task_id = None;
            match grown {
                Ok(()) => (volume.size, volume.kind, volume.iops) = (size, kind, iops),
                Err(error) => tracing::error!(volume.id = %volume_id, %error, "could not grow a volume"),
            }
        });
    }

    /// deleting → gone.
    pub fn begin_deletion(self: &Arc<Self>, volume_id: String) {
        let region = Arc::clone(self);
        self.spawn(async move {
            pause(region.latency.changes.volume_deleting).await;
            region.state().volumes.remove(&volume_id);
        });
    }
}

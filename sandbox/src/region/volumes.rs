//! Volumes and the calls on them. What takes time is in `volume_life`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::{
    Call, Meta, Region, Reply, State,
    disks::DiskFile,
    members, new_id,
    view::{
        Compare::{Date, Exact},
        Filter, Page, TAG_FILTERS, View, read,
    },
    vm_actions::wrong_state,
    vm_mappings::{check_device, check_fits, check_volume},
    words::{LinkState, VmState, VolumeState},
};
use crate::{
    clock,
    error::ApiError,
    requests::volumes::{
        CreateVolumeRequest, DeleteVolumeRequest, LinkVolumeRequest, ReadVolumesRequest, UnlinkVolumeRequest,
        UpdateVolumeRequest,
    },
};

/// A volume.
#[derive(Debug, Clone)]
pub struct Volume {
    pub meta: Meta,
    pub id: String,
    pub client_token: Option<String>,
    /// GiB.
    pub size: i64,
    pub kind: String,
    pub iops: Option<i64>,
    pub snapshot_id: Option<String>,
    /// What it will be a copy of; kept so that the snapshot can be deleted meanwhile.
    pub source: Option<Arc<DiskFile>>,
    pub subregion: String,
    pub state: VolumeState,
    pub link: Option<Link>,
    pub disk: Option<Arc<DiskFile>>,
    /// While an update is under way.
    pub task_id: Option<String>,
}

/// The attachment of a volume to a VM.
#[derive(Debug, Clone)]
pub struct Link {
    pub vm_id: String,
    pub device: String,
    pub delete_on_vm_deletion: bool,
    pub state: LinkState,
    pub date: DateTime<Utc>,
    /// The order of attachment.
    pub sequence: u64,
}

const FILTERS: [Filter; 16] = [
    ("ClientTokens", "ClientToken", Exact),
    ("CreationDates", "CreationDate", Date),
    ("LinkVolumeDeleteOnVmDeletion", "LinkedVolumes[].DeleteOnVmDeletion", Exact),
    ("LinkVolumeDeviceNames", "LinkedVolumes[].DeviceName", Exact),
    ("LinkVolumeLinkDates", "_LinkDate", Date),
    ("LinkVolumeLinkStates", "LinkedVolumes[].State", Exact),
    ("LinkVolumeVmIds", "LinkedVolumes[].VmId", Exact),
    ("SnapshotIds", "SnapshotId", Exact),
    ("SubregionNames", "SubregionName", Exact),
    TAG_FILTERS[0],
    TAG_FILTERS[1],
    TAG_FILTERS[2],
    ("VolumeIds", "VolumeId", Exact),
    ("VolumeSizes", "Size", Exact),
    ("VolumeStates", "State", Exact),
    ("VolumeTypes", "VolumeType", Exact),
];

impl Region {
    pub async fn create_volume(self: &Arc<Self>, request: CreateVolumeRequest, call: &Call) -> Reply {
        let quirks = self.quirks();
        let mut state = self.state();
        let replayed = state.replayed("CreateVolume", request.client_token.as_ref(), &request, &quirks)?;
        if let Some(volume) = replayed.and_then(|ids| state.volumes.get(ids.first()?)) {
            return Ok(json!({ "Volume": view(volume).into_answer() }));
        }
        self.check_subregion(&request.subregion_name)?;
        let snapshot = request.snapshot_id.as_ref().map(|id| state.usable_snapshot(id)).transpose()?;
        let size = request
            .size
            .or(snapshot.map(|snapshot| snapshot.size))
            .ok_or_else(|| ApiError::new(7000, "Size is required for a volume without SnapshotId."))?;
        let kind = request.volume_type.clone().unwrap_or_else(|| "standard".to_owned());
        check_volume(&kind, size, request.iops)?;
        if let Some(snapshot) = snapshot {
            check_fits(size, snapshot)?;
        }
        let source = snapshot.and_then(|snapshot| snapshot.disk.clone());
        state.room("volumes", 10018, 1)?;
        let volume = Volume {
            meta: self.meta(&mut state, call),
            id: new_id("vol"),
            client_token: request.client_token.clone(),
            size,
            kind,
            iops: request.iops,
            snapshot_id: request.snapshot_id.clone(),
            source,
            subregion: request.subregion_name.clone(),
            state: VolumeState::Creating,
            link: None,
            disk: None,
            task_id: None,
        };
        state.remember(
            "CreateVolume",
            request.client_token.as_ref(),
            &request,
            std::slice::from_ref(&volume.id),
        );
        let answer = view(&volume).into_answer();
        let volume_id = volume.id.clone();
        state.volumes.insert(volume_id.clone(), volume);
        drop(state);
        self.begin_creation(volume_id);
        Ok(json!({ "Volume": answer }))
    }

    pub async fn read_volumes(self: &Arc<Self>, request: ReadVolumesRequest, _call: &Call) -> Reply {
        let state = self.state();
        let views = state.volumes.values().filter(|volume| volume.meta.is_visible()).map(view).collect();
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("Volumes", views, &FILTERS, request.filters.as_ref(), page)
    }

    pub async fn update_volume(self: &Arc<Self>, request: UpdateVolumeRequest, _call: &Call) -> Reply {
        let mut state = self.state();
        let volume = state.volume(&request.volume_id)?;
        if !matches!(volume.state, VolumeState::Available | VolumeState::InUse) || volume.task_id.is_some() {
            return Err(wrong_volume_state(volume));
        }
        let size = request.size.unwrap_or(volume.size);
        if size < volume.size {
            return Err(ApiError::new(
                4125,
                format!("The volume cannot shrink from {} to {size} GiB.", volume.size),
            ));
        }
        let kind = request.volume_type.clone().unwrap_or_else(|| volume.kind.clone());
        let iops = request.iops.or_else(|| volume.iops.filter(|_| kind == "io1"));
        check_volume(&kind, size, iops)?;
        let volume = state.volume_mut(&request.volume_id)?;
        volume.task_id = Some(new_id("vol-update"));
        // The old values are shown while the task runs.
        let answer = view(volume).into_answer();
        drop(state);
        self.begin_update(request.volume_id, size, kind, iops);
        Ok(json!({ "Volume": answer }))
    }

    pub async fn link_volume(self: &Arc<Self>, request: LinkVolumeRequest, _call: &Call) -> Reply {
        let mut state = self.state();
        // The cloud looks at the VM first.
        let vm = state.vm(&request.vm_id)?;
        let (vm_state, subregion, root, vm_id) =
            (vm.state, vm.subregion.clone(), vm.root_device.clone(), vm.id.clone());
        let volume = state.volume(&request.volume_id)?;
        match vm_state {
            VmState::Running | VmState::Stopped => {}
            VmState::Pending | VmState::Stopping => {
                return Err(wrong_state(9002, state.vm(&vm_id)?));
            }
            _ => return Err(wrong_state(6006, state.vm(&vm_id)?)),
        }
        check_device(&request.device_name, &root)?;
        match volume.state {
            VolumeState::Available => {}
            VolumeState::InUse => {
                return Err(ApiError::new(9004, format!("The volume '{}' is already in use.", volume.id)));
            }
            _ => return Err(wrong_volume_state(volume)),
        }
        if volume.subregion != subregion {
            return Err(ApiError::new(9071, "The volume and the VM are not in the same Subregion."));
        }
        let volumes = state.volumes_of(&vm_id);
        let is_taken = |device: &str| {
            volumes.iter().any(|volume| volume.link.as_ref().is_some_and(|link| link.device == device))
        };
        if is_taken(&request.device_name) {
            return Err(ApiError::new(9003, format!("The DeviceName '{}' is in use.", request.device_name)));
        }
        if volumes.len() >= 40 {
            return Err(ApiError::new(10018, "A VM can have at most 40 volumes."));
        }
        let links = self.quirks().host_vm_links;
        if !self.backend.claim(&vm_id, &request.volume_id, &request.device_name, links) {
            return Err(ApiError::new(9003, format!("The DeviceName '{}' is in use.", request.device_name)));
        }
        let is_running = vm_state == VmState::Running;
        let (date, sequence) = (self.clock.now(), state.next_sequence());
        let volume = state.volume_mut(&request.volume_id)?;
        volume.state = VolumeState::InUse;
        volume.link = Some(Link {
            vm_id: vm_id.clone(),
            device: request.device_name,
            delete_on_vm_deletion: false,
            // A stopped VM has its volume at once.
            state: if is_running { LinkState::Attaching } else { LinkState::Attached },
            date,
            sequence,
        });
        drop(state);
        if is_running {
            self.begin_attachment(vm_id, request.volume_id);
        }
        Ok(json!({}))
    }

    pub async fn unlink_volume(self: &Arc<Self>, request: UnlinkVolumeRequest, _call: &Call) -> Reply {
        let mut state = self.state();
        let volume = state.volume(&request.volume_id)?;
        let Some(link) = volume.link.clone() else {
            return Err(ApiError::new(9063, format!("The volume '{}' is not in use.", volume.id)));
        };
        if link.state == LinkState::Detaching {
            return Err(wrong_volume_state(volume));
        }
        let vm_state = state.vms.get(&link.vm_id).map(|vm| (vm.state, vm.root_device == link.device));
        match vm_state {
            Some((VmState::Stopped | VmState::Terminated, _)) | None => {
                let volume = state.volume_mut(&request.volume_id)?;
                volume.link = None;
                volume.state = VolumeState::Available;
                return Ok(json!({}));
            }
            Some((_, true)) => {
                return Err(wrong_state(6006, state.vm(&link.vm_id)?));
            }
            Some((VmState::Running, false)) if link.state == LinkState::Attached => {}
            Some(_) => return Err(wrong_volume_state(state.volume(&request.volume_id)?)),
        }
        if let Some(link) = state.volume_mut(&request.volume_id)?.link.as_mut() {
            link.state = LinkState::Detaching;
        }
        drop(state);
        self.begin_detachment(link.vm_id, request.volume_id);
        Ok(json!({}))
    }

    pub async fn delete_volume(self: &Arc<Self>, request: DeleteVolumeRequest, _call: &Call) -> Reply {
        let mut state = self.state();
        let volume = state.volume(&request.volume_id)?;
        if !matches!(volume.state, VolumeState::Available | VolumeState::Error) {
            return Err(wrong_volume_state(volume));
        }
        let volume = state.volume_mut(&request.volume_id)?;
        volume.state = VolumeState::Deleting;
        volume.disk = None;
        drop(state);
        self.begin_deletion(request.volume_id);
        Ok(json!({}))
    }
}

impl State {
    /// A volume that calls can find.
    pub fn volume(&self, id: &str) -> Result<&Volume, ApiError> {
        let found = self.volumes.get(id).filter(|volume| volume.meta.is_visible());
        found.ok_or_else(|| ApiError::missing(5064, "VolumeId", id))
    }

    /// A volume that calls can find, to change it.
    pub fn volume_mut(&mut self, id: &str) -> Result<&mut Volume, ApiError> {
        self.volume(id)?;
        self.volumes.get_mut(id).ok_or_else(|| ApiError::missing(5064, "VolumeId", id))
    }
}

/// The refusal of a call that does not fit the state of a volume.
pub fn wrong_volume_state(volume: &Volume) -> ApiError {
    ApiError::new(6007, format!("The volume '{}' is in the state '{}'.", volume.id, volume.state.word()))
}

fn view(volume: &Volume) -> View {
    let linked: Vec<_> = volume
        .link
        .iter()
        .map(|link| {
            json!({
                "DeleteOnVmDeletion": link.delete_on_vm_deletion,
                "DeviceName": link.device,
                "State": link.state.word(),
                "VmId": link.vm_id,
                "VolumeId": volume.id,
            })
        })
        .collect();
    let mut object = members(json!({
        "CreationDate": clock::text(volume.meta.created),
        "LinkedVolumes": linked,
        "Size": volume.size,
        "State": volume.state.word(),
        "SubregionName": volume.subregion,
        "Tags": volume.meta.tags_json(),
        "VolumeId": volume.id,
        "VolumeType": volume.kind,
    }));
    let mut set = |name: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    };
    set("Iops", volume.iops.map(|iops| json!(iops)));
    set("SnapshotId", volume.snapshot_id.as_ref().map(|id| json!(id)));
    set("TaskId", volume.task_id.as_ref().map(|id| json!(id)));
    set("ClientToken", volume.client_token.as_ref().map(|token| json!(token)));
    set("_LinkDate", volume.link.as_ref().map(|link| json!(clock::text(link.date))));
    volume.meta.hidden(&mut object);
    View { sequence: volume.meta.sequence, object }
}

/// The filters of ReadVolumes, for the test that holds them to the request.
#[cfg(test)]
pub fn filters() -> (&'static str, Vec<Filter>) {
    ("ReadVolumes", FILTERS.to_vec())
}

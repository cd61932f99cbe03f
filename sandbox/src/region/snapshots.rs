//! Snapshots: copies of volumes as they were at the call, which become usable only later.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    ACCOUNT_ID, Call, Causes, Meta, OFFICIAL_ALIAS, Region, Reply, State,
    disks::DiskFile,
    members, new_id, pause,
    view::{
        Compare::{Exact, Since, Until, Wildcard},
        Filter, Page, TAG_FILTERS, View, read,
    },
    volumes::wrong_volume_state,
    words::{SnapshotState, VmState, VolumeState},
};
use crate::{
    backend::BackendError,
    clock,
    error::ApiError,
    requests::{
        images::PermissionsOnResourceCreation,
        snapshots::{
            CreateSnapshotRequest, DeleteSnapshotRequest, ReadSnapshotsRequest, UpdateSnapshotRequest,
        },
    },
};

/// Who else may use a snapshot or an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    pub accounts: BTreeSet<String>,
    pub is_public: bool,
}

/// A snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub meta: Meta,
    pub id: String,
    pub account_id: String,
    pub client_token: Option<String>,
    pub description: String,
    pub volume_id: String,
    /// GiB.
    pub size: i64,
    pub state: SnapshotState,
    /// Percent.
    pub progress: i64,
    pub permissions: Permissions,
    pub disk: Option<Arc<DiskFile>>,
}

const FILTERS: [Filter; 16] = [
    ("AccountAliases", "AccountAlias", Exact),
    ("AccountIds", "AccountId", Exact),
    ("ClientTokens", "ClientToken", Exact),
    ("Descriptions", "Description", Wildcard),
    ("FromCreationDate", "CreationDate", Since),
    ("PermissionsToCreateVolumeAccountIds", "PermissionsToCreateVolume.AccountIds[]", Exact),
    ("PermissionsToCreateVolumeGlobalPermission", "PermissionsToCreateVolume.GlobalPermission", Exact),
    ("Progresses", "Progress", Exact),
    ("SnapshotIds", "SnapshotId", Exact),
    ("States", "State", Exact),
    TAG_FILTERS[0],
    TAG_FILTERS[1],
    TAG_FILTERS[2],
    ("ToCreationDate", "CreationDate", Until),
    ("VolumeIds", "VolumeId", Exact),
    ("VolumeSizes", "VolumeSize", Exact),
];

impl Region {
    pub async fn create_snapshot(self: &Arc<Self>, request: CreateSnapshotRequest, call: &Call) -> Reply {
        let quirks = self.quirks();
        if request.file_location.is_some() {
            return Err(ApiError::new(
                quirks.unsupported_action_code,
                "The sandbox does not import snapshots: FileLocation is not supported.",
            ));
        }
        let sources = [request.volume_id.is_some(), request.source_snapshot_id.is_some()];
        if sources.iter().filter(|given| **given).count() != 1 {
            return Err(ApiError::new(4046, "One of VolumeId and SourceSnapshotId is required."));
        }
        let (answer, snapshot_id, volume_id) = {
            let mut state = self.state();
            let replayed =
                state.replayed("CreateSnapshot", request.client_token.as_ref(), &request, &quirks)?;
            if let Some(snapshot) = replayed.and_then(|ids| state.snapshots.get(ids.first()?)) {
                return Ok(json!({ "Snapshot": view(snapshot).into_answer() }));
            }
            state.room("snapshots", 10026, 1)?;
            let mut snapshot = match (&request.volume_id, &request.source_snapshot_id) {
                (Some(volume_id), _) => {
                    let volume = state.volume(volume_id)?;
                    self.spare_host_root(volume)?;
                    if !matches!(volume.state, VolumeState::Available | VolumeState::InUse) {
                        return Err(wrong_volume_state(volume));
                    }
                    let size = volume.size;
                    self.new_snapshot(&mut state, volume_id, size, call)
                }
                (None, source) => {
                    let source = source.as_deref().unwrap_or_default();
                    self.check_own_region(request.source_region_name.as_deref())?;
                    self.copy_of_snapshot(&mut state, source, call)?
                }
            };
            snapshot.description = request.description.clone().unwrap_or_default();
            snapshot.client_token.clone_from(&request.client_token);
            let id = snapshot.id.clone();
            state.remember(
                "CreateSnapshot",
                request.client_token.as_ref(),
                &request,
                std::slice::from_ref(&id),
            );
            let answer = view(&snapshot).into_answer();
            state.snapshots.insert(id.clone(), snapshot);
            (answer, id, request.volume_id)
        };
        if let Some(volume_id) = volume_id {
            // Before the answer: the snapshot shows the volume as it is at the call.
            let captured = self.capture(&volume_id, &snapshot_id).await;
            self.begin_completion(snapshot_id, captured);
        }
        Ok(json!({ "Snapshot": answer }))
    }

    pub async fn read_snapshots(self: &Arc<Self>, request: ReadSnapshotsRequest, _call: &Call) -> Reply {
        let state = self.state();
        let views =
            state.snapshots.values().filter(|snapshot| snapshot.meta.is_visible()).map(view).collect();
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("Snapshots", views, &FILTERS, request.filters.as_ref(), page)
    }

    pub async fn update_snapshot(self: &Arc<Self>, request: UpdateSnapshotRequest, _call: &Call) -> Reply {
        let mut state = self.state();
        state.own_snapshot(&request.snapshot_id)?;
        let missing = || missing_snapshot(&request.snapshot_id);
        let snapshot = state.snapshots.get_mut(&request.snapshot_id).ok_or_else(missing)?;
        snapshot.permissions.change(&request.permissions_to_create_volume)?;
        Ok(json!({ "Snapshot": view(snapshot).into_answer() }))
    }

    pub async fn delete_snapshot(self: &Arc<Self>, request: DeleteSnapshotRequest, _call: &Call) -> Reply {
        let mut state = self.state();
        state.own_snapshot(&request.snapshot_id)?;
        let uses = |mapping: &super::images::ImageMapping| mapping.snapshot_id == request.snapshot_id;
        if let Some(image) = state.images.values().find(|image| image.mappings.iter().any(uses)) {
            return Err(ApiError::new(
                self.quirks().snapshot_in_use_code,
                format!("The snapshot '{}' is in use by the image '{}'.", request.snapshot_id, image.id),
            ));
        }
        state.snapshots.remove(&request.snapshot_id);
        Ok(json!({}))
    }

    /// A snapshot of a volume in its first state.
    pub fn new_snapshot(&self, state: &mut State, volume_id: &str, size: i64, call: &Call) -> Snapshot {
        let queued = self.quirks().snapshot_in_queue;
        Snapshot {
            meta: self.meta(state, call),
            id: new_id("snap"),
            account_id: ACCOUNT_ID.to_owned(),
            client_token: None,
            description: String::new(),
            volume_id: volume_id.to_owned(),
            size,
            state: if queued { SnapshotState::InQueue } else { SnapshotState::Pending },
            progress: 0,
            permissions: Permissions::default(),
            disk: None,
        }
    }

    /// A copy of a snapshot, which is complete at once: both share the file, which nobody writes to any more.
    pub fn copy_of_snapshot(&self, state: &mut State, id: &str, call: &Call) -> Result<Snapshot, ApiError> {
        let source = state.complete_snapshot(id)?.clone();
        let mut copy = self.new_snapshot(state, &source.volume_id, source.size, call);
        copy.state = SnapshotState::Completed;
        copy.progress = 100;
        copy.disk = source.disk;
        Ok(copy)
    }

    /// Refuses a source Region that is not this one: there is no copy between Regions.
    pub fn check_own_region(&self, name: Option<&str>) -> Result<(), ApiError> {
        match name {
            Some(name) if name == self.name => Ok(()),
            Some(name) => Err(ApiError::new(
                4047,
                format!("The SourceRegionName must be '{}', not '{name}'.", self.name),
            )),
            None => Err(ApiError::new(7000, "The parameter 'SourceRegionName' is required.")),
        }
    }

    /// Copies a volume as it is now into a snapshot's file.
    pub async fn capture(&self, volume_id: &str, snapshot_id: &str) -> Result<(), BackendError> {
        let (disk, size, is_live) = {
            let state = self.state();
            let Some(volume) = state.volumes.get(volume_id) else { return Ok(()) };
            let vm = volume.link.as_ref().and_then(|link| state.vms.get(&link.vm_id));
            (volume.disk.clone(), volume.size, vm.is_some_and(|vm| vm.state == VmState::Running))
        };
        if is_live {
            self.backend.flush(volume_id).await?;
        }
        let copied = self.disks.copy(disk.as_ref(), snapshot_id, size).await;
        let copied =
            copied.map_err(|source| BackendError::Io { what: format!("copy {volume_id}"), source })?;
        if let Some(snapshot) = self.state().snapshots.get_mut(snapshot_id) {
            snapshot.disk = copied;
        }
        Ok(())
    }

    fn begin_completion(self: &Arc<Self>, snapshot_id: String, captured: Result<(), BackendError>) {
        let region = Arc::clone(self);
        self.spawn(async move {
            region.complete(&snapshot_id, captured).await;
        });
    }

    /// in-queue → pending → completed, or error. Answers whether it came to a good end.
    pub async fn complete(&self, snapshot_id: &str, captured: Result<(), BackendError>) -> bool {
        let failed = captured.inspect_err(|error| {
            tracing::error!(snapshot.id = %snapshot_id, error = %Causes(error), "could not make a snapshot");
        });
        let set = |new_state: SnapshotState, progress: i64| {
            if let Some(snapshot) = self.state().snapshots.get_mut(snapshot_id) {
                snapshot.state = new_state;
                snapshot.progress = progress;
            }
        };
        if self.quirks().snapshot_in_queue {
            pause(self.latency.changes.snapshot_in_queue).await;
        }
        set(SnapshotState::Pending, 0);
        for progress in [25, 50, 75, 99] {
            pause(self.latency.changes.snapshot_pending / 4).await;
            set(SnapshotState::Pending, progress);
        }
        let doom = self.state().snapshots.get_mut(snapshot_id).and_then(|snapshot| snapshot.meta.doom.take());
        match (failed, doom.as_deref().and_then(SnapshotState::of_word)) {
            (Ok(()), None) => {
                set(SnapshotState::Completed, 100);
                true
            }
            (_, doom) => {
                set(doom.unwrap_or(SnapshotState::Error), 0);
                false
            }
        }
    }
}

impl State {
    /// A snapshot of which volumes and images can be made: own or given, visible and complete.
    pub fn usable_snapshot(&self, id: &str) -> Result<&Snapshot, ApiError> {
        let snapshot = self.complete_snapshot(id)?;
        if snapshot.is_for(ACCOUNT_ID) { Ok(snapshot) } else { Err(missing_snapshot(id)) }
    }

    /// The snapshot behind an image that may be used: visible and complete.
    pub fn complete_snapshot(&self, id: &str) -> Result<&Snapshot, ApiError> {
        let found = self.snapshots.get(id).filter(|snapshot| snapshot.meta.is_visible());
        let snapshot = found.ok_or_else(|| missing_snapshot(id))?;
        if snapshot.state != SnapshotState::Completed {
            return Err(ApiError::new(
                6003,
                format!("The snapshot '{id}' is in the state '{}'.", snapshot.state.word()),
            ));
        }
        Ok(snapshot)
    }

    /// A snapshot of the client's own account.
    pub fn own_snapshot(&self, id: &str) -> Result<&Snapshot, ApiError> {
        let found =
            self.snapshots.get(id).filter(|snapshot| snapshot.meta.is_visible() && !snapshot.meta.is_seed);
        found.ok_or_else(|| missing_snapshot(id))
    }
}

impl Snapshot {
    /// Whether the account may make volumes of it.
    fn is_for(&self, account: &str) -> bool {
        self.account_id == account
            || self.permissions.is_public
            || self.permissions.accounts.contains(account)
    }
}

impl Permissions {
    /// As `Additions` or `Removals` say; both at once are refused.
    pub fn change(&mut self, change: &PermissionsOnResourceCreation) -> Result<(), ApiError> {
        match (&change.additions, &change.removals) {
            (Some(_), Some(_)) => {
                return Err(ApiError::new(4046, "Additions and Removals exclude each other."));
            }
            (None, None) => return Err(ApiError::new(7000, "Additions or Removals are required.")),
            (Some(additions), None) => {
                for id in additions.account_ids.iter().flatten() {
                    if id.len() != 12 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
                        return Err(ApiError::new(4045, format!("The AccountId '{id}' is not valid.")));
                    }
                }
                self.accounts.extend(additions.account_ids.iter().flatten().cloned());
                self.is_public |= additions.global_permission.unwrap_or(false);
            }
            (None, Some(removals)) => {
                for id in removals.account_ids.iter().flatten() {
                    self.accounts.remove(id);
                }
                self.is_public &= !removals.global_permission.unwrap_or(false);
            }
        }
        Ok(())
    }

    /// As an answer shows them.
    pub fn json(&self) -> Value {
        json!({ "AccountIds": self.accounts, "GlobalPermission": self.is_public })
    }
}

fn missing_snapshot(id: &str) -> ApiError {
    ApiError::missing(5054, "SnapshotId", id)
}

fn view(snapshot: &Snapshot) -> View {
    let mut object = members(json!({
        "AccountId": snapshot.account_id,
        "CreationDate": clock::text(snapshot.meta.created),
        "Description": snapshot.description,
        "PermissionsToCreateVolume": snapshot.permissions.json(),
        "Progress": snapshot.progress,
        "SnapshotId": snapshot.id,
        "State": snapshot.state.word(),
        "Tags": snapshot.meta.tags_json(),
        "VolumeId": snapshot.volume_id,
        "VolumeSize": snapshot.size,
    }));
    if snapshot.meta.is_seed {
        object.insert("AccountAlias".to_owned(), json!(OFFICIAL_ALIAS));
    }
    if let Some(token) = &snapshot.client_token {
        object.insert("ClientToken".to_owned(), json!(token));
    }
    snapshot.meta.hidden(&mut object);
    View { sequence: snapshot.meta.sequence, object }
}

/// The filters of ReadSnapshots, for the test that holds them to the request.
#[cfg(test)]
pub fn filters() -> (&'static str, Vec<Filter>) {
    ("ReadSnapshots", FILTERS.to_vec())
}

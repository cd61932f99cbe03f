//! Images (OMIs): of a VM, of snapshots, copies of others.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    ACCOUNT_ID, Call, Meta, OFFICIAL_ALIAS, Region, Reply, State, members, new_id, pause,
    snapshots::Permissions,
    view::{
        Compare::{Exact, Wildcard},
        Filter, Page, TAG_FILTERS, View, read,
    },
    vm_actions::wrong_state,
    vm_mappings::{check_device, check_fits, check_volume},
    vms::Vm,
    words::{ImageState, VmState},
};
use crate::{
    backend::BackendError,
    clock,
    error::ApiError,
    requests::images::{CreateImageRequest, DeleteImageRequest, ReadImagesRequest, UpdateImageRequest},
};

/// An image.
#[derive(Debug, Clone)]
pub struct Image {
    pub meta: Meta,
    pub id: String,
    pub account_id: String,
    pub name: String,
    pub description: String,
    pub architecture: String,
    pub boot_modes: Vec<String>,
    pub product_codes: Vec<String>,
    pub root_device: String,
    pub tpm_mandatory: bool,
    pub mappings: Vec<ImageMapping>,
    pub permissions: Permissions,
    pub state: ImageState,
    /// Code and message of a failure.
    pub state_comment: Option<(String, String)>,
}

/// A volume that VMs of an image get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageMapping {
    pub device: String,
    pub snapshot_id: String,
    pub size: i64,
    pub kind: String,
    pub iops: Option<i64>,
    pub delete_on_vm_deletion: bool,
}

/// What is captured for an image: volume and snapshot.
type Captures = Vec<(String, String)>;

#[rustfmt::skip]
const FILTERS: [Filter; 27] = [
    ("AccountAliases", "AccountAlias", Exact),
    ("AccountIds", "AccountId", Exact),
    ("Architectures", "Architecture", Exact),
    ("BlockDeviceMappingDeleteOnVmDeletion", "BlockDeviceMappings[].Bsu.DeleteOnVmDeletion", Exact),
    ("BlockDeviceMappingDeviceNames", "BlockDeviceMappings[].DeviceName", Exact),
    ("BlockDeviceMappingSnapshotIds", "BlockDeviceMappings[].Bsu.SnapshotId", Exact),
    ("BlockDeviceMappingVolumeSizes", "BlockDeviceMappings[].Bsu.VolumeSize", Exact),
    ("BlockDeviceMappingVolumeTypes", "BlockDeviceMappings[].Bsu.VolumeType", Exact),
    ("BootModes", "BootModes[]", Exact),
    ("Descriptions", "Description", Wildcard),
    ("FileLocations", "FileLocation", Wildcard),
    ("Hypervisors", "_Hypervisor", Exact),
    ("ImageIds", "ImageId", Exact),
    ("ImageNames", "ImageName", Wildcard),
    ("PermissionsToLaunchAccountIds", "PermissionsToLaunch.AccountIds[]", Exact),
    ("PermissionsToLaunchGlobalPermission", "PermissionsToLaunch.GlobalPermission", Exact),
    ("ProductCodeNames", "_ProductCodeNames[]", Wildcard),
    ("ProductCodes", "ProductCodes[]", Exact),
    ("RootDeviceNames", "RootDeviceName", Exact),
    ("RootDeviceTypes", "RootDeviceType", Exact),
    ("SecureBoot", "SecureBoot", Exact),
    ("States", "State", Exact),
    TAG_FILTERS[0],
    TAG_FILTERS[1],
    TAG_FILTERS[2],
    ("TpmMandatory", "TpmMandatory", Exact),
    ("VirtualizationTypes", "_VirtualizationType", Exact),
];

impl Region {
    pub async fn create_image(self: &Arc<Self>, request: CreateImageRequest, call: &Call) -> Reply {
        if request.file_location.is_some() {
            return Err(ApiError::new(
                self.quirks().unsupported_action_code,
                "The sandbox does not import images: FileLocation is not supported.",
            ));
        }
        let of_snapshots =
            request.block_device_mappings.as_ref().is_some_and(|mappings| !mappings.is_empty());
        let answer = match (&request.vm_id, &request.source_image_id) {
            (Some(_), Some(_)) => {
                return Err(ApiError::new(4046, "VmId and SourceImageId exclude each other."));
            }
            (Some(vm_id), None) if of_snapshots => {
                return Err(ApiError::new(
                    4046,
                    format!("VmId ('{vm_id}') and BlockDeviceMappings exclude each other."),
                ));
            }
            (Some(vm_id), None) => self.image_of_vm(vm_id, &request, call).await?,
            (None, Some(source_id)) => self.copy_of_image(source_id, &request, call)?,
            (None, None) if of_snapshots => self.image_of_snapshots(&request, call)?,
            (None, None) => {
                return Err(ApiError::new(
                    7000,
                    "One of VmId, SourceImageId, BlockDeviceMappings and FileLocation is required.",
                ));
            }
        };
        Ok(json!({ "Image": answer }))
    }

    pub async fn read_images(self: &Arc<Self>, request: ReadImagesRequest, _call: &Call) -> Reply {
        let state = self.state();
        let views = state.images.values().filter(|image| image.meta.is_visible()).map(view).collect();
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("Images", views, &FILTERS, request.filters.as_ref(), page)
    }

    pub async fn update_image(self: &Arc<Self>, request: UpdateImageRequest, _call: &Call) -> Reply {
        let mut state = self.state();
        state.own_image(&request.image_id)?;
        let image =
            state.images.get_mut(&request.image_id).ok_or_else(|| missing_image(&request.image_id))?;
        if let Some(permissions) = &request.permissions_to_launch {
            image.permissions.change(permissions)?;
        }
        if let Some(description) = request.description {
            image.description = description;
        }
        if let Some(product_codes) = request.product_codes {
            image.product_codes = product_codes;
        }
        Ok(json!({ "Image": view(image).into_answer() }))
    }

    pub async fn delete_image(self: &Arc<Self>, request: DeleteImageRequest, _call: &Call) -> Reply {
        let mut state = self.state();
        state.own_image(&request.image_id)?;
        state.images.remove(&request.image_id);
        Ok(json!({}))
    }

    /// An image of a VM: every attached volume is captured, after a stop unless the client forbids it.
    async fn image_of_vm(
        self: &Arc<Self>,
        vm_id: &str,
        request: &CreateImageRequest,
        call: &Call,
    ) -> Result<Value, ApiError> {
        let (answer, image_id, captures, stop) = {
            let mut state = self.state();
            let vm = state.vm(vm_id)?.clone();
            self.spare_host(vm_id, "made an image of")?;
            match vm.state {
                VmState::Running | VmState::Stopped => {}
                VmState::Pending | VmState::Stopping => return Err(wrong_state(9002, &vm)),
                _ => return Err(wrong_state(6006, &vm)),
            }
            let name = self.image_name(&state, request, None)?;
            let (image, captures) = self.image_and_snapshots(&mut state, &vm, name, request, call)?;
            // The first answer shows the image as pending, however fast it is finished.
            let answer = view(&image).into_answer();
            let image_id = image.id.clone();
            state.images.insert(image_id.clone(), image);
            let stops = vm.state == VmState::Running && !request.no_reboot.unwrap_or(false);
            let stop =
                if stops { state.vms.get_mut(vm_id).map(|vm| vm.order(VmState::Stopping)) } else { None };
            (answer, image_id, captures, stop)
        };
        let (region, vm_id) = (Arc::clone(self), vm_id.to_owned());
        match stop {
            Some(generation) => self.spawn(async move {
                let captured = region.capture_stopped(&vm_id, generation, &captures).await;
                region.finish_image(&image_id, captures, captured).await;
            }),
            None => {
                // Before the answer: the image shows the volumes as they are at the call.
                let captured = self.capture_all(&captures).await;
                self.spawn(async move { region.finish_image(&image_id, captures, captured).await });
            }
        }
        Ok(answer)
    }

    fn image_and_snapshots(
        &self,
        state: &mut State,
        vm: &Vm,
        name: String,
        request: &CreateImageRequest,
        call: &Call,
    ) -> Result<(Image, Captures), ApiError> {
        let volumes: Vec<_> = state.volumes_of(&vm.id).into_iter().cloned().collect();
        state.room("snapshots", 10026, i64::try_from(volumes.len()).unwrap_or(i64::MAX))?;
        state.room("images", 10026, 1)?;
        let (mut mappings, mut captures) = (Vec::new(), Captures::new());
        for volume in volumes {
            let Some(link) = volume.link else { continue };
            // A fault of CreateImage strikes the image, not its snapshots.
            let snapshot = self.new_snapshot(state, &volume.id, volume.size, &Call::default());
            captures.push((volume.id, snapshot.id.clone()));
            mappings.push(ImageMapping {
                device: link.device,
                snapshot_id: snapshot.id.clone(),
                size: volume.size,
                kind: volume.kind,
                iops: volume.iops,
                delete_on_vm_deletion: true,
            });
            state.snapshots.insert(snapshot.id.clone(), snapshot);
        }
        let source = state.images.get(&vm.image_id).map(|image| image.boot_modes.clone());
        let image = Image {
            meta: self.meta(state, call),
            id: new_id("ami"),
            account_id: ACCOUNT_ID.to_owned(),
            name,
            description: request.description.clone().unwrap_or_default(),
            architecture: vm.architecture.clone(),
            boot_modes: boot_modes(request)?.or(source).unwrap_or_else(|| vec![vm.boot_mode.clone()]),
            product_codes: request.product_codes.clone().unwrap_or_else(|| vm.product_codes.clone()),
            root_device: vm.root_device.clone(),
            tpm_mandatory: request.tpm_mandatory.unwrap_or(false),
            mappings,
            permissions: Permissions::default(),
            state: ImageState::Pending,
            state_comment: None,
        };
        Ok((image, captures))
    }

    /// Stops the VM for as long as its volumes are copied. The gate is held all the time, so that neither a start
    /// nor the end of the VM comes between.
    async fn capture_stopped(
        self: &Arc<Self>,
        vm_id: &str,
        generation: u64,
        captures: &Captures,
    ) -> Result<(), BackendError> {
        let gate = self.gate(vm_id).await;
        let ((), stopped) =
            tokio::join!(pause(self.latency.changes.vm_stopping), self.backend.stop(vm_id, false));
        stopped?;
        {
            let mut state = self.state();
            if state.vms.get(vm_id).is_some_and(|vm| vm.generation == generation) {
                self.note_stopped(&mut state, vm_id, "Client.ApiGracefulShutdown");
            }
        }
        let captured = self.capture_all(captures).await;
        drop(gate);
        let mut state = self.state();
        if state.vms.get(vm_id).is_some_and(|vm| vm.generation == generation) {
            self.begin_start(&mut state, vm_id);
        }
        captured
    }

    async fn capture_all(&self, captures: &Captures) -> Result<(), BackendError> {
        for (volume_id, snapshot_id) in captures {
            self.capture(volume_id, snapshot_id).await?;
        }
        Ok(())
    }

    /// The image follows its snapshots.
    async fn finish_image(
        self: Arc<Self>,
        image_id: &str,
        captures: Captures,
        captured: Result<(), BackendError>,
    ) {
        let is_captured = captured.is_ok();
        let mut failure = captured.err();
        let mut running = tokio::task::JoinSet::new();
        for (volume_id, snapshot_id) in captures {
            let region = Arc::clone(&self);
            let outcome = match (is_captured, failure.take()) {
                (true, _) => Ok(()),
                (false, Some(error)) => Err(error),
                (false, None) => Err(BackendError::Unsupported(format!("{volume_id} was not copied"))),
            };
            running.spawn(async move { region.complete(&snapshot_id, outcome).await });
        }
        let mut is_good = is_captured;
        while let Some(completed) = running.join_next().await {
            is_good &= completed.unwrap_or(false);
        }
        pause(self.latency.changes.image_pending).await;
        let mut state = self.state();
        let Some(image) = state.images.get_mut(image_id) else { return };
        match image.meta.doom.take().as_deref().and_then(ImageState::of_word) {
            Some(doom) => image.state = doom,
            None if is_good => image.state = ImageState::Available,
            None => image.state = ImageState::Failed,
        }
        if image.state == ImageState::Failed {
            image.state_comment =
                Some(("Server.InternalError".to_owned(), "A snapshot of the image failed.".to_owned()));
        }
    }

    /// A copy inside the Region: another image, with snapshots of its own.
    fn copy_of_image(
        self: &Arc<Self>,
        source_id: &str,
        request: &CreateImageRequest,
        call: &Call,
    ) -> Result<Value, ApiError> {
        self.check_own_region(request.source_region_name.as_deref())?;
        let mut state = self.state();
        let source = state.usable_image(source_id)?.clone();
        if source.state != ImageState::Available {
            return Err(ApiError::new(6001, format!("The ImageId '{source_id}' is not available.")));
        }
        let name = self.image_name(&state, request, Some(&source.name))?;
        state.room("snapshots", 10026, i64::try_from(source.mappings.len()).unwrap_or(i64::MAX))?;
        let mut mappings = source.mappings.clone();
        for mapping in &mut mappings {
            let copy = self.copy_of_snapshot(&mut state, &mapping.snapshot_id, &Call::default())?;
            mapping.snapshot_id.clone_from(&copy.id);
            state.snapshots.insert(copy.id.clone(), copy);
        }
        let image = Image {
            meta: self.meta(&mut state, call),
            id: new_id("ami"),
            account_id: ACCOUNT_ID.to_owned(),
            name,
            description: request.description.clone().unwrap_or(source.description),
            boot_modes: boot_modes(request)?.unwrap_or(source.boot_modes),
            product_codes: request.product_codes.clone().unwrap_or(source.product_codes),
            tpm_mandatory: request.tpm_mandatory.unwrap_or(source.tpm_mandatory),
            mappings,
            permissions: Permissions::default(),
            state: ImageState::Available,
            state_comment: None,
            architecture: source.architecture,
            root_device: source.root_device,
        };
        Ok(self.insert_finished(&mut state, image))
    }

    /// An image of snapshots that exist.
    fn image_of_snapshots(
        self: &Arc<Self>,
        request: &CreateImageRequest,
        call: &Call,
    ) -> Result<Value, ApiError> {
        let root_device = request
            .root_device_name
            .clone()
            .ok_or_else(|| ApiError::new(7000, "The parameter 'RootDeviceName' is required."))?;
        let architecture = request.architecture.clone().unwrap_or_else(|| "x86_64".to_owned());
        if !["x86_64", "i386"].contains(&architecture.as_str()) {
            return Err(ApiError::new(4047, format!("The Architecture '{architecture}' is not valid.")));
        }
        let mut state = self.state();
        let name = self.image_name(&state, request, None)?;
        let mut mappings: Vec<ImageMapping> = Vec::new();
        for mapping in request.block_device_mappings.iter().flatten() {
            let device = mapping.device_name.clone().unwrap_or_default();
            check_device(&device, &root_device)?;
            if mappings.iter().any(|mapping| mapping.device == device) {
                return Err(ApiError::new(
                    9003,
                    format!("The DeviceName '{device}' is mapped more than once."),
                ));
            }
            let bsu = mapping.bsu.clone().unwrap_or_default();
            let snapshot_id = bsu
                .snapshot_id
                .ok_or_else(|| ApiError::new(7000, format!("A SnapshotId is required for '{device}'.")))?;
            let snapshot = state.usable_snapshot(&snapshot_id)?;
            let size = bsu.volume_size.unwrap_or(snapshot.size);
            check_fits(size, snapshot)?;
            let kind = bsu.volume_type.unwrap_or_else(|| "standard".to_owned());
            check_volume(&kind, size, bsu.iops)?;
            let delete_on_vm_deletion = bsu.delete_on_vm_deletion.unwrap_or(true);
            mappings.push(ImageMapping {
                device,
                snapshot_id,
                size,
                kind,
                iops: bsu.iops,
                delete_on_vm_deletion,
            });
        }
        if !mappings.iter().any(|mapping| mapping.device == root_device) {
            return Err(ApiError::new(4057, format!("No mapping is for the root device '{root_device}'.")));
        }
        let image = Image {
            meta: self.meta(&mut state, call),
            id: new_id("ami"),
            account_id: ACCOUNT_ID.to_owned(),
            name,
            description: request.description.clone().unwrap_or_default(),
            architecture,
            // What the cloud takes for an image of a snapshot whose maker does not say.
            boot_modes: boot_modes(request)?.unwrap_or_else(|| vec!["legacy".to_owned()]),
            product_codes: request.product_codes.clone().unwrap_or_else(|| vec!["0001".to_owned()]),
            root_device,
            tpm_mandatory: request.tpm_mandatory.unwrap_or(false),
            mappings,
            permissions: Permissions::default(),
            state: ImageState::Available,
            state_comment: None,
        };
        Ok(self.insert_finished(&mut state, image))
    }

    /// An image that is available at once, unless a fault wants it otherwise.
    fn insert_finished(self: &Arc<Self>, state: &mut State, mut image: Image) -> Value {
        let id = image.id.clone();
        let is_doomed = image.meta.doom.is_some();
        if is_doomed {
            image.state = ImageState::Pending;
        }
        let answer = view(&image).into_answer();
        state.images.insert(id.clone(), image);
        if is_doomed {
            let region = Arc::clone(self);
            self.spawn(async move { region.finish_image(&id, Captures::new(), Ok(())).await });
        }
        answer
    }

    fn image_name(
        &self,
        state: &State,
        request: &CreateImageRequest,
        source: Option<&str>,
    ) -> Result<String, ApiError> {
        let name = match (&request.image_name, source) {
            (Some(name), _) => name.clone(),
            (None, Some(source)) => format!("{source}-copy"),
            (None, None) => return Err(ApiError::new(7000, "The parameter 'ImageName' is required.")),
        };
        let is_good = |letter: char| letter.is_ascii_alphanumeric() || "_ ()/.-".contains(letter);
        if !(3..=128).contains(&name.len()) || !name.chars().all(is_good) {
            return Err(ApiError::new(
                4026,
                format!("The ImageName '{name}' must be 3 to 128 letters, digits or characters of _ ()/.-"),
            ));
        }
        if state.images.values().any(|image| image.name == name && image.account_id == ACCOUNT_ID) {
            return Err(ApiError::new(
                self.quirks().duplicate_image_name_code,
                format!("The ImageName '{name}' is already used by the account."),
            ));
        }
        Ok(name)
    }
}

impl State {
    /// An image that VMs and copies can be made of.
    pub fn usable_image(&self, id: &str) -> Result<&Image, ApiError> {
        self.images.get(id).filter(|image| image.meta.is_visible()).ok_or_else(|| missing_image(id))
    }

    fn own_image(&self, id: &str) -> Result<&Image, ApiError> {
        let image = self.usable_image(id)?;
        if image.account_id == ACCOUNT_ID { Ok(image) } else { Err(missing_image(id)) }
    }
}

fn missing_image(id: &str) -> ApiError {
    ApiError::missing(5023, "ImageId", id)
}

fn boot_modes(request: &CreateImageRequest) -> Result<Option<Vec<String>>, ApiError> {
    let Some(modes) = request.boot_modes.as_ref().filter(|modes| !modes.is_empty()) else { return Ok(None) };
    match modes.iter().find(|mode| !["uefi", "legacy"].contains(&mode.as_str())) {
        Some(mode) => Err(ApiError::new(4047, format!("The BootMode '{mode}' is not valid."))),
        None => Ok(Some(modes.clone())),
    }
}

fn view(image: &Image) -> View {
    let mappings: Vec<Value> = image
        .mappings
        .iter()
        .map(|mapping| {
            let mut bsu = json!({
                "DeleteOnVmDeletion": mapping.delete_on_vm_deletion,
                "SnapshotId": mapping.snapshot_id,
                "VolumeSize": mapping.size,
                "VolumeType": mapping.kind,
            });
            if let Some(iops) = mapping.iops {
                bsu["Iops"] = json!(iops);
            }
            json!({ "DeviceName": mapping.device, "Bsu": bsu })
        })
        .collect();
    let owner = if image.meta.is_seed { OFFICIAL_ALIAS } else { image.account_id.as_str() };
    let comment = image
        .state_comment
        .as_ref()
        .map_or_else(|| json!({}), |(code, message)| json!({ "StateCode": code, "StateMessage": message }));
    let code_names: Vec<&str> = image
        .product_codes
        .iter()
        .map(|code| match code.as_str() {
            "0001" => "Linux/UNIX",
            "0002" => "Windows",
            other => other,
        })
        .collect();
    let mut object = members(json!({
        "AccountId": image.account_id,
        "Architecture": image.architecture,
        "BlockDeviceMappings": mappings,
        "BootModes": image.boot_modes,
        "CreationDate": clock::text(image.meta.created),
        "Description": image.description,
        "FileLocation": format!("{owner}/{}", image.name),
        "ImageId": image.id,
        "ImageName": image.name,
        "ImageType": "machine",
        "PermissionsToLaunch": image.permissions.json(),
        "ProductCodes": image.product_codes,
        "RootDeviceName": image.root_device,
        "RootDeviceType": "bsu",
        "SecureBoot": false,
        "State": image.state.word(),
        "StateComment": comment,
        "Tags": image.meta.tags_json(),
        "TpmMandatory": image.tpm_mandatory,
        "_Hypervisor": "xen",
        "_VirtualizationType": "hvm",
        "_ProductCodeNames": code_names,
    }));
    if image.meta.is_seed {
        object.insert("AccountAlias".to_owned(), json!(OFFICIAL_ALIAS));
    }
    image.meta.hidden(&mut object);
    View { sequence: image.meta.sequence, object }
}

/// The filters of ReadImages, for the test that holds them to the request.
#[cfg(test)]
pub fn filters() -> (&'static str, Vec<Filter>) {
    ("ReadImages", FILTERS.to_vec())
}

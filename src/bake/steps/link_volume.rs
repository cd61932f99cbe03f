//! Links the volume to the VM that the worker runs on, and finds the block device that the kernel shows for it. From the
//! choice of a name until the device is found, no other run of this machine links anything, nor does Packer.

use std::{
    collections::BTreeSet,
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{HostVm, WorkVolume};
use crate::{
    bake::{
        devices::{BlockDevice, Devices, Look, Sizes, Wanted},
        error::StepError,
        oven::{Cx, Step},
    },
    domain::plan::ChrootPlan,
    oapi::{
        predicates,
        types::{FiltersVm, FiltersVolume, LinkVolume as Request, ReadVms, ReadVolumes, Volume},
    },
};

/// The lock of Packer's chroot builder: whoever holds it may choose a device name on this machine.
const LOCK: &str = "/var/lock/packer-chroot/lock";

/// How long to wait for a free name, while other runs have them all.
const NAME: Duration = Duration::from_secs(3600);

/// How long the cloud may take to attach the volume.
const ATTACHING: Duration = Duration::from_secs(600);

/// How long the kernel may take to show it after that.
const SHOWING: Duration = Duration::from_secs(120);

/// How long to look for a device by its name before one is taken by its size.
const BY_NAME: Duration = Duration::from_secs(5);

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What is around the waits.
const CALLS: Duration = Duration::from_secs(1800);

/// Links the volume.
pub struct LinkVolume<'a> {
    /// What the template says.
    pub plan: &'a ChrootPlan,
    /// The VM that the worker runs on.
    pub vm: &'a HostVm,
    /// The volume.
    pub volume: &'a WorkVolume,
}

/// A volume that the kernel shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LinkedVolume {
    /// The name under which it was linked, such as `/dev/xvdf`.
    pub linked_as: String,
    /// Where it is.
    pub device: BlockDevice,
}

impl Step for LinkVolume<'_> {
    const NAME: &'static str = "link_volume";
    type Output = LinkedVolume;

    fn deadline(&self) -> Duration {
        NAME + ATTACHING + SHOWING + CALLS
    }

    async fn run(&self, cx: &Cx) -> Result<LinkedVolume, StepError> {
        let devices = Devices::of_host();
        let give_up = Instant::now() + NAME;
        let mut is_told = false;
        loop {
            let lock = HostLock::take(cx).await?;
            let before = devices.sizes();
            if let Some(name) = self.free_name(cx, &devices).await? {
                if self.link(cx, &name).await? {
                    let device = self.find(cx, &devices, &name, &before).await?;
                    let shown = device.path.display();
                    cx.say(format!(
                        "volume {} is linked as {name}; the kernel shows it at {shown}",
                        self.volume.id
                    ))
                    .await;
                    return Ok(LinkedVolume { linked_as: name, device });
                }
            } else if !is_told {
                let what =
                    self.plan.device_path.as_deref().unwrap_or("a device name from /dev/xvdf to /dev/xvdp");
                cx.say(format!("waiting until {what} is free on this machine")).await;
                is_told = true;
            }
            drop(lock);
            if Instant::now() >= give_up {
                return Err(self.no_name());
            }
            cx.pause(LOOK_AGAIN * 10).await?;
        }
    }
}

impl LinkVolume<'_> {
    /// A name that neither a volume of the VM nor anything on this machine has.
    async fn free_name(&self, cx: &Cx, devices: &Devices) -> Result<Option<String>, StepError> {
        let client = &cx.cloud.client;
        let of_vm = FiltersVm { vm_ids: vec![self.vm.id.clone()], ..FiltersVm::default() };
        let linked =
            FiltersVolume { link_volume_vm_ids: vec![self.vm.id.clone()], ..FiltersVolume::default() };
        let (vm_query, volume_query) = (ReadVms::filtered(of_vm), ReadVolumes::filtered(linked));
        let (vms, volumes) = tokio::try_join!(client.read_all(&vm_query), client.read_all(&volume_query))?;
        let mapped =
            vms.into_iter().flat_map(|vm| vm.block_device_mappings).filter_map(|mapping| mapping.device_name);
        let links = volumes.into_iter().flat_map(|volume| volume.linked_volumes);
        let taken: BTreeSet<String> = mapped.chain(links.filter_map(|link| link.device_name)).collect();
        Ok(match &self.plan.device_path {
            Some(name) => devices.is_free(name, &taken).then(|| name.clone()),
            None => devices.free_name(&taken),
        })
    }

    /// Links it, and waits until it is attached; `false`: the name is taken after all.
    async fn link(&self, cx: &Cx, name: &str) -> Result<bool, StepError> {
        let (client, id) = (&cx.cloud.client, &self.volume.id);
        let request =
            Request { device_name: name.to_owned(), vm_id: self.vm.id.clone(), volume_id: id.clone() };
        if let Err(error) = client.call(&request).await {
            if !error.is_conflict() && !error.may_have_taken_effect() {
                return Err(error.into());
            }
            // An earlier try of the same call may have linked it.
            let volume = self.read(cx).await?;
            let link = volume.as_ref().and_then(|volume| volume.link_to(&self.vm.id));
            match link {
                Some(link) if link.device_name.as_deref() == Some(name) => {}
                _ if error.is_conflict() => return Ok(false),
                _ => return Err(error.into()),
            }
        }
        let until = predicates::volume_attached_to(self.vm.id.clone());
        let wait = cx.cloud.waits.wait_volume(client, id, until, ATTACHING, cx.stop.token()).await;
        wait.map_err(|source| {
            StepError::wait(cx, format!("waiting until volume {id} is attached as {name}"), source)
        })?;
        Ok(true)
    }

    async fn read(&self, cx: &Cx) -> Result<Option<Volume>, StepError> {
        let filters = FiltersVolume { volume_ids: vec![self.volume.id.clone()], ..FiltersVolume::default() };
        Ok(cx.cloud.client.read_all(&ReadVolumes::filtered(filters)).await?.into_iter().next())
    }

    /// Waits until the kernel shows the volume.
    async fn find(
        &self,
        cx: &Cx,
        devices: &Devices,
        name: &str,
        before: &Sizes,
    ) -> Result<BlockDevice, StepError> {
        let size = u64::from(self.volume.size) << 30;
        let shown_at = self.plan.nvme_device_path.as_deref();
        let wanted = Wanted { linked_as: name, shown_at, volume: &self.volume.id, size, before };
        let began = Instant::now();
        loop {
            let look = devices.look(wanted);
            match look {
                Look::Found(device) => return Ok(device),
                Look::BySize(device) if began.elapsed() >= BY_NAME => return Ok(device),
                _ if began.elapsed() >= SHOWING => return Err(self.not_shown(name, look)),
                _ => cx.pause(LOOK_AGAIN).await?,
            }
        }
    }

    fn not_shown(&self, name: &str, look: Look) -> StepError {
        let (id, size) = (&self.volume.id, self.volume.size);
        let detail = match (&self.plan.nvme_device_path, look) {
            (Some(path), _) => {
                format!("volume {id} is attached, but there is no new block device of {size} GiB at {path}")
            }
            (None, Look::Several(names)) => {
                format!(
                    "volume {id} is attached as {name}, but it may be any of {}: all are new and have {size} GiB",
                    names.join(", ")
                )
            }
            (None, _) => format!(
                "volume {id} is attached as {name}, but the kernel shows no new block device of {size} GiB"
            ),
        };
        StepError::found(502, "device_not_found", "The volume's device was not found", detail).hint(
            "Install OUTSCALE's udev rules (osc-udev-rules) on the worker's VM, so that devices have the names they are linked \
             as, or name the device in `nvme_device_path`.",
        )
    }

    fn no_name(&self) -> StepError {
        let detail = match &self.plan.device_path {
            Some(name) => format!("{name} is in use on VM {}, and was for an hour", self.vm.id),
            None => format!(
                "VM {} has no free device name from /dev/xvdf to /dev/xvdp, and had none for an hour",
                self.vm.id
            ),
        };
        StepError::found(409, "no_free_device", "No device name is free", detail).hint(
            "Bake fewer `osc-chroot` builds at once on this worker, or unlink volumes that nobody needs.",
        )
    }
}

/// The right to choose a device name on this machine; ends with this.
struct HostLock {
    _file: File,
}

impl HostLock {
    async fn take(cx: &Cx) -> Result<Self, StepError> {
        let failed = |error: std::io::Error| {
            StepError::found(
                500,
                "device_lock",
                "The lock for device names cannot be used",
                format!("{LOCK}: {error}"),
            )
        };
        let file = open_lock(Path::new(LOCK)).map_err(failed)?;
        let mut is_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            if !is_told {
                cx.say("waiting until another bake of this machine has linked its volume").await;
                is_told = true;
            }
            cx.pause(LOOK_AGAIN).await?;
        }
    }
}

/// Opens the lock, in a folder where others than root cannot put something else in its place.
fn open_lock(path: &Path) -> std::io::Result<File> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let ours = rustix::process::geteuid().as_raw();
    match DirBuilder::new().mode(0o750).recursive(false).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != ours || found.mode() & 0o022 != 0 {
        return Err(std::io::Error::other("its folder is not root's alone: remove it"));
    }
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o640).custom_flags(no_follow).open(path)
}

//! The steps that work in the mounted volume. They share a cell, which lives in this process: what a step has set up there
//! is gone with the process, so that no other worker can go on between them.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{HostVm, LinkedVolume, SourceImage, provision};
use crate::{
    bake::{
        devices::{BlockDevice, Devices},
        error::StepError,
        late::Late,
        oven::{Cx, Step},
    },
    cell::{Cell, CellError},
    communicator::{
        Communicator as _, Exit,
        chroot::{Chroot, Wrap},
        quote::quote,
    },
    domain::plan::ChrootPlan,
    provision::Render,
};

/// How long the commands of the host may take together, and what happens inside.
const COMMANDS: Duration = Duration::from_secs(6 * 3600);

/// How long a partition may take to appear.
const PARTITION: Duration = Duration::from_secs(30);

/// After this time without a partition the kernel is told to look.
const PARTITION_SCAN: Duration = Duration::from_secs(2);

/// How long udev may take to name the partitions that a command made.
const SETTLING: Duration = Duration::from_secs(10);

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The cell of this attempt, once it is open.
#[derive(Default)]
pub struct OpenCell(Mutex<Option<Arc<Cell>>>);

impl OpenCell {
    /// The cell; the first step that needs it opens it.
    async fn get(&self, cx: &Cx) -> Result<Arc<Cell>, StepError> {
        if let Some(cell) = self.known() {
            return Ok(cell);
        }
        let id = format!("{}-{}-{}", cx.lease.run, cx.attempt, uuid::Uuid::new_v4().simple());
        let cell = Arc::new(Cell::start_with(&cx.cells.program, &cx.cells.folder, &id).await?);
        for notice in cell.notices() {
            cx.say(notice).await;
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&cell));
        Ok(cell)
    }

    fn known(&self) -> Option<Arc<Cell>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends what is in the cell, and says what went wrong with that; `None`: it was not open.
    pub async fn release(&self, cx: &Cx) -> Option<Result<(), StepError>> {
        let cell = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let released = match cell.release().await {
            Ok(released) => released,
            Err(error) => return Some(Err(error.into())),
        };
        if released.ended_processes > 0 {
            cx.say(format!(
                "ended {} processes that were left running in the chroot",
                released.ended_processes
            ))
            .await;
        }
        for notice in &released.notices {
            cx.say(notice).await;
        }
        Some(Ok(()))
    }
}

impl From<CellError> for StepError {
    fn from(error: CellError) -> Self {
        let title = "The chroot could not be set up";
        let found = Self::found(500, error.code(), title, error.to_string());
        match error.hint() {
            Some(hint) => found.hint(hint),
            None => found,
        }
    }
}

/// What all of these steps need.
#[derive(Clone, Copy)]
pub struct InCell<'a> {
    /// What the template says.
    pub plan: &'a ChrootPlan,
    /// The VM that the worker runs on.
    pub vm: &'a HostVm,
    /// The volume.
    pub linked: &'a LinkedVolume,
    /// For late templates.
    pub source: Option<&'a SourceImage>,
    /// The cell.
    pub cell: &'a OpenCell,
}

impl InCell<'_> {
    fn late(&self, cx: &Cx) -> Late {
        Late::new(cx, self.source).in_chroot(cx, &self.vm.id)
    }

    fn device(&self) -> String {
        self.linked.device.path.display().to_string()
    }

    /// Runs commands on the worker's host, one after the other, until one fails.
    async fn run_on_host(
        &self,
        cx: &Cx,
        commands: &[String],
        fields: &[(&str, &str)],
    ) -> Result<(), StepError> {
        let cell = self.cell.get(cx).await?;
        let late = self.late(cx);
        for command in commands {
            let command = late.render_with(command, fields)?;
            let wrapped = match &self.plan.command_wrapper {
                Some(wrapper) => late.render_with(wrapper, &[("Command", &command)])?,
                None => command.clone(),
            };
            cx.say(format!("on the worker's host: {command}")).await;
            let exit = until_stopped(cx, cell.run_on_host(&wrapped, &cx.log)).await?;
            if exit != Exit::Status(0) {
                return Err(failed(&command, &exit));
            }
            settle(cx, &self.linked.device).await?;
        }
        Ok(())
    }
}

fn failed(command: &str, exit: &Exit) -> StepError {
    let how = match exit {
        Exit::Status(status) => format!("ended with status {status}"),
        Exit::Signal(signal) => format!("was ended by the signal {signal}"),
        Exit::Disconnected => "did not tell how it ended".to_owned(),
    };
    StepError::found(
        422,
        "host_command_failed",
        "A command of the builder failed",
        format!("`{command}` {how}"),
    )
    .hint("It ran as root on the worker's host, outside of the chroot; what it wrote is in the log.")
}

/// The outcome of work in the cell, or that the run has to stop, which ends that work.
async fn until_stopped<T>(cx: &Cx, work: impl Future<Output = Result<T, CellError>>) -> Result<T, StepError> {
    tokio::select! {
        biased;
        () = cx.stop.token().cancelled() => {
            cx.stop.check()?;
            Err(StepError::Interrupted)
        }
        done = work => Ok(done?),
    }
}

/// Waits until the partitions that a command may have made can be used by their names.
async fn settle(cx: &Cx, device: &BlockDevice) -> Result<(), StepError> {
    let (devices, began) = (Devices::of_host(), Instant::now());
    while !devices.is_settled(device) && began.elapsed() < SETTLING {
        cx.pause(LOOK_AGAIN).await?;
    }
    Ok(())
}

/// Runs `pre_mount_commands`.
pub struct PreMount<'a>(pub InCell<'a>);

impl Step for PreMount<'_> {
    const NAME: &'static str = "pre_mount";
    type Output = ();

    fn deadline(&self) -> Duration {
        COMMANDS
    }

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        let device = self.0.device();
        self.0.run_on_host(cx, &self.0.plan.pre_mount_commands, &[("Device", &device)]).await
    }
}

/// Mounts the volume.
pub struct MountVolume<'a>(pub InCell<'a>);

/// Where the volume is mounted, as seen from the cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mounted {
    /// A path of the host.
    pub path: String,
}

impl Step for MountVolume<'_> {
    const NAME: &'static str = "mount_volume";
    type Output = Mounted;

    async fn run(&self, cx: &Cx) -> Result<Mounted, StepError> {
        let (plan, device) = (self.0.plan, &self.0.linked.device);
        let cell = self.0.cell.get(cx).await?;
        let name =
            device.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let path = self.0.late(cx).render_with(&plan.mount_path, &[("Device", &name)])?;
        let node = match plan.mount_partition {
            None => device.path.clone(),
            Some(number) => partition(cx, &cell, device, number).await?,
        };
        until_stopped(cx, cell.mount_root(&node, Path::new(&path), &plan.mount_options)).await?;
        cx.say(format!("mounted {} at {path}, where only this bake sees it", node.display())).await;
        Ok(Mounted { path })
    }
}

/// The device of a partition, once the kernel shows it. Not every kernel looks for partitions by itself.
async fn partition(cx: &Cx, cell: &Cell, device: &BlockDevice, number: u32) -> Result<PathBuf, StepError> {
    let (devices, began) = (Devices::of_host(), Instant::now());
    let mut has_scanned = false;
    loop {
        if let Some(path) = devices.partition(device, number) {
            return Ok(path);
        }
        if !has_scanned && began.elapsed() >= PARTITION_SCAN {
            has_scanned = true;
            let scan = format!("partx --update {}", quote(&format!("/dev/{}", device.kernel)));
            let _ = until_stopped(cx, cell.run_on_host(&scan, &provision::Silent)).await?;
        }
        if began.elapsed() >= PARTITION {
            break;
        }
        cx.pause(LOOK_AGAIN).await?;
    }
    let known: Vec<String> = devices.partitions(device).keys().map(ToString::to_string).collect();
    let there =
        if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
    let detail = format!("{} has no partition {number}: {there}", device.path.display());
    Err(StepError::found(422, "no_such_partition", "The partition to mount does not exist", detail).hint(
        "`mount_partition` says which one to mount, and `0` stands for the whole volume; `pre_mount_commands` can make partitions.",
    ))
}

/// Runs `post_mount_commands`.
pub struct PostMount<'a> {
    /// What all of these steps need.
    pub in_cell: InCell<'a>,
    /// Where the volume is mounted.
    pub mounted: &'a Mounted,
}

impl Step for PostMount<'_> {
    const NAME: &'static str = "post_mount";
    type Output = ();

    fn deadline(&self) -> Duration {
        COMMANDS
    }

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        let device = self.in_cell.device();
        let fields = [("Device", device.as_str()), ("MountPath", self.mounted.path.as_str())];
        self.in_cell.run_on_host(cx, &self.in_cell.plan.post_mount_commands, &fields).await
    }
}

/// Makes the mounts inside, and copies files of the host.
pub struct PrepareChroot<'a>(pub InCell<'a>);

impl Step for PrepareChroot<'_> {
    const NAME: &'static str = "prepare_chroot";
    type Output = ();

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        let plan = self.0.plan;
        let cell = self.0.cell.get(cx).await?;
        for mount in &plan.chroot_mounts {
            let work = cell.mount_inside(&mount.kind, &mount.source, &mount.target);
            match until_stopped(cx, work).await {
                Err(StepError::Found(problem)) if mount.is_optional => {
                    cx.say(format!("went on without {}: {}", mount.target, problem.detail)).await;
                }
                result => result?,
            }
        }
        for file in &plan.copy_files {
            if file.is_optional && !Path::new(&file.path).exists() {
                cx.say(format!("the worker's host has no {} to copy", file.path)).await;
                continue;
            }
            until_stopped(cx, cell.copy_in(Path::new(&file.path))).await?;
        }
        Ok(())
    }
}

/// Runs the provisioners in the chroot.
pub struct ProvisionChroot<'a>(pub InCell<'a>);

impl Step for ProvisionChroot<'_> {
    const NAME: &'static str = provision::Provision::NAME;
    type Output = ();

    /// Provisioners have limits of their own, and what they may take together is for the build's `timeout` to say.
    fn deadline(&self) -> Duration {
        provision::ALL_PROVISIONERS
    }

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        let cell = self.0.cell.get(cx).await?;
        let wrap = self.0.plan.command_wrapper.clone().map(|wrapper| -> Wrap {
            let late = self.0.late(cx);
            Box::new(move |command: &str| Render::render(&late, &wrapper, &[("Command", command)]))
        });
        let communicator = Chroot::new(cell, wrap);
        let result = provision::run_all(cx, &communicator, &self.0.late(cx)).await;
        communicator.close().await;
        result
    }
}

/// Ends what runs in the chroot, puts back what was copied, and unmounts everything.
pub struct ReleaseChroot<'a>(pub InCell<'a>);

impl Step for ReleaseChroot<'_> {
    const NAME: &'static str = "release_chroot";
    type Output = ();

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        match self.0.cell.release(cx).await {
            Some(released) => released?,
            // It was open in this process, or the pipeline would not have come here.
            None => return Err(StepError::Interrupted),
        }
        cx.say("unmounted the volume").await;
        Ok(())
    }
}

//! A full PC: QEMU with a BIOS or UEFI, a virtio disk for the root volume and a SCSI controller for the others, as
//! OUTSCALE's own VMs have them. It boots whatever boot loader and kernel are on the root volume.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Order,
    process::{Process, Program},
    qmp::{Event, Qmp},
};
use crate::backend::{BootMode, Disk, PowerEvent, names::letters, net::TAP};

/// The program.
pub(super) const QEMU: &str = "qemu-system-x86_64";
/// UEFI as Debian's package `ovmf` has it: the program, and its variables as they are in a new machine.
const UEFI: [&str; 2] = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
/// Translated code that is kept, in MiB. By default it would be a gigabyte for each machine.
const TRANSLATED: u32 = 128;

/// Resets that follow one another faster than this are the same one.
const ONE_RESET: Duration = Duration::from_secs(2);

/// What executes the machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accelerator {
    /// Translation: works everywhere, and is ten to twenty times slower than the processor.
    #[default]
    Tcg,
    /// The processor, through the kernel.
    Kvm,
}

impl Accelerator {
    /// QEMU's words for it. The emulated processor is the oldest that all distributions of today still run on.
    pub(super) fn arguments(self) -> [String; 4] {
        match self {
            Self::Tcg => {
                ["-accel".into(), format!("tcg,tb-size={TRANSLATED}"), "-cpu".into(), "Nehalem".into()]
            }
            Self::Kvm => ["-accel".into(), "kvm".into(), "-cpu".into(), "host".into()],
        }
    }
}

/// Whether machines with UEFI can be had.
pub fn has_uefi() -> bool {
    UEFI.iter().all(|file| Path::new(file).exists())
}

/// A running machine.
#[derive(Debug)]
pub(super) struct QemuMachine {
    pub process: Process,
    qmp: Qmp,
}

impl QemuMachine {
    /// Switches a machine on.
    pub async fn boot(order: &Order<'_>, accelerator: Accelerator, memory: u32) -> io::Result<Self> {
        let mut command = command(order, accelerator, memory)?;
        command.insert(0, QEMU.into());
        let (ours, theirs) = UnixStream::pair()?;
        let program = Program {
            command,
            folder: None,
            input: Stdio::from(std::os::fd::OwnedFd::from(theirs.try_clone()?)),
            output: Stdio::from(std::os::fd::OwnedFd::from(theirs)),
            errors: order.console.writer()?.into(),
        };
        let process = Process::start(order.network, program).await?;
        let on_event = order.on_event.clone();
        let last_reset = Mutex::new(None::<Instant>);
        let qmp = Qmp::connect(ours, move |event| {
            // A kernel asks for its reset in several ways, until one works.
            let mut last_reset = last_reset.lock().unwrap_or_else(PoisonError::into_inner);
            if *event == Event::GuestReset
                && last_reset.replace(Instant::now()).is_none_or(|last| last.elapsed() > ONE_RESET)
            {
                on_event(PowerEvent::Rebooted);
            }
        });
        let machine = Self { process, qmp: qmp.await? };
        for disk in &order.spec.volumes {
            machine.plug(disk).await?;
        }
        machine.qmp.ask("cont", json!({})).await?;
        Ok(machine)
    }

    /// Adds a disk; what it was linked as is what it says of itself, from which udev's rules make the name.
    pub async fn plug(&self, disk: &Disk) -> io::Result<()> {
        let id = &disk.volume_id;
        self.qmp.ask("blockdev-add", block_node(disk)).await?;
        let name = letters(&disk.device_name).map_or_else(|| id.clone(), |letters| format!("sd{letters}"));
        let device = json!({
            "driver": "scsi-hd", "bus": "scsi.0", "id": id, "drive": node(id), "device_id": name, "serial": id,
        });
        if let Err(error) = self.qmp.ask("device_add", device).await {
            let _ = self.qmp.ask("blockdev-del", json!({ "node-name": node(id) })).await;
            return Err(error);
        }
        Ok(())
    }

    /// Removes a disk, whether the guest uses it or not.
    pub async fn unplug(&self, volume_id: &str) -> io::Result<()> {
        self.qmp.delete_device(volume_id).await?;
        self.qmp.ask("blockdev-del", json!({ "node-name": node(volume_id) })).await.map(drop)
    }

    /// Waits until what the guest wrote to its disks is in their files. What it still keeps in its own memory stays
    /// there, as in the cloud.
    pub async fn drain(&self) -> io::Result<()> {
        self.qmp.ask("stop", json!({})).await?;
        self.qmp.ask("cont", json!({})).await.map(drop)
    }

    /// Presses the power button.
    pub async fn press_power_button(&self) -> io::Result<()> {
        self.qmp.ask("system_powerdown", json!({})).await.map(drop)
    }

    /// Asked after its process has ended: what that meant.
    pub async fn how_it_ended(&self) -> PowerEvent {
        if self.qmp.was_shut_down().await { PowerEvent::PoweredOff } else { PowerEvent::Died }
    }
}

/// Node names may have 31 characters.
fn node(volume_id: &str) -> String {
    format!("disk-{volume_id}").chars().take(31).collect()
}

/// The host's page cache is the disk's: no crash of the sandbox or of QEMU loses what is in it.
fn block_node(disk: &Disk) -> Value {
    json!({
        "driver": "raw",
        "node-name": node(&disk.volume_id),
        "cache": { "direct": false, "no-flush": true },
        "discard": "unmap",
        "file": { "driver": "file", "filename": disk.file },
    })
}

fn command(order: &Order<'_>, accelerator: Accelerator, memory: u32) -> io::Result<Vec<OsString>> {
    let root = &order.spec.root;
    let mac = order.spec.metadata.get("meta-data/mac").and_then(|mac| String::from_utf8(mac).ok());
    let network = json!({
        "driver": "virtio-net-pci", "netdev": "net0", "romfile": "",
        "mac": mac.unwrap_or_else(|| "aa:00:00:00:00:01".to_owned()),
    });
    let disk = json!({
        "driver": "virtio-blk-pci", "id": root.volume_id, "drive": node(&root.volume_id), "bootindex": 0,
        "serial": root.volume_id.chars().take(20).collect::<String>(),
    });
    let mut command: Vec<OsString> = accelerator.arguments().map(OsString::from).into();
    let mut add = |arguments: &[&str]| command.extend(arguments.iter().map(OsString::from));
    add(&["-machine", "pc", "-m", &memory.to_string(), "-smp", "1"]);
    add(&["-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"]);
    // It waits for the order to run; until then it gets its other disks.
    add(&["-S", "-qmp", "stdio", "-serial", "file:/dev/stderr"]);
    add(&["-blockdev", &block_node(root).to_string(), "-device", &disk.to_string()]);
    add(&["-device", "virtio-scsi-pci,id=scsi", "-device", "virtio-rng-pci"]);
    add(&[
        "-netdev",
        &format!("tap,id=net0,ifname={TAP},script=no,downscript=no"),
        "-device",
        &network.to_string(),
    ]);
    if order.spec.boot_mode == BootMode::Uefi {
        let variables = uefi_variables(order.folder)?;
        for (unit, file, read_only) in [(0, Path::new(UEFI[0]), "on"), (1, &variables, "off")] {
            // In this form of an argument, a comma in a name is written twice.
            let file = file.to_string_lossy().replace(',', ",,");
            add(&["-drive", &format!("if=pflash,format=raw,unit={unit},readonly={read_only},file={file}")]);
        }
    }
    Ok(command)
}

/// A machine keeps its variables for as long as it exists.
fn uefi_variables(folder: &Path) -> io::Result<PathBuf> {
    let file = folder.join("uefi-variables");
    if !has_uefi() {
        let message = "booting with UEFI needs OVMF: apt-get install ovmf";
        return Err(io::Error::new(io::ErrorKind::NotFound, message));
    }
    if !file.exists() {
        fs::copy(UEFI[1], &file)?;
    }
    Ok(file)
}

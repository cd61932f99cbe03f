//! What a VM is made of. The API's state machines (`crate::region`) decide what should happen and when;
//! a backend makes it real on this machine: disks, processes, network, console. Backends never see OAPI.

mod console;
pub mod host;
pub mod kernel;
mod names;
pub mod net;
pub mod none;
pub mod ns;
pub mod several;

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
};

/// A boxed future, so that the trait can be used as `dyn Backend`.
pub type BackendFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// Why a backend could not do what the region asked for.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The machine this runs on cannot do it (no root, no loop device, …); says what to do about it.
    #[error("this machine cannot run the backend: {0}")]
    Unsupported(String),
    /// There is no such VM in the backend.
    #[error("the backend knows no VM {0}")]
    NoSuchVm(String),
    /// The volume cannot be unplugged now; ask again later.
    #[error("the volume {0} is still in use (mounted, or open)")]
    InUse(String),
    /// A system call or a helper program failed.
    #[error("could not {what}")]
    Io {
        /// What was being done.
        what: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// For `map_err`: says what was being done.
fn doing(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BackendError {
    move |source| BackendError::Io { what: what.into(), source }
}

/// Runs what waits for disks or processes where waiting disturbs nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}

/// Whether a program is there to be run.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Not every user has the administrator's folders in the path.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.into_iter().any(|folder| folder.join(program).exists())
}

/// A volume as a backend sees it: a raw file and the name under which the VM sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// `vol-…`.
    pub volume_id: String,
    /// What the template calls it: `/dev/sda1`, `/dev/xvdb`, ….
    pub device_name: String,
    /// The raw file.
    pub file: PathBuf,
}

/// Which traffic may come in. The relay on the VM's addresses enforces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundRule {
    /// First and last TCP port.
    pub ports: (u16, u16),
    /// Allowed source networks, as CIDR text.
    pub sources: Vec<String>,
}

/// Answers the metadata service of one VM: `latest/meta-data/…` and `latest/user-data`.
pub trait Metadata: Send + Sync + 'static {
    /// The body for a path below `/latest/` (without leading slash), or `None` for 404.
    fn get(&self, path: &str) -> Option<Vec<u8>>;
}

/// How the firmware of a VM starts what is on its root volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BootMode {
    /// A BIOS, which runs the first sector.
    #[default]
    Legacy,
    /// UEFI, which looks for a program on the EFI system partition.
    Uefi,
}

/// All that a backend needs to know to boot a VM.
#[derive(Clone)]
pub struct VmSpec {
    /// `i-…`.
    pub vm_id: String,
    /// Host name inside the VM: `ip-10-0-0-4`.
    pub hostname: String,
    /// Addresses in 127.0.0.0/8 on which the VM is reached from this machine (private, public).
    pub addresses: Vec<Ipv4Addr>,
    /// What its firmware is to be; means something only where there is any.
    pub boot_mode: BootMode,
    /// The root volume.
    pub root: Disk,
    /// The other volumes.
    pub volumes: Vec<Disk>,
    /// What may come in at first; `set_inbound` changes it later.
    pub inbound: Vec<InboundRule>,
    /// The metadata service's content.
    pub metadata: Arc<dyn Metadata>,
}

/// What a VM did by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerEvent {
    /// `poweroff` (or `halt`) inside.
    PoweredOff,
    /// `reboot` inside; the backend has already booted it again.
    Rebooted,
    /// Its first process died in another way.
    Died,
}

/// Called by a backend when a VM changed its power state by itself (VM id, event).
pub type PowerListener = Arc<dyn Fn(&str, PowerEvent) + Send + Sync>;

/// One way to make VMs. All calls are idempotent: stopping a stopped VM or destroying an unknown one is done at once.
pub trait Backend: Send + Sync + 'static {
    /// `ns`, `qemu`, `uml`, `none`.
    fn name(&self) -> &'static str;
    /// Makes VMs that start from now on of the backend of this name; false: there is no such one here.
    fn choose(&self, name: &str) -> bool {
        name == self.name()
    }
    /// Who is told of power changes from inside. Called once, before any VM starts.
    fn on_power(&self, listener: PowerListener);
    /// Boots a VM; returns when the boot is under way (SSH may take longer to answer).
    fn start(&self, spec: VmSpec) -> BackendFuture<'_, ()>;
    /// Shuts a VM down: `force` kills at once, else the inside gets a few seconds. Its volumes are flushed and free afterwards.
    fn stop<'a>(&'a self, vm_id: &'a str, force: bool) -> BackendFuture<'a, ()>;
    /// Restarts a running VM.
    fn reboot<'a>(&'a self, vm_id: &'a str) -> BackendFuture<'a, ()>;
    /// Ends a VM for good and frees what it held (its volumes stay files).
    fn destroy<'a>(&'a self, vm_id: &'a str) -> BackendFuture<'a, ()>;
    /// Reserves the name under which a volume is going to be plugged in; false: the VM has such a device. The volume is
    /// then attached or detached, which ends the reservation. Does not block.
    fn claim(&self, _vm_id: &str, _volume_id: &str, _device_name: &str, _links: host::DeviceLinks) -> bool {
        true
    }
    /// Plugs a volume into a running VM.
    fn attach<'a>(&'a self, vm_id: &'a str, disk: Disk) -> BackendFuture<'a, ()>;
    /// Unplugs a volume from a running VM. After [`BackendError::InUse`] it is asked again.
    fn detach<'a>(&'a self, vm_id: &'a str, volume_id: &'a str) -> BackendFuture<'a, ()>;
    /// Writes what a running VM still holds in memory of this volume to its file (before a snapshot).
    fn flush<'a>(&'a self, volume_id: &'a str) -> BackendFuture<'a, ()>;
    /// Replaces the addresses on which the VM is reached (a public IP was linked or unlinked).
    fn set_addresses<'a>(&'a self, vm_id: &'a str, addresses: Vec<Ipv4Addr>) -> BackendFuture<'a, ()>;
    /// Replaces what may come in.
    fn set_inbound<'a>(&'a self, vm_id: &'a str, rules: Vec<InboundRule>) -> BackendFuture<'a, ()>;
    /// The last 64 KiB of the console.
    fn console<'a>(&'a self, vm_id: &'a str) -> BackendFuture<'a, Vec<u8>>;
    /// Where a client of this machine reaches a port of the VM, if it runs (for tests and the demo).
    fn dial_address(&self, vm_id: &str, port: u16) -> Option<SocketAddr>;
}

//! VMs with a kernel of their own: `qemu` is a full PC that boots what is on the disk, boot loader and all; `uml` is a
//! Linux kernel that runs as a process, and starts the disk's own init. Both take seconds where a namespace VM takes
//! a tenth of one, and show what that cannot: that an image boots.
//!
//! Whatever happens to the sandbox, nothing stays: each machine is a process that is bound to the life of the
//! sandbox, and its network goes with it.

pub mod kvm;
mod mconsole;
mod process;
pub mod qemu;
mod qmp;
mod uml;
mod vm;

use std::{
    collections::HashMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use self::{
    process::Process,
    qemu::{Accelerator, QemuMachine},
    uml::UmlMachine,
    vm::Vm,
};
use super::{
    Backend, BackendError, BackendFuture, Disk, InboundRule, PowerEvent, PowerListener, VmSpec,
    console::Console,
    doing, is_installed,
    net::{NetOptions, Network, Porter},
};

/// How to run machines.
#[derive(Debug, Clone)]
pub struct KernelConfig {
    /// What they are.
    pub hypervisor: Hypervisor,
    /// A folder for the backend's own use.
    pub run_dir: PathBuf,
    /// How they are connected; always by a tap.
    pub net: NetOptions,
    /// In MiB; taken from this machine only as the guests use it.
    pub memory: u32,
}

/// What a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    /// A PC.
    Qemu(Accelerator),
    /// A Linux kernel as a process.
    Uml,
}

impl Hypervisor {
    fn name(self) -> &'static str {
        match self {
            Self::Qemu(_) => "qemu",
            Self::Uml => "uml",
        }
    }

    /// Programs that must be there, with their Debian packages.
    fn needs(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Qemu(_) => [(qemu::QEMU, "qemu-system-x86"), ("setpriv", "util-linux")],
            Self::Uml => [(uml::UML, "user-mode-linux"), ("setpriv", "util-linux")],
        }
    }
}

/// All that is needed to switch a machine on.
struct Order<'a> {
    spec: &'a VmSpec,
    network: &'a Arc<Network>,
    console: &'a Arc<Console>,
    /// What it has here for as long as it exists.
    folder: &'a Path,
    /// What it does by itself without ending.
    on_event: Arc<dyn Fn(PowerEvent) + Send + Sync>,
}

/// A machine that is switched on.
enum Machine {
    Qemu(QemuMachine),
    Uml(UmlMachine),
}

impl Machine {
    async fn boot(config: &KernelConfig, order: &Order<'_>) -> io::Result<Self> {
        match config.hypervisor {
            Hypervisor::Qemu(accelerator) => {
                QemuMachine::boot(order, accelerator, config.memory).await.map(Self::Qemu)
            }
            Hypervisor::Uml => UmlMachine::boot(order, config.memory).await.map(Self::Uml),
        }
    }

    fn process(&self) -> &Process {
        match self {
            Self::Qemu(machine) => &machine.process,
            Self::Uml(machine) => &machine.process,
        }
    }

    async fn press_power_button(&self) -> io::Result<()> {
        match self {
            Self::Qemu(machine) => machine.press_power_button().await,
            Self::Uml(machine) => machine.press_power_button().await,
        }
    }

    async fn plug(&self, disk: &Disk) -> io::Result<()> {
        match self {
            Self::Qemu(machine) => machine.plug(disk).await,
            Self::Uml(machine) => machine.plug(disk).await,
        }
    }

    async fn unplug(&self, volume_id: &str) -> io::Result<()> {
        match self {
            Self::Qemu(machine) => machine.unplug(volume_id).await,
            Self::Uml(machine) => machine.unplug(volume_id).await,
        }
    }

    async fn drain(&self) -> io::Result<()> {
        match self {
            Self::Qemu(machine) => machine.drain().await,
            Self::Uml(machine) => machine.drain().await,
        }
    }

    async fn how_it_ended(&self) -> PowerEvent {
        match self {
            Self::Qemu(machine) => machine.how_it_ended().await,
            Self::Uml(machine) => machine.how_it_ended(),
        }
    }

    /// Ends it: by its power button, unless it is forced or takes too long.
    async fn shut_down(&self, force: bool) -> io::Result<()> {
        /// A guest that is still booting does not notice the button, so it is pressed again.
        const PRESS_AGAIN: Duration = Duration::from_secs(8);
        const PRESSES: u32 = 10;
        for _ in 0..if force { 0 } else { PRESSES } {
            // It fails when the machine is just ending.
            let _ = self.press_power_button().await;
            if self.process().ends_within(PRESS_AGAIN).await {
                return Ok(());
            }
        }
        self.process().end().await
    }
}

/// The backend.
pub struct KernelBackend {
    inner: Arc<Inner>,
}

/// What the backend shares with the tasks that watch its VMs.
struct Inner {
    config: KernelConfig,
    /// The parent of what runs in this machine's own network.
    home: Porter,
    vms: Mutex<HashMap<String, Arc<Vm>>>,
    listener: OnceLock<PowerListener>,
}

impl KernelBackend {
    /// Sees whether this machine can run such VMs, and says what is missing if not. Call it inside of a tokio runtime
    /// and keep that runtime until the backend is dropped.
    pub fn new(mut config: KernelConfig) -> Result<Self, BackendError> {
        probe(&config)?;
        config.net.tap = true;
        fs::create_dir_all(&config.run_dir).map_err(doing(format!("make {}", config.run_dir.display())))?;
        let home = Porter::start().map_err(doing("start the thread that starts helpers"))?;
        let inner = Inner { config, home, vms: Mutex::default(), listener: OnceLock::new() };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Drop for KernelBackend {
    /// A VM's own task then frees what the VM held.
    fn drop(&mut self) {
        self.inner.vms().values().for_each(|vm| vm.kill());
    }
}

impl Inner {
    fn vms(&self) -> MutexGuard<'_, HashMap<String, Arc<Vm>>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, vm_id: &str) -> Option<Arc<Vm>> {
        self.vms().get(vm_id).cloned()
    }

    fn get(&self, vm_id: &str) -> Result<Arc<Vm>, BackendError> {
        self.find(vm_id).ok_or_else(|| BackendError::NoSuchVm(vm_id.to_owned()))
    }

    fn tell(&self, vm_id: &str, event: PowerEvent) {
        tracing::info!(vm.id = vm_id, ?event, "VM {vm_id} changed its power state by itself");
        if let Some(listener) = self.listener.get() {
            listener(vm_id, event);
        }
    }

    /// Where a VM's own files are.
    fn folder_of(&self, vm_id: &str) -> PathBuf {
        self.config.run_dir.join(vm_id.replace(['/', '\0'], "_"))
    }
}

fn probe(config: &KernelConfig) -> Result<(), BackendError> {
    let unsupported = |what: String| Err(BackendError::Unsupported(what));
    let mut needs = config.hypervisor.needs().to_vec();
    if config.net.outbound {
        needs.push(("slirp4netns", "slirp4netns"));
    }
    for (program, package) in needs {
        if !is_installed(program) {
            return unsupported(format!("{program} is not installed: apt-get install {package}"));
        }
    }
    if let Some(obstacle) =
        Some(config.hypervisor).filter(|it| *it == Hypervisor::Uml).and_then(|_| uml::obstacle())
    {
        return unsupported(obstacle);
    }
    if let Err(error) = fs::File::options().read(true).write(true).open("/dev/net/tun") {
        return unsupported(format!("network interfaces cannot be made (/dev/net/tun: {error})"));
    }
    let namespace = std::thread::spawn(|| nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET));
    match namespace.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => unsupported(format!("network namespaces cannot be made ({error}); run as root")),
        Err(_) => unsupported("network namespaces cannot be made".to_owned()),
    }
}

impl Backend for KernelBackend {
    fn name(&self) -> &'static str {
        self.inner.config.hypervisor.name()
    }

    fn on_power(&self, listener: PowerListener) {
        if self.inner.listener.set(listener).is_err() {
            tracing::warn!("a second power listener was ignored");
        }
    }

    fn start(&self, spec: VmSpec) -> BackendFuture<'_, ()> {
        Box::pin(async move {
            let vm = Arc::clone(
                self.inner.vms().entry(spec.vm_id.clone()).or_insert_with(|| Vm::new(&spec.vm_id)),
            );
            vm.start(&self.inner, spec).await
        })
    }

    fn stop<'a>(&'a self, vm_id: &'a str, force: bool) -> BackendFuture<'a, ()> {
        Box::pin(async move {
            match self.inner.find(vm_id) {
                Some(vm) => vm.stop(force).await,
                None => Ok(()),
            }
        })
    }

    fn reboot<'a>(&'a self, vm_id: &'a str) -> BackendFuture<'a, ()> {
        Box::pin(async move { self.inner.get(vm_id)?.reboot(&self.inner).await })
    }

    fn destroy<'a>(&'a self, vm_id: &'a str) -> BackendFuture<'a, ()> {
        Box::pin(async move {
            if let Some(vm) = self.inner.find(vm_id) {
                vm.stop(true).await?;
                self.inner.vms().remove(vm_id);
                let folder = self.inner.folder_of(vm_id);
                match fs::remove_dir_all(&folder) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(%error, "could not remove {}", folder.display());
                    }
                    _ => {}
                }
            }
            Ok(())
        })
    }

    fn attach<'a>(&'a self, vm_id: &'a str, disk: Disk) -> BackendFuture<'a, ()> {
        Box::pin(async move { self.inner.get(vm_id)?.attach(disk).await })
    }

    fn detach<'a>(&'a self, vm_id: &'a str, volume_id: &'a str) -> BackendFuture<'a, ()> {
        Box::pin(async move { self.inner.get(vm_id)?.detach(volume_id).await })
    }

    fn flush<'a>(&'a self, volume_id: &'a str) -> BackendFuture<'a, ()> {
        Box::pin(async move {
            let vms: Vec<Arc<Vm>> = self.inner.vms().values().cloned().collect();
            for vm in vms {
                vm.flush(volume_id).await?;
            }
            Ok(())
        })
    }

    fn set_addresses<'a>(&'a self, vm_id: &'a str, addresses: Vec<Ipv4Addr>) -> BackendFuture<'a, ()> {
        Box::pin(async move { self.inner.get(vm_id)?.configure(|spec| spec.addresses = addresses).await })
    }

    fn set_inbound<'a>(&'a self, vm_id: &'a str, rules: Vec<InboundRule>) -> BackendFuture<'a, ()> {
        Box::pin(async move { self.inner.get(vm_id)?.configure(|spec| spec.inbound = rules).await })
    }

    fn console<'a>(&'a self, vm_id: &'a str) -> BackendFuture<'a, Vec<u8>> {
        Box::pin(async move { Ok(self.inner.get(vm_id)?.console()) })
    }

    fn dial_address(&self, vm_id: &str, port: u16) -> Option<SocketAddr> {
        self.inner.find(vm_id)?.dial_address(port)
    }
}

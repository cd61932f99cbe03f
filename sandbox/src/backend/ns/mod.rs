//! A VM made of namespaces: its loop-mounted root volume, processes, network and devices of its own, on this
//! machine's kernel. It boots in a tenth of a second and gives recipes a real disk, a real sshd and real block
//! devices; what it does not give is the image's own kernel and boot loader, nor isolation from hostile recipes.
//!
//! Whatever happens to the sandbox, nothing stays: a VM's first process is bound to the life of the sandbox, and with
//! it go its processes, mounts, loop devices and network.

mod devices;
mod init;
mod vm;

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use nix::sched::{CloneFlags, unshare};

pub use self::init::{VM_INIT, run_if_vm_init, vm_init_main};
use self::{devices::PartitionWatch, vm::Vm};
use crate::backend::{
    Backend, BackendError, BackendFuture, Disk, InboundRule, PowerEvent, PowerListener, VmSpec, doing,
    is_installed,
    net::{NetOptions, Porter},
};

/// How to run namespace VMs.
#[derive(Debug, Clone)]
pub struct NsConfig {
    /// A folder for the backend's own use.
    pub run_dir: PathBuf,
    /// How VMs are connected.
    pub net: NetOptions,
    /// The program that [`run_if_vm_init`] is called in; this one if absent.
    pub program: Option<PathBuf>,
}

/// The backend.
pub struct NsBackend {
    inner: Arc<Inner>,
    _partitions: PartitionWatch,
}

/// What the backend shares with the tasks that watch its VMs.
struct Inner {
    config: NsConfig,
    program: PathBuf,
    mount_point: PathBuf,
    porter: Porter,
    plugged: devices::Registry,
    vms: Mutex<HashMap<String, Arc<Vm>>>,
    listener: OnceLock<PowerListener>,
}

impl NsBackend {
    /// Sees whether this machine can run namespace VMs, and says what is missing if not. Call it inside of a tokio
    /// runtime and keep that runtime until the backend is dropped.
    pub fn new(config: NsConfig) -> Result<Self, BackendError> {
        probe(&config)?;
        let mount_point = config.run_dir.join("root");
        fs::create_dir_all(&mount_point).map_err(doing(format!("make {}", mount_point.display())))?;
        let porter = Porter::start().map_err(doing("start the thread that starts VMs"))?;
        let plugged = devices::Registry::default();
        let partitions =
            PartitionWatch::start(plugged.clone()).map_err(doing("watch for partitions that VMs make"))?;
        let program = config.program.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        let inner = Inner {
            config,
            program,
            mount_point,
            porter,
            plugged,
            vms: Mutex::default(),
            listener: OnceLock::new(),
        };
        Ok(Self { inner: Arc::new(inner), _partitions: partitions })
    }
}

impl Drop for NsBackend {
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
}

fn probe(config: &NsConfig) -> Result<(), BackendError> {
    let unsupported = |what: String| Err(BackendError::Unsupported(what));
    if !nix::unistd::geteuid().is_root() {
        return unsupported(
            "namespace VMs need root (loop devices and mounts); run as root or choose --backend none".into(),
        );
    }
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/loop-control") {
        return unsupported(format!("loop devices are missing (/dev/loop-control: {error})"));
    }
    let namespaces = std::thread::spawn(|| {
        unshare(
            CloneFlags::CLONE_NEWNS
                | CloneFlags::CLONE_NEWPID
                | CloneFlags::CLONE_NEWUTS
                | CloneFlags::CLONE_NEWIPC
                | CloneFlags::CLONE_NEWNET
                | CloneFlags::CLONE_NEWCGROUP,
        )
    });
    match namespaces.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            return unsupported(format!("namespaces cannot be made ({error}); is CAP_SYS_ADMIN missing?"));
        }
        Err(_) => return unsupported("namespaces cannot be made".to_owned()),
    }
    let mut helpers = Vec::new();
    if config.net.outbound {
        helpers.extend([("slirp4netns", "slirp4netns"), ("setpriv", "util-linux")]);
    }
    for (helper, package) in helpers {
        if !is_installed(helper) {
            return unsupported(format!("{helper} is not installed: apt-get install {package}"));
        }
    }
    Ok(())
}

impl Backend for NsBackend {
    fn name(&self) -> &'static str {
        "ns"
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
                Some(vm) => vm.stop(&self.inner, force).await,
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
                vm.stop(&self.inner, true).await?;
                self.inner.vms().remove(vm_id);
            }
            Ok(())
        })
    }

    fn attach<'a>(&'a self, vm_id: &'a str, disk: Disk) -> BackendFuture<'a, ()> {
        Box::pin(async move { self.inner.get(vm_id)?.attach(&self.inner, disk).await })
    }

    fn detach<'a>(&'a self, vm_id: &'a str, volume_id: &'a str) -> BackendFuture<'a, ()> {
        Box::pin(async move { self.inner.get(vm_id)?.detach(&self.inner, volume_id).await })
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

/// The VM's /dev, seen from outside.
fn dev_of(pid: nix::unistd::Pid) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join("root/dev")
}

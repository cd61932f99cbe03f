//! One VM's life: switched on, watched, restarted, switched off. One lock per VM puts everything that is asked of it,
//! and what it does by itself, into an order.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use nix::unistd::Pid;
use tokio::sync::Mutex as AsyncMutex;

use super::{Inner, Machine, Order};
use crate::backend::{BackendError, Disk, VmSpec, console::Console, doing, net::VmNetwork};

/// A VM, running or not.
pub(super) struct Vm {
    id: String,
    console: Arc<Console>,
    running: AsyncMutex<Option<Running>>,
    /// Where its open ports are reached, for whoever cannot wait for the lock.
    reached: Mutex<HashMap<u16, SocketAddr>>,
}

/// What a VM has only while it runs.
struct Running {
    /// With the volumes that it has at the moment.
    spec: VmSpec,
    machine: Machine,
    network: VmNetwork,
}

impl Vm {
    pub fn new(id: &str) -> Arc<Self> {
        Arc::new(Self {
            id: id.to_owned(),
            console: Arc::default(),
            running: AsyncMutex::default(),
            reached: Mutex::default(),
        })
    }

    pub fn console(&self) -> Vec<u8> {
        self.console.read()
    }

    pub fn dial_address(&self, port: u16) -> Option<SocketAddr> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).get(&port).copied()
    }

    /// Ends it at once, without waiting for anything.
    pub fn kill(&self) {
        // Who holds the lock is being dropped together with the runtime, or stops the VM already.
        if let Ok(guard) = self.running.try_lock()
            && let Some(running) = guard.as_ref()
            && let Err(error) = running.machine.process().kill()
        {
            tracing::warn!(vm.id = self.id, %error, "VM {} could not be killed", self.id);
        }
    }

    pub async fn start(self: &Arc<Self>, inner: &Arc<Inner>, spec: VmSpec) -> Result<(), BackendError> {
        let mut running = self.running.lock().await;
        if running.is_none() {
            let network = VmNetwork::open(&inner.home, &inner.config.net, &spec)
                .await
                .map_err(doing(format!("connect {} to a network", self.id)))?;
            let machine = match self.boot(inner, &spec, &network).await {
                Ok(machine) => machine,
                Err(error) => {
                    network.close().await;
                    return Err(error);
                }
            };
            self.remember_addresses(&network);
            *running = Some(Running { spec, machine, network });
        }
        Ok(())
    }

    pub async fn stop(&self, force: bool) -> Result<(), BackendError> {
        let mut guard = self.running.lock().await;
        let Some(running) = guard.as_ref() else { return Ok(()) };
        running.machine.shut_down(force).await.map_err(doing(format!("stop {}", self.id)))?;
        if let Some(running) = guard.take() {
            self.release(running).await;
        }
        Ok(())
    }

    pub async fn reboot(self: &Arc<Self>, inner: &Arc<Inner>) -> Result<(), BackendError> {
        let mut guard = self.running.lock().await;
        let Some(running) = guard.as_mut() else { return Ok(()) };
        running.machine.shut_down(false).await.map_err(doing(format!("restart {}", self.id)))?;
        match self.boot(inner, &running.spec, &running.network).await {
            Ok(machine) => {
                running.machine = machine;
                Ok(())
            }
            Err(error) => {
                if let Some(running) = guard.take() {
                    self.release(running).await;
                }
                Err(error)
            }
        }
    }

    pub async fn attach(&self, disk: Disk) -> Result<(), BackendError> {
        let mut guard = self.running.lock().await;
        // A stopped VM gets its volumes when it is started.
        let Some(running) = guard.as_mut() else { return Ok(()) };
        if running.has(&disk.volume_id) {
            return Ok(());
        }
        let what = format!("plug {} into {} as {}", disk.volume_id, self.id, disk.device_name);
        running.machine.plug(&disk).await.map_err(doing(what))?;
        running.spec.volumes.push(disk);
        Ok(())
    }

    pub async fn detach(&self, volume_id: &str) -> Result<(), BackendError> {
        let mut guard = self.running.lock().await;
        let Some(running) = guard.as_mut().filter(|running| running.has(volume_id)) else { return Ok(()) };
        running
            .machine
            .unplug(volume_id)
            .await
            .map_err(doing(format!("unplug {volume_id} from {}", self.id)))?;
        running.spec.volumes.retain(|disk| disk.volume_id != volume_id);
        Ok(())
    }

    pub async fn flush(&self, volume_id: &str) -> Result<(), BackendError> {
        let guard = self.running.lock().await;
        match guard.as_ref().filter(|running| running.has(volume_id)) {
            Some(running) => running.machine.drain().await.map_err(doing(format!("flush {volume_id}"))),
            None => Ok(()),
        }
    }

    /// Changes addresses or rules of a running VM; a stopped one gets them when it is started.
    pub async fn configure(&self, change: impl FnOnce(&mut VmSpec)) -> Result<(), BackendError> {
        let mut guard = self.running.lock().await;
        let Some(running) = guard.as_mut() else { return Ok(()) };
        change(&mut running.spec);
        let result = running.network.configure(&running.spec).await;
        self.remember_addresses(&running.network);
        result.map_err(doing(format!("listen on the addresses of {}", self.id)))
    }

    async fn boot(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        spec: &VmSpec,
        network: &VmNetwork,
    ) -> Result<Machine, BackendError> {
        let what = || format!("switch {} on", self.id);
        let folder = inner.folder_of(&self.id);
        fs::create_dir_all(&folder).map_err(doing(what()))?;
        let (told, vm_id) = (Arc::downgrade(inner), self.id.clone());
        let order = Order {
            spec,
            network: &network.network,
            console: &self.console,
            folder: &folder,
            on_event: Arc::new(move |event| {
                if let Some(inner) = told.upgrade() {
                    inner.tell(&vm_id, event);
                }
            }),
        };
        let machine = Machine::boot(&inner.config, &order).await.map_err(doing(what()))?;
        let (vm, inner, pid) = (Arc::clone(self), Arc::downgrade(inner), machine.process().pid());
        let mut ended = machine.process().ended();
        tokio::spawn(async move {
            let _ = ended.wait_for(Option::is_some).await;
            vm.ended_by_itself(&inner, pid).await;
        });
        Ok(machine)
    }

    /// Follows up on a machine that ended, unless somebody who holds the lock wanted it to.
    async fn ended_by_itself(&self, inner: &Weak<Inner>, pid: Pid) {
        let mut guard = self.running.lock().await;
        let Some(running) = guard.take_if(|running| running.machine.process().pid() == pid) else { return };
        let event = running.machine.how_it_ended().await;
        self.release(running).await;
        drop(guard);
        if let Some(inner) = inner.upgrade() {
            inner.tell(&self.id, event);
        }
    }

    /// Frees what a VM held; returns when its ports are free.
    async fn release(&self, running: Running) {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clear();
        running.network.close().await;
    }

    fn remember_addresses(&self, network: &VmNetwork) {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = network.dial_addresses();
    }
}

impl Running {
    fn has(&self, volume_id: &str) -> bool {
        let mut disks = std::iter::once(&self.spec.root).chain(&self.spec.volumes);
        disks.any(|disk| disk.volume_id == volume_id)
    }
}

//! Several backends side by side: which of them a VM is made of is decided when it starts. So a test can bake on the quick
//! backend and boot what came out on the real one.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Backend, BackendFuture, Disk, InboundRule, PowerListener, VmSpec};

/// Backends, of which one is chosen for VMs to come.
pub struct SeveralBackends {
    backends: Vec<Arc<dyn Backend>>,
    chosen: AtomicUsize,
    /// Which backend has which VM.
    homes: Mutex<HashMap<String, usize>>,
}

impl SeveralBackends {
    /// The first of these is chosen at first; there must be one.
    #[must_use]
    pub fn new(backends: Vec<Arc<dyn Backend>>) -> Self {
        Self { backends, chosen: AtomicUsize::new(0), homes: Mutex::default() }
    }

    /// The backend of a VM; of one that never started, the one that it would start on.
    fn of(&self, vm_id: &str) -> &dyn Backend {
        let homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        let index = homes.get(vm_id).copied().unwrap_or_else(|| self.chosen.load(Ordering::SeqCst));
        self.backends[index].as_ref()
    }
}

impl Backend for SeveralBackends {
    fn name(&self) -> &'static str {
        self.backends[self.chosen.load(Ordering::SeqCst)].name()
    }

    fn choose(&self, name: &str) -> bool {
        let found = self.backends.iter().position(|backend| backend.name() == name);
        if let Some(index) = found {
            self.chosen.store(index, Ordering::SeqCst);
        }
        found.is_some()
    }

    fn on_power(&self, listener: PowerListener) {
        self.backends.iter().for_each(|backend| backend.on_power(Arc::clone(&listener)));
    }

    fn start(&self, spec: VmSpec) -> BackendFuture<'_, ()> {
        let index = self.chosen.load(Ordering::SeqCst);
        self.homes.lock().unwrap_or_else(PoisonError::into_inner).insert(spec.vm_id.clone(), index);
        self.backends[index].start(spec)
    }

    fn stop<'a>(&'a self, vm_id: &'a str, force: bool) -> BackendFuture<'a, ()> {
        self.of(vm_id).stop(vm_id, force)
    }

    fn reboot<'a>(&'a self, vm_id: &'a str) -> BackendFuture<'a, ()> {
        self.of(vm_id).reboot(vm_id)
    }

    fn destroy<'a>(&'a self, vm_id: &'a str) -> BackendFuture<'a, ()> {
        Box::pin(async move {
            self.of(vm_id).destroy(vm_id).await?;
            self.homes.lock().unwrap_or_else(PoisonError::into_inner).remove(vm_id);
            Ok(())
        })
    }

    fn attach<'a>(&'a self, vm_id: &'a str, disk: Disk) -> BackendFuture<'a, ()> {
        self.of(vm_id).attach(vm_id, disk)
    }

    fn detach<'a>(&'a self, vm_id: &'a str, volume_id: &'a str) -> BackendFuture<'a, ()> {
        self.of(vm_id).detach(vm_id, volume_id)
    }

    fn flush<'a>(&'a self, volume_id: &'a str) -> BackendFuture<'a, ()> {
        // Who has the volume knows it; for all others there is nothing to write.
        Box::pin(async move {
            for backend in &self.backends {
                backend.flush(volume_id).await?;
            }
            Ok(())
        })
    }

    fn set_addresses<'a>(&'a self, vm_id: &'a str, addresses: Vec<Ipv4Addr>) -> BackendFuture<'a, ()> {
        self.of(vm_id).set_addresses(vm_id, addresses)
    }

    fn set_inbound<'a>(&'a self, vm_id: &'a str, rules: Vec<InboundRule>) -> BackendFuture<'a, ()> {
        self.of(vm_id).set_inbound(vm_id, rules)
    }

    fn console<'a>(&'a self, vm_id: &'a str) -> BackendFuture<'a, Vec<u8>> {
        self.of(vm_id).console(vm_id)
    }

    fn dial_address(&self, vm_id: &str, port: u16) -> Option<SocketAddr> {
        self.of(vm_id).dial_address(vm_id, port)
    }
}

//! This machine itself as a VM of the region: volumes that are linked to it become block devices here. All other VMs are
//! another backend's.
//!
//! A graceful end takes everything away again. A killed sandbox leaves links in `/dev` (the kernel frees the loop devices);
//! the next one with the same state folder removes them, by the record that was kept there.

mod claims;
mod linked;
mod machine;
mod record;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use self::machine::{HostMachine, Release};
pub use self::record::remove_leftovers;
use super::{
    Backend, BackendError, BackendFuture, Disk, InboundRule, PowerListener, VmSpec, blocking, doing,
};

/// Which links lead to a device that is linked to this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceLinks {
    /// `/dev/xvdf` and those by the disk's own name: a VM with `osc-udev-rules`.
    AskedName,
    /// Only `/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_sdf`: a VM with udev's own rules.
    ById,
    /// None.
    None,
}

/// A backend, and this machine beside its VMs.
pub struct HostBackend {
    others: Arc<dyn Backend>,
    host: Arc<HostMachine>,
}

impl HostBackend {
    /// Sees whether this machine can have volumes, and says what is missing if not. `record` is a file that outlives the
    /// sandbox.
    pub fn new(others: Arc<dyn Backend>, vm_id: &str, record: PathBuf) -> Result<Self, BackendError> {
        probe()?;
        let host = HostMachine::new(vm_id, record).map_err(doing("prepare the links of devices"))?;
        Ok(Self { others, host: Arc::new(host) })
    }

    fn is_host(&self, vm_id: &str) -> bool {
        self.host.vm_id == vm_id
    }
}

impl Drop for HostBackend {
    fn drop(&mut self) {
        self.host.release_all();
    }
}

fn probe() -> Result<(), BackendError> {
    let unsupported = |what: String| Err(BackendError::Unsupported(what));
    if !nix::unistd::geteuid().is_root() {
        return unsupported(
            "to be a VM of the region (--host-vm) it needs root, for loop devices and links in /dev".into(),
        );
    }
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/loop-control") {
        return unsupported(format!(
            "loop devices are missing, which --host-vm needs (/dev/loop-control: {error})"
        ));
    }
    Ok(())
}

fn done<T: Send + 'static>(value: T) -> BackendFuture<'static, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Backend for HostBackend {
    fn name(&self) -> &'static str {
        self.others.name()
    }

    fn choose(&self, name: &str) -> bool {
        self.others.choose(name)
    }

    fn on_power(&self, listener: PowerListener) {
        self.others.on_power(listener);
    }

    fn start(&self, spec: VmSpec) -> BackendFuture<'_, ()> {
        if self.is_host(&spec.vm_id) { done(()) } else { self.others.start(spec) }
    }

    fn stop<'a>(&'a self, vm_id: &'a str, force: bool) -> BackendFuture<'a, ()> {
        if self.is_host(vm_id) { done(()) } else { self.others.stop(vm_id, force) }
    }

    fn reboot<'a>(&'a self, vm_id: &'a str) -> BackendFuture<'a, ()> {
        if self.is_host(vm_id) { done(()) } else { self.others.reboot(vm_id) }
    }

    fn destroy<'a>(&'a self, vm_id: &'a str) -> BackendFuture<'a, ()> {
        if !self.is_host(vm_id) {
            return self.others.destroy(vm_id);
        }
        let host = Arc::clone(&self.host);
        Box::pin(async move {
            let released = blocking(move || {
                host.release_all();
                Ok(())
            });
            released.await.map_err(doing("take the volumes from this machine"))
        })
    }

    fn claim(&self, vm_id: &str, volume_id: &str, device_name: &str, links: DeviceLinks) -> bool {
        !self.is_host(vm_id) || self.host.claim(volume_id, device_name, links)
    }

    fn attach<'a>(&'a self, vm_id: &'a str, disk: Disk) -> BackendFuture<'a, ()> {
        if !self.is_host(vm_id) {
            return self.others.attach(vm_id, disk);
        }
        let (host, what) =
            (Arc::clone(&self.host), format!("make {} of {}", disk.device_name, disk.volume_id));
        Box::pin(async move { blocking(move || host.attach(disk)).await.map_err(doing(what)) })
    }

    fn detach<'a>(&'a self, vm_id: &'a str, volume_id: &'a str) -> BackendFuture<'a, ()> {
        if !self.is_host(vm_id) {
            return self.others.detach(vm_id, volume_id);
        }
        let (host, id) = (Arc::clone(&self.host), volume_id.to_owned());
        Box::pin(async move {
            match blocking(move || host.release(&id)).await {
                Ok(Release::Done) => Ok(()),
                Ok(Release::InUse) => Err(BackendError::InUse(volume_id.to_owned())),
                Err(error) => Err(doing(format!("take {volume_id} from this machine"))(error)),
            }
        })
    }

    fn flush<'a>(&'a self, volume_id: &'a str) -> BackendFuture<'a, ()> {
        let (host, id) = (Arc::clone(&self.host), volume_id.to_owned());
        Box::pin(async move {
            // Who has the volume knows it; for all others there is nothing to write.
            blocking(move || host.flush(&id)).await.map_err(doing(format!("flush {volume_id}")))?;
            self.others.flush(volume_id).await
        })
    }

    fn set_addresses<'a>(&'a self, vm_id: &'a str, addresses: Vec<Ipv4Addr>) -> BackendFuture<'a, ()> {
        if self.is_host(vm_id) { done(()) } else { self.others.set_addresses(vm_id, addresses) }
    }

    fn set_inbound<'a>(&'a self, vm_id: &'a str, rules: Vec<InboundRule>) -> BackendFuture<'a, ()> {
        if self.is_host(vm_id) { done(()) } else { self.others.set_inbound(vm_id, rules) }
    }

    fn console<'a>(&'a self, vm_id: &'a str) -> BackendFuture<'a, Vec<u8>> {
        if self.is_host(vm_id) { done(Vec::new()) } else { self.others.console(vm_id) }
    }

    fn dial_address(&self, vm_id: &str, port: u16) -> Option<SocketAddr> {
        if self.is_host(vm_id) { None } else { self.others.dial_address(vm_id, port) }
    }
}

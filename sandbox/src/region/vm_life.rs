//! What happens to a VM over time: boot, stop, end, and what it does by itself. A call sets the first state and
//! starts the task; the task does the backend's work and sets the last state, unless a later call changed the goal.
//!
//! pending ─► running ─► stopping ─► stopped ─► pending …; any ─► shutting-down ─► terminated ─► gone

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Causes, Region, State,
    disks::DiskFile,
    metadata::VmMetadata,
    pause,
    vms::Vm,
    words::{LinkState, VmState, VolumeState},
};
use crate::backend::{BackendError, BootMode, Disk, PowerEvent, VmSpec};

/// What follows a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterStop {
    StayStopped,
    StartAgain,
}

impl Region {
    /// Starts the way of a pending VM to `running` (or `stopped`, if it is not to boot).
    pub fn begin_boot(self: &Arc<Self>, vm_id: &str) {
        let generation = self.state().vms.get(vm_id).map(|vm| vm.generation);
        let Some(generation) = generation else { return };
        let (region, vm_id) = (Arc::clone(self), vm_id.to_owned());
        self.spawn(async move { region.boot(&vm_id, generation).await });
    }

    /// Orders a stopped VM to start.
    pub fn begin_start(self: &Arc<Self>, state: &mut State, vm_id: &str) {
        let has_link = state.public_ips.values().any(|public_ip| public_ip.is_linked_to(vm_id));
        let fresh =
            state.vms.get(vm_id).is_some_and(|vm| vm.is_public && vm.automatic_ip.is_none()) && !has_link;
        // Each start brings another address.
        let address = if fresh { state.addresses.take_public() } else { None };
        if let Some(vm) = state.vms.get_mut(vm_id) {
            vm.automatic_ip = vm.automatic_ip.or(address);
            vm.state_reason.clear();
            vm.boot_on_creation = true;
            let generation = vm.order(VmState::Pending);
            let (region, vm_id) = (Arc::clone(self), vm_id.to_owned());
            self.spawn(async move { region.boot(&vm_id, generation).await });
        }
    }

    /// Orders a VM to stop.
    pub fn begin_stop(
        self: &Arc<Self>,
        state: &mut State,
        vm_id: &str,
        force: bool,
        reason: &'static str,
        after: AfterStop,
    ) {
        if let Some(vm) = state.vms.get_mut(vm_id) {
            let generation = vm.order(VmState::Stopping);
            let (region, vm_id) = (Arc::clone(self), vm_id.to_owned());
            self.spawn(async move { region.stop(&vm_id, generation, force, reason, after).await });
        }
    }

    /// Orders the end of a VM.
    pub fn begin_end(self: &Arc<Self>, state: &mut State, vm_id: &str, reason: &'static str) {
        if let Some(vm) = state.vms.get_mut(vm_id) {
            let generation = vm.order(VmState::ShuttingDown);
            let (region, vm_id) = (Arc::clone(self), vm_id.to_owned());
            self.spawn(async move { region.end(&vm_id, generation, reason).await });
        }
    }

    /// Follows what a VM did by itself.
    pub fn power_changed_inside(self: &Arc<Self>, vm_id: &str, event: PowerEvent) {
        let mut state = self.state();
        let Some(vm) = state.vms.get(vm_id).filter(|vm| vm.state == VmState::Running) else { return };
        let behavior = vm.shutdown_behavior.clone();
        let ends = behavior == "terminate" || vm.shutdown_configuration.0 == "terminate";
        match event {
            PowerEvent::Rebooted => {}
            PowerEvent::Died => {
                tracing::warn!(vm.id = %vm_id, "VM {vm_id} died");
                self.begin_stop(&mut state, vm_id, true, "Server.InternalError", AfterStop::StayStopped);
            }
            PowerEvent::PoweredOff if ends => self.begin_end(&mut state, vm_id, "Client.GuestShutdown"),
            PowerEvent::PoweredOff => {
                let after =
                    if behavior == "restart" { AfterStop::StartAgain } else { AfterStop::StayStopped };
                self.begin_stop(&mut state, vm_id, true, "Client.GuestShutdown", after);
            }
        }
    }

    /// The gate of a VM: whoever holds it may have the backend work on the VM.
    pub async fn gate(&self, vm_id: &str) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        let gate = self.state().vms.get(vm_id).map(|vm| Arc::clone(&vm.gate))?;
        Some(gate.lock_owned().await)
    }

    async fn boot(self: Arc<Self>, vm_id: &str, generation: u64) {
        let ((), filled) = tokio::join!(pause(self.latency.changes.vm_pending), self.fill_volumes(vm_id));
        let Some(_gate) = self.gate(vm_id).await else { return };
        let spec = {
            let mut state = self.state();
            let Some(vm) = state.vms.get_mut(vm_id).filter(|vm| vm.generation == generation) else { return };
            if let Some(doom) = vm.meta.doom.take().as_deref().and_then(VmState::of_word) {
                self.strike_down(&mut state, vm_id, doom);
                return;
            }
            if !vm.boot_on_creation {
                vm.state = VmState::Stopped;
                return;
            }
            self.spec(&state, vm_id)
        };
        let started = match (filled, spec) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(spec)) => self.start_backend(spec).await,
            (Ok(()), None) => Err(BackendError::Unsupported("the VM has no root volume".to_owned())),
        };
        let is_started = started.is_ok();
        self.note_boot(vm_id, generation, started);
        if is_started {
            self.refresh_neighbours(vm_id).await;
        }
    }

    fn note_boot(self: &Arc<Self>, vm_id: &str, generation: u64, started: Result<(), BackendError>) {
        let mut state = self.state();
        let Some(vm) = state.vms.get_mut(vm_id) else { return };
        match started {
            Ok(()) => {
                vm.was_started = true;
                if vm.generation == generation {
                    vm.state = VmState::Running;
                }
            }
            Err(error) => {
                tracing::error!(vm.id = %vm_id, error = %Causes(&error), "VM {vm_id} did not boot");
                if vm.generation == generation {
                    // The cloud ends a VM whose first boot fails, and stops one that ran before.
                    let state_after = if vm.was_started { VmState::Stopped } else { VmState::Terminated };
                    self.strike_down(&mut state, vm_id, state_after);
                }
            }
        }
    }

    /// Boots, and then makes up for what changed while the backend was at it.
    async fn start_backend(self: &Arc<Self>, spec: VmSpec) -> Result<(), BackendError> {
        let (vm_id, addresses, inbound) = (spec.vm_id.clone(), spec.addresses.clone(), spec.inbound.clone());
        self.backend.start(spec).await?;
        let now = {
            let state = self.state();
            state.vms.get(&vm_id).map(|vm| (state.addresses_of(vm), state.inbound_of(vm)))
        };
        if let Some((addresses_now, inbound_now)) = now {
            if addresses_now != addresses {
                self.backend.set_addresses(&vm_id, addresses_now).await?;
            }
            if inbound_now != inbound {
                self.backend.set_inbound(&vm_id, inbound_now).await?;
            }
        }
        Ok(())
    }

    fn spec(self: &Arc<Self>, state: &State, vm_id: &str) -> Option<VmSpec> {
        let vm = state.vms.get(vm_id)?;
        let mut root = None;
        let mut volumes = Vec::new();
        for volume in state.volumes_of(vm_id) {
            let Some(link) = &volume.link else { continue };
            let disk = disk_of(&volume.id, &link.device, volume.disk.as_ref());
            if link.device == vm.root_device {
                root = Some(disk);
            } else {
                volumes.push(disk);
            }
        }
        Some(VmSpec {
            vm_id: vm_id.to_owned(),
            hostname: vm.host_name(),
            addresses: state.addresses_of(vm),
            boot_mode: if vm.boot_mode == "uefi" { BootMode::Uefi } else { BootMode::Legacy },
            root: root?,
            volumes,
            inbound: state.inbound_of(vm),
            metadata: Arc::new(VmMetadata::new(self, vm_id)),
        })
    }

    /// Copies what the new volumes of a VM are made of.
    async fn fill_volumes(&self, vm_id: &str) -> Result<(), BackendError> {
        let volume_ids: Vec<String> = {
            let state = self.state();
            let empty =
                state.volumes_of(vm_id).into_iter().filter(|volume| volume.state == VolumeState::Creating);
            empty.map(|volume| volume.id.clone()).collect()
        };
        for volume_id in volume_ids {
            self.fill_volume(&volume_id).await?;
        }
        Ok(())
    }

    /// Ends a VM that did not come up, in the state that a fault names or that the cloud would choose.
    fn strike_down(self: &Arc<Self>, state: &mut State, vm_id: &str, into: VmState) {
        match into {
            VmState::Terminated | VmState::ShuttingDown => {
                self.begin_end(state, vm_id, "Server.InternalError")
            }
            other => {
                if let Some(vm) = state.vms.get_mut(vm_id) {
                    vm.state = other;
                    vm.state_reason = "Server.InternalError".to_owned();
                }
            }
        }
    }

    async fn stop(
        self: Arc<Self>,
        vm_id: &str,
        generation: u64,
        force: bool,
        reason: &'static str,
        after: AfterStop,
    ) {
        let work = async {
            let _gate = self.gate(vm_id).await;
            if !self.is_wanted(vm_id, generation) {
                return Ok(());
            }
            self.backend.stop(vm_id, force).await
        };
        let ((), stopped) = tokio::join!(pause(self.latency.changes.vm_stopping), work);
        if let Err(error) = stopped {
            tracing::error!(vm.id = %vm_id, error = %Causes(&error), "could not stop VM {vm_id}");
        }
        let mut state = self.state();
        if state.vms.get(vm_id).is_none_or(|vm| vm.generation != generation) {
            return;
        }
        self.note_stopped(&mut state, vm_id, reason);
        if after == AfterStop::StartAgain {
            self.begin_start(&mut state, vm_id);
        }
    }

    /// A VM has come to rest: in the public cloud it loses its addresses, unless a tag keeps one.
    pub fn note_stopped(&self, state: &mut State, vm_id: &str, reason: &str) {
        let Some(vm) = state.vms.get_mut(vm_id) else { return };
        vm.state = VmState::Stopped;
        vm.state_reason = reason.to_owned();
        let released = vm.automatic_ip.take();
        let kept = vm.meta.tags.get("osc.fcu.eip.auto-attach").cloned();
        if vm.nics.is_empty() {
            for public_ip in state.public_ips.values_mut().filter(|public_ip| public_ip.is_linked_to(vm_id)) {
                if kept.as_ref() != Some(&public_ip.address.to_string()) {
                    public_ip.link = None;
                }
            }
        }
        if let Some(address) = released {
            state.addresses.release(address);
        }
    }

    async fn end(self: Arc<Self>, vm_id: &str, generation: u64, reason: &'static str) {
        let work = async {
            let _gate = self.gate(vm_id).await;
            self.backend.destroy(vm_id).await
        };
        let ((), destroyed) = tokio::join!(pause(self.latency.changes.vm_shutting_down), work);
        if let Err(error) = destroyed {
            tracing::error!(vm.id = %vm_id, error = %Causes(&error), "could not destroy VM {vm_id}");
        }
        let quirks = self.quirks();
        {
            let mut state = self.state();
            let Some(vm) = state.vms.get_mut(vm_id).filter(|vm| vm.generation == generation) else { return };
            vm.state = VmState::Terminated;
            vm.state_reason = reason.to_owned();
            let vm = vm.clone();
            state.note_terminated(&vm, Duration::from_millis(quirks.security_group_release_ms));
        }
        tokio::time::sleep(Duration::from_millis(quirks.terminated_visible_ms)).await;
        self.state().vms.remove(vm_id);
    }
}

impl State {
    /// Frees what a terminated VM held: volumes, addresses, and (after a while) its groups.
    fn note_terminated(&mut self, vm: &Vm, linger: Duration) {
        let volume_ids: Vec<String> =
            self.volumes_of(&vm.id).iter().map(|volume| volume.id.clone()).collect();
        for volume_id in volume_ids {
            let Some(volume) = self.volumes.get_mut(&volume_id) else { continue };
            let goes = volume.link.take().is_some_and(|link| link.delete_on_vm_deletion);
            if goes {
                self.volumes.remove(&volume_id);
            } else if volume.state == VolumeState::InUse {
                volume.state = VolumeState::Available;
            }
        }
        for public_ip in self.public_ips.values_mut().filter(|public_ip| public_ip.is_linked_to(&vm.id)) {
            public_ip.link = None;
        }
        self.release_addresses(vm);
        let now = Instant::now();
        self.lingering_groups.retain(|(_, until)| *until > now);
        self.lingering_groups.extend(vm.all_groups().map(|group| (group.clone(), now + linger)));
    }

    /// A volume of a booting VM is filled: it is attached now.
    pub fn note_filled(&mut self, volume_id: &str, disk: Option<Arc<DiskFile>>) {
        if let Some(volume) = self.volumes.get_mut(volume_id) {
            volume.disk = disk;
            volume.source = None;
            match &mut volume.link {
                Some(link) => {
                    link.state = LinkState::Attached;
                    volume.state = VolumeState::InUse;
                }
                None => volume.state = VolumeState::Available,
            }
        }
    }
}

/// A volume as the backend sees it. Without disk files the path is empty, and nobody looks at it.
pub fn disk_of(volume_id: &str, device: &str, disk: Option<&Arc<DiskFile>>) -> Disk {
    Disk {
        volume_id: volume_id.to_owned(),
        device_name: device.to_owned(),
        file: disk.map(|disk| disk.path().to_owned()).unwrap_or_default(),
    }
}

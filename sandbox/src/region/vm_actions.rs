//! The calls that act on VMs that exist: start, stop, reboot, delete, update, console, password.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    Call, Causes, Region, Reply, State,
    vm_create::{check_words, read_user_data},
    vm_life::AfterStop,
    vm_types::VmType,
    vms::Vm,
    words::VmState,
};
use crate::{
    error::ApiError,
    requests::vms::{
        DeleteVmsRequest, ReadAdminPasswordRequest, ReadConsoleOutputRequest, RebootVmsRequest,
        StartVmsRequest, StopVmsRequest, UpdateVmRequest,
    },
};

impl Region {
    pub async fn start_vms(self: &Arc<Self>, request: StartVmsRequest, _call: &Call) -> Reply {
        let mut state = self.state();
        // One VM in the wrong state fails the whole call, before anything happens.
        for id in &request.vm_ids {
            let vm = state.vm(id)?;
            if vm.state != VmState::Stopped {
                return Err(wrong_state(self.quirks().start_conflict_code, vm));
            }
        }
        let mut changes = Vec::new();
        for id in &request.vm_ids {
            self.begin_start(&mut state, id);
            changes.push(change(&state, id, VmState::Stopped));
        }
        Ok(json!({ "Vms": changes }))
    }

    pub async fn stop_vms(self: &Arc<Self>, request: StopVmsRequest, _call: &Call) -> Reply {
        let mut state = self.state();
        for id in &request.vm_ids {
            self.spare_host(id, "stopped")?;
            let vm = state.vm(id)?;
            match vm.state {
                VmState::Running | VmState::Stopped | VmState::Stopping => {}
                VmState::Pending => return Err(wrong_state(9039, vm)),
                _ => return Err(wrong_state(6006, vm)),
            }
        }
        let force = request.force_stop.unwrap_or(false);
        let reason = if force { "Client.ApiForcedShutdown" } else { "Client.ApiGracefulShutdown" };
        let mut changes = Vec::new();
        for id in &request.vm_ids {
            let (previous, behavior) = {
                let vm = state.vm(id)?;
                (vm.state, vm.shutdown_behavior.clone())
            };
            if previous == VmState::Running {
                // The behaviour is named after shutdowns from inside, but this call follows it too.
                match behavior.as_str() {
                    "terminate" => self.begin_end(&mut state, id, reason),
                    "restart" => self.begin_stop(&mut state, id, force, reason, AfterStop::StartAgain),
                    _ => self.begin_stop(&mut state, id, force, reason, AfterStop::StayStopped),
                }
            }
            changes.push(change(&state, id, previous));
        }
        Ok(json!({ "Vms": changes }))
    }

    pub async fn reboot_vms(self: &Arc<Self>, request: RebootVmsRequest, _call: &Call) -> Reply {
        let state = self.state();
        for id in &request.vm_ids {
            self.spare_host(id, "restarted")?;
            let vm = state.vm(id)?;
            if vm.state != VmState::Running {
                return Err(wrong_state(6006, vm));
            }
        }
        for id in request.vm_ids {
            let Some(generation) = state.vms.get(&id).map(|vm| vm.generation) else { continue };
            let region = Arc::clone(self);
            self.spawn(async move {
                let _gate = region.gate(&id).await;
                if region.is_wanted(&id, generation)
                    && let Err(error) = region.backend.reboot(&id).await
                {
                    tracing::error!(vm.id = %id, error = %Causes(&error), "could not reboot VM {id}");
                }
            });
        }
        Ok(json!({}))
    }

    pub async fn delete_vms(self: &Arc<Self>, request: DeleteVmsRequest, _call: &Call) -> Reply {
        let mut state = self.state();
        for id in &request.vm_ids {
            let vm = state.vm(id)?;
            if vm.deletion_protection {
                return Err(ApiError::new(8018, format!("The VM '{id}' is protected against deletion.")));
            }
        }
        let mut changes = Vec::new();
        for id in &request.vm_ids {
            let previous = state.vm(id)?.state;
            if !previous.is_over() {
                self.begin_end(&mut state, id, "Client.ApiTermination");
            }
            changes.push(change(&state, id, previous));
        }
        Ok(json!({ "Vms": changes }))
    }

    pub async fn update_vm(self: &Arc<Self>, request: UpdateVmRequest, _call: &Call) -> Reply {
        let vm_id = request.vm_id.clone();
        {
            let mut state = self.state();
            self.check_update(&state, &request)?;
            let user_data =
                request.user_data.as_deref().map(|text| read_user_data(Some(text))).transpose()?;
            let groups = request.security_group_ids.as_ref().map(|groups| {
                let mut groups = groups.clone();
                groups.sort();
                groups.dedup();
                groups
            });
            let keypair =
                request.keypair_name.as_ref().map(|name| state.keypair_named(name)).transpose()?.cloned();
            update_mappings(&mut state, &request)?;
            let vm = state.vm_mut(&vm_id)?;
            let set = |target: &mut bool, value: Option<bool>| *target = value.unwrap_or(*target);
            set(&mut vm.bsu_optimized, request.bsu_optimized);
            set(&mut vm.deletion_protection, request.deletion_protection);
            set(&mut vm.is_source_dest_checked, request.is_source_dest_checked);
            set(&mut vm.nested_virtualization, request.nested_virtualization);
            if let Some(actions) = request.actions_on_next_boot {
                vm.secure_boot_action = actions.secure_boot;
            }
            if let Some(keypair) = keypair {
                vm.keypair = Some(keypair);
            }
            if let Some(performance) = request.performance {
                vm.performance = performance;
            }
            if let Some((user_data, _)) = user_data {
                vm.user_data = user_data;
            }
            if let Some(behavior) = request.vm_initiated_shutdown_behavior {
                vm.shutdown_behavior = behavior;
            }
            if let Some(configuration) = request.shutdown_behavior_configuration {
                let (guest, host) = &mut vm.shutdown_configuration;
                *guest = configuration.guest_action.unwrap_or_else(|| guest.clone());
                *host = configuration.host_action.unwrap_or_else(|| host.clone());
            }
            if let Some(vm_type) = request.vm_type {
                if let Some(performance) = VmType::of_name(&vm_type)?.performance {
                    vm.performance = performance.to_owned();
                }
                vm.vm_type = vm_type;
            }
            if let Some(groups) = groups {
                if let Some(first) = vm.nics.first_mut() {
                    first.security_groups.clone_from(&groups);
                }
                vm.security_groups = groups;
            }
        }
        self.refresh_inbound(|vm| vm.id == vm_id).await;
        let state = self.state();
        let vm = state.vm(&vm_id)?;
        Ok(json!({ "Vm": self.vm_answer(&state, vm) }))
    }

    fn check_update(&self, state: &State, request: &UpdateVmRequest) -> Result<(), ApiError> {
        let vm = state.vm(&request.vm_id)?;
        if request.deletion_protection == Some(false) {
            self.spare_host(&vm.id, "made deletable")?;
        }
        if vm.state.is_over() {
            return Err(wrong_state(6006, vm));
        }
        let needs_rest = request.nested_virtualization.is_some()
            || request.performance.is_some()
            || request.user_data.is_some()
            || request.vm_type.is_some();
        if needs_rest && vm.state != VmState::Stopped {
            return Err(wrong_state(6006, vm));
        }
        if let Some(vm_type) = &request.vm_type {
            VmType::of_name(vm_type)?;
        }
        if let Some(performance) = &request.performance
            && !["medium", "high", "highest"].contains(&performance.as_str())
        {
            return Err(ApiError::new(4047, format!("The Performance '{performance}' is not valid.")));
        }
        check_words(
            request.vm_initiated_shutdown_behavior.as_deref(),
            request.shutdown_behavior_configuration.as_ref(),
            request.actions_on_next_boot.as_ref(),
        )?;
        for id in request.security_group_ids.iter().flatten() {
            state.group_for(id, vm.net_id())?;
        }
        Ok(())
    }

    pub async fn read_console_output(
        self: &Arc<Self>,
        request: ReadConsoleOutputRequest,
        _call: &Call,
    ) -> Reply {
        let is_over = self.state().vm(&request.vm_id)?.state == VmState::Terminated;
        let console =
            if is_over { Vec::new() } else { self.backend.console(&request.vm_id).await.unwrap_or_default() };
        let start = console.len().saturating_sub(64 * 1024);
        let output = BASE64_STANDARD.encode(&console[start..]);
        Ok(json!({ "VmId": request.vm_id, "ConsoleOutput": output }))
    }

    pub async fn read_admin_password(
        self: &Arc<Self>,
        request: ReadAdminPasswordRequest,
        _call: &Call,
    ) -> Reply {
        let state = self.state();
        let vm = state.vm(&request.vm_id)?;
        if !vm.product_codes.iter().any(|code| code == "0002") {
            return Err(ApiError::new(4087, format!("The VM '{}' is not a Windows VM.", vm.id)));
        }
        if vm.keypair.is_none() {
            return Err(ApiError::new(9042, format!("The VM '{}' has no keypair.", vm.id)));
        }
        if !vm.was_started {
            return Err(ApiError::new(9039, format!("The VM '{}' was never started.", vm.id)));
        }
        // No machine of the sandbox makes a password, whatever its product codes say.
        Err(ApiError::new(9041, format!("The VM '{}' generated no password.", vm.id)))
    }
}

/// UpdateVm changes one thing about volumes: whether they go with the VM.
fn update_mappings(state: &mut State, request: &UpdateVmRequest) -> Result<(), ApiError> {
    let mut updates = Vec::new();
    for mapping in request.block_device_mappings.iter().flatten() {
        let Some(bsu) = &mapping.bsu else { continue };
        let found = state.volumes_of(&request.vm_id).into_iter().find(|volume| {
            let device = volume.link.as_ref().map(|link| &link.device);
            (mapping.device_name.is_none() || mapping.device_name.as_ref() == device)
                && bsu.volume_id.as_ref().is_none_or(|id| *id == volume.id)
        });
        let Some(found) = found else {
            let device = mapping.device_name.clone().unwrap_or_default();
            return Err(ApiError::new(4003, format!("No volume of the VM is attached as '{device}'.")));
        };
        if let Some(delete) = bsu.delete_on_vm_deletion {
            updates.push((found.id.clone(), delete));
        }
    }
    for (volume_id, delete) in updates {
        if let Some(link) = state.volumes.get_mut(&volume_id).and_then(|volume| volume.link.as_mut()) {
            link.delete_on_vm_deletion = delete;
        }
    }
    Ok(())
}

fn change(state: &State, vm_id: &str, previous: VmState) -> Value {
    let current = state.vms.get(vm_id).map_or(previous, |vm| vm.state);
    json!({ "VmId": vm_id, "PreviousState": previous.word(), "CurrentState": current.word() })
}

/// The refusal of a call that does not fit the state of a VM.
pub fn wrong_state(code: u32, vm: &Vm) -> ApiError {
    ApiError::new(code, format!("The VM '{}' is in the state '{}'.", vm.id, vm.state.word()))
}

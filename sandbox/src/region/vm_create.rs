//! CreateVms: everything that is checked before a VM exists, and the VM with its volumes in their first state.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{
    Call, Region, Reply, State,
    images::Image,
    keypairs::Keypair,
    new_id,
    vm_mappings::{PlannedVolume, plan},
    vm_types::VmType,
    vms::{Nic, Vm},
    volumes::{Link, Volume},
    words::{ImageState, LinkState, VmState, VolumeState},
};
use crate::{
    error::ApiError,
    requests::vms::{ActionsOnNextBoot, CreateVmsRequest, ShutdownBehaviorConfiguration},
};

/// The most that user data may be, decoded.
const MAX_USER_DATA: usize = 500 * 1024;

/// A request that was found to be in order.
struct Plan {
    image: Image,
    vm_type: String,
    performance: String,
    keypair: Option<Keypair>,
    user_data: String,
    private_section: BTreeMap<String, String>,
    subregion: String,
    tenancy: String,
    boot_mode: String,
    volumes: Vec<PlannedVolume>,
    cards: Vec<PlannedCard>,
    security_groups: Vec<String>,
    count: i64,
}

/// A network card to make.
struct PlannedCard {
    device_number: i64,
    subnet_id: String,
    description: String,
    private_ips: Vec<Ipv4Addr>,
    security_groups: Vec<String>,
    delete_on_vm_deletion: bool,
}

impl Region {
    pub async fn create_vms(self: &Arc<Self>, request: CreateVmsRequest, call: &Call) -> Reply {
        let quirks = self.quirks();
        let vm_ids = {
            let mut state = self.state();
            let replayed = state.replayed("CreateVms", request.client_token.as_ref(), &request, &quirks)?;
            if let Some(ids) = replayed {
                let vms = ids.iter().filter_map(|id| state.vms.get(id));
                let vms: Vec<Value> = vms.map(|vm| self.vm_answer(&state, vm)).collect();
                return Ok(json!({ "Vms": vms }));
            }
            let plan = self.plan_vms(&state, &request)?;
            let mut vm_ids = Vec::new();
            let reservation_id = new_id("r");
            for launch_number in 0..plan.count {
                let made = self.insert_vm(&mut state, &request, &plan, &reservation_id, launch_number, call);
                match made {
                    Ok(vm_id) => vm_ids.push(vm_id),
                    Err(error) => {
                        // All or nothing: those that were made a moment ago have not been seen by anybody.
                        vm_ids.iter().for_each(|vm_id| self.erase_vm(&mut state, vm_id));
                        return Err(error);
                    }
                }
            }
            state.remember("CreateVms", request.client_token.as_ref(), &request, &vm_ids);
            vm_ids
        };
        let answer = {
            let state = self.state();
            let vms = vm_ids.iter().filter_map(|id| state.vms.get(id));
            let vms: Vec<Value> = vms.map(|vm| self.vm_answer(&state, vm)).collect();
            json!({ "Vms": vms })
        };
        for vm_id in vm_ids {
            self.begin_boot(&vm_id);
        }
        Ok(answer)
    }

    fn plan_vms(&self, state: &State, request: &CreateVmsRequest) -> Result<Plan, ApiError> {
        let image = state.usable_image(&request.image_id)?;
        if image.state != ImageState::Available {
            return Err(ApiError::new(6001, format!("The ImageId '{}' is not available.", image.id)));
        }
        let vm_type = request.vm_type.clone().unwrap_or_else(|| "t2.small".to_owned());
        let size = VmType::of_name(&vm_type)?;
        let performance = match (size.performance, request.performance.as_deref()) {
            (Some(performance), _) => performance,
            (None, None) => "high",
            (None, Some(performance @ ("medium" | "high" | "highest"))) => performance,
            (None, Some(other)) => {
                return Err(ApiError::new(4047, format!("The Performance '{other}' is not valid.")));
            }
        };
        let count = self.count(state, request)?;
        let keypair =
            request.keypair_name.as_ref().map(|name| state.keypair_named(name)).transpose()?.cloned();
        let cards = self.plan_cards(state, request)?;
        let net_id = match cards.first() {
            Some(card) => Some(state.subnet(&card.subnet_id)?.net_id.clone()),
            None => None,
        };
        let mut subregion = self.subregions()[0].clone();
        if let Some(placement) = &request.placement
            && let Some(wanted) = &placement.subregion_name
        {
            self.check_subregion(wanted)?;
            subregion.clone_from(wanted);
        }
        if let Some(card) = cards.first() {
            subregion.clone_from(&state.subnet(&card.subnet_id)?.subregion);
        }
        let security_groups = match cards.first() {
            Some(card) if !card.security_groups.is_empty() => card.security_groups.clone(),
            _ => self.groups_for(state, request, net_id.as_ref())?,
        };
        let boot_mode = self.boot_mode(request, image)?;
        if image.tpm_mandatory && request.tpm_enabled == Some(false) {
            return Err(ApiError::new(4047, "The image needs TpmEnabled."));
        }
        check_words(
            request.vm_initiated_shutdown_behavior.as_deref(),
            request.shutdown_behavior_configuration.as_ref(),
            request.actions_on_next_boot.as_ref(),
        )?;
        let mappings = request.block_device_mappings.as_deref().unwrap_or_default();
        let volumes = plan(state, &image.mappings, &image.root_device, mappings)?;
        let volume_count = i64::try_from(volumes.len()).unwrap_or(i64::MAX);
        state.room("volumes", 10018, volume_count * count)?;
        let (user_data, private_section) = read_user_data(request.user_data.as_deref())?;
        Ok(Plan {
            image: image.clone(),
            vm_type,
            performance: performance.to_owned(),
            keypair,
            user_data,
            private_section,
            subregion,
            tenancy: request
                .placement
                .as_ref()
                .and_then(|placement| placement.tenancy.clone())
                .unwrap_or_else(|| "default".to_owned()),
            boot_mode,
            volumes,
            cards,
            security_groups,
            count,
        })
    }

    fn count(&self, state: &State, request: &CreateVmsRequest) -> Result<i64, ApiError> {
        let least = request.min_vms_count.unwrap_or(1);
        let most = request.max_vms_count.unwrap_or(least);
        if least < 1 || most < least {
            return Err(ApiError::new(4018, "MinVmsCount must be at least 1 and at most MaxVmsCount."));
        }
        Ok(most.min(state.room("vms", 10010, least)?))
    }

    fn boot_mode(&self, request: &CreateVmsRequest, image: &Image) -> Result<String, ApiError> {
        let has = |mode: &str| image.boot_modes.iter().any(|known| known == mode);
        match request.boot_mode.as_deref() {
            Some(mode @ ("uefi" | "legacy")) if has(mode) => Ok(mode.to_owned()),
            Some(mode) => Err(ApiError::new(
                self.quirks().boot_mode_code,
                format!("The BootMode '{mode}' is not among the BootModes of the image."),
            )),
            None if has("uefi") => Ok("uefi".to_owned()),
            None => Ok("legacy".to_owned()),
        }
    }

    fn plan_cards(&self, state: &State, request: &CreateVmsRequest) -> Result<Vec<PlannedCard>, ApiError> {
        let Some(nics) = request.nics.as_ref().filter(|nics| !nics.is_empty()) else {
            let Some(subnet_id) = &request.subnet_id else {
                if request.private_ips.as_ref().is_some_and(|addresses| !addresses.is_empty()) {
                    return Err(ApiError::new(4046, "PrivateIps can be chosen in a Subnet only."));
                }
                return Ok(Vec::new());
            };
            let card = PlannedCard {
                device_number: 0,
                subnet_id: subnet_id.clone(),
                description: "Primary network interface".to_owned(),
                private_ips: self.chosen_addresses(state, subnet_id, request.private_ips.as_deref())?,
                security_groups: Vec::new(),
                delete_on_vm_deletion: true,
            };
            return Ok(vec![card]);
        };
        if request.subnet_id.is_some() {
            return Err(ApiError::new(4046, "SubnetId and Nics exclude each other."));
        }
        let mut cards = Vec::new();
        for nic in nics {
            if let Some(id) = &nic.nic_id {
                return Err(ApiError::missing(5036, "NicId", id));
            }
            let (Some(device_number), Some(subnet_id)) = (nic.device_number, &nic.subnet_id) else {
                return Err(ApiError::new(7000, "A new card in Nics needs DeviceNumber and SubnetId."));
            };
            let wanted: Vec<String> =
                nic.private_ips.iter().flatten().filter_map(|address| address.private_ip.clone()).collect();
            let net_id = state.subnet(subnet_id)?.net_id.clone();
            let security_groups = nic.security_group_ids.clone().unwrap_or_default();
            for id in &security_groups {
                state.group_for(id, Some(&net_id))?;
            }
            cards.push(PlannedCard {
                device_number,
                subnet_id: subnet_id.clone(),
                description: nic.description.clone().unwrap_or_default(),
                private_ips: self.chosen_addresses(state, subnet_id, Some(wanted.as_slice()))?,
                security_groups,
                delete_on_vm_deletion: nic.delete_on_vm_deletion.unwrap_or(true),
            });
        }
        cards.sort_by_key(|card| card.device_number);
        let numbers_are_sound = cards.windows(2).all(|pair| pair[0].device_number < pair[1].device_number)
            && cards.iter().all(|card| (0..8).contains(&card.device_number))
            && cards[0].device_number == 0;
        if !numbers_are_sound {
            return Err(ApiError::new(
                4047,
                "The DeviceNumbers of Nics must differ, start at 0 and be below 8.",
            ));
        }
        Ok(cards)
    }

    fn chosen_addresses(
        &self,
        state: &State,
        subnet_id: &str,
        wanted: Option<&[String]>,
    ) -> Result<Vec<Ipv4Addr>, ApiError> {
        let range = state.subnet(subnet_id)?.range;
        let mut addresses = Vec::new();
        for text in wanted.unwrap_or_default() {
            let bad = |why: &str| ApiError::new(4030, format!("The PrivateIp '{text}' {why}."));
            let address: Ipv4Addr = text.parse().map_err(|_| bad("is not an address"))?;
            if !range.contains(address) || range.reserves(address) {
                return Err(bad("is not one that the Subnet offers"));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    fn groups_for(
        &self,
        state: &State,
        request: &CreateVmsRequest,
        net_id: Option<&String>,
    ) -> Result<Vec<String>, ApiError> {
        let mut groups = Vec::new();
        for id in request.security_group_ids.iter().flatten() {
            groups.push(state.group_for(id, net_id)?.id.clone());
        }
        for name in request.security_groups.iter().flatten() {
            groups.push(state.group_named(name, net_id)?.id.clone());
        }
        if groups.is_empty() {
            groups.push(state.group_named("default", net_id)?.id.clone());
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    fn insert_vm(
        &self,
        state: &mut State,
        request: &CreateVmsRequest,
        plan: &Plan,
        reservation_id: &str,
        launch_number: i64,
        call: &Call,
    ) -> Result<String, ApiError> {
        let full = || ApiError::new(10001, "Insufficient capacity: no address is left.");
        let vm_id = new_id("i");
        let is_public = plan.cards.is_empty()
            && plan.private_section.get("private_only").is_none_or(|value| value != "true");
        let mut nics = Vec::new();
        for card in &plan.cards {
            match self.insert_card(state, card, &plan.security_groups) {
                Ok(nic) => nics.push(nic),
                Err(error) => {
                    nics.iter()
                        .flat_map(|nic: &Nic| &nic.private_ips)
                        .for_each(|ip| state.addresses.release(*ip));
                    return Err(error);
                }
            }
        }
        let private_ip = match nics.first().and_then(|nic| nic.private_ips.first()) {
            Some(address) => *address,
            None => state.addresses.take_private().ok_or_else(full)?,
        };
        let automatic_ip =
            if is_public { Some(state.addresses.take_public().ok_or_else(full)?) } else { None };

        let mut meta = self.meta(state, call);
        let tags = plan.private_section.iter();
        meta.tags.extend(
            tags.filter_map(|(key, value)| Some((key.strip_prefix("tags.")?.to_owned(), value.clone()))),
        );
        let behavior = request.vm_initiated_shutdown_behavior.clone().unwrap_or_else(|| "stop".to_owned());
        let configuration = request.shutdown_behavior_configuration.clone().unwrap_or_default();
        let vm = Vm {
            meta,
            id: vm_id.clone(),
            reservation_id: reservation_id.to_owned(),
            client_token: request.client_token.clone(),
            image_id: plan.image.id.clone(),
            architecture: plan.image.architecture.clone(),
            product_codes: plan.image.product_codes.clone(),
            root_device: plan.image.root_device.clone(),
            vm_type: plan.vm_type.clone(),
            performance: plan.performance.clone(),
            keypair: plan.keypair.clone(),
            user_data: plan.user_data.clone(),
            nics,
            security_groups: plan.security_groups.clone(),
            private_ip,
            automatic_ip,
            is_public,
            subregion: plan.subregion.clone(),
            tenancy: plan.tenancy.clone(),
            boot_mode: plan.boot_mode.clone(),
            tpm_enabled: request.tpm_enabled.unwrap_or(plan.image.tpm_mandatory),
            secure_boot_action: request
                .actions_on_next_boot
                .as_ref()
                .and_then(|actions| actions.secure_boot.clone()),
            deletion_protection: request.deletion_protection.unwrap_or(false),
            nested_virtualization: request.nested_virtualization.unwrap_or(false),
            bsu_optimized: request.bsu_optimized.unwrap_or(false),
            is_source_dest_checked: true,
            shutdown_configuration: (
                configuration
                    .guest_action
                    .unwrap_or_else(|| if behavior == "terminate" { "terminate" } else { "stop" }.to_owned()),
                // What the cloud showed in August 2026, although its document names `restart` as the default.
                configuration.host_action.unwrap_or_else(|| "stop".to_owned()),
            ),
            shutdown_behavior: behavior,
            launch_number,
            boot_on_creation: request.boot_on_creation.unwrap_or(true),
            state: VmState::Pending,
            state_reason: String::new(),
            was_started: false,
            generation: 0,
            gate: Arc::default(),
        };
        for planned in &plan.volumes {
            let volume = self.volume_of_vm(state, &vm, planned);
            state.volumes.insert(volume.id.clone(), volume);
        }
        state.vms.insert(vm_id.clone(), vm);
        Ok(vm_id)
    }

    fn insert_card(&self, state: &mut State, card: &PlannedCard, groups: &[String]) -> Result<Nic, ApiError> {
        let subnet = state.subnet(&card.subnet_id)?;
        let (range, net_id) = (subnet.range, subnet.net_id.clone());
        let mut private_ips = Vec::new();
        for address in &card.private_ips {
            if !state.addresses.take_this(*address) {
                private_ips.iter().for_each(|taken| state.addresses.release(*taken));
                return Err(ApiError::new(9031, format!("The PrivateIp '{address}' is in use.")));
            }
            private_ips.push(*address);
        }
        if private_ips.is_empty() {
            let full = || ApiError::new(10021, "No address is left in the Subnet.");
            private_ips.push(state.addresses.take_in_subnet(range).ok_or_else(full)?);
        }
        let octets = private_ips[0].octets();
        Ok(Nic {
            id: new_id("eni"),
            link_id: new_id("eni-attach"),
            device_number: card.device_number,
            subnet_id: card.subnet_id.clone(),
            net_id,
            mac: format!(
                "aa:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}",
                rand::random::<u8>(),
                octets[0],
                octets[1],
                octets[2],
                octets[3]
            ),
            description: card.description.clone(),
            private_ips,
            security_groups: if card.security_groups.is_empty() {
                groups.to_vec()
            } else {
                card.security_groups.clone()
            },
            delete_on_vm_deletion: card.delete_on_vm_deletion,
        })
    }

    fn volume_of_vm(&self, state: &mut State, vm: &Vm, planned: &PlannedVolume) -> Volume {
        // A fault of CreateVms strikes the VM, not its volumes.
        let meta = self.meta(state, &Call::default());
        let link = Link {
            vm_id: vm.id.clone(),
            device: planned.device.clone(),
            delete_on_vm_deletion: planned.delete_on_vm_deletion,
            state: LinkState::Attaching,
            date: meta.created,
            sequence: meta.sequence,
        };
        Volume {
            meta,
            id: new_id("vol"),
            client_token: None,
            size: planned.size,
            kind: planned.kind.clone(),
            iops: planned.iops,
            snapshot_id: planned.snapshot_id.clone(),
            source: planned.snapshot_id.as_ref().and_then(|id| state.snapshots.get(id)?.disk.clone()),
            subregion: vm.subregion.clone(),
            state: VolumeState::Creating,
            link: Some(link),
            disk: None,
            task_id: None,
        }
    }

    /// Takes back a VM of which nobody knows.
    fn erase_vm(&self, state: &mut State, vm_id: &str) {
        state.volumes.retain(|_, volume| volume.link.as_ref().is_none_or(|link| link.vm_id != vm_id));
        if let Some(vm) = state.vms.remove(vm_id) {
            state.release_addresses(&vm);
        }
    }
}

impl State {
    /// Gives the addresses of a VM back.
    pub fn release_addresses(&mut self, vm: &Vm) {
        self.addresses.release(vm.private_ip);
        vm.nics.iter().flat_map(|nic| &nic.private_ips).for_each(|address| self.addresses.release(*address));
        if let Some(address) = vm.automatic_ip {
            self.addresses.release(address);
        }
    }
}

/// Refuses words that say nothing about shutdowns or secure boot.
pub fn check_words(
    behavior: Option<&str>,
    configuration: Option<&ShutdownBehaviorConfiguration>,
    actions: Option<&ActionsOnNextBoot>,
) -> Result<(), ApiError> {
    let check = |field: &str, word: Option<&str>, known: &[&str]| match word {
        Some(word) if !known.contains(&word) => {
            Err(ApiError::new(4047, format!("The {field} '{word}' is not valid.")))
        }
        _ => Ok(()),
    };
    check("VmInitiatedShutdownBehavior", behavior, &["stop", "restart", "terminate"])?;
    if let Some(configuration) = configuration {
        check("GuestAction", configuration.guest_action.as_deref(), &["stop", "terminate"])?;
        check("HostAction", configuration.host_action.as_deref(), &["restart", "stop"])?;
    }
    let secure_boot = actions.and_then(|actions| actions.secure_boot.as_deref());
    let known = ["enable", "disable", "setup-mode", "none", "restore-factory-keys"];
    check("SecureBoot", secure_boot, &known)
}

/// Checks user data, and reads the section in it that is for the platform: lines `key=value` between the marks.
pub fn read_user_data(encoded: Option<&str>) -> Result<(String, BTreeMap<String, String>), ApiError> {
    let encoded = encoded.unwrap_or_default();
    let bytes = BASE64_STANDARD
        .decode(encoded)
        .map_err(|_| ApiError::new(4047, "The UserData must be encoded in base64."))?;
    if bytes.len() > MAX_USER_DATA {
        return Err(ApiError::new(4106, "The UserData must not be larger than 500 KiB."));
    }
    let text = String::from_utf8_lossy(&bytes);
    let section = text
        .split_once(PRIVATE_SECTION.0)
        .and_then(|(_, rest)| rest.split_once(PRIVATE_SECTION.1))
        .map_or("", |(section, _)| section);
    let pairs = section.lines().filter_map(|line| line.trim().split_once('='));
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Ok((encoded.to_owned(), pairs))
}

/// The marks around the section of user data that is for the platform.
pub const PRIVATE_SECTION: (&str, &str) =
    ("-----BEGIN OUTSCALE SECTION-----", "-----END OUTSCALE SECTION-----");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_section_of_user_data_is_read() {
        let text = "#!/bin/sh\n-----BEGIN OUTSCALE SECTION-----\ntags.Name=web\nprivate_only=true\n-----END OUTSCALE SECTION-----\n";
        let (_, pairs) = read_user_data(Some(&BASE64_STANDARD.encode(text))).unwrap();
        assert_eq!(pairs.get("tags.Name").map(String::as_str), Some("web"));
        assert_eq!(pairs.get("private_only").map(String::as_str), Some("true"));
        assert_eq!(read_user_data(Some("not base64!")).unwrap_err().code, 4047);
        assert!(read_user_data(None).unwrap().1.is_empty());
    }
}

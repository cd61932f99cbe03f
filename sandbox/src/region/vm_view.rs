//! A VM as ReadVms and ReadVmsState show it: which members are there, which are absent, and what filters see.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    ACCOUNT_ID, Call, Region, Reply, State, check_id, members,
    view::{
        Compare::{Date, Exact, Wildcard},
        Filter, Page, TAG_FILTERS, View, read,
    },
    vms::{Nic, Vm},
    words::VmState,
};
use crate::{
    clock,
    requests::vms::{ReadVmsRequest, ReadVmsStateRequest},
};

#[rustfmt::skip]
const VM_FILTERS: [Filter; 66] = [
    ("Architectures", "Architecture", Exact),
    ("BlockDeviceMappingDeleteOnVmDeletion", "BlockDeviceMappings[].Bsu.DeleteOnVmDeletion", Exact),
    ("BlockDeviceMappingDeviceNames", "BlockDeviceMappings[].DeviceName", Exact),
    ("BlockDeviceMappingLinkDates", "BlockDeviceMappings[].Bsu.LinkDate", Date),
    ("BlockDeviceMappingStates", "BlockDeviceMappings[].Bsu.State", Exact),
    ("BlockDeviceMappingVolumeIds", "BlockDeviceMappings[].Bsu.VolumeId", Exact),
    ("BootModes", "BootMode", Exact),
    ("ClientTokens", "ClientToken", Exact),
    ("CreationDates", "CreationDate", Date),
    ("ImageIds", "ImageId", Exact),
    ("IsSourceDestChecked", "IsSourceDestChecked", Exact),
    ("KeypairNames", "KeypairName", Wildcard),
    ("LaunchNumbers", "LaunchNumber", Exact),
    ("Lifecycles", "_Lifecycle", Exact),
    ("NetIds", "NetId", Exact),
    ("NicAccountIds", "Nics[].AccountId", Exact),
    ("NicDescriptions", "Nics[].Description", Wildcard),
    ("NicIsSourceDestChecked", "Nics[].IsSourceDestChecked", Exact),
    ("NicLinkNicDeleteOnVmDeletion", "Nics[].LinkNic.DeleteOnVmDeletion", Exact),
    ("NicLinkNicDeviceNumbers", "Nics[].LinkNic.DeviceNumber", Exact),
    ("NicLinkNicLinkNicDates", "_NicDates[]", Date),
    ("NicLinkNicLinkNicIds", "Nics[].LinkNic.LinkNicId", Exact),
    ("NicLinkNicStates", "Nics[].LinkNic.State", Exact),
    ("NicLinkNicVmAccountIds", "Nics[].AccountId", Exact),
    ("NicLinkNicVmIds", "_NicVmIds[]", Exact),
    ("NicLinkPublicIpAccountIds", "Nics[].LinkPublicIp.PublicIpAccountId", Exact),
    ("NicLinkPublicIpLinkPublicIpIds", "_LinkPublicIpIds[]", Exact),
    ("NicLinkPublicIpPublicIpIds", "_PublicIpIds[]", Exact),
    ("NicLinkPublicIpPublicIps", "Nics[].LinkPublicIp.PublicIp", Exact),
    ("NicMacAddresses", "Nics[].MacAddress", Exact),
    ("NicNetIds", "Nics[].NetId", Exact),
    ("NicNicIds", "Nics[].NicId", Exact),
    ("NicPrivateIpsLinkPublicIpAccountIds", "Nics[].PrivateIps[].LinkPublicIp.PublicIpAccountId", Exact),
    ("NicPrivateIpsLinkPublicIpIds", "Nics[].PrivateIps[].LinkPublicIp.PublicIp", Exact),
    ("NicPrivateIpsPrimaryIp", "Nics[].PrivateIps[].IsPrimary", Exact),
    ("NicPrivateIpsPrivateIps", "Nics[].PrivateIps[].PrivateIp", Exact),
    ("NicSecurityGroupIds", "Nics[].SecurityGroups[].SecurityGroupId", Exact),
    ("NicSecurityGroupNames", "Nics[].SecurityGroups[].SecurityGroupName", Wildcard),
    ("NicStates", "Nics[].State", Exact),
    ("NicSubnetIds", "Nics[].SubnetId", Exact),
    ("NicSubregionNames", "_NicSubregions[]", Exact),
    ("Platforms", "_Platform", Exact),
    ("PrivateIps", "PrivateIp", Exact),
    ("ProductCodes", "ProductCodes[]", Exact),
    ("PublicIps", "PublicIp", Exact),
    ("ReservationIds", "ReservationId", Exact),
    ("RootDeviceNames", "RootDeviceName", Exact),
    ("RootDeviceTypes", "RootDeviceType", Exact),
    ("SecurityGroupIds", "SecurityGroups[].SecurityGroupId", Exact),
    ("SecurityGroupNames", "SecurityGroups[].SecurityGroupName", Wildcard),
    ("StateReasonCodes", "_StateReasonCode", Exact),
    ("StateReasonMessages", "StateReason", Wildcard),
    ("StateReasons", "StateReason", Exact),
    ("SubnetIds", "SubnetId", Exact),
    ("SubregionNames", "Placement.SubregionName", Exact),
    TAG_FILTERS[0],
    TAG_FILTERS[1],
    TAG_FILTERS[2],
    ("Tenancies", "Placement.Tenancy", Exact),
    ("TpmEnabled", "TpmEnabled", Exact),
    ("VmIds", "VmId", Exact),
    ("VmSecurityGroupIds", "SecurityGroups[].SecurityGroupId", Exact),
    ("VmSecurityGroupNames", "SecurityGroups[].SecurityGroupName", Wildcard),
    ("VmStateCodes", "_StateCode", Exact),
    ("VmStateNames", "State", Exact),
    ("VmTypes", "VmType", Exact),
];

const STATE_FILTERS: [Filter; 7] = [
    ("MaintenanceEventCodes", "MaintenanceEvents[].Code", Exact),
    ("MaintenanceEventDescriptions", "MaintenanceEvents[].Description", Wildcard),
    ("MaintenanceEventsNotAfter", "MaintenanceEvents[].NotAfter", Date),
    ("MaintenanceEventsNotBefore", "MaintenanceEvents[].NotBefore", Date),
    ("SubregionNames", "SubregionName", Exact),
    ("VmIds", "VmId", Exact),
    ("VmStates", "VmState", Exact),
];

impl Region {
    pub async fn read_vms(self: &Arc<Self>, request: ReadVmsRequest, _call: &Call) -> Reply {
        for id in request.filters.iter().flat_map(|filters| filters.vm_ids.iter().flatten()) {
            check_id("VmIds", "i", id)?;
        }
        let state = self.state();
        let visible = state.vms.values().filter(|vm| vm.meta.is_visible());
        let views = visible.map(|vm| View { sequence: vm.meta.sequence, object: self.vm_object(&state, vm) });
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("Vms", views.collect(), &VM_FILTERS, request.filters.as_ref(), page)
    }

    pub async fn read_vms_state(self: &Arc<Self>, request: ReadVmsStateRequest, _call: &Call) -> Reply {
        for id in request.filters.iter().flat_map(|filters| filters.vm_ids.iter().flatten()) {
            check_id("VmIds", "i", id)?;
        }
        let all = request.all_vms.unwrap_or(false);
        let state = self.state();
        let shown = state
            .vms
            .values()
            // Without AllVms only running VMs are shown, even if a filter names another one.
            .filter(|vm| vm.meta.is_visible() && (all || vm.state == VmState::Running));
        let views = shown.map(|vm| View {
            sequence: vm.meta.sequence,
            object: members(json!({
                "MaintenanceEvents": [],
                "SubregionName": vm.subregion,
                "VmId": vm.id,
                "VmState": vm.state.word(),
            })),
        });
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("VmStates", views.collect(), &STATE_FILTERS, request.filters.as_ref(), page)
    }

    /// The VM as an answer shows it.
    pub fn vm_answer(&self, state: &State, vm: &Vm) -> Value {
        View { sequence: 0, object: self.vm_object(state, vm) }.into_answer()
    }

    fn vm_object(&self, state: &State, vm: &Vm) -> Map<String, Value> {
        let is_gone = vm.state == VmState::Terminated;
        let secure_boot = vm.secure_boot_action.as_deref().unwrap_or("none");
        let mut object = members(json!({
            "ActionsOnNextBoot": if is_gone { json!({}) } else { json!({ "SecureBoot": secure_boot }) },
            "Architecture": vm.architecture,
            "BlockDeviceMappings": self.mappings(state, vm),
            "BootMode": vm.boot_mode,
            "BsuOptimized": vm.bsu_optimized,
            "CreationDate": clock::text(vm.meta.created),
            "DeletionProtection": vm.deletion_protection,
            "Hypervisor": "xen",
            "ImageId": vm.image_id,
            "IsSourceDestChecked": vm.is_source_dest_checked,
            "LaunchNumber": vm.launch_number,
            "NestedVirtualization": vm.nested_virtualization,
            "Performance": vm.performance,
            "Placement": { "SubregionName": vm.subregion, "Tenancy": vm.tenancy },
            "ProductCodes": vm.product_codes,
            "ReservationId": vm.reservation_id,
            "RootDeviceName": vm.root_device,
            "RootDeviceType": "ebs",
            "ShutdownBehaviorConfiguration": {
                "GuestAction": vm.shutdown_configuration.0,
                "HostAction": vm.shutdown_configuration.1,
            },
            "State": vm.state.word(),
            "StateReason": vm.state_reason,
            "Tags": if is_gone { json!([]) } else { vm.meta.tags_json() },
            "TpmEnabled": vm.tpm_enabled,
            "UserData": vm.user_data,
            "VmId": vm.id,
            "VmInitiatedShutdownBehavior": vm.shutdown_behavior,
            "VmType": vm.vm_type,
            "_StateCode": vm.state.code(),
            "_StateReasonCode": 0,
            "_Lifecycle": "",
            "_Platform": if vm.product_codes.iter().any(|code| code == "0002") { "windows" } else { "" },
        }));
        vm.meta.hidden(&mut object);
        let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
        if let Some(token) = &vm.client_token {
            set("ClientToken", json!(token));
        }
        if let Some(keypair) = &vm.keypair {
            set("KeypairName", json!(keypair.name));
        }
        // These vanish with the VM.
        if !is_gone {
            set("PrivateDnsName", json!(self.private_dns(vm)));
            set("PrivateIp", json!(vm.private_ip));
            set("SecurityGroups", state.groups_json(&vm.security_groups));
            if let Some(address) = state.public_ip_of(vm) {
                set("PublicIp", json!(address));
                set("PublicDnsName", json!(self.public_dns(address)));
            }
            if let Some(first) = vm.nics.first() {
                set("NetId", json!(first.net_id));
                set("SubnetId", json!(first.subnet_id));
                let nics: Vec<Value> = vm.nics.iter().map(|nic| self.nic_json(state, vm, nic)).collect();
                set("Nics", json!(nics));
                set("_NicVmIds", json!([vm.id]));
                set("_NicSubregions", json!([vm.subregion]));
                set("_NicDates", json!([clock::text(vm.meta.created)]));
            }
            let linked = || state.public_ips.values().filter(|public_ip| public_ip.is_linked_to(&vm.id));
            set("_PublicIpIds", linked().map(|public_ip| json!(public_ip.id)).collect());
            let links = linked().filter_map(|public_ip| public_ip.link.as_ref());
            set("_LinkPublicIpIds", links.map(|link| json!(link.id)).collect());
        }
        object
    }

    fn mappings(&self, state: &State, vm: &Vm) -> Value {
        let volumes = state.volumes_of(&vm.id).into_iter();
        volumes
            .filter_map(|volume| volume.link.as_ref().map(|link| (volume, link)))
            .map(|(volume, link)| {
                json!({
                    "DeviceName": link.device,
                    "Bsu": {
                        "DeleteOnVmDeletion": link.delete_on_vm_deletion,
                        "LinkDate": clock::text(link.date),
                        "State": link.state.word(),
                        "VolumeId": volume.id,
                    },
                })
            })
            .collect()
    }

    fn nic_json(&self, state: &State, vm: &Vm, nic: &Nic) -> Value {
        let link = |address: &std::net::Ipv4Addr| {
            let public_ip = state.public_ips.values().find(|public_ip| {
                public_ip.link.as_ref().is_some_and(|link| link.vm_id == vm.id && link.private_ip == *address)
            });
            public_ip.map(|public_ip| {
                json!({
                    "PublicDnsName": self.public_dns(public_ip.address),
                    "PublicIp": public_ip.address,
                    "PublicIpAccountId": ACCOUNT_ID,
                })
            })
        };
        let private_dns = format!("{}.{}.compute.internal", vm.host_name(), self.name);
        let mut private_ips = Vec::new();
        for (index, address) in nic.private_ips.iter().enumerate() {
            let mut private_ip =
                json!({ "IsPrimary": index == 0, "PrivateDnsName": private_dns, "PrivateIp": address });
            if let Some(link) = link(address) {
                private_ip["LinkPublicIp"] = link;
            }
            private_ips.push(private_ip);
        }
        let mut object = json!({
            "AccountId": ACCOUNT_ID,
            "Description": nic.description,
            "IsSourceDestChecked": vm.is_source_dest_checked,
            "LinkNic": {
                "DeleteOnVmDeletion": nic.delete_on_vm_deletion,
                "DeviceNumber": nic.device_number,
                "LinkNicId": nic.link_id,
                "State": "attached",
            },
            "MacAddress": nic.mac,
            "NetId": nic.net_id,
            "NicId": nic.id,
            "PrivateDnsName": private_dns,
            "PrivateIps": private_ips,
            "SecurityGroups": state.groups_json(&nic.security_groups),
            "State": "in-use",
            "SubnetId": nic.subnet_id,
        });
        if let Some(link) = nic.private_ips.first().and_then(link) {
            object["LinkPublicIp"] = link;
        }
        object
    }

    /// `ip-127-64-0-4.eu-west-2.compute.internal`.
    pub fn private_dns(&self, vm: &Vm) -> String {
        format!("{}.{}.compute.internal", vm.host_name(), self.name)
    }

    /// `ows-127-64-128-4.eu-west-2.compute.outscale.com`.
    pub fn public_dns(&self, address: std::net::Ipv4Addr) -> String {
        format!("ows-{}.{}.compute.outscale.com", address.to_string().replace('.', "-"), self.name)
    }
}

impl State {
    /// `SecurityGroups` of a VM, sorted by id as the cloud does.
    pub fn groups_json(&self, ids: &[String]) -> Value {
        let mut ids: Vec<&String> = ids.iter().collect();
        ids.sort();
        let groups = ids.into_iter().filter_map(|id| self.security_groups.get(id));
        groups.map(|group| json!({ "SecurityGroupId": group.id, "SecurityGroupName": group.name })).collect()
    }
}

/// The filters of this file's calls, for the test that holds them to the requests.
#[cfg(test)]
pub fn filters() -> Vec<(&'static str, Vec<Filter>)> {
    vec![("ReadVms", VM_FILTERS.to_vec()), ("ReadVmsState", STATE_FILTERS.to_vec())]
}

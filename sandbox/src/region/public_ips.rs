//! Public IPs: allocated, linked to VMs, unlinked, released.

use std::{net::Ipv4Addr, sync::Arc};

use serde_json::{Value, json};

use super::{
    ACCOUNT_ID, Call, Causes, Meta, Region, Reply, State, members, new_id,
    view::{Compare::Exact, Filter, Page, TAG_FILTERS, View, read},
    vm_actions::wrong_state,
    vms::Vm,
    words::VmState,
};
use crate::{
    error::ApiError,
    requests::public_ips::{
        CreatePublicIpRequest, DeletePublicIpRequest, LinkPublicIpRequest, ReadPublicIpsRequest,
        UnlinkPublicIpRequest,
    },
};

/// A public IP of the account. The address that each VM of the public cloud gets by itself is not one of these.
#[derive(Debug, Clone)]
pub struct PublicIp {
    pub meta: Meta,
    pub id: String,
    pub address: Ipv4Addr,
    pub link: Option<IpLink>,
}

/// What a public IP is linked to.
#[derive(Debug, Clone)]
pub struct IpLink {
    pub id: String,
    pub vm_id: String,
    pub nic_id: Option<String>,
    pub private_ip: Ipv4Addr,
}

const FILTERS: [Filter; 11] = [
    ("LinkPublicIpIds", "LinkPublicIpId", Exact),
    ("NicAccountIds", "NicAccountId", Exact),
    ("NicIds", "NicId", Exact),
    ("Placements", "_Placement", Exact),
    ("PrivateIps", "PrivateIp", Exact),
    ("PublicIpIds", "PublicIpId", Exact),
    ("PublicIps", "PublicIp", Exact),
    TAG_FILTERS[0],
    TAG_FILTERS[1],
    TAG_FILTERS[2],
    ("VmIds", "VmId", Exact),
];

impl PublicIp {
    /// Whether it is linked to this VM.
    pub fn is_linked_to(&self, vm_id: &str) -> bool {
        self.link.as_ref().is_some_and(|link| link.vm_id == vm_id)
    }
}

impl Region {
    pub async fn create_public_ip(self: &Arc<Self>, _request: CreatePublicIpRequest, call: &Call) -> Reply {
        let mut state = self.state();
        state.room("public_ips", 10011, 1)?;
        let full = || ApiError::new(10001, "Insufficient capacity: no address is left.");
        let address = state.addresses.take_public().ok_or_else(full)?;
        let meta = self.meta(&mut state, call);
        let public_ip = PublicIp { meta, id: new_id("eipalloc"), address, link: None };
        let answer = view(&public_ip, &state).into_answer();
        state.public_ips.insert(public_ip.id.clone(), public_ip);
        Ok(json!({ "PublicIp": answer }))
    }

    pub async fn read_public_ips(self: &Arc<Self>, request: ReadPublicIpsRequest, _call: &Call) -> Reply {
        let state = self.state();
        let visible = state.public_ips.values().filter(|public_ip| public_ip.meta.is_visible());
        let views = visible.map(|public_ip| view(public_ip, &state)).collect();
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("PublicIps", views, &FILTERS, request.filters.as_ref(), page)
    }

    pub async fn link_public_ip(self: &Arc<Self>, request: LinkPublicIpRequest, _call: &Call) -> Reply {
        let (vm_id, link_id, in_net) = {
            let mut state = self.state();
            let link = link_of(&state, &request)?;
            let vm = state.vm(&link.vm_id)?;
            let in_net = !vm.nics.is_empty();
            match vm.state {
                VmState::Running | VmState::Stopped => {}
                VmState::Pending | VmState::Stopping => return Err(wrong_state(9002, vm)),
                _ => return Err(wrong_state(6006, vm)),
            }
            let id = find(&state, request.public_ip_id.as_ref(), request.public_ip.as_ref())?;
            let current = state.public_ips.get(&id).and_then(|public_ip| public_ip.link.clone());
            let is_busy = current.is_some_and(|current| current.vm_id != link.vm_id);
            if is_busy && !request.allow_relink.unwrap_or(!in_net) {
                return Err(ApiError::new(9002, format!("The PublicIpId '{id}' is linked already.")));
            }
            // The VM's own public address gives way.
            let (vm_id, link_id) = (link.vm_id.clone(), link.id.clone());
            for other in state.public_ips.values_mut() {
                if other.link.as_ref().is_some_and(|other| other.private_ip == link.private_ip) {
                    other.link = None;
                }
            }
            let automatic = state.vms.get_mut(&vm_id).and_then(|vm| vm.automatic_ip.take());
            if let Some(address) = automatic {
                state.addresses.release(address);
            }
            if let Some(public_ip) = state.public_ips.get_mut(&id) {
                public_ip.link = Some(link);
            }
            (vm_id, link_id, in_net)
        };
        self.refresh_addresses(&vm_id).await;
        Ok(if in_net { json!({ "LinkPublicIpId": link_id }) } else { json!({}) })
    }

    pub async fn unlink_public_ip(self: &Arc<Self>, request: UnlinkPublicIpRequest, _call: &Call) -> Reply {
        let vm_id = {
            let mut state = self.state();
            let found = state.public_ips.values().find(|public_ip| {
                let link_id = public_ip.link.as_ref().map(|link| &link.id);
                match (&request.link_public_ip_id, &request.public_ip) {
                    (Some(id), _) => link_id == Some(id),
                    (None, Some(address)) => link_id.is_some() && public_ip.address.to_string() == *address,
                    (None, None) => false,
                }
            });
            let id = found.map(|public_ip| public_ip.id.clone());
            let id = match (id, &request.link_public_ip_id, &request.public_ip) {
                (Some(id), ..) => id,
                (None, Some(id), _) => return Err(ApiError::missing(5026, "LinkPublicIpId", id)),
                (None, None, Some(address)) => return Err(ApiError::missing(5026, "PublicIp", address)),
                (None, None, None) => {
                    return Err(ApiError::new(7000, "Either LinkPublicIpId or PublicIp is required."));
                }
            };
            state.unlink(&id)
        };
        if let Some(vm_id) = vm_id {
            self.refresh_addresses(&vm_id).await;
        }
        Ok(json!({}))
    }

    pub async fn delete_public_ip(self: &Arc<Self>, request: DeletePublicIpRequest, _call: &Call) -> Reply {
        let vm_id = {
            let mut state = self.state();
            let id = find(&state, request.public_ip_id.as_ref(), request.public_ip.as_ref())?;
            let link = state.public_ips.get(&id).and_then(|public_ip| public_ip.link.clone());
            if link.is_some_and(|link| link.nic_id.is_some()) {
                return Err(ApiError::new(9031, format!("The PublicIpId '{id}' is linked.")));
            }
            let vm_id = state.unlink(&id);
            if let Some(public_ip) = state.public_ips.remove(&id) {
                state.addresses.release(public_ip.address);
            }
            vm_id
        };
        if let Some(vm_id) = vm_id {
            self.refresh_addresses(&vm_id).await;
        }
        Ok(json!({}))
    }

    /// Tells the backend where a running VM is reached now.
    async fn refresh_addresses(&self, vm_id: &str) {
        let addresses = {
            let state = self.state();
            let running = state.vms.get(vm_id).filter(|vm| vm.state == VmState::Running);
            running.map(|vm| state.addresses_of(vm))
        };
        if let Some(addresses) = addresses
            && let Err(error) = self.backend.set_addresses(vm_id, addresses).await
        {
            tracing::error!(vm.id = %vm_id, error = %Causes(&error), "could not change the addresses of a VM");
        }
    }
}

impl State {
    /// The public address under which a VM is shown.
    pub fn public_ip_of(&self, vm: &Vm) -> Option<Ipv4Addr> {
        let linked = self.public_ips.values().find(|public_ip| {
            public_ip
                .link
                .as_ref()
                .is_some_and(|link| link.vm_id == vm.id && link.private_ip == vm.private_ip)
        });
        linked.map(|public_ip| public_ip.address).or(vm.automatic_ip)
    }

    /// Unlinks, and gives a running VM of the public cloud an address of its own again. Answers whose link it was.
    fn unlink(&mut self, id: &str) -> Option<String> {
        let vm_id = self.public_ips.get_mut(id)?.link.take()?.vm_id;
        let needs = self.vms.get(&vm_id).is_some_and(|vm| {
            vm.is_public
                && vm.automatic_ip.is_none()
                && matches!(vm.state, VmState::Running | VmState::Pending)
        });
        if needs {
            let address = self.addresses.take_public();
            if let Some(vm) = self.vms.get_mut(&vm_id) {
                vm.automatic_ip = address;
            }
        }
        Some(vm_id)
    }
}

/// What a request wants to link to. The VM is looked at before the address, as the cloud does.
fn link_of(state: &State, request: &LinkPublicIpRequest) -> Result<IpLink, ApiError> {
    let (vm, nic) = match (&request.vm_id, &request.nic_id) {
        (Some(vm_id), _) => {
            let vm = state.vm(vm_id)?;
            (vm, vm.nics.first())
        }
        (None, Some(nic_id)) => {
            let mut cards = state.vms.values().flat_map(|vm| vm.nics.iter().map(move |nic| (vm, nic)));
            let found = cards.find(|(_, nic)| nic.id == *nic_id);
            let (vm, nic) = found.ok_or_else(|| ApiError::missing(5036, "NicId", nic_id))?;
            (vm, Some(nic))
        }
        (None, None) => return Err(ApiError::new(7000, "Either VmId or NicId is required.")),
    };
    let addresses = nic.map_or_else(|| vec![vm.private_ip], |nic| nic.private_ips.clone());
    let private_ip = match &request.private_ip {
        None => addresses.first().copied().unwrap_or(vm.private_ip),
        Some(wanted) => {
            let found = addresses.iter().find(|address| address.to_string() == *wanted);
            *found.ok_or_else(|| {
                ApiError::new(4030, format!("The PrivateIp '{wanted}' is not one of the VM."))
            })?
        }
    };
    let nic_id = nic.map(|nic| nic.id.clone());
    Ok(IpLink { id: new_id("eipassoc"), vm_id: vm.id.clone(), nic_id, private_ip })
}

fn find(state: &State, id: Option<&String>, address: Option<&String>) -> Result<String, ApiError> {
    let found = state.public_ips.values().find(|public_ip| {
        public_ip.meta.is_visible()
            && match (id, address) {
                (Some(id), _) => public_ip.id == *id,
                (None, Some(address)) => public_ip.address.to_string() == *address,
                (None, None) => false,
            }
    });
    match (found, id, address) {
        (Some(public_ip), ..) => Ok(public_ip.id.clone()),
        (None, Some(id), _) => Err(ApiError::missing(5080, "PublicIpId", id)),
        (None, None, Some(address)) => Err(ApiError::missing(5025, "PublicIp", address)),
        (None, None, None) => Err(ApiError::new(7000, "Either PublicIpId or PublicIp is required.")),
    }
}

fn view(public_ip: &PublicIp, state: &State) -> View {
    let mut object = members(json!({
        "PublicIp": public_ip.address,
        "PublicIpId": public_ip.id,
        "Tags": public_ip.meta.tags_json(),
    }));
    let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
    if let Some(link) = &public_ip.link {
        set("LinkPublicIpId", json!(link.id));
        set("PrivateIp", json!(link.private_ip));
        set("VmId", json!(link.vm_id));
        if let Some(nic_id) = &link.nic_id {
            set("NicId", json!(nic_id));
            set("NicAccountId", json!(ACCOUNT_ID));
        }
    }
    // Whether an address is for the public cloud or for Nets shows when it is linked.
    let in_net = public_ip
        .link
        .as_ref()
        .and_then(|link| state.vms.get(&link.vm_id))
        .is_some_and(|vm| !vm.nics.is_empty());
    set("_Placement", json!(if in_net { "vpc" } else { "standard" }));
    public_ip.meta.hidden(&mut object);
    View { sequence: public_ip.meta.sequence, object }
}

/// The filters of ReadPublicIps, for the test that holds them to the request.
#[cfg(test)]
pub fn filters() -> (&'static str, Vec<Filter>) {
    ("ReadPublicIps", FILTERS.to_vec())
}

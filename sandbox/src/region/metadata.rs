//! The metadata service of a VM: the EC2 layout that cloud-init reads. Answers are made from the state at the
//! moment of the question, except the public key, which a VM keeps from its creation. The keys of a role are in
//! `crate::role`.

use std::sync::{Arc, Weak};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{Region, State, vm_create::PRIVATE_SECTION, vms::Vm};
use crate::{backend::Metadata, role::Role};

/// The metadata of one VM.
pub struct VmMetadata {
    region: Weak<Region>,
    vm_id: String,
    role: Option<Arc<Role>>,
}

/// Where the keys of a role are.
const CREDENTIALS: &str = "iam/security-credentials";

impl VmMetadata {
    /// Of this VM, which has no role.
    pub fn new(region: &Arc<Region>, vm_id: &str) -> Self {
        Self { region: Arc::downgrade(region), vm_id: vm_id.to_owned(), role: None }
    }

    /// Of this VM, with a role if it has one.
    pub fn with_role(region: &Arc<Region>, vm_id: &str, role: Option<Arc<Role>>) -> Self {
        Self { role, ..Self::new(region, vm_id) }
    }
}

impl Metadata for VmMetadata {
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        let region = self.region.upgrade()?;
        let state = region.state();
        let vm = state.vms.get(&self.vm_id)?;
        let path = path.trim_start_matches('/').trim_start_matches("latest/");
        if path == "user-data" {
            return user_data(vm);
        }
        let path = path.strip_prefix("meta-data")?.trim_start_matches('/');
        let mut entries = entries(&region, &state, vm);
        if let Some(role) = &self.role {
            let place = format!("{CREDENTIALS}/{}", role.name());
            if path.trim_end_matches('/') == place {
                return Some(role.credentials(region.clock.now()).to_string().into_bytes());
            }
            entries.push((place, String::new()));
        }
        look_up(&entries, path).map(String::into_bytes)
    }
}

/// The value of a path, or the list of what is below it, as EC2 writes it: folders end in a slash.
fn look_up(entries: &[(String, String)], path: &str) -> Option<String> {
    let path = path.trim_end_matches('/');
    if path == "public-keys" {
        // The one folder that is listed in another way: `0=name`.
        let name = entries.iter().find(|(entry, _)| entry == "_keypair-name")?;
        return Some(format!("0={}", name.1));
    }
    if let Some((_, value)) = entries.iter().find(|(entry, _)| entry == path) {
        return Some(value.clone());
    }
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    let mut names: Vec<String> = Vec::new();
    for (entry, _) in entries.iter().filter(|(entry, _)| !entry.starts_with('_')) {
        let Some(rest) = entry.strip_prefix(&prefix) else { continue };
        let name = rest.split_once('/').map_or_else(|| rest.to_owned(), |(folder, _)| format!("{folder}/"));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| names.join("\n"))
}

fn entries(region: &Region, state: &State, vm: &Vm) -> Vec<(String, String)> {
    let mut entries: Vec<(String, String)> = Vec::new();
    let mut add = |path: &str, value: &str| entries.push((path.to_owned(), value.to_owned()));
    let private_dns = region.private_dns(vm);
    let private_ip = vm.private_ip.to_string();
    add("ami-id", &vm.image_id);
    add("ami-launch-index", &vm.launch_number.to_string());
    add("instance-id", &vm.id);
    add("instance-type", &vm.vm_type);
    add("hostname", &private_dns);
    add("local-hostname", &private_dns);
    add("local-ipv4", &private_ip);
    let mac = vm.nics.first().map_or_else(|| default_mac(vm), |nic| nic.mac.clone());
    add("mac", &mac);
    add(&format!("network/interfaces/macs/{mac}/device-number"), "0");
    add(&format!("network/interfaces/macs/{mac}/local-ipv4s"), &private_ip);
    add(&format!("network/interfaces/macs/{mac}/mac"), &mac);
    if let Some(nic) = vm.nics.first() {
        add(&format!("network/interfaces/macs/{mac}/subnet-id"), &nic.subnet_id);
        add(&format!("network/interfaces/macs/{mac}/vpc-id"), &nic.net_id);
    }
    if let Some(address) = state.public_ip_of(vm) {
        add("public-ipv4", &address.to_string());
        add("public-hostname", &region.public_dns(address));
    }
    add("placement/availability-zone", &vm.subregion);
    add("placement/cluster", "sandbox-cluster-1");
    add("placement/server", "sandbox-server-1");
    add("reservation-id", &vm.reservation_id);
    let mut nth = 0;
    for link in state.volumes_of(&vm.id).into_iter().filter_map(|volume| volume.link.as_ref()) {
        if link.device == vm.root_device {
            add("block-device-mapping/ami", &link.device);
            add("block-device-mapping/root", &link.device);
        } else {
            nth += 1;
            add(&format!("block-device-mapping/ebs{nth}"), &link.device);
        }
    }
    if let Some(keypair) = &vm.keypair {
        add("_keypair-name", &keypair.name);
        add("public-keys/0/openssh-key", &keypair.public_key);
    }
    for (key, value) in &vm.meta.tags {
        add(&format!("tags/{key}"), value);
    }
    entries
}

/// A VM of the public cloud has a card too, which the API does not show.
fn default_mac(vm: &Vm) -> String {
    let [a, b, c, d] = vm.private_ip.octets();
    format!("aa:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// The decoded user data, without the section for the platform if that section says so.
fn user_data(vm: &Vm) -> Option<Vec<u8>> {
    if vm.user_data.is_empty() {
        return None;
    }
    let bytes = BASE64_STANDARD.decode(&vm.user_data).ok()?;
    let Ok(text) = std::str::from_utf8(&bytes) else { return Some(bytes) };
    let parts = text.split_once(PRIVATE_SECTION.0).and_then(|(before, rest)| {
        rest.split_once(PRIVATE_SECTION.1).map(|(section, after)| (before, section, after))
    });
    match parts {
        Some((before, section, after)) if section.contains("filter_private_section=true") => {
            Some(format!("{before}{}", after.trim_start_matches('\n')).into_bytes())
        }
        _ => Some(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::look_up;

    #[test]
    fn folders_are_listed_and_values_are_told() {
        let entries =
            [("_keypair-name", "mine"), ("instance-id", "i-1"), ("public-keys/0/openssh-key", "ssh-rsa A")];
        let entries: Vec<(String, String)> =
            entries.into_iter().map(|(path, value)| (path.to_owned(), value.to_owned())).collect();
        let look_up = |path| look_up(&entries, path);
        assert_eq!(look_up("instance-id").as_deref(), Some("i-1"));
        assert_eq!(look_up("").as_deref(), Some("instance-id\npublic-keys/"));
        assert_eq!(look_up("public-keys/").as_deref(), Some("0=mine"));
        assert_eq!(look_up("public-keys/0").as_deref(), Some("openssh-key"));
        assert_eq!(look_up("public-keys/0/openssh-key").as_deref(), Some("ssh-rsa A"));
        assert_eq!(look_up("nothing"), None);
    }
}

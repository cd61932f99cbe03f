//! Which resources live, for tests that look for leaks. Not part of OAPI.

use serde_json::{Value, json};

use super::{
    Meta, Region,
    words::{VmState, VolumeState},
};

impl Region {
    /// Ids by kind, sorted; with `seeds` also those that the region was born with. Terminated VMs and volumes on
    /// their way out do not count.
    pub fn resources(&self, seeds: bool) -> Value {
        fn ids<'a>(resources: impl Iterator<Item = (&'a String, &'a Meta)>, seeds: bool) -> Vec<&'a str> {
            resources.filter(|(_, meta)| seeds || !meta.is_seed).map(|(id, _)| id.as_str()).collect()
        }
        let state = self.state();
        let vms = state.vms.values().filter(|vm| vm.state != VmState::Terminated);
        let volumes = state.volumes.values().filter(|volume| volume.state != VolumeState::Deleting);
        json!({
            "vms": ids(vms.map(|vm| (&vm.id, &vm.meta)), seeds),
            "volumes": ids(volumes.map(|volume| (&volume.id, &volume.meta)), seeds),
            "snapshots": ids(state.snapshots.values().map(|snapshot| (&snapshot.id, &snapshot.meta)), seeds),
            "images": ids(state.images.values().map(|image| (&image.id, &image.meta)), seeds),
            "keypairs": ids(state.keypairs.values().map(|keypair| (&keypair.id, &keypair.meta)), seeds),
            "security_groups": ids(state.security_groups.values().map(|group| (&group.id, &group.meta)), seeds),
            "public_ips": ids(state.public_ips.values().map(|address| (&address.id, &address.meta)), seeds),
            "nets": ids(state.nets.values().map(|net| (&net.id, &net.meta)), seeds),
            "subnets": ids(state.subnets.values().map(|subnet| (&subnet.id, &subnet.meta)), seeds),
        })
    }
}

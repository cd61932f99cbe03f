//! Tags of all kinds of resources.

use std::sync::Arc;

use serde_json::json;

use super::{
    Call, Meta, Region, Reply, State, members,
    view::{Compare::Exact, Compare::Wildcard, Filter, Page, View, read},
    words::VmState,
};
use crate::{
    error::ApiError,
    requests::tags::{CreateTagsRequest, DeleteTagsRequest, ReadTagsRequest},
};

const FILTERS: [Filter; 4] = [
    ("Keys", "Key", Wildcard),
    ("ResourceIds", "ResourceId", Exact),
    ("ResourceTypes", "ResourceType", Exact),
    ("Values", "Value", Wildcard),
];

/// The most tags a resource may have.
const MAX_TAGS: usize = 50;

impl Region {
    pub async fn create_tags(self: &Arc<Self>, request: CreateTagsRequest, _call: &Call) -> Reply {
        for tag in &request.tags {
            if tag.key.is_empty() || tag.key.chars().count() > 255 {
                return Err(ApiError::new(4069, "A tag's Key must have 1 to 255 characters."));
            }
            if tag.value.chars().count() > 255 {
                return Err(ApiError::new(4071, "A tag's Value must have at most 255 characters."));
            }
        }
        let mut state = self.state();
        // One id that names nothing fails the whole call.
        for id in &request.resource_ids {
            let meta = state.tagged(id)?;
            let new = request.tags.iter().filter(|tag| !meta.tags.contains_key(&tag.key)).count();
            if meta.tags.len() + new > MAX_TAGS {
                return Err(ApiError::new(10041, format!("A resource can have at most {MAX_TAGS} tags.")));
            }
        }
        for id in &request.resource_ids {
            let meta = state.tagged(id)?;
            meta.tags.extend(request.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())));
        }
        Ok(json!({}))
    }

    pub async fn read_tags(self: &Arc<Self>, request: ReadTagsRequest, _call: &Call) -> Reply {
        let mut views = Vec::new();
        {
            let state = self.state();
            for (kind, id, meta) in state.all_tagged() {
                for (key, value) in &meta.tags {
                    // Resources have up to 50 tags, so that a place per tag fits between two resources.
                    let sequence = meta.sequence * 100 + views.len() as u64 % 100;
                    let object = members(
                        json!({ "Key": key, "ResourceId": id, "ResourceType": kind, "Value": value }),
                    );
                    views.push(View { sequence, object });
                }
            }
        }
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("Tags", views, &FILTERS, request.filters.as_ref(), page)
    }

    pub async fn delete_tags(self: &Arc<Self>, request: DeleteTagsRequest, _call: &Call) -> Reply {
        let mut state = self.state();
        for id in &request.resource_ids {
            state.tagged(id)?;
        }
        for id in &request.resource_ids {
            let meta = state.tagged(id)?;
            // Key and value must both be right.
            for tag in &request.tags {
                if meta.tags.get(&tag.key) == Some(&tag.value) {
                    meta.tags.remove(&tag.key);
                }
            }
        }
        Ok(json!({}))
    }
}

impl State {
    /// The header of a resource that can be tagged; an id that names nothing gets its own kind's refusal.
    fn tagged(&mut self, id: &str) -> Result<&mut Meta, ApiError> {
        let prefix = id.split_once('-').map_or("", |(prefix, _)| prefix);
        let (found, code, field) = match prefix {
            "i" => {
                let vm = self.vms.get_mut(id).filter(|vm| vm.state != VmState::Terminated);
                (vm.map(|vm| &mut vm.meta), 5063, "VmId")
            }
            "ami" => {
                let image = self.images.get_mut(id).filter(|image| !image.meta.is_seed);
                (image.map(|image| &mut image.meta), 5023, "ImageId")
            }
            "snap" => {
                let snapshot = self.snapshots.get_mut(id).filter(|snapshot| !snapshot.meta.is_seed);
                (snapshot.map(|snapshot| &mut snapshot.meta), 5054, "SnapshotId")
            }
            "vol" => (self.volumes.get_mut(id).map(|volume| &mut volume.meta), 5064, "VolumeId"),
            "key" => (self.keypairs.get_mut(id).map(|keypair| &mut keypair.meta), 5071, "KeypairId"),
            "sg" => (self.security_groups.get_mut(id).map(|group| &mut group.meta), 5020, "SecurityGroupId"),
            "eipalloc" => (self.public_ips.get_mut(id).map(|address| &mut address.meta), 5080, "PublicIpId"),
            "vpc" => (self.nets.get_mut(id).map(|net| &mut net.meta), 5065, "NetId"),
            "subnet" => (self.subnets.get_mut(id).map(|subnet| &mut subnet.meta), 5057, "SubnetId"),
            _ => (None, 4104, "ResourceId"),
        };
        found.filter(|meta| meta.is_visible()).ok_or_else(|| match code {
            // These two have empty details in the cloud.
            5020 | 5071 => ApiError::new(code, ""),
            4104 => ApiError::new(4104, format!("Invalid ID received for ResourceIds: '{id}'.")),
            _ => ApiError::missing(code, field, id),
        })
    }

    /// All resources that can be tagged: kind, id, header.
    fn all_tagged(&self) -> Vec<(&'static str, &str, &Meta)> {
        let mut all: Vec<(&'static str, &str, &Meta)> = Vec::new();
        let living = self.vms.values().filter(|vm| vm.state != VmState::Terminated);
        all.extend(living.map(|vm| ("instance", vm.id.as_str(), &vm.meta)));
        all.extend(self.images.values().map(|image| ("image", image.id.as_str(), &image.meta)));
        all.extend(
            self.snapshots.values().map(|snapshot| ("snapshot", snapshot.id.as_str(), &snapshot.meta)),
        );
        all.extend(self.volumes.values().map(|volume| ("volume", volume.id.as_str(), &volume.meta)));
        all.extend(self.keypairs.values().map(|keypair| ("keypair", keypair.id.as_str(), &keypair.meta)));
        all.extend(
            self.security_groups.values().map(|group| ("security-group", group.id.as_str(), &group.meta)),
        );
        all.extend(self.public_ips.values().map(|address| ("public-ip", address.id.as_str(), &address.meta)));
        all.extend(self.nets.values().map(|net| ("vpc", net.id.as_str(), &net.meta)));
        all.extend(self.subnets.values().map(|subnet| ("subnet", subnet.id.as_str(), &subnet.meta)));
        all.retain(|(_, _, meta)| meta.is_visible());
        all
    }
}

/// The filters of ReadTags, for the test that holds them to the request.
#[cfg(test)]
pub fn filters() -> (&'static str, Vec<Filter>) {
    ("ReadTags", FILTERS.to_vec())
}

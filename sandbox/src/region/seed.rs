//! What is in the region from the start: a Net with two Subnets, the default security groups, the official images.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use chrono::{DateTime, Utc};

use super::{
    Meta, OFFICIAL_ACCOUNT_ID, State,
    disks::DiskFile,
    images::{Image, ImageMapping},
    new_id,
    places::{Net, Subnet},
    security_groups::SecurityGroup,
    snapshots::{Permissions, Snapshot},
    words::{ImageState, SnapshotState},
};

/// An official image.
#[derive(Debug, Clone)]
pub struct SeedImage {
    /// `tiny-1.0`.
    pub name: String,
    pub description: String,
    /// GiB.
    pub size: i64,
    /// Whether it boots with UEFI too.
    pub has_uefi: bool,
    /// Absent without machines.
    pub disk: Option<Arc<DiskFile>>,
}

/// Puts everything there.
pub fn plant(state: &mut State, region: &str, now: DateTime<Utc>, images: Vec<SeedImage>) {
    plant_net(state, region, now);
    let meta = meta(state, now);
    let description = "default security group".to_owned();
    // In the public cloud it lets nothing in.
    let group = SecurityGroup::new(meta, "default".to_owned(), description, None);
    state.security_groups.insert(group.id.clone(), group);
    for seed in images {
        plant_image(state, now, seed);
    }
}

fn plant_net(state: &mut State, region: &str, now: DateTime<Utc>) {
    let net = Net {
        meta: meta(state, now),
        id: new_id("vpc"),
        range: state.addresses.net,
        dhcp_options_set_id: new_id("dopt"),
    };
    for (range, letter) in state.addresses.subnets.into_iter().zip(["a", "b"]) {
        let subnet = Subnet {
            meta: meta(state, now),
            id: new_id("subnet"),
            net_id: net.id.clone(),
            range,
            subregion: format!("{region}{letter}"),
        };
        state.subnets.insert(subnet.id.clone(), subnet);
    }
    let meta = meta(state, now);
    let description = "default security group".to_owned();
    let group = SecurityGroup::new(meta, "default".to_owned(), description, Some(net.id.clone()));
    state.security_groups.insert(group.id.clone(), group);
    state.nets.insert(net.id.clone(), net);
}

fn plant_image(state: &mut State, now: DateTime<Utc>, seed: SeedImage) {
    let permissions = Permissions { is_public: true, ..Permissions::default() };
    let snapshot = Snapshot {
        meta: meta(state, now),
        id: new_id("snap"),
        account_id: OFFICIAL_ACCOUNT_ID.to_owned(),
        client_token: None,
        description: format!("Snapshot of {}", seed.name),
        volume_id: new_id("vol"),
        size: seed.size,
        state: SnapshotState::Completed,
        progress: 100,
        permissions: permissions.clone(),
        disk: seed.disk,
    };
    let mapping = ImageMapping {
        device: "/dev/sda1".to_owned(),
        snapshot_id: snapshot.id.clone(),
        size: seed.size,
        kind: "standard".to_owned(),
        iops: None,
        delete_on_vm_deletion: true,
    };
    state.snapshots.insert(snapshot.id.clone(), snapshot);
    let image = Image {
        meta: meta(state, now),
        id: new_id("ami"),
        account_id: OFFICIAL_ACCOUNT_ID.to_owned(),
        name: seed.name,
        description: seed.description,
        architecture: "x86_64".to_owned(),
        boot_modes: ["legacy"]
            .into_iter()
            .chain(seed.has_uefi.then_some("uefi"))
            .map(str::to_owned)
            .collect(),
        product_codes: vec!["0001".to_owned()],
        root_device: "/dev/sda1".to_owned(),
        tpm_mandatory: false,
        mappings: vec![mapping],
        permissions,
        state: ImageState::Available,
        state_comment: None,
    };
    state.images.insert(image.id.clone(), image);
}

fn meta(state: &mut State, now: DateTime<Utc>) -> Meta {
    Meta {
        sequence: state.next_sequence(),
        created: now,
        visible_from: Instant::now(),
        tags: BTreeMap::new(),
        doom: None,
        is_seed: true,
    }
}

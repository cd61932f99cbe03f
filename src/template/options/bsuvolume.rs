//! `osc-bsuvolume`: the options of the builder that makes volumes, and snapshots of them.

use super::{
    access::access,
    block_device::{Role, block_device, refuse_twins, with_the_vm},
    fields::Fields,
    ssh::communicator,
    table,
    vm::{shutdown_behavior, vm},
};
use crate::{
    domain::plan::{BlockDevice, SnapshotPlan, VolumePlan, VolumeToKeep},
    template::render::Scope,
};

/// Reads all options of the builder.
pub fn bsuvolume(fields: &Fields<'_>) -> VolumePlan {
    let access = access(fields);
    shutdown_behavior(fields, "its volumes are free");
    let entries = fields.objects("bsu_volumes").unwrap_or_default();
    let (devices, volumes): (Vec<_>, Vec<_>) = entries.iter().map(volume).unzip();
    refuse_twins(&entries, &devices);
    if !volumes.iter().any(|volume| volume.is_kept) {
        fields.notice("bsu_volumes", "has no volume that stays: the build will have no artifact");
    }
    let plan = VolumePlan {
        access,
        vm: vm(fields, with_the_vm(devices)),
        communicator: communicator(fields),
        volumes,
    };
    // Read by whoever made the run of the builder.
    fields.has("name");
    fields.finish("`osc-bsuvolume`", &table::bsuvolume());
    plan
}

fn volume(fields: &Fields<'_>) -> (BlockDevice, VolumeToKeep) {
    let device = block_device(fields, Role::Artifact);
    if device.no_device {
        fields.fail("no_device", "`no_device` leaves out a volume; here stand the volumes to make");
    }
    if device.volume_size.is_none() && device.snapshot_id.is_none() && !fields.has("volume_size") {
        fields.fail("volume_size", "`volume_size` or `snapshot_id` is missing: how large the volume is");
    }
    let is_kept = !device.delete_on_vm_deletion;
    let wanted = fields.is_on("snapshot_volume");
    if wanted && !is_kept {
        fields.fail(
            "snapshot_volume",
            "a volume with `delete_on_vm_deletion` is no artifact, so nothing would tell of its snapshot; leave one of them out",
        );
    }
    let snapshot = SnapshotPlan {
        description: fields.late_text("snapshot_description", Scope::Tags).filter(|text| !text.is_empty()),
        tags: fields.late_map("snapshot_tags", Scope::Tags).unwrap_or_default(),
        account_ids: fields.texts("snapshot_account_ids").unwrap_or_default(),
    };
    for option in ["snapshot_description", "snapshot_tags", "snapshot_account_ids"] {
        if fields.has(option) && !wanted {
            fields.notice(option, "has no effect without `snapshot_volume`");
        }
    }
    let keep = VolumeToKeep {
        device_name: device.device_name.clone(),
        is_kept,
        tags: fields.late_map("tags", Scope::Tags).unwrap_or_default(),
        snapshot: wanted.then_some(snapshot),
    };
    fields.finish("an entry of `bsu_volumes`", &table::BSU_VOLUME);
    (device, keep)
}

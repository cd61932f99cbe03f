//! `osc-bsusurrogate`: the options of the builder that makes an OMI of snapshots of volumes which provisioning has filled.

use super::{
    access::access,
    block_device::{self, MAX_IOPS, MAX_SIZE, Role, VOLUME_TYPES, block_devices, with_the_vm},
    fields::{Fields, quoted},
    omi::omi,
    ssh::communicator,
    table,
    vm::{Shutdown, shutdown_behavior, vm},
};
use crate::{
    domain::plan::{BlockDevice, DeviceSource, OmiDevice, SurrogatePlan},
    template::{envelope::shorten, render::Scope, suggest::or_did_you_mean},
};

/// Reads all options of the builder.
pub fn bsusurrogate(fields: &Fields<'_>) -> SurrogatePlan {
    let access = access(fields);
    let omi = omi(fields);
    let shutdown = shutdown_behavior(fields, "its volumes are read");
    let launched = block_devices(fields, "launch_block_device_mappings", Role::Surrogate);
    let registered = block_devices(fields, "omi_block_device_mappings", Role::Omi);
    let root = root(fields, &launched, shutdown);
    let devices = devices(fields, root.as_ref(), &launched, &registered);
    let plan = SurrogatePlan {
        access,
        omi,
        vm: vm(fields, with_the_vm(launched)),
        communicator: communicator(fields),
        volume_tags: fields.late_map("run_volume_tags", Scope::Tags).unwrap_or_default(),
        root_device_name: root.map(|root| root.device_name).unwrap_or_default(),
        devices,
    };
    // Read by whoever made the run of the builder.
    fields.has("name");
    fields.finish("`osc-bsusurrogate`", &table::bsusurrogate());
    plan
}

/// Reads `omi_root_device`.
fn root(fields: &Fields<'_>, launched: &[BlockDevice], shutdown: Shutdown) -> Option<OmiDevice> {
    let Some(root) = fields.object("omi_root_device") else {
        fields.fail(
            "omi_root_device",
            "`omi_root_device` is missing: `source_device_name`, the volume of the VM that becomes the root of the OMI, and \
             `device_name`, what it is called there (`/dev/sda1`)",
        );
        return None;
    };
    let device_name = block_device::device_name(&root, "device_name");
    let source_name = root.filled("source_device_name").unwrap_or_default();
    let source = launched.iter().find(|device| device.device_name == source_name);
    match source {
        _ if source_name.is_empty() => {
            root.fail(
                "source_device_name",
                "`source_device_name` is missing: which volume of the VM becomes the root of the OMI",
            );
        }
        None => {
            let known: Vec<&str> = launched.iter().map(|device| device.device_name.as_str()).collect();
            let listed = match known.as_slice() {
                [] => "list the volume there".to_owned(),
                known => format!("use {}", quoted(known)),
            };
            let hint = or_did_you_mean(&source_name, known.iter().copied(), &listed);
            let detail = format!(
                "`source_device_name` is `{}`, which is no `device_name` of `launch_block_device_mappings`; {hint}",
                shorten(&source_name)
            );
            root.fail("source_device_name", detail);
        }
        Some(device) if device.no_device || device.omit_from_artifact => {
            let option = if device.no_device { "no_device" } else { "omit_from_artifact" };
            root.fail(
                "source_device_name",
                format!("`{source_name}` cannot be the root of the OMI: it has `{option}`"),
            );
        }
        Some(_) => {}
    }
    let volume_type = root.word("volume_type", &VOLUME_TYPES);
    let iops = root.whole("iops", 0..=MAX_IOPS).filter(|iops| *iops > 0);
    let size = root.whole("volume_size", 0..=MAX_SIZE).filter(|size| *size > 0);
    let delete_on_vm_deletion = root.flag("delete_on_vm_deletion");
    root.finish("`omi_root_device`", &[]);
    let source = source?;
    if shutdown.terminates && shutdown.deletes(fields, &source_name) {
        root.fail(
            "source_device_name",
            format!(
                "the volume `{source_name}` has `delete_on_vm_deletion`, and with `shutdown_behavior` `terminate` it would be \
                 gone before the OMI is made of it; leave one of them out"
            ),
        );
    }
    let (ours, theirs) = (volume_type.as_deref(), source.volume_type.as_deref());
    let is_io1 = ours.or(theirs) == Some("io1");
    if let (false, Some(_)) = (is_io1, iops) {
        root.fail("iops", "`iops` of `omi_root_device` is only for a `volume_type` of `io1`");
    }
    let iops = iops.or(source.iops).filter(|_| is_io1);
    if is_io1 && iops.is_none() && !root.has("iops") {
        root.fail("volume_type", "an `io1` volume needs `iops`");
    }
    if let (Some(size), Some(least)) = (size, source.volume_size)
        && size < least
    {
        root.fail(
            "volume_size",
            format!("`volume_size` must be at least that of the volume `{source_name}`, {least} GiB"),
        );
    }
    let volume_size = size.or(source.volume_size);
    if is_io1 {
        block_device::check_iops(&root, iops, volume_size);
    }
    Some(OmiDevice {
        device_name,
        source: DeviceSource::Volume(source_name),
        volume_type: volume_type.or_else(|| source.volume_type.clone()),
        volume_size,
        iops,
        delete_on_vm_deletion: delete_on_vm_deletion.unwrap_or(source.delete_on_vm_deletion),
    })
}

/// All volumes of a VM of the OMI: the root, the VM's other volumes, and those of snapshots that are named.
fn devices(
    fields: &Fields<'_>,
    root: Option<&OmiDevice>,
    launched: &[BlockDevice],
    registered: &[BlockDevice],
) -> Vec<OmiDevice> {
    let Some(root) = root else { return Vec::new() };
    let mut devices = vec![root.clone()];
    for device in launched.iter().filter(|device| !device.no_device && !device.omit_from_artifact) {
        let name = &device.device_name;
        if root.source == DeviceSource::Volume(name.clone()) {
            continue;
        }
        if *name == root.device_name {
            fields.notice(
                "launch_block_device_mappings",
                &format!("changes the VM's own root `{name}`; the root of the OMI is made of another volume"),
            );
            continue;
        }
        devices.push(OmiDevice::of(device, DeviceSource::Volume(name.clone())));
    }
    let entries = fields.objects("omi_block_device_mappings").unwrap_or_default();
    for (device, entry) in registered.iter().zip(&entries) {
        let name = &device.device_name;
        if launched.iter().any(|other| other.device_name == *name && !other.omit_from_artifact) {
            fields.notice(
                "omi_block_device_mappings",
                &format!(
                    "has no effect for `{name}`, which `launch_block_device_mappings` has too, as in Packer"
                ),
            );
        } else if device.no_device {
            fields.notice("no_device", "has no effect in `omi_block_device_mappings`, as in Packer");
        } else if *name == root.device_name {
            entry.fail(
                "device_name",
                format!("`{name}` is the root of the OMI, which is made of another volume"),
            );
        } else if let Some(snapshot) = &device.snapshot_id {
            devices.push(OmiDevice::of(device, DeviceSource::Snapshot(snapshot.clone())));
        } else {
            entry.fail(
                "snapshot_id",
                format!(
                    "`{name}` needs `snapshot_id`: the volumes of an OMI are made of snapshots. To make the OMI of a volume \
                     of the VM, list it in `launch_block_device_mappings`"
                ),
            );
        }
    }
    devices
}

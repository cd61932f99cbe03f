//! Volumes: of the VM, beside or in place of those of its image; of an OMI; and those that a build makes.

use super::{fields::Fields, table};
use crate::domain::plan::BlockDevice;

/// GiB; OUTSCALE's largest volume.
pub const MAX_SIZE: i64 = 14_901;
/// Of an io1 volume.
pub const MAX_IOPS: i64 = 13_000;
/// Of an io1 volume, for each GiB.
const MAX_IOPS_PER_GIB: i64 = 300;

/// The types of volumes.
pub const VOLUME_TYPES: [&str; 3] = ["standard", "gp2", "io1"];

/// What the volumes of a list are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The VM's, all of which go into the OMI.
    Vm,
    /// The VM's, of whose snapshots the OMI is made.
    Surrogate,
    /// The OMI's.
    Omi,
    /// What the build makes.
    Artifact,
}

/// Reads a list of volumes.
pub fn block_devices(fields: &Fields<'_>, name: &'static str, role: Role) -> Vec<BlockDevice> {
    let entries = fields.objects(name).unwrap_or_default();
    let devices = entries.iter().map(|entry| {
        let device = block_device(entry, role);
        entry.finish("a block device", &table::BLOCK_DEVICE);
        device
    });
    let devices: Vec<BlockDevice> = devices.collect();
    refuse_twins(&entries, &devices);
    devices
}

/// Two volumes cannot have the same name.
pub fn refuse_twins(entries: &[Fields<'_>], devices: &[BlockDevice]) {
    for (index, device) in devices.iter().enumerate() {
        if !device.device_name.is_empty()
            && devices[..index].iter().any(|other| other.device_name == device.device_name)
        {
            entries[index].fail("device_name", format!("`{}` is given to two volumes", device.device_name));
        }
    }
}

/// The same volumes as those of a VM that nothing else is made of: however it ends, they go with it.
pub fn with_the_vm(devices: Vec<BlockDevice>) -> Vec<BlockDevice> {
    devices.into_iter().map(|device| BlockDevice { delete_on_vm_deletion: true, ..device }).collect()
}

/// Reads one volume, as far as all kinds are the same.
pub fn block_device(fields: &Fields<'_>, role: Role) -> BlockDevice {
    let device_name = device_name(fields, "device_name");
    let volume_type = fields.word("volume_type", &VOLUME_TYPES);
    let volume_size = fields.whole("volume_size", 0..=MAX_SIZE).filter(|size| *size > 0);
    let iops = fields.whole("iops", 0..=MAX_IOPS).filter(|iops| *iops > 0);
    let is_io1 = volume_type.as_deref() == Some("io1");
    let no_device = fields.is_on("no_device");
    if is_io1 && iops.is_none() && !fields.has("iops") {
        fields.fail("volume_type", "an `io1` volume needs `iops`");
    }
    if is_io1 {
        check_iops(fields, iops, volume_size);
    } else if iops.is_some() {
        fields.notice("iops", &format!("of `{device_name}` has no effect: only `io1` volumes take it"));
    }
    let delete_on_vm_deletion = fields.flag("delete_on_vm_deletion");
    if delete_on_vm_deletion.is_none() && !no_device && role != Role::Artifact {
        fields.notice(
            "delete_on_vm_deletion",
            &format!(
                "of `{device_name}` is taken as true, where Packer takes it as false: then a volume stays behind after \
                 each VM of the OMI. The volumes of the VM that is baked in are removed either way"
            ),
        );
    }
    BlockDevice {
        device_name,
        delete_on_vm_deletion: delete_on_vm_deletion.unwrap_or(role != Role::Artifact),
        volume_type,
        volume_size,
        iops: iops.filter(|_| is_io1),
        snapshot_id: fields.filled("snapshot_id"),
        no_device,
        omit_from_artifact: role == Role::Surrogate && fields.is_on("omit_from_artifact"),
    }
}

/// The name of a device.
pub fn device_name(fields: &Fields<'_>, option: &'static str) -> String {
    let name = fields.text(option).unwrap_or_default();
    if name.is_empty() {
        fields
            .fail(option, format!("`{option}` is missing, such as `/dev/sda1` for the root or `/dev/xvdb`"));
    } else if !name.starts_with("/dev/") {
        fields.fail(option, format!("`{option}` must begin with `/dev/`, such as `/dev/xvdb`, not `{name}`"));
    }
    name
}

/// An io1 volume has a limit for each GiB.
pub fn check_iops(fields: &Fields<'_>, iops: Option<i64>, size: Option<i64>) {
    if let (Some(size), Some(iops)) = (size, iops)
        && iops > size * MAX_IOPS_PER_GIB
    {
        fields.fail(
            "iops",
            format!(
                "`iops` can be at most {MAX_IOPS_PER_GIB} for each GiB, which is {}",
                size * MAX_IOPS_PER_GIB
            ),
        );
    }
}

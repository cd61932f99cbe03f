//! Volumes of the VM beside, or in place of, those of its image.

use super::{fields::Fields, table};
use crate::domain::plan::BlockDevice;

/// GiB; OUTSCALE's largest volume.
const MAX_SIZE: i64 = 14_901;
/// Of an io1 volume.
const MAX_IOPS: i64 = 13_000;
/// Of an io1 volume, for each GiB.
const MAX_IOPS_PER_GIB: i64 = 300;

/// Reads `launch_block_device_mappings`.
pub fn block_devices(fields: &Fields<'_>, name: &'static str) -> Vec<BlockDevice> {
    let entries = fields.objects(name).unwrap_or_default();
    let devices: Vec<BlockDevice> = entries.iter().map(block_device).collect();
    for (index, device) in devices.iter().enumerate() {
        if !device.device_name.is_empty()
            && devices[..index].iter().any(|other| other.device_name == device.device_name)
        {
            entries[index].fail("device_name", format!("`{}` is given to two volumes", device.device_name));
        }
    }
    devices
}

fn block_device(fields: &Fields<'_>) -> BlockDevice {
    let device_name = fields.text("device_name").unwrap_or_default();
    if device_name.is_empty() {
        fields
            .fail("device_name", "`device_name` is missing, such as `/dev/sda1` for the root or `/dev/xvdb`");
    } else if !device_name.starts_with("/dev/") {
        fields.fail(
            "device_name",
            format!("`device_name` must begin with `/dev/`, such as `/dev/xvdb`, not `{device_name}`"),
        );
    }
    let volume_type = fields.word("volume_type", &["standard", "gp2", "io1"]);
    let volume_size = fields.whole("volume_size", 0..=MAX_SIZE).filter(|size| *size > 0);
    let iops = fields.whole("iops", 0..=MAX_IOPS).filter(|iops| *iops > 0);
    let is_io1 = volume_type.as_deref() == Some("io1");
    let no_device = fields.is_on("no_device");
    if is_io1 && iops.is_none() && !fields.has("iops") {
        fields.fail("volume_type", "an `io1` volume needs `iops`");
    }
    if let (true, Some(size), Some(iops)) = (is_io1, volume_size, iops)
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
    if iops.is_some() && !is_io1 {
        fields.notice("iops", &format!("of `{device_name}` has no effect: only `io1` volumes take it"));
    }
    let delete_on_vm_deletion = fields.flag("delete_on_vm_deletion");
    if delete_on_vm_deletion.is_none() && !no_device {
        fields.notice(
            "delete_on_vm_deletion",
            &format!(
                "of `{device_name}` is taken as true, where Packer takes it as false: then a volume stays behind after \
                 each VM of the OMI. The volumes of the VM that is baked in are removed either way"
            ),
        );
    }
    let device = BlockDevice {
        device_name,
        delete_on_vm_deletion: delete_on_vm_deletion.unwrap_or(true),
        volume_type,
        volume_size,
        iops: iops.filter(|_| is_io1),
        snapshot_id: fields.filled("snapshot_id"),
        no_device,
    };
    fields.finish("a block device", &table::BLOCK_DEVICE);
    device
}

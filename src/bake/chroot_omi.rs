//! The volumes of an OMI that is registered by `osc-chroot`: the root is made of the volume that was worked on, the others
//! are as the source OMI or the template has them.

use super::steps::SourceImage;
use crate::domain::plan::{DeviceSource, OmiDevice, ScratchPlan};

/// The volumes of an OMI that was changed: those of its source, with another root.
#[must_use]
pub fn of_source(image: &SourceImage, root_name: &str, root_size: u32) -> Vec<OmiDevice> {
    let device = |mapping: &crate::oapi::types::BlockDeviceMappingImage| {
        let device_name = mapping.device_name.clone()?;
        let bsu = mapping.bsu.as_ref()?;
        let is_root = device_name == root_name;
        let source = if is_root {
            DeviceSource::Volume(device_name.clone())
        } else {
            DeviceSource::Snapshot(bsu.snapshot_id.clone()?)
        };
        let size = if is_root { bsu.volume_size.max(Some(root_size)) } else { bsu.volume_size };
        Some(OmiDevice {
            device_name,
            source,
            volume_type: bsu.volume_type.as_ref().map(ToString::to_string),
            volume_size: size.map(i64::from),
            iops: bsu.iops.filter(|iops| *iops > 0).map(i64::from),
            delete_on_vm_deletion: bsu.delete_on_vm_deletion.unwrap_or(true),
        })
    };
    image.devices.iter().filter_map(device).collect()
}

/// The volumes of an OMI that was made from scratch.
#[must_use]
pub fn of_scratch(plan: &ScratchPlan, root_size: u32) -> Vec<OmiDevice> {
    let devices = plan.devices.iter().filter(|device| !device.no_device);
    let device = |device: &crate::domain::plan::BlockDevice| {
        let is_root = device.device_name == plan.root_device_name;
        let source = if is_root {
            DeviceSource::Volume(device.device_name.clone())
        } else {
            DeviceSource::Snapshot(device.snapshot_id.clone()?)
        };
        let made = OmiDevice::of(device, source);
        let size = if is_root { made.volume_size.max(Some(root_size.into())) } else { made.volume_size };
        Some(OmiDevice { volume_size: size, ..made })
    };
    devices.filter_map(device).collect()
}

//! Block device mappings: what an image brings, what a request changes, and the rules for names and sizes.

use super::{Region, State, images::ImageMapping, snapshots::Snapshot};
use crate::{
    error::ApiError,
    requests::vms::{BlockDeviceMappingVmCreation, BsuToCreate},
};

/// The largest volume, in GiB.
pub const MAX_SIZE: i64 = 14_901;
/// The most IOPS that an io1 volume can have, and the most per GiB.
const MAX_IOPS: (i64, i64) = (13_000, 300);

/// A volume that a VM is created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedVolume {
    pub device: String,
    pub snapshot_id: Option<String>,
    pub size: i64,
    pub kind: String,
    pub iops: Option<i64>,
    pub delete_on_vm_deletion: bool,
}

/// Whether a name is one that a volume can be attached under: `/dev/sda1` for the root, `/dev/sd[b-z]`,
/// `/dev/sd[b-z][a-z]`, `/dev/xvd[b-z]`, `/dev/xvd[b-z][a-z]`.
pub fn check_device(name: &str, root: &str) -> Result<(), ApiError> {
    let letters = name.strip_prefix("/dev/sd").or_else(|| name.strip_prefix("/dev/xvd")).unwrap_or_default();
    let is_data = match letters.as_bytes() {
        [first] => (b'b'..=b'z').contains(first),
        [first, second] => (b'b'..=b'z').contains(first) && second.is_ascii_lowercase(),
        _ => false,
    };
    if is_data || name == root {
        return Ok(());
    }
    Err(ApiError::new(4019, format!("The DeviceName '{name}' is not valid.")))
}

/// Checks type, size and IOPS of a volume.
pub fn check_volume(kind: &str, size: i64, iops: Option<i64>) -> Result<(), ApiError> {
    if !["standard", "gp2", "io1"].contains(&kind) {
        return Err(ApiError::new(4047, format!("The VolumeType '{kind}' is not valid.")));
    }
    if !(1..=MAX_SIZE).contains(&size) {
        return Err(ApiError::new(
            4078,
            format!("The volume size must be between 1 and {MAX_SIZE} GiB, not {size}."),
        ));
    }
    match (kind, iops) {
        ("io1", None) => Err(ApiError::new(7000, "Iops is required for a volume of the type io1.")),
        ("io1", Some(iops)) if !(1..=MAX_IOPS.0).contains(&iops) => {
            Err(ApiError::new(4029, format!("Iops must be between 1 and {}, not {iops}.", MAX_IOPS.0)))
        }
        ("io1", Some(iops)) if iops > size * MAX_IOPS.1 => {
            Err(ApiError::new(4202, format!("Iops must be at most {} per GiB.", MAX_IOPS.1)))
        }
        ("io1", Some(_)) | (_, None) => Ok(()),
        (_, Some(_)) => Err(ApiError::new(4029, "Iops can be set for volumes of the type io1 only.")),
    }
}

/// Lays the mappings of a request over those of the image: the same device changes what it names, a new device
/// adds a volume, `NoDevice` removes one.
pub fn plan(
    state: &State,
    image: &[ImageMapping],
    root: &str,
    request: &[BlockDeviceMappingVmCreation],
) -> Result<Vec<PlannedVolume>, ApiError> {
    let mut planned: Vec<PlannedVolume> = image
        .iter()
        .map(|mapping| PlannedVolume {
            device: mapping.device.clone(),
            snapshot_id: Some(mapping.snapshot_id.clone()),
            size: mapping.size,
            kind: mapping.kind.clone(),
            iops: mapping.iops,
            delete_on_vm_deletion: mapping.delete_on_vm_deletion,
        })
        .collect();
    let mut seen = Vec::new();
    for mapping in request {
        let device = mapping.device_name.as_deref().ok_or_else(|| {
            ApiError::new(7000, "The parameter 'BlockDeviceMappings.DeviceName' is required.")
        })?;
        check_device(device, root)?;
        if seen.contains(&device) {
            return Err(ApiError::new(9003, format!("The DeviceName '{device}' is mapped more than once.")));
        }
        seen.push(device);
        let at = planned.iter().position(|volume| volume.device == device);
        match (&mapping.no_device, &mapping.bsu, at) {
            (Some(_), _, Some(at)) if device != root => {
                planned.remove(at);
            }
            (Some(_), _, Some(_)) => return Err(ApiError::new(4057, "The root device cannot be left out.")),
            (Some(_), ..) => {}
            (None, Some(bsu), Some(at)) => {
                let merged = merge(state, planned[at].clone(), bsu)?;
                planned[at] = merged;
            }
            (None, Some(bsu), None) => planned.push(add(state, device, bsu)?),
            // An ephemeral disk: those do not exist here.
            (None, None, _) => {}
        }
    }
    for volume in &planned {
        check_volume(&volume.kind, volume.size, volume.iops)?;
        if let Some(id) = &volume.snapshot_id {
            let snapshot = state.complete_snapshot(id)?;
            check_fits(volume.size, snapshot)?;
        }
    }
    Ok(planned)
}

/// Refuses a volume smaller than its snapshot.
pub fn check_fits(size: i64, snapshot: &Snapshot) -> Result<(), ApiError> {
    if size < snapshot.size {
        return Err(ApiError::new(
            4125,
            format!("The volume size {size} is smaller than the snapshot's, which is {} GiB.", snapshot.size),
        ));
    }
    Ok(())
}

fn merge(state: &State, mut volume: PlannedVolume, bsu: &BsuToCreate) -> Result<PlannedVolume, ApiError> {
    if let Some(id) = &bsu.snapshot_id {
        let snapshot = state.usable_snapshot(id)?;
        volume.size = volume.size.max(snapshot.size);
        volume.snapshot_id = Some(id.clone());
    }
    volume.size = bsu.volume_size.unwrap_or(volume.size);
    if let Some(kind) = &bsu.volume_type {
        volume.kind.clone_from(kind);
        volume.iops = None;
    }
    volume.iops = bsu.iops.or(volume.iops);
    volume.delete_on_vm_deletion = bsu.delete_on_vm_deletion.unwrap_or(volume.delete_on_vm_deletion);
    Ok(volume)
}

fn add(state: &State, device: &str, bsu: &BsuToCreate) -> Result<PlannedVolume, ApiError> {
    let of_snapshot = bsu.snapshot_id.as_ref().map(|id| state.usable_snapshot(id)).transpose()?;
    let size = bsu.volume_size.or(of_snapshot.map(|snapshot| snapshot.size)).ok_or_else(|| {
        ApiError::new(7000, format!("VolumeSize is required for '{device}', which has no snapshot."))
    })?;
    Ok(PlannedVolume {
        device: device.to_owned(),
        snapshot_id: bsu.snapshot_id.clone(),
        size,
        kind: bsu.volume_type.clone().unwrap_or_else(|| "standard".to_owned()),
        iops: bsu.iops,
        delete_on_vm_deletion: bsu.delete_on_vm_deletion.unwrap_or(true),
    })
}

impl Region {
    /// Refuses a Subregion that is not one of this Region.
    pub fn check_subregion(&self, name: &str) -> Result<(), ApiError> {
        if self.subregions().iter().any(|known| known == name) {
            return Ok(());
        }
        Err(ApiError::missing(5009, "SubregionName", name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_follow_the_rules() {
        for good in ["/dev/sda1", "/dev/sdb", "/dev/sdbz", "/dev/xvdf", "/dev/xvdba"] {
            assert_eq!(check_device(good, "/dev/sda1"), Ok(()), "{good}");
        }
        for bad in ["/dev/sda", "/dev/xvda", "/dev/sdb1", "sdb", "/dev/sdbcd", "", "/dev/vdb"] {
            assert_eq!(check_device(bad, "/dev/sda1").unwrap_err().code, 4019, "{bad}");
        }
    }

    #[test]
    fn iops_belong_to_io1_and_are_bounded() {
        let code = |kind, size, iops| check_volume(kind, size, iops).map_err(|error| error.code);
        assert_eq!(code("standard", 10, None), Ok(()));
        assert_eq!(code("io1", 10, Some(3000)), Ok(()));
        assert_eq!(code("io1", 10, Some(3001)), Err(4202));
        assert_eq!(code("io1", 100, Some(13_001)), Err(4029));
        assert_eq!(code("io1", 100, None), Err(7000));
        assert_eq!(code("gp2", 100, Some(100)), Err(4029));
        assert_eq!(code("gp2", 0, None), Err(4078));
        assert_eq!(code("gp9", 1, None), Err(4047));
    }
}

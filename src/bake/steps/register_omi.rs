//! Registers an OMI of snapshots.

use super::{Account, NameCheck, OmiId, SourceImage, VolumeSnapshot, create_omi::create_image};
use crate::{
    bake::{
        error::StepError,
        late::Late,
        oven::{Cx, Step},
    },
    domain::plan::{DeviceSource, OmiDevice, OmiPlan},
    oapi::types::{BlockDeviceMappingImage, BsuToCreate, CreateImage},
};

/// Registers the OMI.
pub struct RegisterOmi<'a> {
    /// What the template says.
    pub omi: &'a OmiPlan,
    /// One of `devices`.
    pub root_device_name: &'a str,
    /// Its volumes.
    pub devices: &'a [OmiDevice],
    /// What they are made of.
    pub snapshots: &'a [VolumeSnapshot],
    /// For late templates.
    pub source: Option<&'a SourceImage>,
    /// What it has of its source where the template says nothing.
    pub inherited: Inherited<'a>,
    /// Whose it will be.
    pub account: &'a Account,
    /// Who has the name already and will be replaced.
    pub name: &'a NameCheck,
}

/// What an OMI can have of the OMI that its volumes come from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inherited<'a> {
    /// `x86_64`.
    pub architecture: Option<&'a str>,
    /// What it can boot with.
    pub boot_modes: &'a [String],
    /// Licences.
    pub product_codes: &'a [String],
}

impl Step for RegisterOmi<'_> {
    const NAME: &'static str = "register_omi";
    type Output = OmiId;

    async fn run(&self, cx: &Cx) -> Result<OmiId, StepError> {
        let omi = self.omi;
        let late = Late::new(cx, self.source);
        let description = omi.description.as_deref().map(|text| late.render(text)).transpose()?;
        let mappings = self.devices.iter().map(|device| self.mapping(device));
        let request = CreateImage {
            image_name: Some(omi.name.clone()),
            description,
            root_device_name: Some(self.root_device_name.to_owned()),
            block_device_mappings: mappings.collect::<Result<_, _>>()?,
            architecture: self.inherited.architecture.map(str::to_owned),
            product_codes: match omi.product_codes.as_slice() {
                [] => self.inherited.product_codes.to_vec(),
                codes => codes.to_vec(),
            },
            boot_modes: omi.boot_modes_or(self.inherited.boot_modes),
            ..CreateImage::default()
        };
        let ids: Vec<&str> = self.snapshots.iter().map(|snapshot| snapshot.id.as_str()).collect();
        cx.say(format!("registering OMI `{}` of {}", omi.name, ids.join(", "))).await;
        create_image(cx, omi, self.account, self.name, &request).await
    }
}

impl RegisterOmi<'_> {
    fn mapping(&self, device: &OmiDevice) -> Result<BlockDeviceMappingImage, StepError> {
        let snapshot = match &device.source {
            DeviceSource::Snapshot(id) => id.clone(),
            DeviceSource::Volume(name) => {
                let made = self.snapshots.iter().find(|snapshot| snapshot.device == *name);
                let missing = || {
                    let detail = format!("there is no snapshot of {name}");
                    StepError::found(500, "internal", "fournil has a fault", detail)
                };
                made.ok_or_else(missing)?.id.clone()
            }
        };
        let small = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        let bsu = BsuToCreate {
            delete_on_vm_deletion: Some(device.delete_on_vm_deletion),
            volume_type: device.volume_type.as_deref().map(Into::into),
            volume_size: small(device.volume_size),
            iops: small(device.iops),
            snapshot_id: Some(snapshot),
        };
        Ok(BlockDeviceMappingImage {
            device_name: Some(device.device_name.clone()),
            bsu: Some(bsu),
            virtual_device_name: None,
        })
    }
}

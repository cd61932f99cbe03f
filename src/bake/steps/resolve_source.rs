//! Which OMI to start from: by id or by filter, the most recent one if asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    bake::{
        error::StepError,
        images,
        oven::{Cx, Step},
    },
    domain::plan::SourceOmi,
    oapi::types::{BlockDeviceMappingImage, BsuToCreate, Image},
};

/// Finds the source OMI.
pub struct ResolveSource<'a> {
    /// What the template says.
    pub source: &'a SourceOmi,
}

/// The OMI to start from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceImage {
    /// `ami-…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its tags, for late templates.
    pub tags: BTreeMap<String, String>,
    /// `/dev/sda1`.
    pub root_device_name: Option<String>,
    /// `x86_64`.
    pub architecture: Option<String>,
    /// What it can boot with; a new OMI inherits it.
    pub boot_modes: Vec<String>,
    /// Licences; a new OMI inherits them.
    pub product_codes: Vec<String>,
    /// Whose it is.
    #[serde(default)]
    pub account_id: Option<String>,
    /// Its volumes.
    #[serde(default)]
    pub devices: Vec<BlockDeviceMappingImage>,
}

impl SourceImage {
    /// The root among its volumes.
    #[must_use]
    pub fn root(&self) -> Option<&BsuToCreate> {
        let name = self.root_device_name.as_deref()?;
        self.devices.iter().find(|device| device.device_name.as_deref() == Some(name))?.bsu.as_ref()
    }

    /// What the root is made of.
    #[must_use]
    pub fn root_snapshot(&self) -> Option<&str> {
        self.root()?.snapshot_id.as_deref()
    }

    /// What all its volumes are made of.
    #[must_use]
    pub fn snapshots(&self) -> Vec<&str> {
        self.devices.iter().filter_map(|device| device.bsu.as_ref()?.snapshot_id.as_deref()).collect()
    }
}

impl From<Image> for SourceImage {
    fn from(image: Image) -> Self {
        Self {
            id: image.image_id,
            name: image.image_name.unwrap_or_default(),
            tags: image.tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
            root_device_name: image.root_device_name,
            architecture: image.architecture,
            boot_modes: image.boot_modes.iter().map(ToString::to_string).collect(),
            product_codes: image.product_codes,
            account_id: image.account_id,
            devices: image.block_device_mappings,
        }
    }
}

impl Step for ResolveSource<'_> {
    const NAME: &'static str = "resolve_source";
    type Output = SourceImage;

    async fn run(&self, cx: &Cx) -> Result<SourceImage, StepError> {
        let image = images::find(&cx.cloud.client, self.source).await?;
        let source = SourceImage::from(image);
        cx.say(format!("source OMI: {} ({})", source.id, source.name)).await;
        Ok(source)
    }
}

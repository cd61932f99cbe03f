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
}

impl Step for ResolveSource<'_> {
    const NAME: &'static str = "resolve_source";
    type Output = SourceImage;

    async fn run(&self, cx: &Cx) -> Result<SourceImage, StepError> {
        let image = images::find(&cx.cloud.client, self.source).await?;
        let name = image.image_name.clone().unwrap_or_default();
        cx.say(format!("source OMI: {} ({name})", image.image_id)).await;
        Ok(SourceImage {
            id: image.image_id,
            name,
            tags: image.tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
            root_device_name: image.root_device_name,
            architecture: image.architecture,
            boot_modes: image.boot_modes.iter().map(ToString::to_string).collect(),
            product_codes: image.product_codes,
        })
    }
}

//! Is the name of the OMI free? Asked before anything is made, since CreateImage would refuse at the very end.

use serde::{Deserialize, Serialize};

use super::Account;
use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
    },
    domain::plan::OmiPlan,
    oapi::types::{FiltersImage, ReadImages},
};

/// Checks that the name is free, or may be replaced.
pub struct CheckName<'a> {
    /// The image to make.
    pub omi: &'a OmiPlan,
    /// Whose images count.
    pub account: &'a Account,
}

/// Own images that have the name already.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NameCheck {
    /// They give way to the new one (`force_deregister`).
    pub existing: Vec<OldImage>,
}

/// An image that will be replaced.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OldImage {
    /// `ami-…`.
    pub id: String,
    /// `snap-…` of its volumes.
    pub snapshots: Vec<String>,
}

impl Step for CheckName<'_> {
    const NAME: &'static str = "check_name";
    type Output = NameCheck;

    async fn run(&self, cx: &Cx) -> Result<NameCheck, StepError> {
        let name = &self.omi.name;
        let filters = FiltersImage {
            image_names: vec![name.clone()],
            account_ids: vec![self.account.id.clone()],
            ..FiltersImage::default()
        };
        let images = cx.cloud.client.read_all(&ReadImages::filtered(filters)).await?;
        // The filter takes `*` as a wildcard, so only an equal name counts.
        let existing: Vec<_> = images
            .into_iter()
            .filter(|image| image.image_name.as_deref() == Some(name))
            .map(|image| OldImage {
                snapshots: image.snapshot_ids().into_iter().map(str::to_owned).collect(),
                id: image.image_id,
            })
            .collect();
        match existing.first() {
            Some(taken) if !self.omi.force_deregister => Err(StepError::found(
                409,
                "omi_name_taken",
                "The OMI's name is taken",
                format!("the account has an OMI named `{name}` already: {}", taken.id),
            )
            .hint("Choose another `omi_name` (for example with {{timestamp}}), or set `force_deregister` to replace the old one.")),
            Some(taken) => {
                cx.say(format!("`{name}` exists as {}; it gives way just before the new OMI is made", taken.id)).await;
                Ok(NameCheck { existing })
            }
            None => Ok(NameCheck { existing }),
        }
    }
}

//! Replaces the own OMIs that had the name before (`force_deregister`). A name is unique in the account, so they have to go
//! before CreateImage, as in Packer; their snapshots, from which they could be made again, stay until the new one is ready.

use super::NameCheck;
use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
    },
    domain::plan::OmiPlan,
    oapi::types::{DeleteImage, DeleteSnapshot},
};

/// Frees the name: deregisters the old OMIs.
pub struct FreeName<'a> {
    /// What has the name.
    pub old: &'a NameCheck,
}

impl Step for FreeName<'_> {
    const NAME: &'static str = "free_name";
    type Output = ();

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        for image in &self.old.existing {
            cx.cloud.client.delete(&DeleteImage { image_id: image.id.clone() }).await?;
            let kept = image.snapshots.join(", ");
            cx.say(format!(
                "removed the old OMI {} to free its name; its snapshots are still there: {kept}",
                image.id
            ))
            .await;
        }
        Ok(())
    }
}

/// Removes the snapshots of the old OMIs, if wanted.
pub struct ReplaceOmi<'a> {
    /// What the template says.
    pub plan: &'a OmiPlan,
    /// What had the name before.
    pub old: &'a NameCheck,
}

impl Step for ReplaceOmi<'_> {
    const NAME: &'static str = "replace_omi";
    type Output = ();

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        if !self.plan.force_delete_snapshot {
            return Ok(());
        }
        for snapshot in self.old.existing.iter().flat_map(|image| &image.snapshots) {
            // The new OMI is good whatever happens here, and failing now would remove it.
            match cx.cloud.client.delete(&DeleteSnapshot { snapshot_id: snapshot.clone() }).await {
                Ok(()) => cx.say(format!("removed snapshot {snapshot} of the old OMI")).await,
                Err(error) => {
                    cx.say(format!("could not remove snapshot {snapshot} of the old OMI: {error}")).await
                }
            }
        }
        Ok(())
    }
}

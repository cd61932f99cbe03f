//! Removes the own OMIs that had the name before (`force_deregister`), now that the new one is ready: Packer removes them
//! first, and a failure then leaves nothing.

use super::NameCheck;
use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
    },
    domain::plan::OmiPlan,
    oapi::types::{DeleteImage, DeleteSnapshot},
};

/// Removes the old OMIs.
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
        for image in &self.old.existing {
            gone(cx.cloud.client.call(&DeleteImage { image_id: image.id.clone() }).await)?;
            cx.say(format!("removed the old OMI {}", image.id)).await;
            if self.plan.force_delete_snapshot {
                for snapshot in &image.snapshots {
                    gone(cx.cloud.client.call(&DeleteSnapshot { snapshot_id: snapshot.clone() }).await)?;
                    cx.say(format!("removed its snapshot {snapshot}")).await;
                }
            }
        }
        Ok(())
    }
}

fn gone<T>(result: Result<T, crate::oapi::OapiError>) -> Result<(), StepError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

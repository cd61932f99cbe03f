//! Who else may use the snapshots of volumes.

use super::{VolumeSnapshot, share_omi::share_snapshot};
use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
    },
    domain::plan::VolumePlan,
};

/// Gives permissions.
pub struct ShareSnapshots<'a> {
    /// What the template says.
    pub plan: &'a VolumePlan,
    /// The snapshots.
    pub snapshots: &'a [VolumeSnapshot],
}

impl Step for ShareSnapshots<'_> {
    const NAME: &'static str = "share_snapshots";
    type Output = ();

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        for volume in self.plan.kept() {
            let Some(plan) = volume.snapshot.as_ref().filter(|plan| !plan.account_ids.is_empty()) else {
                continue;
            };
            let made = self.snapshots.iter().filter(|snapshot| snapshot.device == volume.device_name);
            for snapshot in made {
                share_snapshot(cx, &snapshot.id, &plan.account_ids).await?;
            }
        }
        Ok(())
    }
}

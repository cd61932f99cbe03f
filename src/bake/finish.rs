//! From the call that asked for an OMI to the artifact: the same for all builders that make one.

use super::{
    oven::{Failure, Oven},
    steps::{NameCheck, OmiId, ReplaceOmi, ShareOmi, SourceImage, TagOmi, WaitForOmi},
};
use crate::domain::{Artifact, plan::OmiPlan};

/// Steps of [`Unfinished::finish`].
pub const STEPS_OF_OMI: i32 = 4;

/// An OMI that was asked for.
pub struct Unfinished<'a> {
    /// What the template says.
    pub plan: &'a OmiPlan,
    /// The OMI.
    pub omi: &'a OmiId,
    /// Those of its snapshots that were made for it one by one; absent: all that it has were made with it.
    pub snapshots: Option<&'a [String]>,
    /// For late templates; absent: it was made from scratch.
    pub source: Option<&'a SourceImage>,
    /// What had the name before.
    pub old: &'a NameCheck,
}

impl Unfinished<'_> {
    /// Waits for the OMI, shares and tags it, and removes what it replaces.
    ///
    /// # Errors
    /// The step that did not succeed, and why.
    pub async fn finish(&self, oven: &Oven) -> Result<Artifact, Failure> {
        let plan = self.plan;
        let omi = oven.step(WaitForOmi { omi: self.omi, snapshots: self.snapshots }).await?;
        let (shared, tagged) = tokio::join!(
            oven.step(ShareOmi { plan, omi: &omi }),
            oven.step(TagOmi { plan, omi: &omi, source: self.source }),
        );
        ((), ()) = (shared?, tagged?);
        oven.step(ReplaceOmi { plan, old: self.old }).await?;
        Ok(Artifact::Omi {
            region: oven.cx().cloud.region.clone(),
            id: omi.id,
            name: plan.name.clone(),
            snapshots: omi.snapshots,
        })
    }
}

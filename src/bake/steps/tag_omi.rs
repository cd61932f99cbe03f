//! Tags of the OMI and its snapshots: as the template wants them, and that they are finished, which `fournil sweep` heeds.

use super::{Omi, SourceImage};
use crate::{
    bake::{
        error::StepError,
        late::Late,
        oven::{Cx, Step},
        tags,
    },
    domain::plan::OmiPlan,
    oapi::types::ResourceTag,
};

/// Tags the OMI.
pub struct TagOmi<'a> {
    /// What the template says.
    pub plan: &'a OmiPlan,
    /// The OMI.
    pub omi: &'a Omi,
    /// For late templates in the tags.
    pub source: Option<&'a SourceImage>,
}

impl Step for TagOmi<'_> {
    const NAME: &'static str = "tag_omi";
    type Output = ();

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        let late = Late::new(cx, self.source);
        let all = [self.omi.snapshots.clone(), vec![self.omi.id.clone()]].concat();
        let mut common = tags::rendered(&self.plan.tags, &late)?;
        if !common.is_empty() {
            let shown: Vec<_> = common.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect();
            cx.say(format!("tags of OMI and snapshots: {}", shown.join(", "))).await;
        }
        let own = tags::own_of_artifact(cx, tags::OMI);
        let is_own = |tag: &ResourceTag| own.iter().any(|own| own.key == tag.key);
        common.retain(|tag| !is_own(tag));
        let mut of_snapshots = tags::rendered(&self.plan.snapshot_tags, &late)?;
        of_snapshots.retain(|tag| !is_own(tag));
        // One call, since an OMI that has the template's tags but not the mark would be an OMI that nobody protects.
        tags::set(cx, &all, [common, own.clone()].concat()).await?;
        tags::set(cx, &self.omi.snapshots, of_snapshots).await
    }
}

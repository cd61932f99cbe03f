//! Tags of the OMI and its snapshots, as the template wants them.

use super::{Omi, SourceImage};
use crate::{
    bake::{
        error::StepError,
        late::Late,
        oven::{Cx, Step},
        tags,
    },
    domain::plan::OmiPlan,
};

/// Tags the OMI.
pub struct TagOmi<'a> {
    /// What the template says.
    pub plan: &'a OmiPlan,
    /// The OMI.
    pub omi: &'a Omi,
    /// For late templates in the tags.
    pub source: &'a SourceImage,
}

impl Step for TagOmi<'_> {
    const NAME: &'static str = "tag_omi";
    type Output = ();

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        let late = Late::new(cx, Some(self.source));
        let all = [self.omi.snapshots.clone(), vec![self.omi.id.clone()]].concat();
        let common = tags::rendered(&self.plan.tags, &late)?;
        if !common.is_empty() {
            let shown: Vec<_> = common.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect();
            cx.say(format!("tags of OMI and snapshots: {}", shown.join(", "))).await;
        }
        tags::set(cx, &all, common).await?;
        tags::set(cx, &self.omi.snapshots, tags::rendered(&self.plan.snapshot_tags, &late)?).await
    }
}

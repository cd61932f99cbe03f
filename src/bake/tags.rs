//! Tags: those of the template with late templates rendered, and fournil's own, by which anybody can see whose a resource is.

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};

use super::{error::StepError, late::Late, oven::Cx};
use crate::oapi::types::{CreateTags, ResourceTag};

/// The tag that all that fournil makes carries: the run's id.
pub const RUN_TAG: &str = "fournil:run";

/// The tag with the build's id.
pub const BUILD_TAG: &str = "fournil:build";

/// The tag of an OMI, a volume or a snapshot that tells whether people may use them: the kind of the artifact, or [`UNFINISHED`].
/// `fournil sweep` removes nothing that carries another value, nor an OMI without it.
pub const ARTIFACT_TAG: &str = "fournil:artifact";

/// A finished OMI, or a snapshot of one.
pub const OMI: &str = "omi";

/// A finished volume of `osc-bsuvolume`.
pub const VOLUME: &str = "volume";

/// A finished snapshot of such a volume.
pub const SNAPSHOT: &str = "snapshot";

/// An OMI that its run has not finished, or a snapshot of one.
pub const UNFINISHED: &str = "unfinished";

/// Between two tries while a new resource is still invisible to CreateTags.
const INVISIBLE: Duration = Duration::from_millis(300);

/// fournil's own tags.
#[must_use]
pub fn own(cx: &Cx) -> Vec<ResourceTag> {
    vec![
        ResourceTag::new(RUN_TAG, cx.lease.run.to_string()),
        ResourceTag::new(BUILD_TAG, cx.lease.build.to_string()),
    ]
}

/// fournil's own tags of something that may stay, `what` it is: [`OMI`], [`VOLUME`], [`SNAPSHOT`] or [`UNFINISHED`].
#[must_use]
pub fn own_of_artifact(cx: &Cx, what: &str) -> Vec<ResourceTag> {
    [own(cx), vec![ResourceTag::new(ARTIFACT_TAG, what)]].concat()
}

/// The template's tags with keys and values rendered.
///
/// # Errors
/// A late template cannot be rendered.
pub fn rendered(tags: &BTreeMap<String, String>, late: &Late) -> Result<Vec<ResourceTag>, StepError> {
    tags.iter().map(|(key, value)| Ok(ResourceTag::new(late.render(key)?, late.render(value)?))).collect()
}

/// All tags of something that is finished: the template's, which cannot replace fournil's own, and those.
#[must_use]
pub fn of_finished(cx: &Cx, tags: Vec<ResourceTag>, what: &str) -> Vec<ResourceTag> {
    with_own(tags, own_of_artifact(cx, what))
}

/// The template's tags and fournil's own, which they cannot replace.
#[must_use]
pub fn with_own(mut tags: Vec<ResourceTag>, own: Vec<ResourceTag>) -> Vec<ResourceTag> {
    tags.retain(|tag| !own.iter().any(|own| own.key == tag.key));
    [tags, own].concat()
}

/// Sets tags; something new may be invisible to CreateTags for a while.
///
/// # Errors
/// The cloud refused.
pub async fn set(cx: &Cx, ids: &[String], tags: Vec<ResourceTag>) -> Result<(), StepError> {
    if ids.is_empty() || tags.is_empty() {
        return Ok(());
    }
    let request = CreateTags { resource_ids: ids.to_vec(), tags };
    let began = Instant::now();
    loop {
        // Of the moment when it is asked: an answer that took long does not make up for a try that came too early.
        let is_last = began.elapsed() >= cx.cloud.settle;
        match cx.cloud.client.call(&request).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() && !is_last => {}
            Err(error) => return Err(error.into()),
        }
        cx.pause(INVISIBLE).await?;
    }
}

/// Sets fournil's own tags on something temporary. Failing to do so is told but does not end the run: the ledger knows it.
pub async fn mark(cx: &Cx, ids: &[String]) {
    mark_as(cx, ids, own(cx)).await;
}

/// The same for something that is being made and may stay.
pub async fn mark_unfinished(cx: &Cx, ids: &[String]) {
    mark_as(cx, ids, own_of_artifact(cx, UNFINISHED)).await;
}

async fn mark_as(cx: &Cx, ids: &[String], tags: Vec<ResourceTag>) {
    if let Err(error) = set(cx, ids, tags).await {
        cx.say(format!("could not tag {}: {error}", ids.join(", "))).await;
    }
}

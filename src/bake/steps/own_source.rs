//! A volume can be made of a snapshot that the account owns or was given. Where that of the source OMI is neither, as for
//! an OMI of another account, the OMI is copied first; the copy goes when the run ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Account, SourceImage, create_volume::check};
use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
        remove::snapshot_intent,
        tags,
    },
    domain::plan::ChrootPlan,
    oapi::{
        predicates,
        types::{CreateImage, FiltersSnapshot, Image, ReadSnapshots},
    },
    store::ledger::{Intent, Keep, ResourceKind},
};

/// How long the copy of an OMI may take.
const COPY: Duration = Duration::from_secs(4 * 3600);

/// What is around the wait.
const CALLS: Duration = Duration::from_secs(1800);

/// Makes sure that the source's volumes can be used.
pub struct OwnSource<'a> {
    /// What the template says.
    pub plan: &'a ChrootPlan,
    /// The source OMI.
    pub source: &'a SourceImage,
    /// Who bakes.
    pub account: &'a Account,
}

/// The volumes to start from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UsableSource {
    /// All devices of the OMI that is usable: the source itself, or its copy.
    pub image: SourceImage,
    /// Snapshots of a copy that the new OMI goes on using.
    pub kept_snapshots: Vec<String>,
}

impl Step for OwnSource<'_> {
    const NAME: &'static str = "own_source";
    type Output = UsableSource;

    fn deadline(&self) -> Duration {
        COPY + CALLS
    }

    async fn run(&self, cx: &Cx) -> Result<UsableSource, StepError> {
        // What cannot work is told before anything is made.
        check(self.plan, self.source)?;
        if self.source.account_id.as_deref() == Some(self.account.id.as_str()) || self.is_given(cx).await? {
            return Ok(UsableSource { image: self.source.clone(), kept_snapshots: Vec::new() });
        }
        let copy = SourceImage::from(self.copy(cx).await?);
        let root = copy.root_snapshot();
        let mut kept_snapshots = Vec::new();
        for snapshot in copy.snapshots() {
            let keep = if Some(snapshot) == root { Keep::Never } else { Keep::OnSuccess };
            cx.adopt(snapshot_intent(&cx.cloud.region, snapshot, keep)).await?;
            if keep == Keep::OnSuccess {
                kept_snapshots.push(snapshot.to_owned());
            }
        }
        check(self.plan, &copy)?;
        Ok(UsableSource { image: copy, kept_snapshots })
    }
}

impl OwnSource<'_> {
    /// Whether the owner has let this account use the only snapshot that there is. The snapshots of other devices would go
    /// into the new OMI as they are, for which that is not enough.
    async fn is_given(&self, cx: &Cx) -> Result<bool, StepError> {
        let snapshots = self.source.snapshots();
        let [only] = snapshots.as_slice() else { return Ok(false) };
        let filters =
            FiltersSnapshot { snapshot_ids: vec![(*only).to_owned()], ..FiltersSnapshot::default() };
        let read = cx.cloud.client.read_all(&ReadSnapshots::filtered(filters)).await?;
        Ok(read.iter().any(|snapshot| {
            let given = snapshot.permissions_to_create_volume.as_ref();
            snapshot.account_id.as_deref() == Some(&self.account.id)
                || given.is_some_and(|given| {
                    given.global_permission == Some(true) || given.account_ids.contains(&self.account.id)
                })
        }))
    }

    async fn copy(&self, cx: &Cx) -> Result<Image, StepError> {
        let client = &cx.cloud.client;
        let name = cx.name("source");
        let request = CreateImage {
            image_name: Some(name.clone()),
            source_image_id: Some(self.source.id.clone()),
            source_region_name: Some(cx.cloud.region.clone()),
            ..CreateImage::default()
        };
        let intent = Intent {
            slot: "copy of the source OMI".to_owned(),
            kind: ResourceKind::Image,
            lookup: json!({ "name": name, "account_id": self.account.id, "known_before": [], "makes_snapshots": true }),
            cloud_id: None,
            region: cx.cloud.region.clone(),
            keep: Keep::Never,
        };
        cx.say(format!(
            "{} belongs to another account: copying it, since only own snapshots become volumes",
            self.source.id
        ))
        .await;
        let id = cx.create(intent, || async { Ok(client.call(&request).await?.image.image_id) }).await?;
        tags::mark_unfinished(cx, std::slice::from_ref(&id)).await;
        let wait = cx.cloud.waits.wait_image(client, &id, predicates::image_available, COPY, cx.stop.token());
        let image = wait.await.map_err(|source| {
            StepError::wait(cx, format!("waiting until the copy {id} is available"), source)
        })?;
        cx.say(format!("the copy is {id}; it is removed at the end")).await;
        Ok(image)
    }
}

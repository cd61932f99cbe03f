//! Makes the volume that is worked on: of the source's root snapshot, or blank. CreateVolume carries a client token, so that
//! a lost answer never means a second volume.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{HostVm, SourceImage};
use crate::{
    bake::{
        error::StepError,
        late::Late,
        oven::{Cx, Step},
        tags,
    },
    domain::plan::ChrootPlan,
    oapi::{
        predicates,
        types::{CreateVolume as Request, VolumeState, VolumeType},
    },
    store::ledger::{Intent, Keep, ResourceKind},
};

/// How long a volume may take to be made of a snapshot.
const CREATION: Duration = Duration::from_secs(3600);

/// What is around the wait.
const CALLS: Duration = Duration::from_secs(1800);

/// Of a blank volume, as in Packer.
const BLANK_TYPE: &str = "gp2";

/// Makes the volume.
pub struct CreateVolume<'a> {
    /// What the template says.
    pub plan: &'a ChrootPlan,
    /// The VM that it will be linked to.
    pub vm: &'a HostVm,
    /// Whose root it is made of; absent: it is blank.
    pub usable: Option<&'a SourceImage>,
    /// For late templates in the tags.
    pub source: Option<&'a SourceImage>,
}

/// The volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkVolume {
    /// `vol-…`.
    pub id: String,
    /// In GiB.
    pub size: u32,
}

/// What to make.
struct Wanted {
    snapshot: Option<String>,
    size: u32,
    volume_type: Option<VolumeType>,
    iops: Option<u32>,
}

impl Step for CreateVolume<'_> {
    const NAME: &'static str = "create_volume";
    type Output = WorkVolume;

    fn deadline(&self) -> Duration {
        CREATION + CALLS
    }

    async fn run(&self, cx: &Cx) -> Result<WorkVolume, StepError> {
        let wanted = match self.usable {
            Some(image) => wanted(self.plan, image)?,
            None => Wanted {
                snapshot: None,
                size: small(self.plan.root_volume_size).unwrap_or_default(),
                volume_type: Some(self.plan.root_volume_type.as_deref().unwrap_or(BLANK_TYPE).into()),
                iops: None,
            },
        };
        let late = Late::new(cx, self.source);
        let all = tags::with_own(tags::rendered(&self.plan.root_volume_tags, &late)?, tags::own(cx));
        let token = cx.client_token("volume");
        let size = wanted.size;
        let request = Request {
            subregion_name: self.vm.subregion.clone(),
            size: Some(size),
            snapshot_id: wanted.snapshot.clone(),
            volume_type: wanted.volume_type,
            iops: wanted.iops,
            client_token: Some(token.clone()),
        };
        let intent = Intent {
            slot: "volume".to_owned(),
            kind: ResourceKind::Volume,
            // Whoever removes it takes it off that VM first.
            lookup: json!({ "client_token": token, "linked_to": self.vm.id }),
            cloud_id: None,
            region: cx.cloud.region.clone(),
            keep: Keep::Never,
        };
        let client = &cx.cloud.client;
        let id = cx.create(intent, || async { Ok(client.call(&request).await?.volume.volume_id) }).await?;
        let of = wanted.snapshot.map_or("blank".to_owned(), |snapshot| format!("of {snapshot}"));
        cx.say(format!("volume {id}: {size} GiB, {of}")).await;
        tags::set(cx, std::slice::from_ref(&id), all).await?;
        let until = predicates::volume_state(VolumeState::Available);
        let wait = cx.cloud.waits.wait_volume(client, &id, until, CREATION, cx.stop.token());
        let volume = wait.await.map_err(|source| {
            StepError::wait(cx, format!("waiting until volume {id} is available"), source)
        })?;
        Ok(WorkVolume { size: volume.size.unwrap_or(size), id })
    }
}

/// Whether a volume can be made of the source's root as the template wants it.
///
/// # Errors
/// It cannot.
pub(super) fn check(plan: &ChrootPlan, image: &SourceImage) -> Result<(), StepError> {
    wanted(plan, image).map(drop)
}

fn wanted(plan: &ChrootPlan, image: &SourceImage) -> Result<Wanted, StepError> {
    let root = image.root();
    let (Some(root), Some(snapshot)) = (root, image.root_snapshot()) else {
        let detail = format!("OMI {} does not tell of which snapshot its root volume is made", image.id);
        return Err(StepError::found(
            422,
            "source_omi_without_root",
            "The source OMI has no root volume",
            detail,
        )
        .hint("Start from an OMI whose root is a BSU volume."));
    };
    let is_io1 = |volume_type: &VolumeType| volume_type.as_str() == "io1";
    let volume_type =
        plan.root_volume_type.as_deref().map(VolumeType::from).or_else(|| root.volume_type.clone());
    let iops = root.iops.filter(|_| volume_type.as_ref().is_some_and(is_io1));
    if volume_type.as_ref().is_some_and(is_io1) && iops.is_none() {
        let detail = format!("the root of OMI {} has no `iops`, which an `io1` volume needs", image.id);
        return Err(StepError::found(422, "io1_without_iops", "The volume cannot be io1", detail)
            .hint("Set `root_volume_type` to `gp2` or `standard`."));
    }
    let size = small(plan.root_volume_size).max(root.volume_size);
    let Some(size) = size else {
        let detail = format!("OMI {} does not tell how large its root volume is", image.id);
        return Err(StepError::found(
            422,
            "source_omi_without_size",
            "The size of the volume is not known",
            detail,
        )
        .hint("Set `root_volume_size`."));
    };
    Ok(Wanted { snapshot: Some(snapshot.to_owned()), size, volume_type, iops })
}

fn small(number: Option<i64>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok())
}

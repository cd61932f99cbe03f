//! Asks for the OMI of the stopped VM. CreateImage takes no token: a lost answer is found again by the name, which was
//! free before (or whose earlier bearers are known). Nor does it take tags: they are set right behind it, so that the OMI
//! can be found as unfinished by `fournil sweep` when all that fournil knew of it is lost.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Account, NameCheck, ReadyVm, SourceImage};
use crate::{
    bake::{
        error::StepError,
        late::Late,
        oven::{Cx, Step},
        tags,
    },
    domain::plan::OmiPlan,
    oapi::types::CreateImage,
    store::ledger::{Intent, Keep, ResourceKind},
};

/// Asks for the OMI.
pub struct CreateOmi<'a> {
    /// What the template says.
    pub omi: &'a OmiPlan,
    /// The stopped VM.
    pub vm: &'a ReadyVm,
    /// The OMI it was launched from.
    pub source: &'a SourceImage,
    /// Whose it will be.
    pub account: &'a Account,
    /// Who has the name already and will be replaced.
    pub name: &'a NameCheck,
}

/// The OMI, not ready yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OmiId {
    /// `ami-…`.
    pub id: String,
}

impl Step for CreateOmi<'_> {
    const NAME: &'static str = "create_omi";
    type Output = OmiId;

    async fn run(&self, cx: &Cx) -> Result<OmiId, StepError> {
        let late = Late::new(cx, Some(self.source));
        let description = self.omi.description.as_deref().map(|text| late.render(text)).transpose()?;
        let request = CreateImage {
            image_name: Some(self.omi.name.clone()),
            description,
            vm_id: Some(self.vm.id.clone()),
            product_codes: self.omi.product_codes.clone(),
            // Without it an image may lose a way to boot, and it cannot be changed afterwards.
            boot_modes: self.omi.boot_modes_or(&self.source.boot_modes),
            ..CreateImage::default()
        };
        cx.say(format!("creating OMI `{}` from VM {}", self.omi.name, self.vm.id)).await;
        create_image(cx, self.omi, self.account, self.name, &request).await
    }
}

/// Calls CreateImage, write-ahead, and marks what it makes.
pub(super) async fn create_image(
    cx: &Cx,
    omi: &OmiPlan,
    account: &Account,
    name: &NameCheck,
    request: &CreateImage,
) -> Result<OmiId, StepError> {
    let known_before: Vec<&str> = name.existing.iter().map(|image| image.id.as_str()).collect();
    // Snapshots that the call names were there before: each has a row of its own, or is not ours.
    let makes_snapshots = request.block_device_mappings.is_empty();
    let intent = Intent {
        slot: "omi".to_owned(),
        kind: ResourceKind::Image,
        lookup: json!({
            "name": omi.name, "account_id": account.id, "known_before": known_before, "makes_snapshots": makes_snapshots,
        }),
        cloud_id: None,
        region: cx.cloud.region.clone(),
        keep: Keep::OnSuccess,
    };
    // With the answer, if there is one: the OMI's snapshots.
    let to_mark = Mutex::new(Vec::new());
    let id = cx
        .create(intent, || async {
            let image = cx.cloud.client.call(request).await?.image;
            if makes_snapshots {
                let snapshots = image.snapshot_ids().into_iter().map(str::to_owned).collect();
                *to_mark.lock().unwrap_or_else(PoisonError::into_inner) = snapshots;
            }
            Ok(image.image_id)
        })
        .await?;
    let mut to_mark = to_mark.into_inner().unwrap_or_else(PoisonError::into_inner);
    to_mark.push(id.clone());
    tags::mark_unfinished(cx, &to_mark).await;
    cx.say(format!("OMI: {id}, waiting until it is available")).await;
    Ok(OmiId { id })
}

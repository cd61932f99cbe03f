//! Who else may use the OMI and its snapshots.

use super::Omi;
use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
    },
    domain::plan::OmiPlan,
    oapi::types::{PermissionsOnResource, PermissionsOnResourceCreation, UpdateImage, UpdateSnapshot},
};

/// Gives permissions.
pub struct ShareOmi<'a> {
    /// What the template says.
    pub plan: &'a OmiPlan,
    /// The OMI.
    pub omi: &'a Omi,
}

impl Step for ShareOmi<'_> {
    const NAME: &'static str = "share_omi";
    type Output = ();

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        let plan = self.plan;
        if !plan.account_ids.is_empty() || plan.global_permission {
            let launch = addition(plan.account_ids.clone(), plan.global_permission);
            let request = UpdateImage {
                image_id: self.omi.id.clone(),
                permissions_to_launch: Some(launch),
                ..UpdateImage::default()
            };
            cx.cloud.client.call(&request).await?;
            let whom =
                if plan.global_permission { "everybody".to_owned() } else { plan.account_ids.join(", ") };
            cx.say(format!("OMI {} may be launched by {whom}", self.omi.id)).await;
        }
        // As in Packer, whoever may launch the OMI may use its snapshots too.
        let mut accounts = [plan.account_ids.clone(), plan.snapshot_account_ids.clone()].concat();
        accounts.sort();
        accounts.dedup();
        if !accounts.is_empty() {
            for snapshot in &self.omi.snapshots {
                share_snapshot(cx, snapshot, &accounts).await?;
            }
        }
        Ok(())
    }
}

/// Lets accounts make volumes of a snapshot.
pub(super) async fn share_snapshot(cx: &Cx, snapshot: &str, accounts: &[String]) -> Result<(), StepError> {
    let permissions_to_create_volume = addition(accounts.to_vec(), false);
    let request = UpdateSnapshot { snapshot_id: snapshot.to_owned(), permissions_to_create_volume };
    cx.cloud.client.call(&request).await?;
    cx.say(format!("snapshot {snapshot} may be used by {}", accounts.join(", "))).await;
    Ok(())
}

fn addition(account_ids: Vec<String>, everybody: bool) -> PermissionsOnResourceCreation {
    PermissionsOnResourceCreation {
        additions: Some(PermissionsOnResource { account_ids, global_permission: everybody.then_some(true) }),
        removals: None,
    }
}

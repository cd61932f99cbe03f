//! Finding something again whose creating call got no answer: by what that call itself set. New things may stay invisible
//! for a while, so an empty answer counts only when the settle time since the intent is over.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    error::StepError,
    oven::{Cx, durable},
};
use crate::{
    oapi::{
        OapiError,
        types::{
            FiltersImage, FiltersKeypair, FiltersSecurityGroup, FiltersVm, PublicIp, ReadImages, ReadKeypairs, ReadPublicIps,
            ReadSecurityGroups, ReadVms,
        },
    },
    store::ledger::{self, Resource, ResourceKind},
};

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The id of what an intent made, if it made anything.
///
/// # Errors
/// The cloud did not answer, or the run is lost.
pub async fn again(cx: &Cx, row: &Resource) -> Result<Option<String>, StepError> {
    again_since(cx, row, row.created_at).await
}

/// The same, when the creating call may have taken effect as late as `since`.
///
/// # Errors
/// The cloud did not answer, or the run is lost.
pub async fn again_since(cx: &Cx, row: &Resource, since: DateTime<Utc>) -> Result<Option<String>, StepError> {
    loop {
        if let Some(id) = look(cx, row).await? {
            return Ok(Some(id));
        }
        if is_over(cx, since) {
            return Ok(None);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = cx.stop.abandon_token().cancelled() => cx.stop.check()?,
        }
    }
}

/// Whether something that was made when this row was written must be visible by now.
#[must_use]
pub fn is_settled(cx: &Cx, row: &Resource) -> bool {
    is_over(cx, row.created_at)
}

fn is_over(cx: &Cx, since: DateTime<Utc>) -> bool {
    (Utc::now() - since).to_std().unwrap_or_default() >= cx.cloud.settle
}

async fn look(cx: &Cx, row: &Resource) -> Result<Option<String>, StepError> {
    let client = &cx.cloud.client;
    let found = match row.kind {
        ResourceKind::Vm => {
            let filters = FiltersVm { client_tokens: vec![text(row, "client_token")], ..FiltersVm::default() };
            let vms = client.read_all(&ReadVms::filtered(filters)).await?;
            vms.into_iter().next().map(|vm| vm.vm_id)
        }
        ResourceKind::Keypair => {
            let filters = FiltersKeypair { keypair_names: vec![text(row, "name")], ..FiltersKeypair::default() };
            let keypairs = client.read_all(&ReadKeypairs::filtered(filters)).await?;
            keypairs.into_iter().next().map(|keypair| keypair.keypair_name)
        }
        ResourceKind::SecurityGroup => {
            let filters = FiltersSecurityGroup { security_group_names: vec![text(row, "name")], ..FiltersSecurityGroup::default() };
            let groups = client.read_all(&ReadSecurityGroups::filtered(filters)).await?;
            groups.into_iter().next().map(|group| group.security_group_id)
        }
        ResourceKind::Image => {
            let filters = FiltersImage {
                image_names: vec![text(row, "name")],
                account_ids: vec![text(row, "account_id")],
                ..FiltersImage::default()
            };
            let images = client.read_all(&ReadImages::filtered(filters)).await?;
            let before = list(row, "known_before");
            let name = text(row, "name");
            images
                .into_iter()
                .find(|image| image.image_name.as_deref() == Some(&name) && !before.contains(&image.image_id))
                .map(|image| image.image_id)
        }
        ResourceKind::PublicIp => look_for_public_ip(cx, row).await?,
        // These are recorded with their id.
        ResourceKind::Volume | ResourceKind::Snapshot => None,
    };
    Ok(found)
}

/// A public IP has neither token nor name: it is the one that was not there before, is free and untagged, and that no
/// run's ledger knows. If several are, none is taken: it could be somebody else's.
async fn look_for_public_ip(cx: &Cx, row: &Resource) -> Result<Option<String>, StepError> {
    let before = list(row, "known_before");
    let mut candidates: Vec<String> = all_public_ips(cx)
        .await?
        .into_iter()
        .filter(|ip| ip.vm_id.is_none() && ip.link_public_ip_id.is_none() && ip.tags.is_empty())
        .filter_map(|ip| ip.public_ip_id)
        .filter(|id| !before.contains(id))
        .collect();
    let known = durable!(cx, |db| ledger::known_ids(db, ResourceKind::PublicIp, &candidates))?;
    candidates.retain(|id| !known.contains(id));
    Ok(match candidates.as_slice() {
        [only] => Some(only.clone()),
        [] => None,
        several => {
            cx.say(format!("several free public IPs are new, none is taken for ours: {}", several.join(", "))).await;
            None
        }
    })
}

/// Every public IP of the account.
///
/// # Errors
/// The cloud did not answer.
pub async fn all_public_ips(cx: &Cx) -> Result<Vec<PublicIp>, OapiError> {
    cx.cloud.client.read_all(&ReadPublicIps::default()).await
}

fn text(row: &Resource, key: &str) -> String {
    row.lookup.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list(row: &Resource, key: &str) -> Vec<String> {
    let values = row.lookup.get(key).and_then(Value::as_array);
    values.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

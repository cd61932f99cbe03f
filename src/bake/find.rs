//! Finding something again whose creating call got no answer: by what that call itself set. New things may stay invisible
//! for a while, so an empty answer counts only after the settle time. It is counted from the first look: the call may have
//! taken effect long after the intent was written, when it was held back, throttled or tried again.

use std::time::Duration;

use chrono::Utc;
use serde_json::Value;
use sqlx::{Postgres, Transaction};
use tokio::time::Instant;

use super::{
    error::StepError,
    oven::{Cx, durable},
};
use crate::{
    oapi::types::{
        FiltersImage, FiltersKeypair, FiltersSecurityGroup, FiltersSnapshot, FiltersVm, FiltersVolume,
        ReadImages, ReadKeypairs, ReadSecurityGroups, ReadSnapshots, ReadVms, ReadVolumes,
    },
    store::{
        StoreError,
        ledger::{self, Resource, ResourceKind},
    },
};

/// How long after the intent the only new public IP is taken for ours. Later (fournil was down for a day) it may as well be
/// one that somebody allocated meanwhile.
const SURELY_OURS: Duration = Duration::from_secs(900);

/// Between two tries to be the one run that allocates.
const LOCK_AGAIN: Duration = Duration::from_millis(100);

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The id of what an intent made, if it made anything.
///
/// # Errors
/// The cloud did not answer, or the run is lost.
pub async fn again(cx: &Cx, row: &Resource) -> Result<Option<String>, StepError> {
    let began = Instant::now();
    loop {
        let is_last = began.elapsed() >= cx.cloud.settle;
        match look(cx, row).await? {
            Found::One(id) => return Ok(Some(id)),
            Found::Nothing if is_last => return Ok(None),
            Found::Ambiguous(ids) if is_last => return Err(ambiguous(&ids)),
            Found::Nothing | Found::Ambiguous(_) => {}
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
    (Utc::now() - row.created_at).to_std().unwrap_or_default() >= cx.cloud.settle
}

/// What a look found.
enum Found {
    Nothing,
    One(String),
    /// One of these is ours, but not which.
    Ambiguous(Vec<String>),
}

/// The row must not end as removed: one of these may be ours.
fn ambiguous(ids: &[String]) -> StepError {
    let detail =
        format!("one of these free public IPs may be this run's, the others are not: {}", ids.join(", "));
    StepError::found(409, "public_ip_ambiguous", "A public IP cannot be told from others", detail)
        .hint("Delete the one that nobody else allocated, or link or tag the others; fournil looks again.")
}

async fn look(cx: &Cx, row: &Resource) -> Result<Found, StepError> {
    let client = &cx.cloud.client;
    let found = match row.kind {
        ResourceKind::Vm => {
            let filters =
                FiltersVm { client_tokens: vec![text(row, "client_token")], ..FiltersVm::default() };
            let vms = client.read_all(&ReadVms::filtered(filters)).await?;
            vms.into_iter().next().map(|vm| vm.vm_id)
        }
        ResourceKind::Keypair => {
            let filters =
                FiltersKeypair { keypair_names: vec![text(row, "name")], ..FiltersKeypair::default() };
            let keypairs = client.read_all(&ReadKeypairs::filtered(filters)).await?;
            keypairs.into_iter().next().map(|keypair| keypair.keypair_name)
        }
        ResourceKind::SecurityGroup => {
            let filters = FiltersSecurityGroup {
                security_group_names: vec![text(row, "name")],
                ..FiltersSecurityGroup::default()
            };
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
        ResourceKind::PublicIp => return look_for_public_ip(cx, row).await,
        ResourceKind::Snapshot => {
            let token = text(row, "client_token");
            // Those that came with an OMI are recorded with their id, and without a filter this would list all.
            if token.is_empty() {
                return Ok(Found::Nothing);
            }
            let filters = FiltersSnapshot { client_tokens: vec![token], ..FiltersSnapshot::default() };
            let snapshots = client.read_all(&ReadSnapshots::filtered(filters)).await?;
            snapshots.into_iter().next().map(|snapshot| snapshot.snapshot_id)
        }
        ResourceKind::Volume => {
            let token = text(row, "client_token");
            // Those of a VM are recorded with their id.
            if token.is_empty() {
                return Ok(Found::Nothing);
            }
            let filters = FiltersVolume { client_tokens: vec![token], ..FiltersVolume::default() };
            let volumes = client.read_all(&ReadVolumes::filtered(filters)).await?;
            volumes.into_iter().next().map(|volume| volume.volume_id)
        }
    };
    Ok(found.map_or(Found::Nothing, Found::One))
}

/// A public IP has neither token nor name: it is the one that was not there before, is free and untagged, and that no
/// run's ledger knows. If several are, none is taken: it could be somebody else's.
async fn look_for_public_ip(cx: &Cx, row: &Resource) -> Result<Found, StepError> {
    let before = list(row, "known_before");
    let mut candidates: Vec<String> = cx
        .cloud
        .client
        .public_ips()
        .await?
        .into_iter()
        .filter(|ip| ip.vm_id.is_none() && ip.link_public_ip_id.is_none() && ip.tags.is_empty())
        .filter_map(|ip| ip.public_ip_id)
        .filter(|id| !before.contains(id))
        .collect();
    let known = durable!(cx, |db| ledger::known_ids(db, ResourceKind::PublicIp, &candidates))?;
    candidates.retain(|id| !known.contains(id));
    let is_old = (Utc::now() - row.created_at).to_std().unwrap_or_default() > SURELY_OURS;
    Ok(match candidates.len() {
        0 => Found::Nothing,
        1 if !is_old => candidates.pop().map_or(Found::Nothing, Found::One),
        _ => Found::Ambiguous(candidates),
    })
}

/// Only one run of an account allocates a public IP, or looks for a lost one, at a time: what is new then can only be its
/// own. Held by a transaction, so that a lost worker loses it too; asked for again and again instead of waited for, since
/// waiting would keep a connection from all others.
///
/// # Errors
/// The run has to stop.
pub async fn public_ip_lock(cx: &Cx) -> Result<Transaction<'static, Postgres>, StepError> {
    let account = format!("{} {}", cx.cloud.client.endpoint(), cx.cloud.client.account_id().await?);
    loop {
        let tried: Result<_, StoreError> = async {
            let mut lock = cx.store.begin().await?;
            let query = "SELECT pg_try_advisory_xact_lock(hashtextextended('fournil public ip ' || $1, 0))";
            let held: bool = sqlx::query_scalar(query).bind(&account).fetch_one(&mut *lock).await?;
            Ok(held.then_some(lock))
        }
        .await;
        match tried {
            Ok(Some(lock)) => return Ok(lock),
            Ok(None) => {}
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(LOCK_AGAIN) => {}
            () = cx.stop.token().cancelled() => cx.stop.check()?,
        }
    }
}

fn text(row: &Resource, key: &str) -> String {
    row.lookup.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list(row: &Resource, key: &str) -> Vec<String> {
    let values = row.lookup.get(key).and_then(Value::as_array);
    values.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

//! May a thing go? Decided from what was read of the cloud and of the ledger, without asking either again. In doubt it
//! stays, with the reason.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::find::{Owner, Survey, Thing, latest_signs};
use crate::{
    bake::tags::UNFINISHED,
    domain::{RunId, duration},
    store::{census::Census, ledger::ResourceKind},
};

/// What may be done with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A leftover: `--delete` removes it.
    Leftover,
    /// It would be one if it were older.
    TooYoung,
    /// It looks like a leftover, but somebody may use it: a person has to decide.
    InDoubt,
    /// People use it.
    Artifact,
    /// The ledger knows it, so that the server looks after it.
    Known,
}

/// A thing with what was found out about it.
#[derive(Debug, Clone)]
pub struct Found {
    /// The thing.
    pub thing: Thing,
    /// What may be done with it.
    pub verdict: Verdict,
    /// Why.
    pub why: String,
    /// The last sign of its run, which its age counts from.
    pub since: Option<DateTime<Utc>>,
}

/// What the user wants to be spared.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Younger things stay.
    pub older_than: Duration,
    /// Only what these runs made; empty: all.
    pub runs: Vec<RunId>,
    /// The present.
    pub now: DateTime<Utc>,
}

/// Judges all things; `census` is absent if the user does without a ledger.
#[must_use]
pub fn judge(survey: &Survey, things: Vec<Thing>, census: Option<&Census>, limits: &Limits) -> Vec<Found> {
    let signs = latest_signs(&things);
    let is_wanted =
        |thing: &Thing| limits.runs.is_empty() || thing.run().is_some_and(|run| limits.runs.contains(&run));
    let mut found: Vec<Found> = things
        .into_iter()
        .filter(is_wanted)
        .map(|thing| {
            let since = thing.run().and_then(|run| signs.get(&run).copied());
            let (verdict, why) = alone(&thing, since, census, limits);
            Found { thing, verdict, why, since }
        })
        .collect();
    heed_users(survey, &mut found);
    found
}

/// What can be said of a thing without looking at others.
fn alone(
    thing: &Thing,
    since: Option<DateTime<Utc>>,
    census: Option<&Census>,
    limits: &Limits,
) -> (Verdict, String) {
    let told = |verdict, why: &str| (verdict, why.to_owned());
    let row = (thing.kind, thing.id.clone());
    let is_known = census.is_some_and(|census| census.living.contains(&row));
    if is_known {
        return told(Verdict::Known, "the ledger knows it");
    }
    let knows_run = census.zip(thing.run()).and_then(|(census, run)| census.runs.get(&run).copied());
    if knows_run == Some(true) {
        return told(Verdict::Known, "the ledger knows its run, which is not over");
    }
    match thing.artifact.as_deref() {
        None if matches!(thing.kind, ResourceKind::Image | ResourceKind::Snapshot) => {
            let why = "it does not say whether it was finished, so it may be an OMI that people use; remove it yourself \
                       if nobody does";
            return told(Verdict::InDoubt, why);
        }
        Some(UNFINISHED) | None => {}
        Some(_) => return told(Verdict::Artifact, "a build announced it"),
    }
    if let Owner::Strange(value) = &thing.owner {
        return (
            Verdict::InDoubt,
            format!("its tag fournil:run has the value `{value}`, which is no run of fournil's"),
        );
    }
    let Some(since) = since else {
        return told(Verdict::InDoubt, "nothing tells when it was made");
    };
    // A moment in the future is young.
    let age = (limits.now - since).to_std().unwrap_or_default();
    let why = match census {
        None => "no ledger was asked",
        Some(census) if census.removed.contains(&row) => "the ledger says that it was removed",
        Some(_) if knows_run.is_some() => "its run is over, and the ledger does not know it",
        Some(_) => "the ledger does not know its run",
    };
    if age < limits.older_than {
        let young = format!("{why}, but it may be younger than {}", duration::format(limits.older_than));
        return (Verdict::TooYoung, young);
    }
    told(Verdict::Leftover, why)
}

/// Keeps what somebody else uses, and what would be taken away from something that stays.
fn heed_users(survey: &Survey, found: &mut [Found]) {
    // In this order, since each asks what became of those before it.
    for kinds in [
        &[ResourceKind::Vm][..],
        &[ResourceKind::Image],
        &[ResourceKind::Volume, ResourceKind::Snapshot, ResourceKind::PublicIp, ResourceKind::SecurityGroup],
    ] {
        let staying = Staying::of(survey, found);
        for entry in found.iter_mut().filter(|entry| kinds.contains(&entry.thing.kind)) {
            // One that is too young only waits, but it should not be promised to go either.
            if matches!(entry.verdict, Verdict::Leftover | Verdict::TooYoung)
                && let Some(user) = staying.user_of(&entry.thing, entry.verdict)
            {
                entry.verdict = Verdict::InDoubt;
                entry.why = user;
            }
        }
    }
}

/// The VMs and OMIs of the account, and what will become of those that carry the mark.
struct Staying<'a> {
    survey: &'a Survey,
    verdicts: HashMap<(ResourceKind, &'a str), Verdict>,
    /// Snapshots that people use, or of which that cannot be said.
    kept_snapshots: HashSet<&'a str>,
}

impl<'a> Staying<'a> {
    fn of(survey: &'a Survey, found: &[Found]) -> Self {
        let verdict_of: HashMap<(ResourceKind, &str), Verdict> =
            found.iter().map(|entry| ((entry.thing.kind, entry.thing.id.as_str()), entry.verdict)).collect();
        let mut verdicts = HashMap::new();
        for vm in &survey.vms {
            let verdict = verdict_of.get(&(ResourceKind::Vm, vm.vm_id.as_str()));
            verdicts.extend(verdict.map(|verdict| ((ResourceKind::Vm, vm.vm_id.as_str()), *verdict)));
        }
        for image in &survey.images {
            let verdict = verdict_of.get(&(ResourceKind::Image, image.image_id.as_str()));
            verdicts
                .extend(verdict.map(|verdict| ((ResourceKind::Image, image.image_id.as_str()), *verdict)));
        }
        let is_kept = |id: &str| {
            !matches!(
                verdict_of.get(&(ResourceKind::Snapshot, id)),
                Some(Verdict::Leftover | Verdict::TooYoung)
            )
        };
        let ids = survey.snapshots.iter().map(|snapshot| snapshot.snapshot_id.as_str());
        let kept_snapshots = ids.filter(|id| is_kept(id)).collect();
        Self { survey, verdicts, kept_snapshots }
    }

    /// Whether something stays when a thing with this verdict goes.
    fn stays(&self, kind: ResourceKind, id: &str, verdict: Verdict) -> bool {
        match self.verdicts.get(&(kind, id)) {
            Some(Verdict::Leftover) => false,
            // Then both are of a young run, or the run's own things wait for each other.
            Some(Verdict::TooYoung) => verdict == Verdict::Leftover,
            _ => true,
        }
    }

    /// Why the thing had better stay, if so.
    fn user_of(&self, thing: &Thing, verdict: Verdict) -> Option<String> {
        let id = thing.id.as_str();
        let uses = |vm: &str| format!("VM {vm} uses it, which is not known as a leftover");
        let vm_stays = |vm: &&str| self.stays(ResourceKind::Vm, vm, verdict);
        match thing.kind {
            ResourceKind::Vm => {
                let vm = self.survey.vms.iter().find(|vm| vm.vm_id == id)?;
                let is_protected = vm.deletion_protection == Some(true);
                is_protected.then(|| "somebody protected it against deletion".to_owned())
            }
            ResourceKind::Image => self.user_of_image(id, verdict),
            ResourceKind::Volume => {
                let volume = self.survey.volumes.iter().find(|volume| volume.volume_id == id)?;
                let vms = volume.linked_volumes.iter().filter_map(|link| link.vm_id.as_deref());
                vms.into_iter().find(vm_stays).map(uses)
            }
            ResourceKind::Snapshot => {
                let mut images = self.survey.images.iter().filter(|image| image.snapshot_ids().contains(&id));
                let image = images.find(|image| self.stays(ResourceKind::Image, &image.image_id, verdict))?;
                Some(format!("OMI {} is made of it, which is not known as a leftover", image.image_id))
            }
            ResourceKind::PublicIp => {
                let ip = self
                    .survey
                    .public_ips
                    .iter()
                    .find(|ip| ip.public_ip_id.as_deref() == Some(id) || ip.public_ip == id)?;
                match (&ip.vm_id, &ip.nic_id) {
                    (Some(vm), _) => Some(vm.as_str()).filter(vm_stays).map(uses),
                    (None, Some(nic)) => Some(format!("network card {nic} uses it")),
                    (None, None) => None,
                }
            }
            ResourceKind::SecurityGroup => {
                let in_it = |vm: &&crate::oapi::types::Vm| {
                    vm.security_groups.iter().any(|group| group.security_group_id.as_deref() == Some(id))
                };
                let vms = self.survey.vms.iter().filter(in_it).map(|vm| vm.vm_id.as_str());
                vms.into_iter().find(vm_stays).map(uses)
            }
            // VMs live on without their key pair.
            ResourceKind::Keypair => None,
        }
    }

    fn user_of_image(&self, id: &str, verdict: Verdict) -> Option<String> {
        let image = self.survey.images.iter().find(|image| image.image_id == id)?;
        let vm = self.survey.vms.iter().find(|vm| {
            vm.image_id.as_deref() == Some(id) && self.stays(ResourceKind::Vm, &vm.vm_id, verdict)
        });
        if let Some(vm) = vm {
            return Some(format!("VM {} was launched from it", vm.vm_id));
        }
        let kept = image.snapshot_ids().into_iter().find(|id| self.kept_snapshots.contains(id))?;
        Some(format!("its snapshot {kept} is marked otherwise, so it may be an OMI that people use"))
    }
}

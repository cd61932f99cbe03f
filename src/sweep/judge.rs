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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bake::tags::{ARTIFACT_TAG, OMI, RUN_TAG},
        oapi::types::{
            BlockDeviceMappingCreated, BlockDeviceMappingImage, BsuCreated, BsuToCreate, Image, LinkedVolume,
            PublicIp, ResourceTag, SecurityGroup, SecurityGroupLight, Snapshot, Vm, Volume,
        },
        sweep::find::marked,
    };

    fn now() -> DateTime<Utc> {
        Utc::now() + chrono::TimeDelta::days(2)
    }

    /// The tags of a lost run, and more.
    fn tags(run: RunId, artifact: Option<&str>) -> Vec<ResourceTag> {
        let artifact = artifact.map(|value| ResourceTag::new(ARTIFACT_TAG, value));
        std::iter::once(ResourceTag::new(RUN_TAG, run.to_string())).chain(artifact).collect()
    }

    fn link(vm: &str) -> LinkedVolume {
        LinkedVolume { vm_id: Some(vm.to_owned()), ..LinkedVolume::default() }
    }

    fn image(id: &str, snapshot: &str, tags: Vec<ResourceTag>) -> Image {
        let bsu = BsuToCreate { snapshot_id: Some(snapshot.to_owned()), ..BsuToCreate::default() };
        let mapping = BlockDeviceMappingImage { bsu: Some(bsu), ..BlockDeviceMappingImage::default() };
        Image { image_id: id.to_owned(), block_device_mappings: vec![mapping], tags, ..Image::default() }
    }

    fn snapshot(id: &str, tags: Vec<ResourceTag>) -> Snapshot {
        Snapshot { snapshot_id: id.to_owned(), tags, ..Snapshot::default() }
    }

    /// A VM with a volume, a group and a public IP, all of a run that nobody knows.
    fn lost(run: RunId) -> Survey {
        let group =
            SecurityGroupLight { security_group_id: Some("sg-1".to_owned()), security_group_name: None };
        let bsu = BsuCreated { volume_id: Some("vol-1".to_owned()), ..BsuCreated::default() };
        let mapping = BlockDeviceMappingCreated { device_name: None, bsu: Some(bsu) };
        Survey {
            vms: vec![Vm {
                vm_id: "i-1".to_owned(),
                tags: tags(run, None),
                security_groups: vec![group],
                block_device_mappings: vec![mapping],
                ..Vm::default()
            }],
            volumes: vec![Volume {
                volume_id: "vol-1".to_owned(),
                tags: tags(run, None),
                linked_volumes: vec![link("i-1")],
                ..Volume::default()
            }],
            groups: vec![SecurityGroup {
                security_group_id: "sg-1".to_owned(),
                tags: tags(run, None),
                ..SecurityGroup::default()
            }],
            public_ips: vec![PublicIp {
                public_ip: "198.51.100.1".to_owned(),
                public_ip_id: Some("eipalloc-1".to_owned()),
                vm_id: Some("i-1".to_owned()),
                tags: tags(run, None),
                ..PublicIp::default()
            }],
            ..Survey::default()
        }
    }

    fn judged(survey: &Survey, census: &Census) -> HashMap<String, (Verdict, String)> {
        let limits = Limits { older_than: Duration::from_secs(86_400), runs: Vec::new(), now: now() };
        let found = judge(survey, marked(survey), Some(census), &limits);
        found.into_iter().map(|found| (found.thing.id, (found.verdict, found.why))).collect()
    }

    fn all_are(judged: &HashMap<String, (Verdict, String)>, verdict: Verdict) -> bool {
        judged.values().all(|(known, _)| *known == verdict)
    }

    #[test]
    fn all_of_a_lost_run_may_go_and_nothing_of_a_run_at_work() {
        let run = RunId::generate();
        let survey = lost(run);
        let judged_lost = judged(&survey, &Census::default());
        assert_eq!(judged_lost.len(), 4);
        assert!(all_are(&judged_lost, Verdict::Leftover), "{judged_lost:?}");

        let at_work = Census { runs: HashMap::from([(run, true)]), ..Census::default() };
        assert!(all_are(&judged(&survey, &at_work), Verdict::Known));
        let over = Census { runs: HashMap::from([(run, false)]), ..Census::default() };
        assert!(all_are(&judged(&survey, &over), Verdict::Leftover));
        let row = (ResourceKind::Vm, "i-1".to_owned());
        let kept = Census { living: HashSet::from([row.clone()]), ..Census::default() };
        assert_eq!(judged(&survey, &kept)["i-1"].0, Verdict::Known);
        let removed = Census { removed: HashSet::from([row]), ..Census::default() };
        let (verdict, why) = &judged(&survey, &removed)["i-1"];
        assert_eq!((*verdict, why.as_str()), (Verdict::Leftover, "the ledger says that it was removed"));
    }

    #[test]
    fn the_youngest_thing_of_a_run_decides_for_all_of_it() {
        let mut survey = lost(RunId::generate());
        survey.volumes[0].creation_date = Some((now() - chrono::TimeDelta::hours(1)).to_rfc3339());
        let judged = judged(&survey, &Census::default());
        assert!(all_are(&judged, Verdict::TooYoung), "{judged:?}");
    }

    #[test]
    fn what_a_vm_of_somebody_else_uses_stays() {
        let mut survey = lost(RunId::generate());
        let groups = survey.vms[0].security_groups.clone();
        survey.vms.push(Vm { vm_id: "i-2".to_owned(), security_groups: groups, ..Vm::default() });
        survey.volumes[0].linked_volumes = vec![link("i-2")];
        survey.public_ips[0].vm_id = Some("i-2".to_owned());
        let judged = judged(&survey, &Census::default());
        assert_eq!(judged.len(), 4, "the foreign VM is no business of ours");
        for id in ["vol-1", "sg-1", "eipalloc-1"] {
            let (verdict, why) = &judged[id];
            assert_eq!(*verdict, Verdict::InDoubt);
            assert!(why.contains("VM i-2 uses it"), "{why}");
        }
        assert_eq!(judged["i-1"].0, Verdict::Leftover);
    }

    #[test]
    fn a_protected_vm_stays_with_all_it_has() {
        let mut survey = lost(RunId::generate());
        survey.vms[0].deletion_protection = Some(true);
        let judged = judged(&survey, &Census::default());
        assert!(all_are(&judged, Verdict::InDoubt), "{judged:?}");
        assert!(judged["i-1"].1.contains("protected it"), "{judged:?}");
    }

    #[test]
    fn volumes_without_a_mark_belong_to_the_vm_only_if_they_came_with_it() {
        let run = RunId::generate();
        let mut survey = lost(run);
        let launched = Utc::now();
        survey.vms[0].creation_date = Some(launched.to_rfc3339());
        survey.volumes[0].tags.clear();
        survey.volumes[0].creation_date = Some((launched + chrono::TimeDelta::seconds(3)).to_rfc3339());
        let parts = marked(&survey);
        let part = parts.iter().find(|thing| thing.id == "vol-1").unwrap();
        assert_eq!((part.part_of.as_deref(), part.run()), (Some("i-1"), Some(run)));
        survey.volumes[0].creation_date = Some((launched - chrono::TimeDelta::days(30)).to_rfc3339());
        assert!(marked(&survey).iter().all(|thing| thing.id != "vol-1"));
    }

    #[test]
    fn an_unfinished_omi_goes_with_its_snapshots_and_a_finished_one_stays() {
        let run = RunId::generate();
        for (of_image, of_snapshot, expected) in [
            (
                tags(run, Some(UNFINISHED)),
                tags(run, Some(UNFINISHED)),
                (Verdict::Leftover, Some(Verdict::Leftover)),
            ),
            // The answer of CreateImage did not name it.
            (tags(run, Some(UNFINISHED)), vec![], (Verdict::Leftover, Some(Verdict::Leftover))),
            (tags(run, Some(OMI)), tags(run, Some(OMI)), (Verdict::Artifact, Some(Verdict::Artifact))),
            // Its run was lost between two calls, or a person has had a hand in it.
            (tags(run, Some(UNFINISHED)), tags(run, Some(OMI)), (Verdict::InDoubt, Some(Verdict::Artifact))),
            (tags(run, Some(OMI)), tags(run, Some(UNFINISHED)), (Verdict::Artifact, Some(Verdict::InDoubt))),
            // An older fournil's.
            (tags(run, None), tags(run, None), (Verdict::InDoubt, Some(Verdict::InDoubt))),
            (tags(run, Some("volume")), vec![], (Verdict::Artifact, Some(Verdict::Artifact))),
        ] {
            let survey = Survey {
                images: vec![image("ami-1", "snap-1", of_image.clone())],
                snapshots: vec![snapshot("snap-1", of_snapshot.clone())],
                ..Survey::default()
            };
            let judged = judged(&survey, &Census::default());
            let verdict = |id: &str| judged.get(id).map(|(verdict, _)| *verdict);
            assert_eq!(
                (verdict("ami-1"), verdict("snap-1")),
                (Some(expected.0), expected.1),
                "{of_image:?} {of_snapshot:?} {judged:?}"
            );
        }
    }

    #[test]
    fn an_omi_that_somebody_uses_stays() {
        let run = RunId::generate();
        let unfinished = || tags(run, Some(UNFINISHED));
        let launched_from = Survey {
            images: vec![image("ami-1", "snap-1", unfinished())],
            snapshots: vec![snapshot("snap-1", unfinished())],
            vms: vec![Vm { vm_id: "i-2".to_owned(), image_id: Some("ami-1".to_owned()), ..Vm::default() }],
            ..Survey::default()
        };
        let found = judged(&launched_from, &Census::default());
        assert!(all_are(&found, Verdict::InDoubt), "{found:?}");
        // Somebody made another OMI of its snapshot, which lives on without the first.
        let made_of = Survey {
            images: vec![image("ami-1", "snap-1", unfinished()), image("ami-2", "snap-1", vec![])],
            snapshots: vec![snapshot("snap-1", unfinished())],
            ..Survey::default()
        };
        let found = judged(&made_of, &Census::default());
        assert_eq!(found["snap-1"].0, Verdict::InDoubt, "{found:?}");
        assert!(found["snap-1"].1.contains("OMI ami-2"), "{found:?}");
    }

    #[test]
    fn a_tag_that_no_fournil_writes_is_in_doubt() {
        let mut survey = lost(RunId::generate());
        survey.volumes[0].linked_volumes.clear();
        survey.volumes[0].tags = vec![ResourceTag::new(RUN_TAG, "mine")];
        let judged = judged(&survey, &Census::default());
        assert_eq!(judged["vol-1"].0, Verdict::InDoubt);
        assert!(judged["vol-1"].1.contains("`mine`"), "{judged:?}");
    }

    #[test]
    fn only_what_was_asked_for_is_looked_at() {
        let (wanted, other) = (RunId::generate(), RunId::generate());
        let survey = lost(other);
        let limits = Limits { older_than: Duration::ZERO, runs: vec![wanted], now: now() };
        assert!(judge(&survey, marked(&survey), None, &limits).is_empty());
        let limits = Limits { runs: vec![wanted, other], ..limits };
        let found = judge(&survey, marked(&survey), None, &limits);
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|found| found.why == "no ledger was asked"));
    }
}

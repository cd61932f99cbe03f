//! What of an account's resources carries fournil's mark: the tag `fournil:run`, the name of a key pair or security group,
//! the client token of a VM; and what belongs to such a thing and could not be marked any more. Reads the cloud, decides
//! nothing.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::{
    bake::tags::{ARTIFACT_TAG, BUILD_TAG, RUN_TAG, UNFINISHED},
    domain::RunId,
    oapi::{
        Client, OapiError,
        types::{
            FiltersImage, FiltersSnapshot, Image, Keypair, PublicIp, ReadImages, ReadKeypairs, ReadPublicIps,
            ReadSecurityGroups, ReadSnapshots, ReadVms, ReadVolumes, ResourceTag, SecurityGroup, Snapshot,
            Vm, VmState, Volume, VolumeState,
        },
    },
    store::ledger::ResourceKind,
};

/// Between a VM and the volumes that CreateVms makes for it.
const LAUNCH: TimeDelta = TimeDelta::minutes(10);

/// All of an account's own resources, of the kinds that fournil makes.
#[derive(Debug, Default)]
pub struct Survey {
    /// VMs, without those that have ended.
    pub vms: Vec<Vm>,
    /// Volumes, without those on their way out.
    pub volumes: Vec<Volume>,
    /// Snapshots.
    pub snapshots: Vec<Snapshot>,
    /// OMIs.
    pub images: Vec<Image>,
    /// Public IPs.
    pub public_ips: Vec<PublicIp>,
    /// Security groups.
    pub groups: Vec<SecurityGroup>,
    /// Key pairs.
    pub keypairs: Vec<Keypair>,
}

impl Survey {
    /// Reads them all. Whole lists rather than filters: who else uses a thing decides whether it may go.
    ///
    /// # Errors
    /// A list could not be read.
    pub async fn of(client: &Client) -> Result<Self, OapiError> {
        let own = vec![client.account_id().await?];
        let own_snapshots = ReadSnapshots::filtered(FiltersSnapshot {
            account_ids: own.clone(),
            ..FiltersSnapshot::default()
        });
        let own_images = ReadImages::filtered(FiltersImage { account_ids: own, ..FiltersImage::default() });
        let (vms, volumes, public_ips, groups, keypairs) = (
            ReadVms::default(),
            ReadVolumes::default(),
            ReadPublicIps::default(),
            ReadSecurityGroups::default(),
            ReadKeypairs::default(),
        );
        let (mut vms, mut volumes, snapshots, images, public_ips, groups, keypairs) = tokio::try_join!(
            client.read_all(&vms),
            client.read_all(&volumes),
            client.read_all(&own_snapshots),
            client.read_all(&own_images),
            client.read_all(&public_ips),
            client.read_all(&groups),
            client.read_all(&keypairs),
        )?;
        vms.retain(|vm| vm.state != VmState::Terminated);
        volumes.retain(|volume| volume.state != VolumeState::Deleting);
        Ok(Self { vms, volumes, snapshots, images, public_ips, groups, keypairs })
    }
}

/// Whose mark it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A run of fournil's.
    Run(RunId),
    /// `fournil:run` has a value that no fournil writes.
    Strange(String),
}

/// A resource that carries fournil's mark, or belongs to one that does.
#[derive(Debug, Clone)]
pub struct Thing {
    /// What it is.
    pub kind: ResourceKind,
    /// Its id as the ledger has it: that of the cloud; of a key pair the name.
    pub id: String,
    /// The id for CreateTags.
    pub tag_id: String,
    /// What people know it by.
    pub name: Option<String>,
    /// Whose it is.
    pub owner: Owner,
    /// The build, if a tag names it.
    pub build: Option<String>,
    /// When it was made, as far as the cloud tells.
    pub made_at: Option<DateTime<Utc>>,
    /// The value of `fournil:artifact`.
    pub artifact: Option<String>,
    /// What it belongs to, if it has no mark of its own: it is marked before that goes.
    pub part_of: Option<String>,
}

impl Thing {
    /// The run that made it.
    #[must_use]
    pub const fn run(&self) -> Option<RunId> {
        match self.owner {
            Owner::Run(run) => Some(run),
            Owner::Strange(_) => None,
        }
    }
}

/// All things with fournil's mark.
#[must_use]
pub fn marked(survey: &Survey) -> Vec<Thing> {
    let mut things = Vec::new();
    for vm in &survey.vms {
        let owner = owner(&vm.tags).or_else(|| run_of_token(vm.client_token.as_deref()?).map(Owner::Run));
        let Some(owner) = owner else { continue };
        let vm_thing = Thing {
            made_at: moment(vm.creation_date.as_deref()),
            name: tag(&vm.tags, "Name"),
            ..thing(ResourceKind::Vm, &vm.vm_id, owner, &vm.tags)
        };
        things.extend(volumes_of(survey, vm, &vm_thing));
        things.push(vm_thing);
    }
    for volume in &survey.volumes {
        let Some(owner) = owner(&volume.tags) else { continue };
        things.push(volume_thing(volume, owner));
    }
    let mut unmarked = HashSet::new();
    for image in &survey.images {
        let Some(owner) = owner(&image.tags) else { continue };
        let image_thing = Thing {
            made_at: moment(image.creation_date.as_deref()),
            name: image.image_name.clone(),
            ..thing(ResourceKind::Image, &image.image_id, owner, &image.tags)
        };
        for id in image.snapshot_ids() {
            let snapshot = survey.snapshots.iter().find(|snapshot| snapshot.snapshot_id == id);
            let Some(snapshot) = snapshot.filter(|snapshot| is_unmarked(&snapshot.tags)) else { continue };
            if came_with(snapshot, &image_thing) && unmarked.insert(id) {
                things.push(Thing {
                    build: image_thing.build.clone(),
                    artifact: image_thing.artifact.clone(),
                    part_of: Some(image.image_id.clone()),
                    ..snapshot_thing(snapshot, image_thing.owner.clone())
                });
            }
        }
        things.push(image_thing);
    }
    for snapshot in &survey.snapshots {
        if let Some(owner) = owner(&snapshot.tags) {
            things.push(snapshot_thing(snapshot, owner));
        } else if let Some(run) = run_of_snapshot(snapshot) {
            // A run tags such a snapshot before it announces it.
            let artifact = tag(&snapshot.tags, ARTIFACT_TAG).or_else(|| Some(UNFINISHED.to_owned()));
            things.push(Thing { artifact, ..snapshot_thing(snapshot, Owner::Run(run)) });
        }
    }
    for ip in &survey.public_ips {
        let Some(owner) = owner(&ip.tags) else { continue };
        let id = ip.public_ip_id.as_ref().unwrap_or(&ip.public_ip);
        things.push(Thing {
            name: Some(ip.public_ip.clone()),
            ..thing(ResourceKind::PublicIp, id, owner, &ip.tags)
        });
    }
    for group in &survey.groups {
        let name = group.security_group_name.clone();
        let owner = owner(&group.tags).or_else(|| run_of_name(name.as_deref()?).map(Owner::Run));
        let Some(owner) = owner else { continue };
        let id = &group.security_group_id;
        things.push(Thing { name, ..thing(ResourceKind::SecurityGroup, id, owner, &group.tags) });
    }
    for keypair in &survey.keypairs {
        let owner = owner(&keypair.tags).or_else(|| run_of_name(&keypair.keypair_name).map(Owner::Run));
        let Some(owner) = owner else { continue };
        let found = thing(ResourceKind::Keypair, &keypair.keypair_name, owner, &keypair.tags);
        things.push(Thing { tag_id: keypair.keypair_id.clone().unwrap_or_default(), ..found });
    }
    things
}

/// The moment before which a run made nothing more, as far as can be seen: its id tells when it was accepted, its things
/// when they were made. The latest counts, because a run may have waited long before it began.
#[must_use]
pub fn latest_signs(things: &[Thing]) -> HashMap<RunId, DateTime<Utc>> {
    let mut signs = HashMap::new();
    for thing in things {
        let Some(run) = thing.run() else { continue };
        let latest = [accepted_at(run), thing.made_at].into_iter().flatten().max();
        let Some(latest) = latest else { continue };
        signs
            .entry(run)
            .and_modify(|known: &mut DateTime<Utc>| *known = (*known).max(latest))
            .or_insert(latest);
    }
    signs
}

/// The volumes that came with a VM whose run was lost before it could mark them. Once some are marked, the others were
/// attached by somebody else, as were those that were not made along with the VM.
fn volumes_of(survey: &Survey, vm: &Vm, vm_thing: &Thing) -> Vec<Thing> {
    let ids =
        vm.block_device_mappings.iter().filter_map(|mapping| mapping.bsu.as_ref()?.volume_id.as_deref());
    let ids: HashSet<&str> = ids.collect();
    let volumes: Vec<_> =
        survey.volumes.iter().filter(|volume| ids.contains(volume.volume_id.as_str())).collect();
    if volumes.iter().any(|volume| !is_unmarked(&volume.tags)) {
        return Vec::new();
    }
    let parts = volumes.iter().map(|volume| Thing {
        build: vm_thing.build.clone(),
        part_of: Some(vm.vm_id.clone()),
        ..volume_thing(volume, vm_thing.owner.clone())
    });
    let came_along = |part: &Thing| {
        part.made_at.zip(vm_thing.made_at).is_some_and(|(part, vm)| (part - vm).abs() <= LAUNCH)
    };
    parts.filter(came_along).collect()
}

fn volume_thing(volume: &Volume, owner: Owner) -> Thing {
    Thing {
        made_at: moment(volume.creation_date.as_deref()),
        name: tag(&volume.tags, "Name").or_else(|| volume.size.map(|size| format!("{size} GiB"))),
        ..thing(ResourceKind::Volume, &volume.volume_id, owner, &volume.tags)
    }
}

/// The run that asked for a snapshot of a volume, by its client token.
fn run_of_snapshot(snapshot: &Snapshot) -> Option<RunId> {
    run_of_token(snapshot.client_token.as_deref()?)
}

/// Whether a snapshot was made with the image. An image can also be registered from snapshots that were there before the run,
/// and belong to somebody else.
fn came_with(snapshot: &Snapshot, image: &Thing) -> bool {
    let began = image.run().and_then(accepted_at);
    let is_older =
        moment(snapshot.creation_date.as_deref()).zip(began).is_some_and(|(made, began)| made < began);
    run_of_snapshot(snapshot).is_none() && !is_older
}

fn snapshot_thing(snapshot: &Snapshot, owner: Owner) -> Thing {
    Thing {
        made_at: moment(snapshot.creation_date.as_deref()),
        name: tag(&snapshot.tags, "Name")
            .or_else(|| snapshot.volume_id.as_ref().map(|id| format!("of {id}"))),
        ..thing(ResourceKind::Snapshot, &snapshot.snapshot_id, owner, &snapshot.tags)
    }
}

fn thing(kind: ResourceKind, id: &str, owner: Owner, tags: &[ResourceTag]) -> Thing {
    Thing {
        kind,
        id: id.to_owned(),
        tag_id: id.to_owned(),
        name: None,
        owner,
        build: tag(tags, BUILD_TAG),
        made_at: None,
        artifact: tag(tags, ARTIFACT_TAG),
        part_of: None,
    }
}

fn is_unmarked(tags: &[ResourceTag]) -> bool {
    tag(tags, RUN_TAG).is_none() && tag(tags, ARTIFACT_TAG).is_none()
}

fn owner(tags: &[ResourceTag]) -> Option<Owner> {
    let value = tag(tags, RUN_TAG)?;
    Some(run_id(&value).map_or(Owner::Strange(value), Owner::Run))
}

fn tag(tags: &[ResourceTag], key: &str) -> Option<String> {
    tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.clone())
}

/// The id of a run, which is always a UUIDv7 in its usual form.
fn run_id(text: &str) -> Option<RunId> {
    let id = Uuid::try_parse(text).ok().filter(|id| id.get_version_num() == 7)?;
    (id.to_string() == text).then_some(RunId(id))
}

/// `fournil-<run>-<attempt>-<what>`, as `bake::Cx::name` makes it.
fn run_of_name(name: &str) -> Option<RunId> {
    run_of_token(name.strip_prefix("fournil-")?)
}

/// `<run>-<attempt>-<what>`, as `bake::Cx::client_token` makes it.
fn run_of_token(token: &str) -> Option<RunId> {
    let (run, rest) = token.split_at_checked(36)?;
    let (attempt, what) = rest.strip_prefix('-')?.split_once('-')?;
    let is_number = !attempt.is_empty() && attempt.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && !what.is_empty() { run_id(run) } else { None }
}

/// When the run was accepted: the time that stands in its id.
fn accepted_at(run: RunId) -> Option<DateTime<Utc>> {
    let (seconds, nanos) = run.0.get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
}

/// OAPI writes its dates with `Z` or with `+0000`.
fn moment(text: Option<&str>) -> Option<DateTime<Utc>> {
    let text = text?;
    let read = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"));
    read.ok().map(|at| at.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oapi::types::{BlockDeviceMappingImage, BsuToCreate};

    #[test]
    fn snapshots_of_an_unfinished_omi_are_its_own_unless_they_are_older_than_its_run() {
        let run = RunId::generate();
        let at = |time: DateTime<Utc>| Some(time.to_rfc3339());
        let (now, before) =
            (Utc::now() + chrono::TimeDelta::seconds(1), Utc::now() - chrono::TimeDelta::days(3));
        let token = Some(format!("{run}-1-snapshot-xvdf"));
        let snapshot = |id: &str, creation_date, client_token| Snapshot {
            snapshot_id: id.to_owned(),
            creation_date,
            client_token,
            ..Snapshot::default()
        };
        let mapping = |id: &str| BlockDeviceMappingImage {
            bsu: Some(BsuToCreate { snapshot_id: Some(id.to_owned()), ..BsuToCreate::default() }),
            ..BlockDeviceMappingImage::default()
        };
        let ids = ["snap-with-it", "snap-named", "snap-of-token"];
        let survey = Survey {
            images: vec![Image {
                image_id: "ami-1".to_owned(),
                block_device_mappings: ids.map(mapping).into(),
                tags: vec![
                    ResourceTag::new(RUN_TAG, run.to_string()),
                    ResourceTag::new(ARTIFACT_TAG, UNFINISHED),
                ],
                ..Image::default()
            }],
            snapshots: vec![
                snapshot(ids[0], at(now), None),
                snapshot(ids[1], at(before), None),
                snapshot(ids[2], at(now), token),
            ],
            ..Survey::default()
        };
        let things = marked(&survey);
        let found: Vec<_> =
            things.iter().map(|thing| (thing.id.as_str(), thing.artifact.as_deref())).collect();
        let unfinished = Some(UNFINISHED);
        assert_eq!(found, [(ids[0], unfinished), ("ami-1", unfinished), (ids[2], unfinished)]);
    }

    #[test]
    fn only_names_that_fournil_gives_are_its_own() {
        let run = RunId::generate();
        assert_eq!(run_of_name(&format!("fournil-{run}-1-key")), Some(run));
        assert_eq!(run_of_name(&format!("fournil-{run}-12-group")), Some(run));
        let random = Uuid::new_v4();
        for name in [
            "fournil-x".to_owned(),
            "fournil".to_owned(),
            format!("fournil-{run}"),
            format!("fournil-{run}-key"),
            format!("fournil-{run}-1-"),
            format!("fournil-{run}--key"),
            format!("my-fournil-{run}-1-key"),
            format!("{run}-1-key"),
            format!("fournil-{random}-1-key"),
            format!("fournil-{}-1-key", run.to_string().to_uppercase()),
            "fournil-é23456789012345678901234567890123456-1-key".to_owned(),
        ] {
            assert_eq!(run_of_name(&name), None, "{name}");
        }
    }

    #[test]
    fn a_runs_latest_sign_of_life_counts_for_all_it_made() {
        let run = RunId::generate();
        let later = Utc::now() + chrono::TimeDelta::hours(5);
        let group = thing(ResourceKind::SecurityGroup, "sg-1", Owner::Run(run), &[]);
        let accepted = latest_signs(std::slice::from_ref(&group))[&run];
        assert!((Utc::now() - accepted).num_seconds() < 5);
        let vm = Thing { made_at: Some(later), ..thing(ResourceKind::Vm, "i-1", Owner::Run(run), &[]) };
        assert_eq!(latest_signs(&[vm, group])[&run], later);
    }

    #[test]
    fn both_ways_in_which_oapi_writes_dates_are_read() {
        for text in ["2026-11-22T10:00:00.000Z", "2026-11-22T10:00:00.000+0000", "2026-11-22T11:00:00+01:00"]
        {
            assert_eq!(moment(Some(text)).unwrap().to_rfc3339(), "2026-11-22T10:00:00+00:00", "{text}");
        }
        assert_eq!(moment(Some("yesterday")), None);
    }
}

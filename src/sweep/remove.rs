//! Removes leftovers: VMs first, since they hold groups, addresses and volumes, and images before their snapshots. What
//! has no mark of its own gets one before the thing that leads to it goes, so that an interrupted sweep can be run again.

use futures::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    find::Thing,
    print::{Reporter, named},
};
use crate::{
    bake::{
        remove::{IN_USE, PAUSES, TERMINATION},
        tags::{ARTIFACT_TAG, BUILD_TAG, RUN_TAG},
    },
    domain::RunId,
    oapi::{
        Client, OapiError, Request, WaitError, Waits,
        types::{
            DeleteImage, DeleteKeypair, DeletePublicIp, DeleteSecurityGroup, DeleteSnapshot, DeleteVms,
            DeleteVolume, ResourceTag,
        },
    },
    store::ledger::ResourceKind,
};

/// What is done at once, one after the other.
const ROUNDS: &[&[ResourceKind]] = &[
    &[ResourceKind::Vm, ResourceKind::Image, ResourceKind::Keypair],
    &[ResourceKind::Snapshot, ResourceKind::Volume, ResourceKind::PublicIp, ResourceKind::SecurityGroup],
];

/// Why a leftover is still there.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// The cloud refused.
    #[error(transparent)]
    Refused(#[from] OapiError),
    /// It was asked to go and did not.
    #[error(transparent)]
    StillThere(#[from] WaitError),
    /// It could not be marked, and without a mark the next sweep would not find it.
    #[error("{part} is without fournil's tags and could not be given them, so what leads to it stays")]
    Unmarked {
        /// What has no mark.
        part: String,
        /// The cause.
        #[source]
        source: OapiError,
    },
    /// Something that has to go first is still there.
    #[error("{blocker} of the same run is still there, and has to go first")]
    Blocked {
        /// What has to go first.
        blocker: String,
    },
}

impl RemovalError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> String {
        let told = match self {
            Self::Refused(error) | Self::Unmarked { source: error, .. } => error.hint(),
            Self::StillThere(WaitError::Oapi(error)) => error.hint(),
            Self::StillThere(_) | Self::Blocked { .. } => None,
        };
        let is_in_use = matches!(self, Self::Refused(error) if error.is_conflict() || error.is_dependency());
        let again = "Run `fournil sweep --delete` again; what is gone already does no harm.";
        match told {
            Some(hint) => format!("{hint} {again}"),
            None if is_in_use => {
                format!("Something uses it: find out what, remove that or take it off. {again}")
            }
            None => again.to_owned(),
        }
    }
}

/// What became of the leftovers, by their place in the list.
pub type Outcomes = Vec<Result<(), RemovalError>>;

/// Removes all of them and goes on after failures. Tells each one.
pub async fn remove_all(
    client: &Client,
    waits: &Waits,
    leftovers: &[&Thing],
    reporter: &Reporter<'_>,
) -> Outcomes {
    let sweeper = Sweeper { client, waits, leftovers, reporter };
    let mut outcomes: Vec<Option<Result<(), RemovalError>>> = leftovers.iter().map(|_| None).collect();
    for round in ROUNDS {
        let blockers: Vec<&Thing> = leftovers
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| matches!(outcome, Some(Err(_))))
            .map(|(thing, _)| *thing)
            .collect();
        let of_round = leftovers.iter().enumerate().filter(|(_, thing)| round.contains(&thing.kind));
        let removals = of_round.map(|(place, thing)| {
            let (sweeper, blocker) = (&sweeper, blocker_of(thing, &blockers));
            async move {
                let outcome = match blocker {
                    Some(blocker) => Err(RemovalError::Blocked { blocker }),
                    None => sweeper.remove(thing).await,
                };
                reporter.removal(thing, &outcome);
                (place, outcome)
            }
        });
        for (place, outcome) in join_all(removals).await {
            if let Some(slot) = outcomes.get_mut(place) {
                *slot = Some(outcome);
            }
        }
    }
    // Every kind is in a round.
    outcomes.into_iter().map(|outcome| outcome.unwrap_or(Ok(()))).collect()
}

/// Waiting for what a living VM or image holds would be in vain.
fn blocker_of(thing: &Thing, failed: &[&Thing]) -> Option<String> {
    let holder = match thing.kind {
        ResourceKind::Snapshot => ResourceKind::Image,
        ResourceKind::Volume | ResourceKind::PublicIp | ResourceKind::SecurityGroup => ResourceKind::Vm,
        ResourceKind::Vm | ResourceKind::Image | ResourceKind::Keypair => return None,
    };
    let blocker = failed.iter().find(|failed| failed.kind == holder && failed.owner == thing.owner)?;
    Some(named(blocker))
}

struct Sweeper<'a> {
    client: &'a Client,
    waits: &'a Waits,
    leftovers: &'a [&'a Thing],
    reporter: &'a Reporter<'a>,
}

impl Sweeper<'_> {
    async fn remove(&self, thing: &Thing) -> Result<(), RemovalError> {
        self.mark_parts_of(thing).await?;
        let id = thing.id.clone();
        match thing.kind {
            ResourceKind::Vm => {
                self.until_gone(thing, &DeleteVms { vm_ids: vec![id] }).await?;
                self.reporter.remark(&format!("waiting for the end of VM {}", thing.id));
                let never = CancellationToken::new();
                Ok(self.waits.wait_vm_terminated(self.client, &thing.id, TERMINATION, &never).await?)
            }
            ResourceKind::Image => self.until_gone(thing, &DeleteImage { image_id: id }).await,
            ResourceKind::Snapshot => self.until_gone(thing, &DeleteSnapshot { snapshot_id: id }).await,
            ResourceKind::Volume => self.until_gone(thing, &DeleteVolume { volume_id: id }).await,
            ResourceKind::PublicIp => {
                self.client.unlink_public_ip(&id).await?;
                let request = if id.starts_with("eipalloc-") {
                    DeletePublicIp { public_ip_id: Some(id), public_ip: None }
                } else {
                    DeletePublicIp { public_ip_id: None, public_ip: Some(id) }
                };
                self.until_gone(thing, &request).await
            }
            ResourceKind::SecurityGroup => {
                let request =
                    DeleteSecurityGroup { security_group_id: Some(id), ..DeleteSecurityGroup::default() };
                self.until_gone(thing, &request).await
            }
            ResourceKind::Keypair => {
                // By its id: another key pair may have the name by now.
                let by_id = Some(thing.tag_id.clone()).filter(|id| !id.is_empty());
                let by_name = by_id.is_none().then_some(id);
                self.until_gone(thing, &DeleteKeypair { keypair_id: by_id, keypair_name: by_name }).await
            }
        }
    }

    /// Gives fournil's tags to what is only found by way of `thing`.
    async fn mark_parts_of(&self, thing: &Thing) -> Result<(), RemovalError> {
        let parts = self.leftovers.iter().filter(|part| part.part_of.as_deref() == Some(&thing.id));
        let parts: Vec<&Thing> = parts.copied().collect();
        let (Some(first), Some(run)) = (parts.first(), thing.run()) else { return Ok(()) };
        let ids: Vec<&str> = parts.iter().map(|part| part.tag_id.as_str()).collect();
        self.client
            .tag(&ids, &tags(run, thing))
            .await
            .map_err(|source| RemovalError::Unmarked { part: first.id.clone(), source })
    }

    /// Calls until the answer is "deleted" or "there is no such thing"; what is in use is tried again for a while.
    async fn until_gone<R: Request>(&self, thing: &Thing, request: &R) -> Result<(), RemovalError> {
        let give_up = Instant::now() + IN_USE;
        let mut pause = PAUSES.0;
        let mut is_told = false;
        loop {
            match self.client.delete(request).await {
                Ok(()) => return Ok(()),
                Err(error) if (error.is_conflict() || error.is_dependency()) && Instant::now() < give_up => {
                    // A security group usually is, for a minute or so behind its VM's end.
                    if !is_told {
                        let what = named(thing);
                        let patience = IN_USE.as_secs();
                        self.reporter
                            .remark(&format!("{what} is still in use, trying again for up to {patience} s"));
                        is_told = true;
                    }
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

fn tags(run: RunId, thing: &Thing) -> Vec<ResourceTag> {
    let run = Some(ResourceTag::new(RUN_TAG, run.to_string()));
    let build = thing.build.as_ref().map(|build| ResourceTag::new(BUILD_TAG, build));
    let artifact = thing.artifact.as_ref().map(|value| ResourceTag::new(ARTIFACT_TAG, value));
    [run, build, artifact].into_iter().flatten().collect()
}

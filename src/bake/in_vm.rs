//! What builders that work in a VM have in common: up to a VM that is provisioned and stopped, and, for those that make an
//! OMI, from the call that asks for it to the end.

use std::collections::BTreeMap;

use super::{
    Baked,
    admission::Door,
    error::StepError,
    finish::Unfinished,
    late::Late,
    oven::{Failure, Oven, Step},
    steps::{
        Account, AllocatePublicIp, CheckCredentials, CheckName, Connect, CreateKeypair, Key, LaunchVm,
        MakeKey, NameCheck, OmiId, OpenSecurityGroup, Provision, ReadyVm, ResolveNetwork, ResolveSource,
        SourceImage, StopVm, WaitForVm, post_process,
    },
};
use crate::domain::{
    Artifact,
    plan::{Communicator, OmiPlan, SshPlan, VmPlan, VolumeToKeep},
};

/// What to do in a VM.
pub struct InVm<'a> {
    /// The VM to launch.
    pub vm: &'a VmPlan,
    /// How to get into it.
    pub communicator: &'a Communicator,
    /// Tags of its volumes.
    pub volume_tags: &'a BTreeMap<String, String>,
    /// Volumes of it that have tags of their own and may stay.
    pub volumes: &'a [VolumeToKeep],
    /// The OMI that will be made, if any: its name is checked before anything is made.
    pub omi: Option<&'a OmiPlan>,
}

/// A VM that is provisioned and stopped.
pub struct Provisioned<'a> {
    /// Whose it is.
    pub account: Account,
    /// The OMI it was launched from.
    pub source: SourceImage,
    /// Who has the name of the new OMI.
    pub name: NameCheck,
    /// The VM.
    pub vm: ReadyVm,
    key: Key,
    way: Option<(&'a SshPlan, String)>,
}

/// Steps of [`InVm::provisioned`].
#[must_use]
pub const fn steps_in_vm(communicator: &Communicator, makes_omi: bool) -> i32 {
    let provisioning = if matches!(communicator, Communicator::None) { 0 } else { 2 };
    let check_name = if makes_omi { 1 } else { 0 };
    10 + provisioning + check_name
}

impl<'a> InVm<'a> {
    /// Launches the VM, provisions it and stops it.
    ///
    /// # Errors
    /// The step that did not succeed, and why.
    pub async fn provisioned(&self, oven: &Oven) -> Result<Provisioned<'a>, Failure> {
        if oven.was_interrupted(Provision::NAME) {
            // What the provisioners had done by then is not known, so the VM is of no use any more.
            return Err(Failure { step: Provision::NAME, error: StepError::Interrupted });
        }
        let account = oven.step(CheckCredentials).await?;
        // Steps beside each other all come to their end, also when one fails: a creating call that is dropped on its way can
        // still take effect, later than the cleanup looks for it.
        let (source, name, network, key) = tokio::join!(
            oven.step(ResolveSource { source: &self.vm.source }),
            self.check_name(oven, &account),
            oven.step(ResolveNetwork { vm: self.vm }),
            oven.step(MakeKey { communicator: self.communicator }),
        );
        let (source, name, network, key) = (source?, name?, network?, key?);
        let (groups, public_ip, keypair) = tokio::join!(
            oven.step(OpenSecurityGroup { vm: self.vm, communicator: self.communicator, network: &network }),
            oven.step(AllocatePublicIp { wanted: self.vm.associate_public_ip }),
            oven.step(CreateKeypair { key: &key }),
        );
        let (groups, public_ip, ()) = (groups?, public_ip?, keypair?);
        let launched = oven
            .step(LaunchVm {
                vm: self.vm,
                source: &source,
                key: &key,
                groups: &groups,
                network: &network,
                volumes: self.volumes,
            })
            .await?;
        let wait = WaitForVm {
            vm: &launched,
            public_ip: &public_ip,
            volume_tags: self.volume_tags,
            volumes: self.volumes,
            source: &source,
        };
        let vm = oven.step(wait).await?;
        let mut way = None;
        if let Communicator::Ssh(ssh) = self.communicator {
            let connection = super::steps::Connection::default();
            let connected = oven.step(Connect { ssh, vm: &vm, key: &key, connection: &connection }).await?;
            let provision = Provision {
                ssh,
                vm: &vm,
                key: &key,
                source: &source,
                connected: &connected,
                connection: &connection,
            };
            oven.step(provision).await?;
            way = Some((&**ssh, connected.host));
        }
        let door = way.as_ref().map(|(ssh, host)| Door { ssh, host, key: &key });
        oven.step(StopVm { vm: &vm, by_itself: self.vm.disable_stop, door }).await?;
        Ok(Provisioned { account, source, name, vm, key, way })
    }

    async fn check_name(&self, oven: &Oven, account: &Account) -> Result<NameCheck, Failure> {
        match self.omi {
            Some(omi) => oven.step(CheckName { omi, account }).await,
            None => Ok(NameCheck { existing: Vec::new() }),
        }
    }
}

impl Provisioned<'_> {
    /// Waits for the OMI, shares and tags it, removes what it replaces, and runs the post-processors. `snapshots`: those
    /// that were made for it one by one; without them all that it has were made with it.
    ///
    /// # Errors
    /// The step that did not succeed, and why.
    pub async fn finish(
        &self,
        oven: &Oven,
        plan: &OmiPlan,
        omi: &OmiId,
        snapshots: Option<&[String]>,
    ) -> Result<Baked, Failure> {
        let unfinished = Unfinished { plan, omi, snapshots, source: Some(&self.source), old: &self.name };
        let artifact = unfinished.finish(oven).await?;
        self.announce(oven, vec![artifact]).await
    }

    /// Runs the post-processors on what was made.
    ///
    /// # Errors
    /// The run has to stop.
    pub async fn announce(&self, oven: &Oven, artifacts: Vec<Artifact>) -> Result<Baked, Failure> {
        let way = self.way.as_ref().map(|(ssh, host)| (*ssh, host.as_str()));
        let late = Late::new(oven.cx(), Some(&self.source)).with_vm(oven.cx(), &self.vm, way, &self.key);
        post_process(oven, artifacts, late).await
    }
}

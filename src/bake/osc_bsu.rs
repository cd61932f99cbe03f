//! `osc-bsu`: launch a VM from a source OMI, provision it, stop it, make an OMI of it.

use super::{
    Baked,
    admission::Door,
    error::StepError,
    late::Late,
    oven::{Failure, Oven, Step},
    steps::{
        AllocatePublicIp, CheckCredentials, CheckName, Connect, CreateKeypair, CreateOmi, FreeName, LaunchVm,
        MakeKey, NameCheck, OpenSecurityGroup, Provision, ReplaceOmi, ResolveNetwork, ResolveSource,
        ShareOmi, StopVm, TagOmi, WaitForOmi, WaitForVm, post_process,
    },
};
use crate::domain::{
    Artifact,
    plan::{BsuPlan, Communicator},
};

/// How many steps a run of this plan has, for the progress that readers see.
#[must_use]
pub fn steps_total(plan: &BsuPlan) -> i32 {
    let provisioning = if matches!(plan.communicator, Communicator::None) { 0 } else { 2 };
    let image = if plan.skip_create_omi { 0 } else { 7 };
    10 + provisioning + image
}

/// Bakes, and answers what was made.
///
/// # Errors
/// The step that did not succeed, and why.
pub async fn bake(oven: &Oven, plan: &BsuPlan) -> Result<Baked, Failure> {
    if oven.was_interrupted(Provision::NAME) {
        // What the provisioners had done by then is not known, so the VM is of no use any more.
        return Err(Failure { step: Provision::NAME, error: StepError::Interrupted });
    }
    let account = oven.step(CheckCredentials).await?;
    // Steps beside each other all come to their end, also when one fails: a creating call that is dropped on its way can
    // still take effect, later than the cleanup looks for it.
    let (source, name, network, key) = tokio::join!(
        oven.step(ResolveSource { source: &plan.vm.source }),
        check_name(oven, plan, &account),
        oven.step(ResolveNetwork { vm: &plan.vm }),
        oven.step(MakeKey { communicator: &plan.communicator }),
    );
    let (source, name, network, key) = (source?, name?, network?, key?);
    let (groups, public_ip, keypair) = tokio::join!(
        oven.step(OpenSecurityGroup { vm: &plan.vm, communicator: &plan.communicator, network: &network }),
        oven.step(AllocatePublicIp { wanted: plan.vm.associate_public_ip }),
        oven.step(CreateKeypair { key: &key }),
    );
    let (groups, public_ip, ()) = (groups?, public_ip?, keypair?);
    let launched = oven
        .step(LaunchVm { vm: &plan.vm, source: &source, key: &key, groups: &groups, network: &network })
        .await?;
    let wait =
        WaitForVm { vm: &launched, public_ip: &public_ip, volume_tags: &plan.volume_tags, source: &source };
    let vm = oven.step(wait).await?;
    let mut host = None;
    if let Communicator::Ssh(ssh) = &plan.communicator {
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
        host = Some((ssh, connected.host));
    }
    let door = host.as_ref().map(|(ssh, host)| Door { ssh, host, key: &key });
    oven.step(StopVm { vm: &vm, by_itself: plan.vm.disable_stop, door }).await?;
    if plan.skip_create_omi {
        return Ok(Baked { artifacts: Vec::new(), failure: None });
    }
    oven.step(FreeName { old: &name }).await?;
    let omi = oven
        .step(CreateOmi { omi: &plan.omi, vm: &vm, source: &source, account: &account, name: &name })
        .await?;
    let omi = oven.step(WaitForOmi { omi: &omi }).await?;
    let (shared, tagged) = tokio::join!(
        oven.step(ShareOmi { plan: &plan.omi, omi: &omi }),
        oven.step(TagOmi { plan: &plan.omi, omi: &omi, source: &source }),
    );
    ((), ()) = (shared?, tagged?);
    oven.step(ReplaceOmi { plan: &plan.omi, old: &name }).await?;
    let artifact = Artifact::Omi {
        region: oven.cx().cloud.region.clone(),
        id: omi.id,
        name: plan.omi.name.clone(),
        snapshots: omi.snapshots,
    };
    let way = host.as_ref().map(|(ssh, host)| (&***ssh, host.as_str()));
    let late = Late::new(oven.cx(), Some(&source)).with_vm(oven.cx(), &vm, way, &key);
    post_process(oven, vec![artifact], late).await
}

async fn check_name(
    oven: &Oven,
    plan: &BsuPlan,
    account: &super::steps::Account,
) -> Result<NameCheck, Failure> {
    if plan.skip_create_omi {
        return Ok(NameCheck { existing: Vec::new() });
    }
    oven.step(CheckName { omi: &plan.omi, account }).await
}

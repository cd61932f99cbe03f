//! How the VM of a failed run is reached by a person, and letting that person in. The temporary key stays where it is: who
//! wants in brings a public key.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    admission::{Door, admit},
    error::StepError,
    oven::{Cx, Step as _, durable},
    steps::{self, Connect, Connected, Key, MakeKey, ReadyVm, WaitForVm},
};
use crate::{
    domain::{
        StepState,
        plan::{Communicator, SshPlan},
    },
    store::{
        journal::{self, JournalEntry},
        ledger::{self, ResourceKind},
    },
};

/// How a VM is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reach {
    /// `i-…`.
    pub vm: String,
    /// Its address, once it ran.
    pub host: Option<String>,
    /// The port of SSH.
    pub port: Option<u16>,
    /// The user.
    pub user: Option<String>,
    /// What to type.
    pub ssh: Option<String>,
    /// How many of the request's `authorized_keys` it lets in.
    pub authorized_keys: usize,
}

/// What the journal knows of the VM of an attempt.
struct Known {
    vm: ReadyVm,
    key: Key,
    host: String,
}

/// The VM that this attempt still has, and how it is reached; `None`: there is none. Lets these public keys in.
///
/// # Errors
/// Only if the run is lost.
pub async fn open(cx: &Cx, keys: &[String]) -> Result<Option<Reach>, StepError> {
    let rows = durable!(cx, |db| ledger::live(db, cx.lease.run))?;
    let vm = rows.into_iter().find_map(|row| {
        (row.kind == ResourceKind::Vm && row.attempt == cx.attempt).then_some(row.cloud_id).flatten()
    });
    let Some(vm) = vm else { return Ok(None) };
    let mut reach = Reach { vm, host: None, port: None, user: None, ssh: None, authorized_keys: 0 };
    let Communicator::Ssh(ssh) = cx.plan.builder.communicator() else { return Ok(Some(reach)) };
    let entries = durable!(cx, |db| journal::entries(db, &cx.lease, cx.attempt))?;
    let Some(known) = known(&entries, ssh) else { return Ok(Some(reach)) };
    reach.ssh = Some(format!("ssh -p {} {}@{}", ssh.port, ssh.username, known.host));
    (reach.host, reach.port, reach.user) =
        (Some(known.host.clone()), Some(ssh.port), Some(ssh.username.clone()));
    if !keys.is_empty() {
        let door = Door { ssh, host: &known.host, key: &known.key };
        match admit(cx, door, keys).await {
            Ok(()) => reach.authorized_keys = keys.len(),
            Err(error) => {
                cx.say(format!("your keys could not be put into VM {}: {error}", known.vm.id)).await
            }
        }
    }
    Ok(Some(reach))
}

fn known(entries: &[JournalEntry], ssh: &SshPlan) -> Option<Known> {
    fn output<T: serde::de::DeserializeOwned>(entries: &[JournalEntry], step: &str) -> Option<T> {
        let done = |entry: &&JournalEntry| entry.name == step && entry.state == StepState::Succeeded;
        serde_json::from_value(entries.iter().find(done)?.output.clone()?).ok()
    }
    let vm: ReadyVm = output(entries, WaitForVm::NAME)?;
    let key: Key = output(entries, MakeKey::NAME)?;
    let connected: Option<Connected> = output(entries, Connect::NAME);
    let host = connected.map(|connected| connected.host).or_else(|| steps::address(ssh, &vm).ok())?;
    Some(Known { vm, key, host })
}

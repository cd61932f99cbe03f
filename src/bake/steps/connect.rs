//! Gets into the VM by SSH. If that fails, the VM's console goes into the log, since it usually tells why.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Key, ReadyVm};
use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
    },
    communicator::{
        CommunicatorError,
        ssh::{SshCommunicator, SshTarget, connect},
    },
    domain::plan::{SshInterface, SshPlan},
    oapi::{
        Progress,
        types::{Vm, VmState},
    },
};

/// A VM that lets us in sooner is not watched.
const WATCH_AFTER: Duration = Duration::from_secs(5);

/// For what follows a connection that was not made.
const CONSOLE: Duration = Duration::from_secs(900);

/// Longer than anybody waits for SSH.
const WATCH_FOR: Duration = Duration::from_secs(24 * 3600);

/// Lines of the console that are shown when the VM cannot be reached.
const CONSOLE_LINES: usize = 30;

/// Waits until SSH lets us in.
pub struct Connect<'a> {
    /// How to get in.
    pub ssh: &'a SshPlan,
    /// The VM.
    pub vm: &'a ReadyVm,
    /// The key.
    pub key: &'a Key,
    /// Where the open connection is left for the next step.
    pub connection: &'a Connection,
}

/// The open connection, handed from one step to the next; empty in a run that was resumed in between.
#[derive(Default)]
pub struct Connection(Mutex<Option<SshCommunicator>>);

impl Connection {
    /// Leaves the connection.
    pub fn leave(&self, communicator: SshCommunicator) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(communicator);
    }

    /// Takes the connection, if it is there.
    pub fn take(&self) -> Option<SshCommunicator> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How the VM was reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connected {
    /// The address.
    pub host: String,
}

impl Step for Connect<'_> {
    const NAME: &'static str = "connect";
    type Output = Connected;

    fn deadline(&self) -> Duration {
        self.ssh.timeout + self.ssh.pause_before_connecting + CONSOLE
    }

    async fn run(&self, cx: &Cx) -> Result<Connected, StepError> {
        let host = address(self.ssh, self.vm)?;
        let opened = tokio::select! {
            opened = open(cx, self.ssh, &host, self.key) => opened,
            ended = vm_ends(cx, &self.vm.id) => Err(ended),
        };
        let communicator = match opened {
            Ok(communicator) => communicator,
            Err(error) => {
                if cx.stop.reason().is_none() {
                    show_console(cx, &self.vm.id).await;
                }
                return Err(error);
            }
        };
        if self.ssh.pause_before_connecting.is_zero() {
            self.connection.leave(communicator);
        } else {
            // Packer connects, pauses, and connects anew: for VMs that reboot once while they set themselves up.
            crate::communicator::Communicator::close(&communicator).await;
            cx.say("connected; pausing before provisioning").await;
            tokio::select! {
                () = tokio::time::sleep(self.ssh.pause_before_connecting) => {}
                () = cx.stop.token().cancelled() => cx.stop.check()?,
            }
        }
        Ok(Connected { host })
    }
}

/// Opens a connection to the VM.
pub(in crate::bake) async fn open(
    cx: &Cx,
    ssh: &SshPlan,
    host: &str,
    key: &Key,
) -> Result<SshCommunicator, StepError> {
    let target = SshTarget::from_plan(ssh, host, key.private(cx)?.as_ref())?;
    match connect(&target, ssh.timeout, ssh.handshake_attempts, cx.stop.token(), &cx.log).await {
        Err(CommunicatorError::Cancelled) => {
            cx.stop.check()?;
            Err(CommunicatorError::Cancelled.into())
        }
        result => Ok(result?),
    }
}

/// Ends when the VM does: nothing will answer any more, and "refused" would be misleading.
async fn vm_ends(cx: &Cx, vm: &str) -> StepError {
    tokio::time::sleep(WATCH_AFTER).await;
    let ends = |vm: &Vm| match vm.state {
        VmState::Running | VmState::Pending | VmState::Other(_) => Progress::Pending(String::new()),
        _ => Progress::Done(format!(
            "{}{}",
            vm.state,
            vm.state_reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
        )),
    };
    match cx.cloud.waits.wait_vm(&cx.cloud.client, vm, ends, WATCH_FOR, cx.stop.token()).await {
        Ok(state) => StepError::found(502, "vm_ended", "The VM ended", format!("VM {vm} is {state} before it could be entered"))
            .hint("Look at its console in the log: the source OMI may not boot on this VM type, or its user data shuts it down."),
        // Whatever kept us from watching, the connection itself will tell.
        Err(_) => std::future::pending().await,
    }
}

/// Where to connect to.
///
/// # Errors
/// The VM does not have the wanted address.
pub(in crate::bake) fn address(ssh: &SshPlan, vm: &ReadyVm) -> Result<String, StepError> {
    let (wanted, address) = match ssh.interface {
        SshInterface::Automatic => ("any address", vm.public_ip.as_ref().or(vm.private_ip.as_ref())),
        SshInterface::PublicIp => ("`public_ip`", vm.public_ip.as_ref()),
        SshInterface::PrivateIp => ("`private_ip`", vm.private_ip.as_ref()),
        SshInterface::PublicDns => ("`public_dns`", vm.public_dns.as_ref()),
        SshInterface::PrivateDns => ("`private_dns`", vm.private_dns.as_ref()),
    };
    address.cloned().ok_or_else(|| {
        let detail = format!("VM {} does not have {wanted} to connect to", vm.id);
        StepError::found(422, "no_address", "The VM cannot be reached", detail)
            .hint("Set `associate_public_ip_address`, or another `ssh_interface`.")
    })
}

async fn show_console(cx: &Cx, vm: &str) {
    let Ok(text) = cx.cloud.client.console(vm).await else { return };
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        cx.say("the VM's console is empty").await;
        return;
    }
    cx.say(format!(
        "the last lines of the VM's console:\n{}",
        lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
    ))
    .await;
}

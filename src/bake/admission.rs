//! Letting a person into the VM of a failed run by a public key of theirs, and taking that key out again before the VM
//! becomes an OMI after all. That keys are in the VM is written down before they are put there.

use std::fmt::Write;

use super::{
    error::StepError,
    oven::{Cx, durable},
    steps::{self, Key},
};
use crate::{
    communicator::{Communicator as _, Exit, quote::quote, ssh::SshCommunicator},
    domain::plan::SshPlan,
    store::runs,
};

/// Whoever waits for it should not wait for the whole `ssh_timeout` if the VM is gone.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A way into a VM.
#[derive(Clone, Copy)]
pub struct Door<'a> {
    /// How to get in.
    pub ssh: &'a SshPlan,
    /// The address.
    pub host: &'a str,
    /// Our key.
    pub key: &'a Key,
}

impl Door<'_> {
    async fn open(self, cx: &Cx) -> Result<SshCommunicator, StepError> {
        let ssh = SshPlan { timeout: self.ssh.timeout.min(PATIENCE), ..self.ssh.clone() };
        steps::connect_to(cx, &ssh, self.host, self.key).await
    }
}

/// Puts the keys into the user's `authorized_keys`, marked as this run's.
///
/// # Errors
/// The VM cannot be entered, or the run is lost.
pub async fn admit(cx: &Cx, door: Door<'_>, keys: &[String]) -> Result<(), StepError> {
    let communicator = door.open(cx).await?;
    durable!(cx, |db| runs::set_keys_in_vm(db, &cx.lease, true))?;
    let mut script = "umask 077; mkdir -p \"$HOME/.ssh\" && cd \"$HOME/.ssh\"".to_owned();
    let mark = mark(cx);
    for key in keys {
        let line: Vec<&str> = key.split_whitespace().take(2).chain([mark.as_str()]).collect();
        // Writing to a String does not fail.
        let _ = write!(script, " && printf '%s\\n' {} >> authorized_keys", quote(&line.join(" ")));
    }
    let done = run(&communicator, &script).await;
    communicator.close().await;
    done
}

/// Takes the keys of [`admit`] out of the VM, if any are there, over a connection that is open.
///
/// # Errors
/// They cannot be taken out, or the run is lost.
pub async fn withdraw(cx: &Cx, communicator: &SshCommunicator) -> Result<(), StepError> {
    if !durable!(cx, |db| runs::keys_in_vm(db, cx.lease.run))? {
        return Ok(());
    }
    let script = format!(
        "cd \"$HOME/.ssh\" && umask 077 && {{ grep -vF {} authorized_keys > authorized_keys.fournil || true; }} \
         && cat authorized_keys.fournil > authorized_keys && rm -f authorized_keys.fournil",
        quote(&mark(cx))
    );
    run(communicator, &script).await?;
    durable!(cx, |db| runs::set_keys_in_vm(db, &cx.lease, false))?;
    cx.say("took your keys out of the VM").await;
    Ok(())
}

/// The same over a connection of its own.
///
/// # Errors
/// They cannot be taken out, or the run is lost.
pub async fn withdraw_by(cx: &Cx, door: Door<'_>) -> Result<(), StepError> {
    if !durable!(cx, |db| runs::keys_in_vm(db, cx.lease.run))? {
        return Ok(());
    }
    let withdrawn = async {
        let communicator = door.open(cx).await?;
        let done = withdraw(cx, &communicator).await;
        communicator.close().await;
        done
    };
    withdrawn.await.map_err(|error| match error {
        StepError::Communicator(error) => StepError::found(
            502,
            "keys_not_removed",
            "The VM still lets somebody in",
            format!("the `authorized_keys` of the request cannot be taken out of the VM, so no OMI is made of it: {error}"),
        )
        .hint("Start the VM again if you have stopped it, and release the build with `retry`."),
        other => other,
    })
}

/// Stands behind the keys of this run.
fn mark(cx: &Cx) -> String {
    format!("fournil:{}", cx.lease.run)
}

async fn run(communicator: &SshCommunicator, script: &str) -> Result<(), StepError> {
    match communicator.run(script, &steps::Silent).await? {
        Exit::Status(0) => Ok(()),
        exit => Err(StepError::found(
            502,
            "authorized_keys_not_written",
            "The VM's authorized_keys cannot be written",
            format!("writing to ~/.ssh/authorized_keys ended with {exit:?}"),
        )),
    }
}

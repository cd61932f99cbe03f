//! Runs the provisioners of a plan inside a machine that can be entered: the options that every kind takes (pause,
//! timeout, retries) and the choice of the kind. The kinds are in files of their own; the way in is `communicator`'s.

use std::{path::Path, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    communicator::{Communicator, CommunicatorError},
    domain::{
        duration,
        log::Output,
        provisioner::{Provisioner, ProvisionerAction, ShellLocalPlan},
    },
};

pub mod error;
mod file;
mod output;
mod remote_glob;
mod shell;
pub mod shell_local;
mod sleep;
mod source;
mod transport;
pub mod workspace;

pub use error::{Failure, ProvisionError};

/// Fills in the templates of a plan that can only be filled in once the machine runs.
pub trait Render: Send + Sync {
    /// Renders `template` with the build's data and with `extra` (`Path`, `Vars`, `EnvVarFile`), which are `.Path` and
    /// so on in the template.
    ///
    /// # Errors
    /// A sentence about what is wrong with the template.
    fn render(&self, template: &str, extra: &[(&str, &str)]) -> Result<String, String>;
}

impl ProvisionContext<'_> {
    /// Fills in an option.
    fn filled_in(&self, what: &str, template: &str, extra: &[(&str, &str)]) -> Result<String, Failure> {
        let rendered = self.render.render(template, extra);
        rendered.map_err(|reason| Failure::Render { what: what.to_owned(), reason })
    }
}

/// What a provisioner works with.
#[derive(Clone, Copy)]
pub struct ProvisionContext<'a> {
    /// The way into the machine.
    pub communicator: &'a dyn Communicator,
    /// Where the output goes.
    pub output: &'a dyn Output,
    /// Fills in templates.
    pub render: &'a dyn Render,
    /// The root of the uploaded folder, unpacked.
    pub files: &'a Path,
    /// The folder that downloads go to; nothing is written outside of it.
    pub downloads: &'a Path,
    /// How many bytes one provisioner may download.
    pub download_limit: u64,
    /// Packer's name of the build (`PACKER_BUILD_NAME`).
    pub run_name: &'a str,
    /// The builder's type (`PACKER_BUILDER_TYPE`).
    pub builder_type: &'a str,
    /// Packer's id of the build (`PACKER_RUN_UUID`).
    pub run_uuid: &'a str,
    /// Holds for a provisioner that has no `timeout` of its own; absent: none.
    pub default_timeout: Option<Duration>,
    /// Ends the provisioner, and what it runs in the machine, at once.
    pub cancel: &'a CancellationToken,
}

/// Runs one provisioner to its end. `index` counts from 0 and is for messages.
///
/// # Errors
/// The failure of the last try, once `max_retries` further tries have failed too. A cancelled build, and a machine that
/// another answers for, are not tried again. With `continue_on_error` only those, and a lost machine, are errors.
pub async fn run_provisioner(
    index: usize,
    provisioner: &Provisioner,
    cx: &ProvisionContext<'_>,
) -> Result<(), ProvisionError> {
    let kind = provisioner.action.kind();
    let mut tries = 1;
    loop {
        let failure = match attempt(provisioner, cx).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        if tries > provisioner.max_retries || !failure.may_be_tried_again() {
            if provisioner.continue_on_error && !failure.ends_provisioning() {
                let place = index + 1;
                let warning = format!(
                    "Warning: provisioner {place} ({kind}) failed: {failure}. Going on (continue_on_error)"
                );
                cx.output.say(&warning).await;
                return Ok(());
            }
            return Err(ProvisionError { index, kind, tries, failure: Box::new(failure) });
        }
        let left = provisioner.max_retries + 1 - tries;
        cx.output
            .say(&format!("Provisioner {} ({kind}) failed: {failure}. Tries left: {left}", index + 1))
            .await;
        tries += 1;
    }
}

/// One try, with its pause, within its timeout, until the build is cancelled.
async fn attempt(provisioner: &Provisioner, cx: &ProvisionContext<'_>) -> Result<(), Failure> {
    // A pause lasts as long as it says.
    let usual = cx.default_timeout.filter(|_| !matches!(provisioner.action, ProvisionerAction::Sleep { .. }));
    let limit = provisioner.timeout.or(usual).filter(|limit| !limit.is_zero());
    // Boxed because it holds the state of every kind, and is moved around by the timeout and by the caller.
    let work = Box::pin(async {
        if !provisioner.pause_before.is_zero() {
            let pause = duration::format(provisioner.pause_before);
            cx.output.say(&format!("Pausing {pause} before this provisioner")).await;
            tokio::time::sleep(provisioner.pause_before).await;
        }
        // The pause is not part of the time that the provisioner has.
        let action = act(&provisioner.action, cx);
        match limit {
            Some(limit) => {
                tokio::time::timeout(limit, action).await.unwrap_or(Err(Failure::TimedOut { after: limit }))
            }
            None => action.await,
        }
    });
    // Dropping the work tells a remote command to end.
    tokio::select! {
        biased;
        () = cx.cancel.cancelled() => Err(Failure::Communicator(CommunicatorError::Cancelled)),
        done = work => done,
    }
}

async fn act(action: &ProvisionerAction, cx: &ProvisionContext<'_>) -> Result<(), Failure> {
    match action {
        ProvisionerAction::Shell(plan) => shell::run(plan, cx).await,
        ProvisionerAction::File(plan) => file::run(plan, cx).await,
        ProvisionerAction::ShellLocal(plan) => on_host(plan, cx).await,
        ProvisionerAction::Sleep { duration } => sleep::run(*duration, cx).await,
    }
}

/// Runs scripts on the worker's host; they find there what was downloaded from the VM.
async fn on_host(plan: &ShellLocalPlan, cx: &ProvisionContext<'_>) -> Result<(), Failure> {
    let (from, to) = (cx.downloads.to_owned(), cx.files.to_owned());
    let laid_out = workspace::aside(move || workspace::lay_out(&from, &to)).await;
    laid_out.map_err(|error| Failure::Path { path: cx.files.to_owned(), reason: error.to_string() })?;
    let host = shell_local::Host {
        output: cx.output,
        render: cx.render,
        folder: cx.files,
        run_name: cx.run_name,
        builder_type: cx.builder_type,
        run_uuid: cx.run_uuid,
    };
    shell_local::run(plan, &host).await
}

#[cfg(test)]
mod tests;

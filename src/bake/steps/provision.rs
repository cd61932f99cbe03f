//! Runs the provisioners in the VM, and the error-cleanup provisioner if one of them failed. A run that is interrupted
//! here cannot be resumed: it gets a fresh VM.

use std::time::Duration;

use chrono::Utc;

use super::{Connected, Connection, Key, ReadyVm, SourceImage, connect};
use crate::{
    bake::{
        admission,
        error::StepError,
        late::Late,
        oven::{Cx, Step, durable},
    },
    communicator::{Communicator, quote::quote as quoted, ssh::SshCommunicator},
    domain::{
        OnError,
        log::Stream,
        plan::SshPlan,
        post_processor::PostProcessorAction,
        provisioner::{Provisioner, ProvisionerAction},
    },
    logs::controls,
    post_process::artifice,
    provision::{ProvisionContext, ProvisionError, run_provisioner, workspace},
    store::{files, journal::guard},
};

/// What a download may hold, in bytes.
pub(super) const DOWNLOAD_LIMIT: u64 = 64 << 20;

/// How long a provisioner may take that has no `timeout`.
pub(super) const PROVISIONER: Duration = Duration::from_secs(6 * 3600);

/// No build may take longer.
pub(super) const ALL_PROVISIONERS: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many characters of a script's last lines are shown with its error.
const LAST_LINE_LENGTH: usize = 500;

/// Provisions the VM.
pub struct Provision<'a> {
    /// How to get in.
    pub ssh: &'a SshPlan,
    /// The VM.
    pub vm: &'a ReadyVm,
    /// The key.
    pub key: &'a Key,
    /// For late templates.
    pub source: &'a SourceImage,
    /// Where the VM was reached.
    pub connected: &'a Connected,
    /// The connection, if this worker opened it.
    pub connection: &'a Connection,
}

impl Step for Provision<'_> {
    const NAME: &'static str = "provision";
    type Output = ();

    /// Provisioners have limits of their own, and what they may take together is for the build's `timeout` to say.
    fn deadline(&self) -> Duration {
        ALL_PROVISIONERS
    }

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        let communicator = match self.connection.take() {
            Some(communicator) => communicator,
            None => connect::open(cx, self.ssh, &self.connected.host, self.key).await?,
        };
        let result = self.provision(cx, &communicator).await;
        communicator.close().await;
        result
    }
}

impl Provision<'_> {
    async fn provision(&self, cx: &Cx, communicator: &SshCommunicator) -> Result<(), StepError> {
        let way = Some((self.ssh, self.connected.host.as_str()));
        let late = Late::new(cx, Some(self.source)).with_vm(cx, self.vm, way, self.key)?;
        run_all(cx, communicator, &late).await?;
        admission::withdraw(cx, communicator).await?;
        if let Some(halves) = &self.key.temporary {
            forget_key(cx, communicator, &halves.public).await;
        }
        Ok(())
    }
}

/// Runs the provisioners one after the other, and the error-cleanup provisioner when one fails.
pub(super) async fn run_all(cx: &Cx, communicator: &dyn Communicator, late: &Late) -> Result<(), StepError> {
    let downloads = tempfile::tempdir().map_err(|error| {
        StepError::found(
            500,
            "no_temporary_folder",
            "The worker has no room for downloads",
            error.to_string(),
        )
    })?;
    let run_uuid = cx.lease.build.to_string();
    let context = ProvisionContext {
        communicator,
        output: &cx.log,
        render: late,
        files: &cx.files,
        downloads: downloads.path(),
        download_limit: DOWNLOAD_LIMIT,
        run_name: cx.plan.packer_name(),
        builder_type: cx.plan.packer_type(),
        run_uuid: &run_uuid,
        default_timeout: Some(PROVISIONER),
        cancel: cx.stop.token(),
    };
    for (index, provisioner) in cx.plan.provisioners.iter().enumerate() {
        cx.say(format!(
            "provisioner {} of {}: {}",
            index + 1,
            cx.plan.provisioners.len(),
            provisioner.action.kind()
        ))
        .await;
        if let Err(error) = run_provisioner(index, provisioner, &context).await {
            cx.stop.check()?;
            if let Some(cleanup) = cx.plan.error_cleanup.as_ref().filter(|_| cx.on_error != OnError::Abort) {
                run_error_cleanup(cx, cleanup, &context).await;
            }
            // What was downloaded by then, often by that provisioner, may tell what went wrong.
            keep_downloads(cx, downloads.path()).await?;
            return Err(with_last_lines(cx, error));
        }
    }
    keep_downloads(cx, downloads.path()).await?;
    keep_for_artifice(cx).await
}

/// The error as the build shows it, with what the script wrote last.
fn with_last_lines(cx: &Cx, error: ProvisionError) -> StepError {
    let last_lines = last_lines(cx, error.last_lines());
    let mut problem = StepError::from(error).problem(Provision::NAME);
    problem.last_lines = last_lines;
    StepError::Found(Box::new(problem))
}

/// Lines of a script as an error shows them. Shortened behind the redaction: of a secret that is cut in two, neither half
/// would be recognised.
pub(super) fn last_lines(cx: &Cx, lines: &[String]) -> Vec<String> {
    let redactor = cx.log.redactor();
    let shown =
        |line: &String| redactor.redact(&controls::strip(line)).chars().take(LAST_LINE_LENGTH).collect();
    lines.iter().map(shown).collect()
}

async fn run_error_cleanup(cx: &Cx, provisioner: &Provisioner, context: &ProvisionContext<'_>) {
    cx.say("running the error-cleanup provisioner").await;
    if let Err(error) = run_provisioner(0, provisioner, context).await {
        cx.say(format!("the error-cleanup provisioner failed too: {error}")).await;
    }
}

/// Puts what file provisioners downloaded where `GET /builds/{id}/files` finds it.
async fn keep_downloads(cx: &Cx, folder: &std::path::Path) -> Result<(), StepError> {
    let unreadable = |error: std::io::Error| {
        StepError::found(500, "download_unreadable", "What was downloaded cannot be read", error.to_string())
    };
    let root = folder.to_owned();
    for found in workspace::aside(move || workspace::files_below(&root)).await.map_err(unreadable)? {
        let (root, path) = (folder.to_owned(), found.path.clone());
        let data = workspace::aside(move || workspace::read(&root, &path)).await.map_err(unreadable)?;
        keep_file(cx, &found.path, &data).await?;
    }
    Ok(())
}

/// Stores what `shell-local` wrote and an `artifice` will ask for: it may be another worker that gets there, with a fresh
/// working folder.
async fn keep_for_artifice(cx: &Cx) -> Result<(), StepError> {
    let is_local = |provisioner: &Provisioner| matches!(provisioner.action, ProvisionerAction::ShellLocal(_));
    let patterns: Vec<String> = cx
        .plan
        .post_processors
        .iter()
        .flatten()
        .filter_map(|each| match &each.action {
            PostProcessorAction::Artifice(plan) => Some(plan.files.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    if patterns.is_empty() || !cx.plan.provisioners.iter().any(is_local) {
        return Ok(());
    }
    let unreadable = |error: std::io::Error| {
        StepError::found(500, "files_unreadable", "What scripts wrote cannot be read", error.to_string())
    };
    let root = cx.files.clone();
    let found = workspace::aside(move || artifice::matching(&root, &patterns)).await.map_err(unreadable)?;
    let size: u64 = found.iter().map(|file| file.size).sum();
    if size > DOWNLOAD_LIMIT {
        // The artifice will fail of it, when there is an artifact that can stay.
        return Ok(());
    }
    for found in found {
        let (root, path) = (cx.files.clone(), found.path.clone());
        let data = workspace::aside(move || workspace::read(&root, &path)).await.map_err(unreadable)?;
        keep_file(cx, &found.path, &data).await?;
    }
    Ok(())
}

/// Stores a file with the build.
async fn keep_file(cx: &Cx, path: &str, data: &[u8]) -> Result<(), StepError> {
    durable!(cx, |db| async {
        guard(db, &cx.lease).await?;
        files::put(db, cx.lease.build, &cx.plan.name, path, data, Utc::now()).await
    })?;
    cx.say(format!("kept {path} ({} bytes) with the build", data.len())).await;
    Ok(())
}

/// Takes the temporary key out of the VM, so that it is not in the OMI. An image without these files or without sudo is
/// no fault.
async fn forget_key(cx: &Cx, communicator: &SshCommunicator, public: &str) {
    let Some(body) = public.split_whitespace().nth(1) else { return };
    let clean = format!(
        "for f in \"$HOME/.ssh/authorized_keys\" /root/.ssh/authorized_keys; do \
         if [ -w \"$f\" ]; then r=; else r='sudo -n'; fi; \
         if $r grep -qF {body} \"$f\" 2>/dev/null; then \
         $r sh -c 'grep -vF \"$1\" \"$2\" > \"$2.fournil\"; cat \"$2.fournil\" > \"$2\"; rm -f \"$2.fournil\"' sh {body} \"$f\"; fi; done",
        body = quoted(body)
    );
    let silent = Silent;
    match communicator.run(&clean, &silent).await {
        Ok(_) => cx.say("took the temporary key out of the VM").await,
        Err(error) => cx.say(format!("could not take the temporary key out of the VM: {error}")).await,
    }
}

/// Drops the output of a command.
pub(in crate::bake) struct Silent;

impl crate::domain::log::Output for Silent {
    fn chunk<'a>(
        &'a self,
        _: Stream,
        _: &'a [u8],
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }

    fn say<'a>(&'a self, _: &'a str) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }
}

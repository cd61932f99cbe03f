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
    domain::{OnError, log::Stream, plan::SshPlan, provisioner::Provisioner},
    logs::controls,
    provision::{ProvisionContext, ProvisionError, run_provisioner},
    store::{files, journal::guard},
};

/// What a download may hold, in bytes.
const DOWNLOAD_LIMIT: u64 = 64 << 20;

/// How long a provisioner may take that has no `timeout`.
const PROVISIONER: Duration = Duration::from_secs(6 * 3600);

/// No build may take longer.
const ALL_PROVISIONERS: Duration = Duration::from_secs(7 * 24 * 3600);

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
        let downloads = tempfile::tempdir().map_err(|error| {
            StepError::found(
                500,
                "no_temporary_folder",
                "The worker has no room for downloads",
                error.to_string(),
            )
        })?;
        let way = Some((self.ssh, self.connected.host.as_str()));
        let late = Late::new(cx, Some(self.source)).with_vm(cx, self.vm, way, self.key)?;
        let context = ProvisionContext {
            communicator,
            output: &cx.log,
            render: &late,
            files: &cx.files,
            downloads: downloads.path(),
            download_limit: DOWNLOAD_LIMIT,
            run_name: &cx.plan.name,
            builder_type: cx.plan.builder.kind(),
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
                if let Some(cleanup) =
                    cx.plan.error_cleanup.as_ref().filter(|_| cx.on_error != OnError::Abort)
                {
                    run_error_cleanup(cx, cleanup, &context).await;
                }
                // What was downloaded by then, often by that provisioner, may tell what went wrong.
                keep_downloads(cx, downloads.path()).await?;
                return Err(with_last_lines(cx, error));
            }
        }
        keep_downloads(cx, downloads.path()).await?;
        admission::withdraw(cx, communicator).await?;
        if let Some(halves) = &self.key.temporary {
            forget_key(cx, communicator, &halves.public).await;
        }
        Ok(())
    }
}

/// The error as the build shows it, with what the script wrote last.
fn with_last_lines(cx: &Cx, error: ProvisionError) -> StepError {
    let redactor = cx.log.redactor();
    // Shortened behind the redaction: of a secret that is cut in two, neither half would be recognised.
    let shown =
        |line: &String| redactor.redact(&controls::strip(line)).chars().take(LAST_LINE_LENGTH).collect();
    let last_lines = error.last_lines().iter().map(shown).collect();
    let mut problem = StepError::from(error).problem(Provision::NAME);
    problem.last_lines = last_lines;
    StepError::Found(Box::new(problem))
}

async fn run_error_cleanup(cx: &Cx, provisioner: &Provisioner, context: &ProvisionContext<'_>) {
    cx.say("running the error-cleanup provisioner").await;
    if let Err(error) = run_provisioner(0, provisioner, context).await {
        cx.say(format!("the error-cleanup provisioner failed too: {error}")).await;
    }
}

/// Puts what file provisioners downloaded where `GET /builds/{id}/files` finds it.
async fn keep_downloads(cx: &Cx, folder: &std::path::Path) -> Result<(), StepError> {
    let folder = folder.to_owned();
    let listed = tokio::task::spawn_blocking(move || files_below(&folder)).await;
    let found = listed.map_err(std::io::Error::other).and_then(|found| found).map_err(|error| {
        StepError::found(500, "download_unreadable", "What was downloaded cannot be read", error.to_string())
    })?;
    for (path, data) in found {
        durable!(cx, |db| async {
            guard(db, &cx.lease).await?;
            files::put(db, cx.lease.build, &cx.plan.name, &path, &data, Utc::now()).await
        })?;
        cx.say(format!("kept {path} ({} bytes) with the build", data.len())).await;
    }
    Ok(())
}

fn files_below(folder: &std::path::Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                let relative = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
                found.push((relative, std::fs::read(&path)?));
            }
        }
    }
    found.sort();
    Ok(found)
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

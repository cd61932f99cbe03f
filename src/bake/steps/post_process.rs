//! Runs the post-processors on what the run made. A failure is one of the run, but what was made is complete and stays an
//! artifact. Running the step again writes the same files.

use std::time::Duration;

use chrono::Utc;

use super::provision::{DOWNLOAD_LIMIT, PROVISIONER, last_lines};
use crate::{
    bake::{
        Baked,
        error::StepError,
        late::Late,
        oven::{Cx, Failure, Oven, Step, durable},
    },
    domain::{Artifact, Problem, manifest::ManifestBuild},
    post_process::{self, File, PostProcessContext, PostProcessError, Product, Shelf, manifest},
    store::{StoreError, files, journal::guard},
};

/// No build may take longer.
const ALL_POST_PROCESSORS: Duration = Duration::from_secs(7 * 24 * 3600);

/// The end of a pipeline: runs the post-processors, if the template has any, on what was made.
///
/// # Errors
/// The run has to stop; what was made is then no artifact.
pub async fn post_process(
    oven: &Oven,
    artifacts: Vec<Artifact>,
    late: Result<Late, StepError>,
) -> Result<Baked, Failure> {
    if !oven.cx().plan.has_post_processing() {
        return Ok(Baked { artifacts, failure: None });
    }
    let late = late.map_err(|error| Failure { step: PostProcess::NAME, error })?;
    match oven.step(PostProcess { artifacts: &artifacts, late: &late }).await {
        Ok(()) => Ok(Baked { artifacts, failure: None }),
        Err(failure) if matches!(failure.error, StepError::PostProcess(_)) => {
            Ok(Baked { artifacts, failure: Some(failure) })
        }
        Err(failure) => Err(failure),
    }
}

/// Runs the chains.
struct PostProcess<'a> {
    /// What was made.
    artifacts: &'a [Artifact],
    /// For late templates.
    late: &'a Late,
}

impl Step for PostProcess<'_> {
    const NAME: &'static str = "post_process";
    type Output = ();

    /// Each has a limit of its own, and what they may take together is for the build's `timeout` to say.
    fn deadline(&self) -> Duration {
        ALL_POST_PROCESSORS
    }

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        let ids: Vec<String> = self.artifacts.iter().map(Artifact::packer_id).collect();
        let artifact = Product { id: ids.join(","), files: Vec::new() };
        let context = PostProcessContext {
            shelf: &OfRun { cx },
            output: &cx.log,
            render: self.late,
            folder: &cx.files,
            run_name: &cx.plan.name,
            build_name: cx.plan.packer_name(),
            builder_type: cx.plan.packer_type(),
            build: cx.lease.build,
            now: Utc::now(),
            limit: DOWNLOAD_LIMIT,
            timeout: PROVISIONER,
            cancel: cx.stop.token(),
        };
        let errors = post_process::run(&cx.plan.post_processors, &artifact, &context).await?;
        cx.stop.check()?;
        match errors.first() {
            None => Ok(()),
            Some(first) => Err(StepError::PostProcess(Box::new(problem(cx, &errors, first)))),
        }
    }
}

fn problem(cx: &Cx, errors: &[PostProcessError], first: &PostProcessError) -> Problem {
    let detail: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let mut problem =
        Problem::new(422, "post_processor_failed", "A post-processor failed", detail.join("; "))
            .with_hint("What the run made is complete and stays: it is among the build's artifacts.");
    problem.last_lines = last_lines(cx, &first.last_lines);
    problem
}

/// The files of this run in the database; each write is fenced by the lease.
struct OfRun<'a> {
    cx: &'a Cx,
}

impl Shelf for OfRun<'_> {
    type Error = StepError;

    async fn files(&self) -> Result<Vec<File>, StepError> {
        let cx = self.cx;
        let rows = durable!(cx, |db| files::of_build(db, cx.lease.build))?;
        let own = rows.into_iter().filter(|row| row.run == cx.plan.name);
        Ok(own
            .map(|row| File { path: row.path, size: u64::try_from(row.size).unwrap_or_default() })
            .collect())
    }

    async fn load(&self, path: &str) -> Result<Option<Vec<u8>>, StepError> {
        let cx = self.cx;
        durable!(cx, |db| files::load(db, cx.lease.build, &cx.plan.name, path))
    }

    async fn put(&self, path: &str, data: &[u8]) -> Result<(), StepError> {
        let cx = self.cx;
        durable!(cx, |db| async {
            guard(db, &cx.lease).await?;
            files::put(db, cx.lease.build, &cx.plan.name, path, data, Utc::now()).await
        })
    }

    async fn remove(&self, path: &str) -> Result<(), StepError> {
        let cx = self.cx;
        durable!(cx, |db| async {
            guard(db, &cx.lease).await?;
            files::remove(db, cx.lease.build, &cx.plan.name, path).await
        })
    }

    async fn add_to_manifest(
        &self,
        path: &str,
        entry: &ManifestBuild,
        nth: usize,
    ) -> Result<Result<Vec<u8>, String>, StepError> {
        let cx = self.cx;
        // Unlike files that the template's own scripts write, this one is ours, so no secret may be in it.
        let shown = |text: &String| cx.log.redactor().redact(text).into_owned();
        let mut entry = entry.clone();
        for (name, value) in std::mem::take(&mut entry.custom_data).into_iter().flatten() {
            entry.custom_data.get_or_insert_default().insert(shown(&name), shown(&value));
        }
        let entry = &entry;
        durable!(cx, |db| async {
            guard(db, &cx.lease).await?;
            // Runs that end at the same moment add to the manifest one after the other.
            let Some(run) = files::lock_shared(db, cx.lease.build).await? else {
                return Err(StoreError::LeaseLost(cx.lease.run));
            };
            let there = files::load(db, cx.lease.build, &run, path).await?;
            let whole = manifest::with_entry(there.as_deref(), entry, nth);
            if let Ok(whole) = &whole {
                files::put(db, cx.lease.build, &run, path, whole, Utc::now()).await?;
            }
            Ok(whole)
        })
    }
}

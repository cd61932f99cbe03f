//! Post-processors: what happens to a run's artifact once it is made. Chains begin with the artifact and hand it on; one
//! that fails ends, and the others go on. All that is written goes among the build's files, and running all of it again
//! writes the same. Where these files are is behind [`Shelf`]; how a run is told of a failure is `bake`'s.

use std::{collections::BTreeMap, fmt, future::Future, path::Path, time::Duration};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        BuildId, duration,
        log::Output,
        manifest::ManifestBuild,
        post_processor::{PostProcessor, PostProcessorAction},
    },
    provision::{self, Render, shell_local, workspace},
    template::normalise,
};

pub mod artifice;
mod checksum;
pub mod manifest;
pub mod pattern;
#[cfg(test)]
mod tests;

/// A file of the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path among the run's files.
    pub path: String,
    /// In bytes.
    pub size: u64,
}

/// Where the files of the build are.
pub trait Shelf: Sync {
    /// Why it cannot be used. That is no fault of a post-processor.
    type Error: Send;

    /// The files of this run.
    fn files(&self) -> impl Future<Output = Result<Vec<File>, Self::Error>> + Send;

    /// The content of a file of this run.
    fn load(&self, path: &str) -> impl Future<Output = Result<Option<Vec<u8>>, Self::Error>> + Send;

    /// Keeps a file of this run, or replaces it.
    fn put(&self, path: &str, data: &[u8]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Gives up a file of this run.
    fn remove(&self, path: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Adds an entry to the build's manifest at this path, which all of its runs share, as [`manifest::with_entry`] does
    /// it, and answers the whole manifest, or what is wrong with the file that is there.
    fn add_to_manifest(
        &self,
        path: &str,
        entry: &ManifestBuild,
        nth: usize,
    ) -> impl Future<Output = Result<Result<Vec<u8>, String>, Self::Error>> + Send;
}

/// What a chain hands on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Product {
    /// Packer's id of the artifact, `region:ami-…`; empty for an artifact of files.
    pub id: String,
    /// Its files; an OMI has none.
    pub files: Vec<File>,
}

/// What post-processors work with.
pub struct PostProcessContext<'a, S> {
    /// The build's files.
    pub shelf: &'a S,
    /// Where the output goes.
    pub output: &'a dyn Output,
    /// Fills in templates.
    pub render: &'a dyn Render,
    /// The working folder on this host.
    pub folder: &'a Path,
    /// The run's name.
    pub run_name: &'a str,
    /// Packer's name of the build.
    pub build_name: &'a str,
    /// The builder's kind.
    pub builder_type: &'a str,
    /// The build.
    pub build: BuildId,
    /// The moment that manifests name.
    pub now: DateTime<Utc>,
    /// How many bytes an `artifice` may keep.
    pub limit: u64,
    /// How long one post-processor may take.
    pub timeout: Duration,
    /// Ends what runs at once.
    pub cancel: &'a CancellationToken,
}

/// A post-processor that failed.
#[derive(Debug, thiserror::Error)]
#[error("post-processor `{name}` ({kind}) failed: {reason}")]
pub struct PostProcessError {
    /// Its name in the template.
    pub name: String,
    /// Packer's name of the kind.
    pub kind: &'static str,
    /// Why.
    pub reason: String,
    /// The last lines of its script, oldest first. They have not been redacted.
    pub last_lines: Vec<String>,
}

/// How a post-processor does not succeed.
#[derive(Debug)]
enum Failure<E> {
    /// It is at fault.
    Failed { reason: String, last_lines: Vec<String> },
    /// The build's files could not be used.
    Shelf(E),
}

impl<E> Failure<E> {
    fn because(reason: impl fmt::Display) -> Self {
        Self::Failed { reason: reason.to_string(), last_lines: Vec::new() }
    }
}

/// The outcome of one step of the work.
type Done<T, E> = Result<T, Failure<E>>;

/// Runs the chains, and answers which post-processors failed. Ends early when the build is cancelled.
///
/// # Errors
/// The build's files could not be used.
pub async fn run<S: Shelf>(
    chains: &[Vec<PostProcessor>],
    artifact: &Product,
    cx: &PostProcessContext<'_, S>,
) -> Result<Vec<PostProcessError>, S::Error> {
    let mut work = Work { cx, laid_out: BTreeMap::new(), manifests: BTreeMap::new(), sums: BTreeMap::new() };
    let mut errors = Vec::new();
    let uses_folder = |each: &PostProcessor| {
        matches!(each.action, PostProcessorAction::Artifice(_) | PostProcessorAction::ShellLocal(_))
    };
    if let Some(first) = chains.iter().flatten().find(|each| uses_folder(each)) {
        match work.lay_out().await {
            Ok(()) => {}
            Err(Failure::Shelf(error)) => return Err(error),
            Err(Failure::Failed { reason, last_lines }) => {
                errors.push(failed(first, reason, last_lines));
                return Ok(errors);
            }
        }
    }
    for chain in chains {
        let mut product = artifact.clone();
        for each in chain {
            if cx.cancel.is_cancelled() {
                return Ok(errors);
            }
            cx.output.say(&format!("post-processor {}", shown(each))).await;
            match work.one(each, &product).await {
                Ok(made) => product = made,
                Err(Failure::Shelf(error)) => return Err(error),
                Err(Failure::Failed { reason, last_lines }) => {
                    let error = failed(each, reason, last_lines);
                    cx.output.say(&format!("{error}; the rest of its sequence is left out")).await;
                    errors.push(error);
                    break;
                }
            }
        }
    }
    Ok(errors)
}

fn failed(each: &PostProcessor, reason: String, last_lines: Vec<String>) -> PostProcessError {
    PostProcessError { name: each.name.clone(), kind: each.action.kind(), reason, last_lines }
}

/// `name (kind)`, or only the kind if that is the name.
fn shown(each: &PostProcessor) -> String {
    let kind = each.action.kind();
    if each.name == kind { kind.to_owned() } else { format!("{} ({kind})", each.name) }
}

/// What is known of one pass over all chains. A pass that begins anew writes everything anew.
struct Work<'a, S> {
    cx: &'a PostProcessContext<'a, S>,
    /// Digests of the files that are on the shelf as they are in the folder.
    laid_out: BTreeMap<String, Vec<u8>>,
    /// How many entries this pass has added to each manifest.
    manifests: BTreeMap<String, usize>,
    /// The checksums that this pass has written to each file.
    sums: BTreeMap<String, Vec<u8>>,
}

impl<S: Shelf> Work<'_, S> {
    async fn one(&mut self, each: &PostProcessor, input: &Product) -> Done<Product, S::Error> {
        match &each.action {
            PostProcessorAction::Artifice(plan) => {
                let gives_up = each.keep_input_artifact == Some(false);
                artifice::run(plan, gives_up, input, self).await
            }
            PostProcessorAction::Checksum(plan) => checksum::run(plan, input, self).await,
            PostProcessorAction::Manifest(plan) => {
                manifest::run(plan, input, self).await?;
                Ok(input.clone())
            }
            PostProcessorAction::ShellLocal(plan) => {
                let (build, cx) = (self.cx.build.to_string(), self.cx);
                let host = shell_local::Host {
                    output: cx.output,
                    render: cx.render,
                    folder: cx.folder,
                    run_name: cx.build_name,
                    builder_type: cx.builder_type,
                    run_uuid: &build,
                };
                let script = tokio::time::timeout(cx.timeout, shell_local::run(plan, &host));
                let ended = tokio::select! {
                    biased;
                    () = cx.cancel.cancelled() => return Err(Failure::because("the build was stopped")),
                    ended = script => ended,
                };
                match ended {
                    Ok(Ok(())) => Ok(input.clone()),
                    Ok(Err(error)) => {
                        let reason = error.to_string();
                        let last_lines = match error {
                            provision::Failure::Script { last_lines, .. } => last_lines,
                            _ => Vec::new(),
                        };
                        Err(Failure::Failed { reason, last_lines })
                    }
                    Err(_) => {
                        let limit = duration::format(cx.timeout);
                        Err(Failure::because(format!("it did not end within {limit}")))
                    }
                }
            }
        }
    }

    /// Puts the files that the run has kept so far where scripts and patterns look for them.
    async fn lay_out(&mut self) -> Done<(), S::Error> {
        for file in self.cx.shelf.files().await.map_err(Failure::Shelf)? {
            if let Some(data) = self.cx.shelf.load(&file.path).await.map_err(Failure::Shelf)? {
                self.lay_in_folder(&file.path, data).await?;
            }
        }
        Ok(())
    }

    /// Keeps a file that a post-processor wrote; those behind it find it in the folder too.
    async fn write(&mut self, path: &str, data: Vec<u8>) -> Done<File, S::Error> {
        self.cx.shelf.put(path, &data).await.map_err(Failure::Shelf)?;
        let file = File { path: path.to_owned(), size: data.len() as u64 };
        self.lay_in_folder(path, data).await?;
        Ok(file)
    }

    async fn lay_in_folder(&mut self, path: &str, data: Vec<u8>) -> Done<(), S::Error> {
        self.laid_out.insert(path.to_owned(), digest(&data));
        let (folder, target) = (self.cx.folder.to_owned(), path.to_owned());
        let put = workspace::aside(move || workspace::put(&folder, &target, &data)).await;
        put.map_err(|error| Failure::because(format!("`{path}` cannot be written: {error}")))
    }

    /// Fills in a text.
    fn filled_in(&self, what: &str, text: &str, extra: &[(&str, &str)]) -> Done<String, S::Error> {
        let rendered = self.cx.render.render(text, extra);
        rendered.map_err(|reason| Failure::because(format!("`{what}` cannot be rendered: {reason}")))
    }

    /// Fills in a path among the build's files.
    fn path(&self, what: &str, text: &str, extra: &[(&str, &str)]) -> Done<String, S::Error> {
        let given = self.filled_in(what, text, extra)?;
        let path = normalise(&given).filter(|path| !path.is_empty() && !given.ends_with('/'));
        path.ok_or_else(|| {
            Failure::because(format!("`{what}` is no path among the build's files: `{given}`"))
        })
    }
}

fn digest(data: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    Sha256::digest(data).to_vec()
}

/// The last name of a path.
fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

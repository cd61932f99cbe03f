//! The file provisioner: copies into the machine and out of it, with Packer's meaning of slashes and patterns.

use std::{path::Path, time::Duration};

use futures::FutureExt;
use secrecy::{ExposeSecret, SecretString};

use super::{Failure, ProvisionContext, remote_glob, source, transport};
use crate::{
    communicator::Upload,
    domain::provisioner::{FilePlan, FileSource},
};

/// How long a copy is tried again while the machine cannot be reached; the same as for scripts.
const RETRY_WINDOW: Duration = Duration::from_secs(300);

pub(super) async fn run(plan: &FilePlan, cx: &ProvisionContext<'_>) -> Result<(), Failure> {
    let destination = &cx.filled_in("destination", &plan.destination, &[])?;
    match &plan.source {
        FileSource::Upload(sources) => {
            for source in sources {
                upload(source, destination, cx).await?;
            }
        }
        FileSource::Content(content) => {
            let remote = if destination.ends_with('/') {
                format!("{destination}pkr-file-content{:08x}", rand::random::<u32>())
            } else {
                destination.to_owned()
            };
            cx.output.say(&format!("Uploading content => {remote}")).await;
            let content = SecretString::from(cx.filled_in("content", content.expose_secret(), &[])?);
            put(Upload::bytes(content.expose_secret().as_bytes()), &remote, cx).await?;
        }
        FileSource::Download(sources) => {
            let mut left = cx.download_limit;
            for source in sources {
                let source = &cx.filled_in("source", source, &[])?;
                left -= download(source, destination, left, cx).await?.min(left);
            }
        }
    }
    Ok(())
}

async fn put(upload: Upload<'_>, remote: &str, cx: &ProvisionContext<'_>) -> Result<(), Failure> {
    let communicator = cx.communicator;
    transport::retried(RETRY_WINDOW, || async move { Ok(communicator.upload(upload, remote).await?) }.boxed())
        .await
}

async fn upload(path: &str, destination: &str, cx: &ProvisionContext<'_>) -> Result<(), Failure> {
    let local = source::find(cx.files, path).await?;
    let name = name_of(path).map(ToOwned::to_owned);
    if !local.is_dir() {
        let remote = match name {
            Some(name) if destination.ends_with('/') => format!("{destination}{name}"),
            _ => destination.to_owned(),
        };
        cx.output.say(&format!("Uploading {path} => {remote}")).await;
        return put(Upload::file(&local), &remote, cx).await;
    }
    let remote = match name {
        // Without a slash the folder itself is copied, with one only what is in it.
        Some(name) if !path.ends_with('/') => format!("{}/{name}", destination.trim_end_matches('/')),
        _ => destination.to_owned(),
    };
    cx.output.say(&format!("Uploading folder {path} => {remote}")).await;
    let (communicator, local, remote) = (cx.communicator, local.as_path(), remote.as_str());
    let send = || async move { Ok(communicator.upload_folder(local, remote).await?) }.boxed();
    transport::retried(RETRY_WINDOW, send).await
}

/// Downloads one source. Answers how many bytes came.
async fn download(
    path: &str,
    destination: &str,
    limit: u64,
    cx: &ProvisionContext<'_>,
) -> Result<u64, Failure> {
    let root = source::destination(cx.downloads, destination)?;
    if remote_glob::is_pattern(path) {
        let mut bytes = 0;
        for found in remote_glob::expand(path, cx).await? {
            // A name that ends in a slash matched a pattern that does.
            let name =
                name_of(&found.path).ok_or_else(|| Failure::NothingMatches { pattern: path.to_owned() })?;
            bytes += get(&found.path, &root.join(name), found.is_folder, limit - bytes, cx).await?;
        }
        return Ok(bytes);
    }
    match name_of(path) {
        Some(name) if path.ends_with('/') => get(path, &root.join(name), true, limit, cx).await,
        Some(name) if destination.ends_with('/') => get(path, &root.join(name), false, limit, cx).await,
        Some(_) => get(path, &root, false, limit, cx).await,
        // `/` itself has no name.
        None => get(path, &root, true, limit, cx).await,
    }
}

async fn get(
    remote: &str,
    local: &Path,
    is_folder: bool,
    limit: u64,
    cx: &ProvisionContext<'_>,
) -> Result<u64, Failure> {
    let shown = local.strip_prefix(cx.downloads).unwrap_or(local);
    cx.output.say(&format!("Downloading {remote} => {}", shown.display())).await;
    let communicator = cx.communicator;
    let receive = || {
        async move {
            Ok(if is_folder {
                communicator.download_folder(remote, local, limit).await?
            } else {
                communicator.download(remote, local, limit).await?
            })
        }
        .boxed()
    };
    transport::retried(RETRY_WINDOW, receive).await
}

/// The last name of a path, on either side. None for `/`, `.` and `..`.
fn name_of(path: &str) -> Option<&str> {
    let name = path.trim_end_matches('/').rsplit('/').next()?;
    (!matches!(name, "" | "." | ".." | "~")).then_some(name)
}

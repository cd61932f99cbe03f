//! `manifest`: adds the artifact to Packer's manifest, which is one file for all runs of the build.

use super::{Done, Failure, Product, Shelf, Work, base_name};
use crate::domain::{
    manifest::{Manifest, ManifestBuild, ManifestFile, builder_type},
    post_processor::ManifestPlan,
};

pub(super) async fn run<S: Shelf>(
    plan: &ManifestPlan,
    input: &Product,
    work: &mut Work<'_, S>,
) -> Done<(), S::Error> {
    let output = work.path("output", &plan.output, &[])?;
    let mut custom_data = std::collections::BTreeMap::new();
    for (name, value) in &plan.custom_data {
        let name = work.filled_in("custom_data", name, &[])?;
        custom_data.insert(name, work.filled_in("custom_data", value, &[])?);
    }
    let files = input.files.iter().map(|file| ManifestFile {
        name: if plan.strip_path { base_name(&file.path).to_owned() } else { file.path.clone() },
        size: file.size,
    });
    let entry = ManifestBuild {
        name: work.cx.build_name.to_owned(),
        run: (work.cx.run_name != work.cx.build_name).then(|| work.cx.run_name.to_owned()),
        builder_type: builder_type(work.cx.builder_type),
        build_time: (!plan.strip_time).then(|| work.cx.now.timestamp()),
        files: Some(files.collect::<Vec<_>>()).filter(|files| !files.is_empty()),
        artifact_id: input.id.clone(),
        packer_run_uuid: work.cx.build,
        custom_data: Some(custom_data).filter(|data| !data.is_empty()),
    };
    let nth = work.manifests.entry(output.clone()).or_default();
    let added = work.cx.shelf.add_to_manifest(&output, &entry, *nth).await.map_err(Failure::Shelf)?;
    *nth += 1;
    let whole = added.map_err(Failure::because)?;
    work.cx.output.say(&format!("added the artifact to {output}")).await;
    work.lay_in_folder(&output, whole).await
}

/// The manifest with this entry: the `nth` (from 0) of its run in this build. One that is there already is replaced, so
/// that a run that is gone through again after a worker was lost does not stand there twice.
///
/// # Errors
/// A sentence, if the file that is there is no manifest.
pub fn with_entry(there: Option<&[u8]>, entry: &ManifestBuild, nth: usize) -> Result<Vec<u8>, String> {
    let mut manifest = match there {
        None => Manifest { builds: Vec::new(), last_run_uuid: entry.packer_run_uuid },
        Some(text) => serde_json::from_slice(text)
            .map_err(|error| format!("the build has a file of that name, which is no manifest: {error}"))?,
    };
    let same = |other: &&mut ManifestBuild| {
        (&other.name, &other.run) == (&entry.name, &entry.run)
            && other.packer_run_uuid == entry.packer_run_uuid
    };
    match manifest.builds.iter_mut().filter(same).nth(nth) {
        Some(there) => *there = entry.clone(),
        None => manifest.builds.push(entry.clone()),
    }
    manifest.last_run_uuid = entry.packer_run_uuid;
    serde_json::to_vec_pretty(&manifest).map_err(|error| error.to_string())
}

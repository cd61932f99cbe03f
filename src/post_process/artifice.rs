//! `artifice`: the artifact is these files from now on. They are looked for in the working folder, where downloads from the
//! VM and what scripts on the host wrote are, and are kept with the build.

use std::{collections::BTreeMap, io, path::Path};

use super::{Done, Failure, File, Product, Shelf, Work, digest, pattern};
use crate::{
    domain::post_processor::ArtificePlan,
    provision::workspace::{self, Found},
};

pub(super) async fn run<S: Shelf>(
    plan: &ArtificePlan,
    gives_up_input: bool,
    input: &Product,
    work: &mut Work<'_, S>,
) -> Done<Product, S::Error> {
    let (folder, patterns) = (work.cx.folder.to_owned(), plan.files.clone());
    let found = workspace::aside(move || matching(&folder, &patterns)).await;
    let found = found.map_err(|error| Failure::because(format!("the files cannot be listed: {error}")))?;
    for pattern in
        plan.files.iter().filter(|pattern| !found.iter().any(|file| pattern::fits(pattern, &file.path)))
    {
        work.cx.output.say(&format!("nothing matches `{pattern}`")).await;
    }
    if found.is_empty() {
        return Err(Failure::because(
            "none of its `files` is there: neither was it downloaded from the VM, nor written by `shell-local`",
        ));
    }
    let size: u64 = found.iter().map(|file| file.size).sum();
    if size > work.cx.limit {
        let limit = work.cx.limit;
        return Err(Failure::because(format!(
            "its files have {size} bytes, and a build keeps at most {limit}"
        )));
    }
    let mut files = BTreeMap::new();
    for Found { path, .. } in found {
        let (folder, wanted) = (work.cx.folder.to_owned(), path.clone());
        let data = workspace::aside(move || workspace::read(&folder, &wanted)).await;
        let data = data.map_err(|error| Failure::because(format!("`{path}` cannot be read: {error}")))?;
        let now = digest(&data);
        if work.laid_out.get(&path) != Some(&now) {
            work.cx.shelf.put(&path, &data).await.map_err(Failure::Shelf)?;
            work.laid_out.insert(path.clone(), now);
        }
        files.insert(path, data.len() as u64);
    }
    if gives_up_input {
        for file in input.files.iter().filter(|file| !files.contains_key(&file.path)) {
            work.cx.shelf.remove(&file.path).await.map_err(Failure::Shelf)?;
            work.cx.output.say(&format!("gave up {}", file.path)).await;
        }
    }
    let files: Vec<File> = files.into_iter().map(|(path, size)| File { path, size }).collect();
    let names: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    work.cx.output.say(&format!("the artifact is now {}", names.join(", "))).await;
    Ok(Product { id: String::new(), files })
}

/// The files of the folder that fit any of the patterns.
///
/// # Errors
/// Those of the file system.
pub fn matching(folder: &Path, patterns: &[String]) -> io::Result<Vec<Found>> {
    let mut found = workspace::files_below(folder)?;
    found.retain(|file| patterns.iter().any(|pattern| pattern::fits(pattern, &file.path)));
    Ok(found)
}

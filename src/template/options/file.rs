//! The `file` provisioner's options.

use secrecy::SecretString;

use super::{fields::Fields, files};
use crate::{
    domain::provisioner::{FilePlan, FileSource},
    template::{context::normalise, render::Scope},
};

/// Reads the options.
pub fn file(fields: &Fields<'_>) -> Option<FilePlan> {
    let destination = fields.late_text("destination", Scope::Script).unwrap_or_default();
    if destination.is_empty() {
        fields.fail("destination", "`destination` is missing: where the files go");
    }
    let is_download = fields.word("direction", &["upload", "download"]).as_deref() == Some("download");
    // What is uploaded is looked at now; a path in the VM may hold what is known only when the VM runs.
    let (one, several) = if is_download {
        (fields.late_text("source", Scope::Script), fields.late_texts("sources", Scope::Script))
    } else {
        (fields.text("source"), fields.texts("sources"))
    };
    let has_broken_source = fields.has("source") && one.is_none();
    let content = fields.late_text("content", Scope::Script);
    // Files are here before the build starts, so nothing is gained by looking for them later.
    fields.flag("generated");
    let several = several.unwrap_or_default();
    let sources: Vec<String> = one.into_iter().chain(several).filter(|source| !source.is_empty()).collect();
    let has_sources = !sources.is_empty() || has_broken_source;
    match (content.filter(|content| !content.is_empty()), has_sources) {
        (Some(_), true) => {
            fields.fail("content", "`content` and `source` are both given; give one of them");
            None
        }
        (Some(_), false) if is_download => {
            fields.fail("content", "`content` can only be uploaded; a download needs `source`");
            None
        }
        (Some(content), false) => {
            Some(FilePlan { source: FileSource::Content(SecretString::from(content)), destination })
        }
        (None, true) if is_download => Some(FilePlan {
            source: FileSource::Download(sources),
            destination: local(fields, &destination)?,
        }),
        (None, true) => {
            let found: Vec<String> = sources.iter().filter_map(|source| upload(fields, source)).collect();
            (found.len() == sources.len())
                .then_some(FilePlan { source: FileSource::Upload(found), destination })
        }
        (None, false) => {
            fields.fail("source", "a `file` provisioner needs `source`, `sources` or `content`");
            None
        }
    }
}

/// The path in the folder; the slash at its end, which means the content of a folder, stays.
fn upload(fields: &Fields<'_>, source: &str) -> Option<String> {
    let name = if fields.has("sources") && fields.text("source").as_deref() != Some(source) {
        "sources"
    } else {
        "source"
    };
    let path = files::path(fields, name, source)?;
    let is_folder = fields.reading.folder.is_some_and(|folder| folder.is_dir(&path));
    match (source.ends_with('/'), is_folder) {
        (true, true) => Some(if path.is_empty() { "./".to_owned() } else { format!("{path}/") }),
        (false, true) if path.is_empty() => Some(".".to_owned()),
        (true, false) => {
            fields.fail(name, format!("`{name}`: `{source}` is a file, so it cannot end in a slash"));
            None
        }
        _ => Some(path),
    }
}

/// Where a download goes among the build's files.
fn local(fields: &Fields<'_>, destination: &str) -> Option<String> {
    if destination.contains("{{") {
        // Looked at when it is known; nothing is written outside of the build's files then either.
        return Some(destination.to_owned());
    }
    let Some(path) = normalise(destination) else {
        fields.fail(
            "destination",
            format!("`destination` of a download must be a relative path: it goes among the build's files, not to `{destination}`"),
        );
        return None;
    };
    match (destination.ends_with('/'), path.is_empty()) {
        (_, true) => Some("./".to_owned()),
        (true, false) => Some(format!("{path}/")),
        (false, false) => Some(path),
    }
}

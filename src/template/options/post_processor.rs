//! Post-processors: the kinds there are and their options. Which of them a run has, and in which chains, is decided by
//! whoever reads the template's format.

use super::{
    Treatment,
    fields::{Fields, quoted},
    shell_local::shell_local,
    table,
};
use crate::{
    domain::post_processor::{
        ArtificePlan, ChecksumPlan, ChecksumType, ManifestPlan, PostProcessor, PostProcessorAction,
    },
    template::{context::normalise, envelope::shorten, render::Scope, suggest::or_did_you_mean},
};

/// The kinds that are done.
const KINDS: [&str; 4] = ["artifice", "checksum", "manifest", "shell-local"];

/// Where a manifest goes; Packer's.
const MANIFEST: &str = "packer-manifest.json";
/// Where checksums go; Packer's.
const CHECKSUMS: &str = "packer_{{.BuildName}}_{{.BuilderType}}_{{.ChecksumType}}.checksum";

/// Reads a post-processor. `None` if something is wrong with it.
pub fn post_processor(fields: &Fields<'_>, kind: &str) -> Option<PostProcessor> {
    // Read by whoever chose the post-processor for this run.
    for name in ["type", "only", "except"] {
        fields.has(name);
    }
    let name = fields.filled("name").unwrap_or_else(|| kind.to_owned());
    let keep_input_artifact = fields.flag("keep_input_artifact");
    if keep_input_artifact == Some(false) {
        let why = if kind == "artifice" {
            "never deletes an OMI: of the input only files are given up"
        } else {
            "has no effect here: this post-processor always keeps its input, as in Packer"
        };
        fields.notice("keep_input_artifact", why);
    }
    let action = match kind {
        "artifice" => artifice(fields).map(PostProcessorAction::Artifice),
        "checksum" => checksum(fields).map(PostProcessorAction::Checksum),
        "manifest" => manifest(fields).map(PostProcessorAction::Manifest),
        "shell-local" => shell_local(fields).map(|plan| PostProcessorAction::ShellLocal(Box::new(plan))),
        _ => {
            refuse_kind(fields, kind);
            return None;
        }
    };
    fields.finish(&format!("`{kind}`"), &[]);
    Some(PostProcessor { name, action: action?, keep_input_artifact })
}

/// Says why a post-processor of this kind cannot be had.
fn refuse_kind(fields: &Fields<'_>, kind: &str) {
    let supported = format!("{} are supported", quoted(&KINDS).replace(" or ", " and "));
    match table::POST_PROCESSOR_KINDS.iter().find(|(known, _)| *known == kind) {
        Some((_, Treatment::NotYet)) => {
            let detail = format!("the post-processor `{kind}` is not supported yet; {supported}");
            fields.fail_not_yet("type", detail);
        }
        Some((_, Treatment::Never(why) | Treatment::Ignored(why))) => {
            fields.fail("type", format!("the post-processor `{kind}` is not possible here: {why}"));
        }
        None => {
            let known = KINDS.into_iter().chain(table::POST_PROCESSOR_KINDS.iter().map(|(known, _)| *known));
            let hint = or_did_you_mean(kind, known, &supported);
            fields.fail("type", format!("there is no post-processor `{}`; {hint}", shorten(kind)));
        }
    }
}

fn artifice(fields: &Fields<'_>) -> Option<ArtificePlan> {
    let given = fields.texts("files").unwrap_or_default();
    if given.is_empty() {
        fields.fail("files", "`artifice` needs `files`: patterns of the files that are the artifact");
        return None;
    }
    let files: Vec<String> = given.iter().filter_map(|pattern| inside(fields, "files", pattern)).collect();
    (files.len() == given.len()).then_some(ArtificePlan { files })
}

fn checksum(fields: &Fields<'_>) -> Option<ChecksumPlan> {
    let mut types = Vec::new();
    for word in fields.texts("checksum_types").unwrap_or_default() {
        let known = ChecksumType::ALL.map(ChecksumType::as_str);
        match ChecksumType::ALL.into_iter().find(|kind| kind.as_str() == word) {
            Some(kind) => types.push(kind),
            None => {
                let hint = or_did_you_mean(&word, known, &format!("use {}", quoted(&known)));
                let detail = format!("`checksum_types` cannot be `{}`; {hint}", shorten(&word));
                fields.fail("checksum_types", detail);
            }
        }
    }
    if types.is_empty() {
        types.push(ChecksumType::Md5);
    }
    Some(ChecksumPlan { types, output: output(fields, Scope::Checksum, CHECKSUMS)? })
}

fn manifest(fields: &Fields<'_>) -> Option<ManifestPlan> {
    let output = output(fields, Scope::Script, MANIFEST);
    Some(ManifestPlan {
        strip_path: fields.is_on("strip_path"),
        strip_time: fields.is_on("strip_time"),
        custom_data: fields.late_map("custom_data", Scope::Script).unwrap_or_default(),
        output: output?,
    })
}

/// Where a post-processor writes. A path that is known only late is looked at then.
fn output(fields: &Fields<'_>, scope: Scope, usual: &str) -> Option<String> {
    let has = fields.has("output");
    let given = match fields.late_text("output", scope) {
        None if has => return None,
        given => given.filter(|path| !path.is_empty()).unwrap_or_else(|| usual.to_owned()),
    };
    if given.contains("{{") { Some(given) } else { inside(fields, "output", &given) }
}

/// A path among the build's files.
fn inside(fields: &Fields<'_>, name: &'static str, given: &str) -> Option<String> {
    let path = normalise(given).filter(|path| !path.is_empty() && !given.ends_with('/'));
    if path.is_none() {
        let shown = shorten(given);
        fields.fail(
            name,
            format!(
                "`{name}` must be a relative path of a file: it is among the build's files, not at `{shown}`"
            ),
        );
    }
    path
}

//! The builders of a template: their types, their names, and which of them a request wants.

use super::{
    plan::Template,
    reader::{Kind, Node},
};
use crate::{
    domain::problem::FieldProblem,
    template::{
        envelope::shorten,
        options::{BUILDERS, BuilderKind},
        render::{Renderer, Scope},
        selection,
        suggest::or_did_you_mean,
    },
};

/// A builder before its options are read.
pub(super) struct BuilderEntry<'a> {
    pub(super) name: String,
    pub(super) kind: BuilderKind,
    pub(super) type_name: &'a str,
    pub(super) node: &'a Node,
    pub(super) pointer: String,
}

impl<'a> Template<'a> {
    pub(super) fn builders(&self, general: &Renderer) -> Option<Vec<BuilderEntry<'a>>> {
        if self.root.get("builders").is_none() {
            self.findings.wrong("", self.root.at, "the template has no `builders`");
            return None;
        }
        let nodes = self.list("builders", self.cx.limits.max_builders)?;
        if nodes.is_empty() {
            self.findings.wrong("/builders", self.root.at, "`builders` is empty; at least one is needed");
        }
        let mut entries: Vec<BuilderEntry<'a>> = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let pointer = format!("/builders/{index}");
            let Some(entry) = self.builder(general, node, pointer) else { continue };
            match entries.iter().find(|other| other.name == entry.name) {
                Some(other) => self.findings.wrong(
                    &entry.pointer,
                    node.at,
                    format!(
                        "this builder is called `{}` like the one at `{}`; give each a `name` of its own",
                        entry.name, other.pointer
                    ),
                ),
                None => entries.push(entry),
            }
        }
        Some(entries)
    }

    fn builder(&self, general: &Renderer, node: &'a Node, pointer: String) -> Option<BuilderEntry<'a>> {
        let Some(_) = node.members() else {
            self.findings.wrong(
                &pointer,
                node.at,
                format!("a builder must be an object, not {}", node.kind_name()),
            );
            return None;
        };
        let type_name = match node.get("type") {
            Some(Node { kind: Kind::String(text), .. }) => text.as_str(),
            other => {
                let at = other.map_or(node.at, |other| other.at);
                self.findings.wrong(&pointer, at, "the builder has no `type`, such as `osc-bsu`");
                return None;
            }
        };
        let place = node.get("type").map_or(node.at, |other| other.at);
        let type_pointer = format!("{pointer}/type");
        let Some((_, kind)) = BUILDERS.iter().find(|(known, _)| *known == type_name) else {
            let hint = or_did_you_mean(
                type_name,
                BUILDERS.iter().map(|(known, _)| *known),
                "fournil bakes for OUTSCALE: use `osc-bsu`",
            );
            let detail = format!("there is no builder `{}`; {hint}", shorten(type_name));
            self.findings.wrong(&type_pointer, place, detail);
            return None;
        };
        let name = match node.get("name").map(|name| (name, &name.kind)) {
            None | Some((_, Kind::Null)) => type_name.to_owned(),
            Some((name, Kind::String(text))) => match general.now(text, Scope::Option) {
                Ok(text) if text.is_empty() => type_name.to_owned(),
                Ok(text) if text.chars().count() > 128 || text.chars().any(char::is_control) => {
                    let detail =
                        "the `name` of a builder has at most 128 characters and no control characters";
                    self.findings.wrong(&format!("{pointer}/name"), name.at, detail);
                    return None;
                }
                Ok(text) => text,
                Err(detail) => {
                    self.findings.wrong(&format!("{pointer}/name"), name.at, detail);
                    return None;
                }
            },
            Some((name, _)) => {
                let detail = format!("the `name` of a builder must be a text, not {}", name.kind_name());
                self.findings.wrong(&format!("{pointer}/name"), name.at, detail);
                return None;
            }
        };
        Some(BuilderEntry { name, kind: *kind, type_name, node, pointer })
    }

    /// The builders that the request's `only` and `except` leave. `except` may also name post-processors.
    pub(super) fn chosen<'b>(
        &self,
        builders: &'b [BuilderEntry<'a>],
        post_processors: &[&str],
        request_errors: &mut Vec<FieldProblem>,
    ) -> Vec<&'b BuilderEntry<'a>> {
        let names: Vec<&str> = builders.iter().map(|builder| builder.name.as_str()).collect();
        let chosen = selection::chosen(self.request, &names, post_processors, request_errors);
        chosen.into_iter().filter_map(|index| builders.get(index)).collect()
    }
}

/// `` `a`, `b`, `c` ``
pub fn comma_separated(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{}`", shorten(word))).collect();
    shorten_list(quoted).join(", ")
}

/// The first twenty, so that a message stays readable.
fn shorten_list(mut words: Vec<String>) -> Vec<String> {
    if words.len() > 20 {
        words.truncate(20);
        words.push("…".to_owned());
    }
    words
}

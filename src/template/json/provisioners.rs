//! The provisioners of a template: for which runs each is, and with which options in each.

use std::cell::RefCell;

use super::{
    builders::comma_separated,
    plan::Template,
    pointer_token,
    reader::{Kind, Node},
};
use crate::{
    domain::provisioner::Provisioner,
    template::{
        envelope::shorten,
        options::{
            self, COMMON,
            fields::{Fields, Reading},
        },
        render::{Renderer, Scope},
        suggest::or_did_you_mean,
    },
};

/// A provisioner before its options are read.
pub(super) struct ProvisionerEntry<'a> {
    pub(super) type_name: String,
    pub(super) node: &'a Node,
    pub(super) pointer: String,
    pub(super) only: Vec<String>,
    pub(super) except: Vec<String>,
    pub(super) overrides: Vec<(&'a str, &'a Node, String)>,
    /// What came of it for an earlier run, if it is the same for every run.
    pub(super) read: RefCell<Option<Option<Provisioner>>>,
}

impl<'a> Template<'a> {
    pub(super) fn provisioners(&self, general: &Renderer, builds: &[&str]) -> Vec<ProvisionerEntry<'a>> {
        let nodes = self.list("provisioners", self.cx.limits.max_provisioners).unwrap_or_default();
        let entry = |(index, node)| self.provisioner(general, builds, node, format!("/provisioners/{index}"));
        nodes.iter().enumerate().filter_map(entry).collect()
    }

    pub(super) fn provisioner(
        &self,
        general: &Renderer,
        builds: &[&str],
        node: &'a Node,
        pointer: String,
    ) -> Option<ProvisionerEntry<'a>> {
        let Some(_) = node.members() else {
            let detail = format!("a provisioner must be an object, not {}", node.kind_name());
            self.findings.wrong(&pointer, node.at, detail);
            return None;
        };
        let type_name =
            match node.get("type").and_then(Node::as_text).map(|text| general.now(text, Scope::Option)) {
                Some(Ok(text)) if !text.is_empty() => text,
                Some(Err(detail)) => {
                    self.findings.wrong(&format!("{pointer}/type"), node.at, detail);
                    return None;
                }
                _ => {
                    self.findings.wrong(&pointer, node.at, "the provisioner has no `type`, such as `shell`");
                    return None;
                }
            };
        let (only, except) = self.only_and_except(node, builds, &pointer);
        let overrides = self.overrides(node, builds, &pointer);
        Some(ProvisionerEntry { type_name, node, pointer, only, except, overrides, read: RefCell::default() })
    }

    /// The builds that `only` and `except` name; all must exist.
    pub(super) fn only_and_except(
        &self,
        node: &Node,
        builds: &[&str],
        pointer: &str,
    ) -> (Vec<String>, Vec<String>) {
        let selection = |option: &str| -> Vec<String> {
            let Some(list) = node.get(option) else { return Vec::new() };
            let names = self.names(list, option, &format!("{pointer}/{option}"));
            for (name, pointer, at) in &names {
                self.known_build(name, builds, option, pointer, *at);
            }
            names.into_iter().map(|(name, ..)| name).collect()
        };
        let (only, except) = (selection("only"), selection("except"));
        if !only.is_empty() && !except.is_empty() {
            self.findings.wrong(pointer, node.at, "`only` and `except` are both given; give one of them");
        }
        (only, except)
    }

    fn overrides(&self, node: &'a Node, builds: &[&str], pointer: &str) -> Vec<(&'a str, &'a Node, String)> {
        let Some(list) = node.get("override").filter(|list| !matches!(list.kind, Kind::Null)) else {
            return Vec::new();
        };
        let pointer = format!("{pointer}/override");
        let Some(members) = list.members() else {
            let detail = format!("`override` must be an object of build names, not {}", list.kind_name());
            self.findings.wrong(&pointer, list.at, detail);
            return Vec::new();
        };
        let mut overrides = Vec::new();
        for member in members {
            let pointer = format!("{pointer}/{}", pointer_token(&member.name));
            self.known_build(&member.name, builds, "override", &pointer, member.at);
            for option in member.value.members().unwrap_or_default() {
                if COMMON.contains(&option.name.as_str()) {
                    let detail = format!(
                        "`{}` cannot stand in `override`; only options of the provisioner's kind can",
                        option.name
                    );
                    self.findings.wrong(
                        &format!("{pointer}/{}", pointer_token(&option.name)),
                        option.at,
                        detail,
                    );
                }
            }
            overrides.push((member.name.as_str(), &member.value, pointer));
        }
        overrides
    }

    fn known_build(&self, name: &str, builds: &[&str], option: &str, pointer: &str, at: u32) {
        if !builds.contains(&name) {
            let listed = format!("the builds are called {}", comma_separated(builds));
            let hint = or_did_you_mean(name, builds.iter().copied(), &listed);
            self.findings.wrong(
                pointer,
                at,
                format!("`{option}` names the build `{}`, which does not exist; {hint}", shorten(name)),
            );
        }
    }
}

impl ProvisionerEntry<'_> {
    pub(super) fn applies_to(&self, build: &str) -> bool {
        let names = |list: &[String]| list.iter().any(|name| name == build);
        (self.only.is_empty() || names(&self.only)) && !names(&self.except)
    }

    /// What the provisioner does in this run. Read once for all runs if nothing in it depends on the run: a template
    /// of twenty builders has hundreds of provisioners.
    pub(super) fn for_run(&self, reading: &Reading<'_>, build: &str) -> Option<Provisioner> {
        if self.overrides.is_empty()
            && let Some(read) = self.read.borrow().as_ref()
        {
            return read.clone();
        }
        reading.renderer.take_depends_on_build();
        let mut fields = Fields::new(reading, self.node, self.pointer.clone());
        if let Some((_, node, pointer)) = self.overrides.iter().find(|(name, ..)| *name == build) {
            fields.overlay(node, pointer.clone());
        }
        let read = options::provisioner(&fields, &self.type_name);
        if self.overrides.is_empty() && !reading.renderer.take_depends_on_build() {
            *self.read.borrow_mut() = Some(read.clone());
        }
        read
    }
}

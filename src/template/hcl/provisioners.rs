//! The provisioners and post-processors of a build: for which sources each is, and with which options in each.

use std::{cell::RefCell, ops::Range};

use super::options::{Opened, Reader};
use crate::{
    domain::{post_processor::PostProcessor, provisioner::Provisioner},
    hcl::{Body, ast},
    template::{
        json::{
            comma_separated,
            reader::{Kind, Member, Node},
        },
        options::{
            self,
            fields::{Fields, Reading},
        },
        or_did_you_mean,
    },
};

/// A provisioner or post-processor before its options are read.
pub(super) struct Entry<'a> {
    kind: String,
    opened: Opened<'a>,
    only: Vec<String>,
    except: Vec<String>,
    /// Whether its options can differ from run to run.
    depends_on_source: bool,
    /// What came of it for an earlier run, if it is the same for every run.
    read: RefCell<Option<Option<Provisioner>>>,
    /// The deferred expressions that it used then.
    deferred: RefCell<Range<usize>>,
}

/// Attributes that say for which runs it is.
const ABOUT: [&str; 4] = ["name", "only", "except", "override"];

impl<'a> Entry<'a> {
    pub(super) fn new(opened: Opened<'a>, reader: &Reader<'_>) -> Self {
        let kind = opened.labels.first().map(|label| label.text.clone()).unwrap_or_default();
        let names = |option: &str| -> Vec<String> {
            let Some(attribute) = opened.body.attribute(option) else { return Vec::new() };
            let Some(value) = reader.value(&attribute.expr, &opened.bound) else { return Vec::new() };
            let texts: Option<Vec<String>> = value
                .items()
                .and_then(|items| items.iter().map(|item| item.as_text().map(str::to_owned)).collect());
            texts.unwrap_or_else(|| {
                reader.wrong(
                    attribute.expr.span,
                    format!(
                        "`{option}` must be a list of names of sources, such as `[\"outscale-bsu.debian\"]`"
                    ),
                );
                Vec::new()
            })
        };
        let (only, except) = (names("only"), names("except"));
        if !only.is_empty() && !except.is_empty() {
            reader.wrong(opened.name_span, "`only` and `except` are both given; give one of them");
        }
        let depends_on_source = opened.body.attribute("override").is_some() || names_source(opened.body);
        Self {
            kind,
            opened,
            only,
            except,
            depends_on_source,
            read: RefCell::default(),
            deferred: RefCell::default(),
        }
    }

    pub(super) fn applies_to(&self, name: &str) -> bool {
        let is_listed = |list: &[String]| list.iter().any(|listed| listed == name);
        (self.only.is_empty() || is_listed(&self.only)) && !is_listed(&self.except)
    }

    /// What the request may call it: its name if it has one, else its kind.
    pub(super) fn own_name(&self) -> String {
        let name = self.opened.body.attribute("name").and_then(|name| match &name.expr.kind {
            ast::Kind::Text(name) => Some(name.to_string()),
            _ => None,
        });
        name.unwrap_or_else(|| self.kind.clone())
    }

    /// The deferred expressions that it has in every run.
    pub(super) fn deferred(&self) -> Range<usize> {
        self.deferred.borrow().clone()
    }

    /// The options as a node; `type` is the kind.
    fn options(&self, reader: &Reader<'_>, without: &[&str]) -> Node {
        let span = self.opened.name_span;
        let members = reader.members(self.opened.body, &self.opened.bound, without);
        let label = self.opened.labels.first().map_or(span, |label| label.span);
        let kind = Member {
            name: "type".to_owned(),
            at: label.start,
            value: Node { at: label.start, kind: Kind::String(self.kind.clone()) },
        };
        Node { at: span.start, kind: Kind::Object(members.into_iter().chain([kind]).collect()) }
    }

    /// What the post-processor does in this run.
    pub(super) fn post_processor(&self, reader: &Reader<'_>, reading: &Reading<'_>) -> Option<PostProcessor> {
        let node = self.options(reader, &["only", "except"]);
        options::post_processor(&Fields::new(reading, &node, String::new()), &self.kind)
    }

    /// What the provisioner does in this run.
    pub(super) fn for_run(
        &self,
        reader: &Reader<'_>,
        reading: &Reading<'_>,
        name: &str,
    ) -> Option<Provisioner> {
        if let Some(read) = self.read.borrow().as_ref() {
            return read.clone();
        }
        reading.renderer.take_depends_on_build();
        let deferred = reader.deferred.borrow().len();
        let node = self.options(reader, &ABOUT);
        let over = self.over(reader, name);
        let mut fields = Fields::new(reading, &node, String::new());
        if let Some(over) = &over {
            fields.overlay(over, String::new());
        }
        let read = options::provisioner(&fields, &self.kind);
        drop(fields);
        if !self.depends_on_source && !reading.renderer.take_depends_on_build() {
            *self.read.borrow_mut() = Some(read.clone());
            *self.deferred.borrow_mut() = deferred..reader.deferred.borrow().len();
        }
        read
    }

    /// The options that `override` has for a run, under the name of its source.
    fn over(&self, reader: &Reader<'_>, name: &str) -> Option<Node> {
        let attribute = self.opened.body.attribute("override")?;
        let value = reader.value(&attribute.expr, &self.opened.bound)?;
        let node = reader.node(Some(&attribute.expr), &value, attribute.expr.span);
        let Kind::Object(members) = node.kind else {
            reader.wrong(attribute.expr.span, "`override` must be an object of names of sources and options");
            return None;
        };
        members.into_iter().find(|member| member.name == name).map(|member| member.value)
    }
}

/// Whether a body names `source`, or the build's name.
fn names_source(body: &Body) -> bool {
    let mut found = false;
    for attribute in &body.attributes {
        attribute.expr.references(&mut |name, _, _| found |= matches!(name, "source"));
    }
    found || body.blocks.iter().any(|block| names_source(&block.body))
}

/// Says which names no source has: those in `only` and `except` are `TYPE.NAME`, those in `override` only names. What is for
/// a name that is wrong may run nowhere.
pub(super) fn check_names(entry: &Entry<'_>, names: &[String], plain: &[&str], notices: &mut Vec<String>) {
    let overridden = match entry.opened.body.attribute("override").map(|over| &over.expr.kind) {
        Some(ast::Kind::Object(members)) => members.as_slice(),
        _ => &[],
    };
    let overridden = overridden.iter().filter_map(|(key, _)| match &key.kind {
        ast::Kind::Text(name) => Some(("`override` of ", name.as_ref(), plain.to_vec())),
        _ => None,
    });
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let listed = entry.only.iter().chain(&entry.except).map(|name| ("", name.as_str(), names.clone()));
    for (what, name, known) in listed.chain(overridden) {
        if known.contains(&name) || notices.len() >= 200 {
            continue;
        }
        let all = format!("its build uses {}", comma_separated(&known));
        let meant = known.iter().find(|known| known.rsplit('.').next() == name.rsplit('.').next());
        let hint = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => or_did_you_mean(name, known.iter().copied(), &all),
        };
        let notice =
            format!("{what}`{}` names the source `{name}`, which its build does not use; {hint}", entry.kind);
        if !notices.contains(&notice) {
            notices.push(notice);
        }
    }
}

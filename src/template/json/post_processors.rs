//! The post-processors of a template: chains of a name, an object, or a list of those; for which runs each is, and which
//! of them the request leaves out.

use super::{
    plan::Template,
    reader::{Kind, Node},
};
use crate::{
    domain::post_processor::PostProcessor,
    template::{
        options::{
            self,
            fields::{Fields, Reading},
        },
        render::{Renderer, Scope},
        selection::matches_any,
    },
};

/// A post-processor before its options are read.
pub(super) struct PostProcessorEntry<'a> {
    type_name: String,
    pub(super) name: String,
    /// Its options; absent if only its name was given.
    node: Option<&'a Node>,
    place: &'a Node,
    pointer: String,
    only: Vec<String>,
    except: Vec<String>,
}

impl<'a> Template<'a> {
    /// The chains of the template.
    pub(super) fn post_processors(
        &self,
        general: &Renderer,
        builds: &[&str],
    ) -> Vec<Vec<PostProcessorEntry<'a>>> {
        let most = self.cx.limits.max_provisioners;
        let mut chains = Vec::new();
        let mut count = 0;
        for (index, node) in self.list("post-processors", most).unwrap_or_default().iter().enumerate() {
            let pointer = format!("/post-processors/{index}");
            let Kind::Array(nodes) = &node.kind else {
                count += 1;
                chains.push(Vec::from_iter(self.post_processor(general, builds, node, pointer)));
                continue;
            };
            count += nodes.len();
            if count > most {
                let detail = format!("a template has at most {most} post-processors");
                self.findings.wrong("/post-processors", node.at, detail);
                break;
            }
            let entry = |(index, node): (usize, &'a Node)| {
                let pointer = format!("{pointer}/{index}");
                if matches!(node.kind, Kind::Array(_)) {
                    let detail = "a sequence of post-processors cannot hold another sequence";
                    self.findings.wrong(&pointer, node.at, detail);
                    return None;
                }
                self.post_processor(general, builds, node, pointer)
            };
            chains.push(nodes.iter().enumerate().filter_map(entry).collect());
        }
        chains
    }

    fn post_processor(
        &self,
        general: &Renderer,
        builds: &[&str],
        node: &'a Node,
        pointer: String,
    ) -> Option<PostProcessorEntry<'a>> {
        let text = |name: &str| {
            let given = node.get(name).and_then(Node::as_text)?;
            match general.now(given, Scope::Option) {
                Ok(text) => Some(text).filter(|text| !text.is_empty()),
                Err(detail) => {
                    self.findings.wrong(&format!("{pointer}/{name}"), node.at, detail);
                    None
                }
            }
        };
        let (type_name, options) = match &node.kind {
            Kind::String(kind) => (Some(kind.clone()).filter(|kind| !kind.is_empty()), None),
            Kind::Object(_) => (text("type"), Some(node)),
            _ => {
                let detail =
                    format!("a post-processor must be a name or an object, not {}", node.kind_name());
                self.findings.wrong(&pointer, node.at, detail);
                return None;
            }
        };
        let Some(type_name) = type_name else {
            self.findings.wrong(&pointer, node.at, "the post-processor has no `type`, such as `manifest`");
            return None;
        };
        let name = options.and_then(|_| text("name")).unwrap_or_else(|| type_name.clone());
        let (only, except) = self.only_and_except(node, builds, &pointer);
        Some(PostProcessorEntry { type_name, name, node: options, place: node, pointer, only, except })
    }
}

/// The chains of this build, without what is not for it. A name that the request excepts ends its chain there.
pub(super) fn for_run(
    chains: &[Vec<PostProcessorEntry<'_>>],
    excepted: &[String],
    reading: &Reading<'_>,
    build: &str,
) -> Vec<Vec<PostProcessor>> {
    let of_chain = |chain: &Vec<PostProcessorEntry<'_>>| -> Vec<PostProcessor> {
        let left = chain.iter().filter(|entry| entry.applies_to(build));
        let left = left.take_while(|entry| !matches_any(excepted, &entry.name));
        left.filter_map(|entry| entry.read(reading)).collect()
    };
    chains.iter().map(of_chain).filter(|chain| !chain.is_empty()).collect()
}

impl PostProcessorEntry<'_> {
    fn applies_to(&self, build: &str) -> bool {
        let names = |list: &[String]| list.iter().any(|name| name == build);
        (self.only.is_empty() || names(&self.only)) && !names(&self.except)
    }

    fn read(&self, reading: &Reading<'_>) -> Option<PostProcessor> {
        let nothing = Node { kind: Kind::Object(Vec::new()), at: self.place.at };
        let fields = Fields::new(reading, self.node.unwrap_or(&nothing), self.pointer.clone());
        options::post_processor(&fields, &self.type_name)
    }
}

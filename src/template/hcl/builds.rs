//! The `build` blocks: which sources they use, under which names, and what each of the runs does.

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

use super::{
    config::{Config, only, only_or_blocks},
    names::{Known, Values},
    options::{Bound, Opened, Reader, add_block, is_block},
    provisioners::{self, Entry},
};
use crate::{
    domain::{Capability, RunPlan, post_processor::PostProcessor, problem::FieldProblem},
    hcl::{Block, Body, Span, Value, ast},
    template::{
        json::{
            comma_separated,
            reader::{Kind, Node},
        },
        options::{
            self, BUILDERS, BuilderKind,
            fields::{Fields, Findings, Reading},
        },
        or_did_you_mean,
        render::{Effort, Renderer, functions::Facts},
        request::BuildRequest,
        selection::{chosen, matches_any},
    },
};

/// The blocks that a build has.
const BLOCKS: [&str; 6] = [
    "source",
    "provisioner",
    "error-cleanup-provisioner",
    "post-processor",
    "post-processors",
    "hcp_packer_registry",
];

/// What runs are made with.
pub(super) struct Baker<'a> {
    pub(super) config: &'a Config<'a>,
    pub(super) request: &'a BuildRequest,
    pub(super) reader: Reader<'a>,
    pub(super) findings: &'a Findings,
    pub(super) effort: Rc<Effort>,
    /// What templates may make the workers' hosts do.
    pub(super) allowed: &'a BTreeSet<Capability>,
    pub(super) max_runs: usize,
    pub(super) max_provisioners: usize,
}

/// A source as a build uses it.
struct Use<'a> {
    run: String,
    /// The type as the template has it: `outscale-bsu`.
    type_name: String,
    /// `source.name`: of the source, or what the build calls it.
    name: String,
    kind: BuilderKind,
    source: &'a Body,
    /// The options that the build adds.
    extra: Option<Opened<'a>>,
    span: Span,
}

/// A build block.
struct Build<'a> {
    name: &'a str,
    uses: Vec<Use<'a>>,
    provisioners: Vec<Entry<'a>>,
    cleanup: Option<Entry<'a>>,
    /// Post-processors: those of a chain follow one another.
    chains: Vec<Vec<Entry<'a>>>,
}

impl<'a> Baker<'a> {
    /// All runs that the request wants.
    pub(super) fn runs(
        &self,
        request_errors: &mut Vec<FieldProblem>,
        notices: &mut Vec<String>,
    ) -> Vec<RunPlan> {
        if self.config.builds.is_empty() {
            self.reader.wrong(Span::default(), "the template has no `build` block");
        }
        let mut taken: Vec<String> = Vec::new();
        let builds: Vec<Build<'a>> =
            self.config.builds.iter().filter_map(|block| self.build(block, &mut taken, notices)).collect();
        if taken.len() > self.max_runs {
            let most = self.max_runs;
            self.reader.wrong(
                Span::default(),
                format!("a template has at most {most} builds; this one has {}", taken.len()),
            );
            return Vec::new();
        }
        let excepted: Vec<String> =
            builds.iter().flat_map(|build| build.chains.iter().flatten()).map(Entry::own_name).collect();
        let names: Vec<&str> = taken.iter().map(String::as_str).collect();
        let excepted: Vec<&str> = excepted.iter().map(String::as_str).collect();
        let chosen = chosen(self.request, &names, &excepted, request_errors);
        let chosen: Vec<&str> = chosen.into_iter().filter_map(|index| names.get(index).copied()).collect();
        let mut runs = Vec::new();
        for build in &builds {
            for source in build.uses.iter().filter(|source| chosen.contains(&source.run.as_str())) {
                runs.extend(self.run(build, source));
            }
        }
        runs
    }

    fn build(
        &self,
        block: &'a Block,
        taken: &mut Vec<String>,
        notices: &mut Vec<String>,
    ) -> Option<Build<'a>> {
        let body = &block.body;
        let known = ["name", "description", "sources"];
        only_or_blocks(body, "build", &known, &BLOCKS, &mut self.reader.wrong.borrow_mut());
        let name = match body.attribute("name") {
            None => "",
            Some(attribute) => match &attribute.expr.kind {
                ast::Kind::Text(name) => name.as_ref(),
                _ => {
                    self.reader.wrong(attribute.expr.span, "the `name` of a build must be a plain text");
                    ""
                }
            },
        };
        let known = Known { build: Some(name), ..self.reader.known };
        let reader = Reader { known, ..self.reader };
        let mut build =
            Build { name, uses: Vec::new(), provisioners: Vec::new(), cleanup: None, chains: Vec::new() };
        if let Some(sources) = body.attribute("sources") {
            let value = reader.value(&sources.expr, &Bound::new());
            let node = value.map(|value| reader.node(Some(&sources.expr), &value, sources.expr.span));
            match node.as_ref().map(|node| &node.kind) {
                None => {}
                Some(Kind::Array(items)) => {
                    for item in items {
                        let span = Span::new(item.at, item.at);
                        match item.as_text() {
                            Some(reference) => build.uses.extend(self.used(reference, span, name, None, taken)),
                            None => reader.wrong(span, "`sources` must hold names of sources, such as `\"source.outscale-bsu.debian\"`"),
                        }
                    }
                }
                Some(_) => reader.wrong(sources.expr.span, "`sources` must be a list of names of sources"),
            }
        }
        for opened in reader.blocks(body, &Bound::new()) {
            self.in_build(opened, &mut build, taken, &reader, notices);
        }
        if build.uses.is_empty() && self.reader.wrong.borrow().is_empty() {
            reader.wrong(block.name_span, "the build uses no source; name one in `sources`");
        }
        if build.provisioners.len() > self.max_provisioners {
            let most = self.max_provisioners;
            reader.wrong(block.name_span, format!("a build has at most {most} provisioners"));
            return None;
        }
        let names: Vec<String> = build.uses.iter().map(Use::full_name).collect();
        let overridden: Vec<&str> = build.uses.iter().map(|source| source.name.as_str()).collect();
        for entry in build.provisioners.iter().chain(&build.cleanup).chain(build.chains.iter().flatten()) {
            provisioners::check_names(entry, &names, &overridden, notices);
        }
        Some(build)
    }

    fn in_build(
        &self,
        opened: Opened<'a>,
        build: &mut Build<'a>,
        taken: &mut Vec<String>,
        reader: &Reader<'_>,
        notices: &mut Vec<String>,
    ) {
        let labels = usize::from(!matches!(opened.name.as_str(), "post-processors" | "hcp_packer_registry"));
        if !BLOCKS.contains(&opened.name.as_str()) {
            let listed = format!("known are {}", comma_separated(&BLOCKS[..5]));
            let hint = or_did_you_mean(&opened.name, BLOCKS, &listed);
            reader.wrong(opened.name_span, format!("a build has no block `{}`; {hint}", opened.name));
            return;
        }
        if opened.labels.len() != labels {
            let wanted = if labels == 0 { "no labels" } else { "one label" };
            reader.wrong(opened.name_span, format!("a block `{}` has {wanted} here", opened.name));
            return;
        }
        match opened.name.as_str() {
            "source" => {
                let label = opened.labels[0].clone();
                build.uses.extend(self.used(&label.text, label.span, build.name, Some(opened), taken));
            }
            "provisioner" => build.provisioners.push(Entry::new(opened, reader)),
            "error-cleanup-provisioner" if build.cleanup.is_some() => {
                reader
                    .wrong(opened.name_span, "a build has one `error-cleanup-provisioner`; this is another");
            }
            "error-cleanup-provisioner" => build.cleanup = Some(Entry::new(opened, reader)),
            "hcp_packer_registry" => {
                let notice =
                    "`hcp_packer_registry` has no effect: it is for HashiCorp's own cloud".to_owned();
                if !notices.contains(&notice) {
                    notices.push(notice);
                }
            }
            "post-processor" => build.chains.push(vec![Entry::new(opened, reader)]),
            _ => {
                only(opened.body, "post-processors", &[], &mut reader.wrong.borrow_mut());
                let mut chain = Vec::new();
                for inner in reader.blocks(opened.body, &opened.bound) {
                    if inner.name == "post-processor" && inner.labels.len() == 1 {
                        chain.push(Entry::new(inner, reader));
                    } else {
                        reader.wrong(
                            inner.name_span,
                            "`post-processors` holds blocks `post-processor` with one label each, and nothing else",
                        );
                    }
                }
                build.chains.push(chain);
            }
        }
    }

    /// A source that a build names.
    fn used(
        &self,
        reference: &str,
        span: Span,
        build: &str,
        extra: Option<Opened<'a>>,
        taken: &mut Vec<String>,
    ) -> Option<Use<'a>> {
        let reader = &self.reader;
        let plain = reference.strip_prefix("source.").unwrap_or(reference);
        let Some((type_name, own_name)) =
            plain.split_once('.').filter(|(kind, name)| !kind.is_empty() && !name.is_empty())
        else {
            reader
                .wrong(span, "a source is named as `source.TYPE.NAME`, such as `source.outscale-bsu.debian`");
            return None;
        };
        let Some(source) = self.config.sources.get(&(type_name.to_owned(), own_name.to_owned())) else {
            let known: Vec<String> =
                self.config.sources.keys().map(|(kind, name)| format!("{kind}.{name}")).collect();
            let listed = match known.as_slice() {
                [] => "declare it with a `source` block".to_owned(),
                known => format!(
                    "declared are {}",
                    comma_separated(&known.iter().map(String::as_str).collect::<Vec<_>>())
                ),
            };
            let hint = or_did_you_mean(plain, known.iter().map(String::as_str), &listed);
            reader.wrong(span, format!("there is no source `{plain}`; {hint}"));
            return None;
        };
        let kind = self.kind(type_name, source.span)?;
        let local_name = extra.as_ref().and_then(|opened| {
            let attribute = opened.body.attribute("name")?;
            match reader.value(&attribute.expr, &opened.bound)?.as_text() {
                Some(name) if !name.is_empty() => Some(name.to_owned()),
                _ => {
                    reader.wrong(attribute.expr.span, "the `name` of a source must be a text");
                    None
                }
            }
        });
        let name = local_name.unwrap_or_else(|| own_name.to_owned());
        let mut run = match build {
            "" => format!("{type_name}.{name}"),
            build => format!("{build}.{type_name}.{name}"),
        };
        if run.chars().count() > 128 || run.chars().any(char::is_control) {
            reader.wrong(span, "the name of a build has at most 128 characters and no control characters");
            return None;
        }
        // Two builds may use the same source; their runs must be told apart.
        if taken.contains(&run) {
            let numbered = (2..=taken.len() + 2).map(|number| format!("{run}-{number}"));
            run = numbered.into_iter().find(|name| !taken.contains(name)).unwrap_or(run);
        }
        taken.push(run.clone());
        Some(Use {
            run,
            type_name: type_name.to_owned(),
            name,
            kind,
            source: source.body,
            extra,
            span: source.span,
        })
    }

    fn kind(&self, type_name: &str, span: Span) -> Option<BuilderKind> {
        let plugin = self.config.plugin_names.iter().find_map(|plugin| {
            let component = type_name.strip_prefix(plugin.as_str())?.strip_prefix('-')?;
            BUILDERS.iter().find(|(known, _)| known.strip_prefix("osc-") == Some(component))
        });
        if let Some((_, kind)) = plugin {
            return Some(*kind);
        }
        let hint = or_did_you_mean(
            type_name,
            BUILDERS.iter().map(|(known, _)| *known),
            "fournil bakes for OUTSCALE: use `outscale-bsu`",
        );
        self.reader.wrong(span, format!("there is no builder `{type_name}`; {hint}"));
        None
    }

    fn run(&self, build: &Build<'a>, source: &Use<'a>) -> Option<RunPlan> {
        let names: Values = [("name", &source.name), ("type", &source.type_name)]
            .map(|(key, value)| (key.to_owned(), Value::from(value.as_str())))
            .into();
        let known = Known { source: Some(&names), build: Some(build.name), ..self.reader.known };
        let reader = Reader { known, ..self.reader };
        let facts = Facts {
            now: reader.world.now,
            build: Some((source.name.clone(), source.type_name.clone())),
            template_dir: reader.known.root.to_owned(),
            ..Facts::default()
        };
        let renderer = Renderer::new(facts, &self.effort).with_deferred();
        let secrets = RefCell::default();
        let reading = Reading {
            findings: self.findings,
            renderer: &renderer,
            folder: reader.world.folder,
            secrets: &secrets,
            allowed: self.allowed,
        };
        let deferred_before = reader.deferred.borrow().len();
        let node = self.options(source, &reader);
        let applies = |entry: &&Entry<'a>| entry.applies_to(&source.full_name());
        let fields = Fields::new(&reading, &node, String::new());
        let is_provisioned = build.provisioners.iter().any(|entry| applies(&entry));
        let builder = options::builder(source.kind, &fields, is_provisioned);
        let in_vm = Reader { known: Known { has_vm: true, ..known }, ..reader };
        let provisioners = build
            .provisioners
            .iter()
            .filter(applies)
            .filter_map(|entry| entry.for_run(&in_vm, &reading, &source.name))
            .collect();
        let error_cleanup = build
            .cleanup
            .as_ref()
            .filter(|entry| applies(entry))
            .and_then(|entry| entry.for_run(&in_vm, &reading, &source.name));
        let post_processors = self.post_processors(build, source, &in_vm, &reading);
        secrets.into_inner().iter().for_each(|secret: &String| reader.keep_secret(secret));
        if !post_processors.is_empty() && !builder.makes_artifact() {
            self.findings
                .notice(format!("the post-processors of `{}` do not run: there is no artifact", source.run));
        }
        // Its own, and those of provisioners that were read for an earlier run.
        let all = reader.deferred.borrow();
        let entries = build.provisioners.iter().chain(&build.cleanup).filter(applies);
        let numbers = entries.flat_map(Entry::deferred).chain(deferred_before..all.len());
        let deferred = numbers.filter_map(|number| Some((number, all.get(number)?.clone()))).collect();
        let packer_type = (source.type_name != builder.kind()).then(|| source.type_name.clone());
        Some(RunPlan {
            name: source.run.clone(),
            builder,
            post_processors,
            provisioners,
            error_cleanup,
            packer_name: Some(source.name.clone()),
            packer_type,
            deferred,
            // Filled in once all is read.
            needs_data: false,
            secrets: Vec::new(),
        })
    }

    /// The chains for a run, without what is not for it. A name that the request excepts ends its chain there.
    fn post_processors(
        &self,
        build: &Build<'a>,
        source: &Use<'a>,
        reader: &Reader<'_>,
        reading: &Reading<'_>,
    ) -> Vec<Vec<PostProcessor>> {
        let name = source.full_name();
        let of_chain = |chain: &Vec<Entry<'a>>| -> Vec<PostProcessor> {
            let own = chain.iter().filter(|entry| entry.applies_to(&name));
            let read = own.filter_map(|entry| entry.post_processor(reader, reading));
            read.take_while(|read| !matches_any(&self.request.except, &read.name)).collect()
        };
        build.chains.iter().map(of_chain).filter(|chain| !chain.is_empty()).collect()
    }

    /// The options of the source, with those that the build adds.
    fn options(&self, source: &Use<'a>, reader: &Reader<'_>) -> Node {
        let mut members = reader.members(source.source, &Bound::new(), &[]);
        if let Some(extra) = &source.extra {
            for member in reader.members(extra.body, &extra.bound, &["name"]) {
                match members.iter_mut().find(|other| other.name == member.name) {
                    None => members.push(member),
                    // Blocks add up.
                    Some(other) if is_block(source.source, other) && is_block(extra.body, &member) => {
                        add_block(other, member.value);
                    }
                    Some(_) => reader.wrong(
                        Span::new(member.at, member.at),
                        format!("`{}` is set in the source already; set it in one place", member.name),
                    ),
                }
            }
        }
        Node { at: source.span.start, kind: Kind::Object(members) }
    }
}

impl Use<'_> {
    /// What `only` and `except` of a provisioner or post-processor call it.
    fn full_name(&self) -> String {
        format!("{}.{}", self.type_name, self.name)
    }
}

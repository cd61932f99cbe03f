//! From a template's root to a plan: variables, builders, the choice of runs, and each run with its provisioners. All
//! that is wrong is collected before anything is answered.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use secrecy::{ExposeSecret, SecretString};

use super::{
    builders::{BuilderEntry, comma_separated},
    pointer_token,
    post_processors::{self, PostProcessorEntry},
    problem::{invalid_template, problem},
    provisioners::ProvisionerEntry,
    reader::{self, Kind, Node},
    redact::redact,
    var_files, variables,
};
use crate::{
    domain::{BuildPlan, Problem, RunPlan, problem::FieldProblem},
    template::{
        ParseContext, Parsed,
        context::ContextFolder,
        envelope::shorten,
        options::{
            self, BUILDERS,
            fields::{Fields, Findings, Reading},
        },
        render::{
            Effort, Renderer,
            functions::{Facts, PACKER_VERSION},
        },
        request::{BuildRequest, TemplateSource},
        suggest::or_did_you_mean,
    },
};

/// The root's keys.
const ROOT: [&str; 9] = [
    "builders",
    "provisioners",
    "variables",
    "sensitive-variables",
    "error-cleanup-provisioner",
    "description",
    "min_packer_version",
    "post-processors",
    "push",
];

/// Bytes of a template, counted once for each of its runs.
const MAX_WEIGHT: usize = 128 * 1024 * 1024;

/// Makes a plan of a request.
///
/// # Errors
/// See [`crate::template::parse`].
pub fn plan(
    request: &BuildRequest,
    folder: Option<&ContextFolder>,
    cx: &ParseContext,
) -> Result<Parsed, Problem> {
    let (root, text) = root(request)?;
    let findings = Findings::default();
    let mut request_errors = Vec::new();
    let effort = Rc::<Effort>::default();
    let template =
        Template { request, folder, cx, root: &root, findings: &findings, effort: Rc::clone(&effort) };
    let parsed = template.read(&mut request_errors);
    for notice in effort.notices() {
        findings.notice(notice);
    }
    let (wrong, notices) = findings.into_parts();
    match parsed {
        Some((runs, sensitive)) if wrong.is_empty() && request_errors.is_empty() => {
            let secrets = runs
                .iter()
                .flat_map(|run| &run.secrets)
                .map(|secret| secret.expose_secret().to_owned())
                .collect();
            let redacted_template = redact(&root, &sensitive, &secrets);
            Ok(Parsed { plan: BuildPlan { runs, notices }, redacted_template })
        }
        _ => Err(problem(request, text, wrong, request_errors, cx.limits.max_errors)),
    }
}

/// The template's root, and its text if it came as one.
fn root(request: &BuildRequest) -> Result<(Node, Option<&str>), Problem> {
    let text = match &request.template {
        TemplateSource::Json(value) => return Ok((Node::from_value(value), None)),
        TemplateSource::Text(text) => text,
        // Those go to the other reader; one that gets here is a mistake of whoever made the request.
        TemplateSource::Folder(_) => {
            let pointer = request.option_pointer("/template");
            let error = FieldProblem { pointer, ..FieldProblem::new("a folder is no JSON template") };
            return Err(invalid_template(vec![error], 1));
        }
    };
    match reader::read(text) {
        Ok(root) => Ok((root, Some(text))),
        Err(error) => {
            let mut problem = error.into_problem(text);
            // The body itself could be read, or was no JSON to begin with.
            problem.status = 422;
            for error in &mut problem.errors {
                error.pointer =
                    request.option_pointer("/template").filter(|_| request.template_path.is_none());
                error.file.clone_from(&request.template_path);
            }
            Err(problem)
        }
    }
}

/// A template that is being read.
pub(super) struct Template<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) folder: Option<&'a ContextFolder>,
    pub(super) cx: &'a ParseContext,
    pub(super) root: &'a Node,
    pub(super) findings: &'a Findings,
    pub(super) effort: Rc<Effort>,
}

impl<'a> Template<'a> {
    /// The runs and the names of the sensitive variables; `None` if that much could not be found out.
    fn read(&self, request_errors: &mut Vec<FieldProblem>) -> Option<(Vec<RunPlan>, BTreeSet<String>)> {
        let Some(members) = self.root.members() else {
            let detail = format!("the template must be a JSON object, not {}", self.root.kind_name());
            self.findings.wrong("", self.root.at, detail);
            return None;
        };
        for member in members {
            self.root_key(&member.name, member.at, &member.value);
        }
        let declarations = self.root.get("variables");
        let given = var_files::given(self.request, self.folder, request_errors);
        let variables = variables::resolve(
            declarations,
            &given,
            |variables| self.facts(variables, None, true),
            &self.effort,
            self.findings,
            request_errors,
        );
        let sensitive = self.sensitive(&variables);
        let general = Renderer::new(self.facts(variables.clone(), None, false), &self.effort);
        let builders = self.builders(&general)?;
        let names: Vec<&str> = builders.iter().map(|builder| builder.name.as_str()).collect();
        let provisioners = self.provisioners(&general, &names);
        let cleanup = self.root.get("error-cleanup-provisioner").and_then(|node| {
            self.provisioner(&general, &names, node, "/error-cleanup-provisioner".to_owned())
        });
        let post_processors = self.post_processors(&general, &names);
        let steps: Vec<&str> = post_processors.iter().flatten().map(|entry| entry.name.as_str()).collect();
        let chosen = self.chosen(&builders, &steps, request_errors);
        if weight(self.root).saturating_mul(chosen.len()) > MAX_WEIGHT {
            self.findings.wrong("/builders", self.root.at, "the template is too large for so many builders");
            return None;
        }
        let runs = chosen
            .into_iter()
            .filter_map(|builder| {
                let cleanup = cleanup.as_ref();
                self.run(builder, &variables, &sensitive, &provisioners, cleanup, &post_processors)
            })
            .collect();
        Some((runs, sensitive))
    }

    fn facts(
        &self,
        variables: BTreeMap<String, String>,
        build: Option<(String, String)>,
        with_env: bool,
    ) -> Facts {
        let folder = self.request.template_path.as_deref().and_then(|path| path.rsplit_once('/'));
        Facts {
            now: self.cx.now,
            variables,
            env: if with_env { self.env() } else { BTreeMap::new() },
            build,
            template_dir: folder.map_or_else(|| ".".to_owned(), |(folder, _)| folder.to_owned()),
        }
    }

    /// What the client passed on, and where it passed nothing, what the operator allowed.
    fn env(&self) -> BTreeMap<String, String> {
        let mut env = self.cx.env_allowed.clone();
        env.extend(self.request.env.clone());
        env
    }

    fn root_key(&self, name: &str, at: u32, value: &Node) {
        let pointer = format!("/{}", pointer_token(name));
        let is_empty = match &value.kind {
            Kind::Null => true,
            Kind::Array(items) => items.is_empty(),
            Kind::Object(members) => members.is_empty(),
            _ => false,
        };
        match name {
            "description" if value.as_text().is_none() && !is_empty => {
                self.findings.wrong(
                    &pointer,
                    at,
                    format!("`description` must be a text, not {}", value.kind_name()),
                );
            }
            "min_packer_version" => self.packer_version(value),
            "push" if !is_empty => {
                self.findings.wrong(
                    &pointer,
                    at,
                    "`push` was removed from Packer and is not supported; remove it",
                );
            }
            known if ROOT.contains(&known) => {}
            comment if comment.starts_with('_') => {}
            other => {
                let listed = format!("known are {}", comma_separated(&ROOT[..7]));
                let hint = or_did_you_mean(other, ROOT, &listed);
                let hint = if BUILDERS.iter().any(|(kind, _)| *kind == other) || other == "type" {
                    "options of a builder stand in an object in the list `builders`".to_owned()
                } else {
                    hint
                };
                self.findings.wrong(
                    &pointer,
                    at,
                    format!("a template has no `{}` at its top; {hint}", shorten(other)),
                );
            }
        }
    }

    fn packer_version(&self, value: &Node) {
        let numbers = |text: &str| -> Option<Vec<u64>> {
            let core = text.trim().trim_start_matches('v').split(['-', '+']).next()?;
            core.split('.').map(|part| part.parse().ok()).collect()
        };
        let pointer = "/min_packer_version";
        match value.as_text().map(|text| (text, numbers(text))) {
            Some((_, Some(wanted))) if numbers(PACKER_VERSION).is_some_and(|ours| wanted <= ours) => {}
            Some((text, Some(_))) => self.findings.wrong(
                pointer,
                value.at,
                format!(
                    "the template needs Packer {}; fournil reads templates of {PACKER_VERSION}",
                    shorten(text)
                ),
            ),
            Some((text, None)) => {
                self.findings.wrong(
                    pointer,
                    value.at,
                    format!("`{}` is no version, such as `1.10.0`", shorten(text)),
                );
            }
            None if matches!(value.kind, Kind::Null) => {}
            None => self.findings.wrong(
                pointer,
                value.at,
                "`min_packer_version` must be a text, such as `1.10.0`",
            ),
        }
    }

    /// Names of sensitive variables. A name that is not declared hides nothing, as in Packer, but is worth a word.
    fn sensitive(&self, variables: &BTreeMap<String, String>) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let Some(node) = self.root.get("sensitive-variables") else { return names };
        for (name, ..) in self.names(node, "sensitive-variables", "/sensitive-variables") {
            if variables.contains_key(&name) {
                names.insert(name);
            } else {
                let hint = or_did_you_mean(
                    &name,
                    variables.keys().map(String::as_str),
                    "declare it under `variables`",
                );
                let name = shorten(&name);
                self.findings.notice(format!("there is no variable `{name}` to keep secret; {hint}"));
            }
        }
        names
    }

    /// A list of names with their places; a single text is cut at its commas.
    pub(super) fn names(&self, node: &Node, what: &str, pointer: &str) -> Vec<(String, String, u32)> {
        match &node.kind {
            Kind::Null => Vec::new(),
            Kind::String(text) => text
                .split(',')
                .filter(|name| !name.is_empty())
                .map(|name| (name.to_owned(), pointer.to_owned(), node.at))
                .collect(),
            Kind::Array(items) => {
                let mut names = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let pointer = format!("{pointer}/{index}");
                    match item.as_text() {
                        Some(name) => names.push((name.to_owned(), pointer, item.at)),
                        None => {
                            let detail = format!("`{what}` must hold names, not {}", item.kind_name());
                            self.findings.wrong(&pointer, item.at, detail);
                        }
                    }
                }
                names
            }
            _ => {
                let detail = format!("`{what}` must be a list of names, not {}", node.kind_name());
                self.findings.wrong(pointer, node.at, detail);
                Vec::new()
            }
        }
    }

    pub(super) fn list(&self, name: &str, most: usize) -> Option<&'a [Node]> {
        let node = self.root.get(name)?;
        let pointer = format!("/{name}");
        match &node.kind {
            Kind::Array(items) if items.len() <= most => Some(items),
            Kind::Array(items) => {
                let detail = format!("a template has at most {most} `{name}`; this one has {}", items.len());
                self.findings.wrong(&pointer, node.at, detail);
                None
            }
            Kind::Null => Some(&[]),
            _ => {
                self.findings.wrong(
                    &pointer,
                    node.at,
                    format!("`{name}` must be a list, not {}", node.kind_name()),
                );
                None
            }
        }
    }

    fn run(
        &self,
        builder: &BuilderEntry<'a>,
        variables: &BTreeMap<String, String>,
        sensitive: &BTreeSet<String>,
        provisioners: &[ProvisionerEntry<'a>],
        cleanup: Option<&ProvisionerEntry<'a>>,
        post_processors: &[Vec<PostProcessorEntry<'a>>],
    ) -> Option<RunPlan> {
        let build = (builder.name.clone(), builder.type_name.to_owned());
        let renderer = Renderer::new(self.facts(variables.clone(), Some(build), false), &self.effort);
        let secrets = RefCell::default();
        let reading = Reading {
            findings: self.findings,
            renderer: &renderer,
            folder: self.folder,
            allowed: &self.cx.allowed,
            secrets: &secrets,
        };
        for value in sensitive.iter().filter_map(|name| variables.get(name)) {
            reading.keep_secret(value);
        }
        let fields = Fields::new(&reading, builder.node, builder.pointer.clone());
        let is_provisioned = provisioners.iter().any(|entry| entry.applies_to(&builder.name));
        let plan = options::builder(builder.kind, &fields, is_provisioned);
        let read = provisioners.iter().filter(|entry| entry.applies_to(&builder.name));
        let provisioners = read.filter_map(|entry| entry.for_run(&reading, &builder.name)).collect();
        let error_cleanup = cleanup
            .filter(|entry| entry.applies_to(&builder.name))
            .and_then(|entry| entry.for_run(&reading, &builder.name));
        let post_processors =
            post_processors::for_run(post_processors, &self.request.except, &reading, &builder.name);
        if !post_processors.is_empty() && !plan.makes_artifact() {
            self.findings.notice(format!(
                "the post-processors of `{}` do not run: there is no artifact",
                shorten(&builder.name)
            ));
        }
        let packer_type = (builder.type_name != plan.kind()).then(|| builder.type_name.to_owned());
        Some(RunPlan {
            name: builder.name.clone(),
            builder: plan,
            provisioners,
            error_cleanup,
            packer_name: None,
            packer_type,
            deferred: BTreeMap::new(),
            needs_data: false,
            post_processors,
            secrets: secrets.into_inner().into_iter().map(SecretString::from).collect(),
        })
    }
}

/// About how many bytes a template takes.
fn weight(node: &Node) -> usize {
    32 + match &node.kind {
        Kind::String(text) => text.len(),
        Kind::Array(items) => items.iter().map(weight).sum(),
        Kind::Object(members) => members.iter().map(|member| member.name.len() + weight(&member.value)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

//! Packer's HCL2 templates: files → declarations → values → runs. The language itself is [`crate::hcl`]; what its blocks
//! mean is here. Data sources are not asked here: what depends on them is left open, and the worker plans the run again
//! once it has asked ([`data_queries`]).

mod builds;
mod config;
mod data;
mod late;
mod load;
mod locals;
mod names;
mod options;
mod problem;
mod provisioners;
mod redact;
mod variables;
mod world;

use std::{cell::RefCell, collections::BTreeSet, rc::Rc};

pub use data::{DataValues, OmiFacts};
pub use late::fill_in;
use secrecy::SecretString;

use self::{
    builds::Baker,
    config::Config,
    load::Loaded,
    names::{Known, Values},
    options::Reader,
    world::World,
};
use super::{
    BuildRequest, ContextFolder, ParseContext, Parsed,
    json::redact::Redactor,
    options::fields::Findings,
    render::{Effort, Renderer, functions::Facts},
};
use crate::{
    domain::{BuildPlan, Problem, RunPlan, plan::DataQuery, problem::FieldProblem},
    hcl::{Budget, Deferred, Diagnostic},
};

/// A shorter text would hit other texts by chance.
const SHORTEST_SECRET_LINE: usize = 4;

/// Makes a plan of a request.
///
/// # Errors
/// See [`super::parse`].
pub fn plan(
    request: &BuildRequest,
    folder: Option<&ContextFolder>,
    cx: &ParseContext,
) -> Result<Parsed, Problem> {
    read(request, folder, cx).map(|(parsed, _)| parsed)
}

/// What the data sources of a request ask the cloud for, as far as that can be said with the answers that `cx` has. Empty:
/// all of them are known.
///
/// # Errors
/// See [`super::parse`].
pub fn data_queries(
    request: &BuildRequest,
    folder: Option<&ContextFolder>,
    cx: &ParseContext,
) -> Result<Vec<DataQuery>, Problem> {
    read(request, folder, cx).map(|(_, queries)| queries)
}

fn read(
    request: &BuildRequest,
    folder: Option<&ContextFolder>,
    cx: &ParseContext,
) -> Result<(Parsed, Vec<DataQuery>), Problem> {
    let mut wrong = Vec::new();
    let loaded = load::load(request, folder, &mut wrong)?;
    let config = config::collect(&loaded.templates, &mut wrong);
    let is_whole = loaded.templates.iter().all(|file| file.body.is_some());
    let noted = Noted { wrong: RefCell::new(wrong), ..Noted::default() };
    let read = if is_whole {
        Some(evaluate(request, folder, cx, &loaded, &config, &noted))
    } else {
        // What is declared in a file that cannot be read would be missed everywhere.
        None
    };
    let Noted { wrong, secrets, findings, errors, mut notices, .. } = noted;
    let (found, more) = findings.into_parts();
    let (wrong, errors) = (wrong.into_inner(), errors.into_inner());
    let secrets = lines_too(secrets.into_inner());
    let Some(read) = read.filter(|_| wrong.is_empty() && found.is_empty() && errors.is_empty()) else {
        let redactor = Redactor::new(secrets.iter().map(String::as_str));
        let problem = problem::problem(request, &loaded.sources, wrong, found, errors, cx.limits.max_errors);
        return Err(problem::without_secrets(problem, &redactor));
    };
    let sensitive: Vec<&str> = config
        .variables
        .iter()
        .filter(|(_, variable)| variable.sensitive.is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    let redacted_template = redact::redact(&loaded, &sensitive, &secrets);
    let runs = read.runs.into_iter().map(|run| RunPlan {
        needs_data: read.needs_data,
        secrets: secrets.iter().map(|secret| SecretString::from(secret.as_str())).collect(),
        ..run
    });
    let runs = runs.collect();
    notices.get_mut().extend(more);
    let mut notices = notices.into_inner();
    notices.extend(config.notices);
    let mut seen = BTreeSet::new();
    notices.retain(|notice| seen.insert(notice.clone()));
    Ok((Parsed { plan: BuildPlan { runs, notices }, redacted_template }, read.queries))
}

/// What is noted while a configuration is read.
#[derive(Default)]
struct Noted {
    wrong: RefCell<Vec<Diagnostic>>,
    secrets: RefCell<BTreeSet<String>>,
    findings: Findings,
    /// What is wrong with the request rather than with the template.
    errors: RefCell<Vec<FieldProblem>>,
    notices: RefCell<Vec<String>>,
    deferred: RefCell<Vec<Deferred>>,
}

struct Read {
    runs: Vec<RunPlan>,
    queries: Vec<DataQuery>,
    needs_data: bool,
}

fn evaluate(
    request: &BuildRequest,
    folder: Option<&ContextFolder>,
    cx: &ParseContext,
    loaded: &Loaded,
    config: &Config<'_>,
    noted: &Noted,
) -> Read {
    let budget = Budget::default();
    let missing_env = RefCell::default();
    let env = world::environment(&request.env, &cx.env_allowed);
    let in_defaults = World {
        folder,
        root: &loaded.root,
        now: cx.now,
        env: Some(&env),
        hints: &budget.hints,
        missing_env: &missing_env,
    };
    let world = World { env: None, ..in_defaults };
    let nothing = Values::new();
    let reader = Reader {
        known: Known::variables(&nothing, &loaded.root),
        world: &in_defaults,
        budget: &budget,
        wrong: &noted.wrong,
        secrets: &noted.secrets,
        deferred: &noted.deferred,
    };
    let mut errors = noted.errors.borrow_mut();
    let mut notices = noted.notices.borrow_mut();
    let variables = variables::resolve(config, loaded, request, &reader, &mut errors, &mut notices);
    for name in missing_env.borrow().iter() {
        notices.push(format!(
            "the environment variable `{name}` is empty: neither the request nor the operator's allow-list has it; `fournil build` sends those that are set on your machine"
        ));
    }
    let reader = Reader { known: Known::variables(&variables, &loaded.root), world: &world, ..reader };
    let mut data: DataValues = cx.data.clone();
    data.retain(|key, _| config.data.contains_key(key));
    let locals = locals::resolve(config, &mut data, &reader);
    let known = Known { locals: Some(&locals), data: Some(&data), ..reader.known };
    let reader = Reader { known, ..reader };
    let effort = Rc::new(Effort::default());
    let facts = Facts { now: cx.now, template_dir: loaded.root.clone(), ..Facts::default() };
    let renderer = Renderer::new(facts, &effort).with_deferred();
    let queries = data::queries(config, &data, &reader, &renderer, &noted.findings);
    let needs_data = data.values().any(data::is_open);
    let baker = Baker {
        config,
        request,
        reader,
        findings: &noted.findings,
        effort: Rc::clone(&effort),
        allowed: &cx.allowed,
        max_runs: cx.limits.max_builders,
        max_provisioners: cx.limits.max_provisioners,
    };
    let runs = baker.runs(&mut errors, &mut notices);
    notices.extend(effort.notices());
    Read { runs, queries, needs_data }
}

/// The secrets, and each line of them that says something.
fn lines_too(secrets: BTreeSet<String>) -> BTreeSet<String> {
    let lines = |secret: &String| -> Vec<String> {
        let lines = secret.lines().map(str::trim);
        let lines = lines.filter(|line| line.len() >= SHORTEST_SECRET_LINE && !line.starts_with("-----"));
        lines.map(str::to_owned).collect()
    };
    let lines: Vec<String> = secrets.iter().flat_map(lines).collect();
    let mut all = secrets;
    all.extend(lines);
    all.retain(|secret| !secret.trim().is_empty());
    all
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;

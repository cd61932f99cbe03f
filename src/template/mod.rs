//! Templates → plans: reads what a client sent and makes of it a [`BuildPlan`] that is valid, or a [`Problem`] that
//! lists everything wrong with it, each with its place. No I/O, no cloud; whatever only the cloud can tell is left to
//! the bake.

pub mod context;
mod envelope;
mod hcl;
mod json;
mod options;
mod query;
mod render;
pub mod request;
mod selection;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::Value;

pub use context::{ContextFolder, ContextLimits, normalise};
pub use hcl::{DataValues, OmiFacts};
pub use json::pointer_token;
pub use query::QueryOptions;
pub use render::{LateData, functions::BUILD_KEYS, render_late};
pub use request::{
    BuildRequest, FolderSource, RequestForm, RequestLimits, TemplateSource, is_hcl2, is_hcl2_path,
};

use crate::domain::{
    BuildPlan, Capability, Problem,
    plan::{AccessPlan, DataQuery},
    problem::FieldProblem,
};
pub(crate) use crate::hcl::suggest::{self, or_did_you_mean};

/// What a template may see of the server.
#[derive(Debug, Clone)]
pub struct ParseContext {
    /// The one moment that `{{timestamp}}` and `{{isotime}}` mean everywhere in the request.
    pub now: DateTime<Utc>,
    /// What `env` can read where the request brings no value: names the operator allowed, with their values.
    pub env_allowed: BTreeMap<String, String>,
    /// What data sources answered; those that are missing are left open.
    pub data: DataValues,
    /// What templates may make the workers' hosts do.
    pub allowed: BTreeSet<Capability>,
    /// How much a template may hold.
    pub limits: ParseLimits,
}

impl ParseContext {
    /// At this moment, with no environment, nothing allowed on the host and the default limits.
    #[must_use]
    pub fn at(now: DateTime<Utc>) -> Self {
        Self {
            now,
            env_allowed: BTreeMap::new(),
            data: DataValues::new(),
            allowed: BTreeSet::new(),
            limits: ParseLimits::default(),
        }
    }
}

/// How much a template may hold.
#[derive(Debug, Clone)]
pub struct ParseLimits {
    /// Builders of a template.
    pub max_builders: usize,
    /// Provisioners of a template.
    pub max_provisioners: usize,
    /// Errors that are listed; the rest is counted.
    pub max_errors: usize,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self { max_builders: 100, max_provisioners: 1000, max_errors: 100 }
    }
}

/// A valid template.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What will be done. Holds secrets.
    pub plan: BuildPlan,
    /// The template as JSON, with every secret replaced by `<sensitive>`.
    pub redacted_template: Value,
}

/// Makes a plan of a request. `context` is the uploaded folder, in which every file that the template names must be.
///
/// # Errors
/// 422 `invalid_json` with line and column if the template's text is no JSON; 422 `invalid_template` with **all** that
/// is wrong in `errors`; 422 `not_supported_yet` if all that is wrong is that fournil does not do it yet.
pub fn parse(
    request: &BuildRequest,
    context: Option<&ContextFolder>,
    cx: &ParseContext,
) -> Result<Parsed, Problem> {
    let parsed =
        if request.is_hcl2() { hcl::plan(request, context, cx) } else { json::plan(request, context, cx) };
    let with_set = parsed.and_then(|mut parsed| {
        for run in &mut parsed.plan.runs {
            let whose = run.name.clone();
            name_set(request, run.builder.access_mut(), &whose)?;
        }
        Ok(parsed)
    });
    with_set.map_err(|mut problem| {
        problem.errors.iter_mut().for_each(|error| cut(&mut error.detail));
        cut(&mut problem.detail);
        problem
    })
}

/// What the data sources ask that can be asked by now.
///
/// # Errors
/// Those of [`parse`].
pub fn data_queries(
    request: &BuildRequest,
    context: Option<&ContextFolder>,
    cx: &ParseContext,
) -> Result<Vec<DataQuery>, Problem> {
    let mut queries = hcl::data_queries(request, context, cx)?;
    for query in &mut queries {
        let whose = format!("data.{}.{}", query.kind, query.name);
        name_set(request, &mut query.access, &whose)?;
    }
    Ok(queries)
}

/// Has the access use the stored set that the request names. Two answers to the question whose keys are used are one too many.
fn name_set(request: &BuildRequest, access: &mut AccessPlan, whose: &str) -> Result<(), Problem> {
    let Some(set) = &request.credentials else { return Ok(()) };
    let own = match (&access.access_key, &access.profile) {
        (Some(_), _) => Some("`access_key` and `secret_key`"),
        (None, Some(_)) => Some("`profile`"),
        (None, None) => None,
    };
    if let Some(own) = own {
        let detail = format!(
            "the request names the stored credentials `{set}`, and `{whose}` of the template has {own} of its own; give one of \
             them"
        );
        let pointer = request.option_pointer("/credentials");
        return Err(request::invalid_request(vec![FieldProblem { pointer, ..FieldProblem::new(detail) }]));
    }
    access.set = Some(set.clone());
    Ok(())
}

/// A message may name what the template says, but not repeat pages of it.
fn cut(text: &mut String) {
    const MOST: usize = 1000;
    if let Some((end, _)) = text.char_indices().nth(MOST) {
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod corpus_tests;

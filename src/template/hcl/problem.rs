//! The answer to a configuration that is wrong: every place, in the order of the files.

use std::collections::BTreeSet;

use crate::{
    domain::{Problem, problem::FieldProblem},
    hcl::{Diagnostic, SourceMap},
    template::{
        json::{invalid_template, redact::Redactor},
        options::fields::Wrong,
        request::{BuildRequest, TemplateSource, not_supported_yet},
    },
};

/// All that is wrong with a configuration.
pub(super) fn problem(
    request: &BuildRequest,
    sources: &SourceMap,
    diagnostics: Vec<Diagnostic>,
    wrong: Vec<Wrong>,
    mut errors: Vec<FieldProblem>,
    most: usize,
) -> Problem {
    let is_not_yet =
        errors.is_empty() && diagnostics.is_empty() && wrong.iter().all(|wrong| wrong.is_not_yet);
    let mut places: Vec<(u32, String)> = diagnostics
        .into_iter()
        .map(|diagnostic| (diagnostic.span.start, diagnostic.message))
        .chain(wrong.into_iter().map(|wrong| (wrong.at, wrong.detail)))
        .collect();
    places.sort_by_key(|(at, _)| *at);
    // What is read once for each run is wrong once for each run.
    let mut seen = BTreeSet::new();
    places.retain(|place| seen.insert(place.clone()));
    let total = places.len() + errors.len();
    errors.extend(places.into_iter().take(most).map(|(at, detail)| {
        let position = sources.position(at);
        // A text that came without a folder is in no file; where it is in the body can be said.
        let is_nameless =
            matches!(request.template, TemplateSource::Text(_)) && request.template_path.is_none();
        FieldProblem {
            file: position.as_ref().filter(|_| !is_nameless).map(|position| position.file.clone()),
            pointer: if is_nameless { request.option_pointer("/template") } else { None },
            line: position.as_ref().map(|position| position.line),
            column: position.as_ref().map(|position| position.column),
            detail,
        }
    }));
    errors.truncate(most);
    if is_not_yet && total > 0 { not_supported_yet(errors) } else { invalid_template(errors, total) }
}

/// The same, with secrets replaced: a message may repeat what a function was given.
pub(super) fn without_secrets(mut problem: Problem, redactor: &Redactor<'_>) -> Problem {
    for error in &mut problem.errors {
        error.detail = redactor.text(&error.detail);
    }
    problem
}

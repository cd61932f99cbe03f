//! The answer to a template that is wrong: every place, in the order of the text, pointing into the body that was sent.

use super::reader::{self, NOWHERE};
use crate::{
    domain::{Problem, problem::FieldProblem},
    template::{
        options::fields::Wrong,
        request::{BuildRequest, RequestForm, TemplateSource, not_supported_yet},
    },
};

/// Where a place of the template is in the body of the request.
fn in_body(request: &BuildRequest, pointer: &str) -> String {
    match (request.form, &request.template) {
        (RequestForm::Short, _) => pointer.replacen("/builders/0", "/builder", 1),
        (RequestForm::Envelope, TemplateSource::Json(_)) => format!("/template{pointer}"),
        _ => pointer.to_owned(),
    }
}

pub(super) fn problem(
    request: &BuildRequest,
    text: Option<&str>,
    mut wrong: Vec<Wrong>,
    mut errors: Vec<FieldProblem>,
    most: usize,
) -> Problem {
    let is_not_yet = errors.is_empty() && wrong.iter().all(|wrong| wrong.is_not_yet);
    let total = wrong.len() + errors.len();
    wrong.sort_by_key(|wrong| wrong.at);
    errors.extend(wrong.into_iter().take(most).map(|wrong| {
        let place =
            text.filter(|_| wrong.at != NOWHERE).map(|text| reader::position(text, wrong.at as usize));
        FieldProblem {
            pointer: Some(in_body(request, &wrong.pointer)),
            file: text.and(request.template_path.clone()),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            detail: wrong.detail,
        }
    }));
    errors.truncate(most);
    if is_not_yet && total > 0 { not_supported_yet(errors) } else { invalid_template(errors, total) }
}

pub fn invalid_template(errors: Vec<FieldProblem>, total: usize) -> Problem {
    let detail = match errors.as_slice() {
        [] => "The template has no builds.".to_owned(),
        [only] => match (&only.pointer, only.line) {
            (_, Some(line)) => format!("Line {line}: {}.", only.detail),
            (Some(pointer), None) if !pointer.is_empty() => format!("{pointer}: {}.", only.detail),
            _ => format!("{}.", only.detail),
        },
        shown if shown.len() < total => {
            format!("{total} things are wrong with the template; `errors` lists the first {}.", shown.len())
        }
        _ => format!("{total} things are wrong with the template; `errors` lists them."),
    };
    Problem::new(422, "invalid_template", "The template is not valid", detail).with_errors(errors)
}

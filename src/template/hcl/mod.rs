//! Packer's HCL2 templates.

use super::{
    BuildRequest, ContextFolder, ParseContext, Parsed,
    request::{TemplateSource, not_supported_yet},
};
use crate::domain::{Problem, problem::FieldProblem};

/// Makes a plan of a request.
///
/// # Errors
/// See [`super::parse`].
pub fn plan(
    request: &BuildRequest,
    _folder: Option<&ContextFolder>,
    _cx: &ParseContext,
) -> Result<Parsed, Problem> {
    let is_text = matches!(request.template, TemplateSource::Text(_));
    Err(not_supported_yet(vec![FieldProblem {
        pointer: request.option_pointer("/template"),
        file: request.template_path.clone(),
        line: is_text.then_some(1),
        column: is_text.then_some(1),
        ..FieldProblem::new("HCL2 templates are not supported yet; send a JSON template")
    }]))
}

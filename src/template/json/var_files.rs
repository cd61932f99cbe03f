//! Files with values of variables (`-var-file`): JSON objects of names and texts in the uploaded folder.

use std::collections::BTreeMap;

use super::{
    reader::{self, Kind, position},
    variables::{Given, MAX_DECLARED, MAX_VALUE},
};
use crate::{
    domain::problem::FieldProblem,
    template::{
        context::{ContextFolder, normalise},
        envelope::shorten,
        request::BuildRequest,
        suggest::did_you_mean,
    },
};

/// The values that a request gives: those of its files, the later ones over the earlier, and over all its `variables`.
pub fn given(
    request: &BuildRequest,
    folder: Option<&ContextFolder>,
    errors: &mut Vec<FieldProblem>,
) -> BTreeMap<String, Given> {
    let mut given = BTreeMap::new();
    for (index, path) in request.var_files.iter().enumerate() {
        let place = FieldProblem {
            pointer: request.option_pointer(&format!("/var_files/{index}")),
            ..FieldProblem::default()
        };
        if let Err(error) = read(path, folder, &place, &mut given, errors) {
            errors.push(error);
        }
        if given.len() > MAX_DECLARED {
            let detail = format!("the variable files give more than {MAX_DECLARED} variables");
            errors.push(FieldProblem { detail, ..place });
            return BTreeMap::new();
        }
    }
    for (name, value) in &request.variables {
        let pointer = format!("/variables/{}", super::pointer_token(name));
        let place = FieldProblem { pointer: request.option_pointer(&pointer), ..FieldProblem::default() };
        given.insert(name.clone(), Given { value: value.clone(), place });
    }
    given
}

/// Reads one file. What is wrong with a value is noted; what is wrong with the file is the error.
fn read(
    path: &str,
    folder: Option<&ContextFolder>,
    place: &FieldProblem,
    given: &mut BTreeMap<String, Given>,
    errors: &mut Vec<FieldProblem>,
) -> Result<(), FieldProblem> {
    let wrong = |detail: String| FieldProblem { detail, ..place.clone() };
    let shown = shorten(path);
    let Some(folder) = folder else {
        return Err(wrong(format!(
            "`{shown}` is a variable file, but this request came without files; send the template's folder"
        )));
    };
    let data = folder.get(path).ok_or_else(|| {
        let near = did_you_mean(path, folder.files());
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        wrong(format!("the folder has no variable file `{shown}`{hint}"))
    })?;
    let place = FieldProblem { file: normalise(path), ..place.clone() };
    let wrong = |detail: String| FieldProblem { detail, ..place.clone() };
    let text = std::str::from_utf8(data).map_err(|_| wrong("the variable file is not UTF-8".to_owned()))?;
    let at = |offset: usize, detail: String| {
        let (line, column) = position(text, offset);
        FieldProblem { line: Some(line), column: Some(column), detail, ..place.clone() }
    };
    let root = reader::read(text).map_err(|error| {
        let is_json = text.trim_start_matches('\u{feff}').trim_start().starts_with('{');
        let hint = if is_json { "" } else { "; a JSON template takes its variables from JSON files only" };
        at(error.at, format!("{}{hint}", error.detail))
    })?;
    let members = root.members().ok_or_else(|| {
        at(root.at as usize, format!("a variable file must be a JSON object, not {}", root.kind_name()))
    })?;
    for member in members {
        let offset = member.at as usize;
        let value = match &member.value.kind {
            Kind::String(text) if text.len() <= MAX_VALUE => text.clone(),
            Kind::String(_) => {
                let detail = format!("`{}` is longer than {MAX_VALUE} bytes", shorten(&member.name));
                errors.push(at(offset, detail));
                continue;
            }
            Kind::Number(number) => number.clone(),
            Kind::Bool(value) => value.to_string(),
            // As Go reads it into a text.
            Kind::Null | Kind::Unknown => String::new(),
            Kind::Array(_) | Kind::Object(_) => {
                let (name, kind) = (shorten(&member.name), member.value.kind_name());
                errors.push(at(offset, format!("the value of `{name}` must be a text, not {kind}")));
                continue;
            }
        };
        given.insert(member.name.clone(), Given { value, place: at(offset, String::new()) });
    }
    Ok(())
}

//! Files that options name: they must be in the uploaded folder, which is looked at before anything starts.

use super::fields::Fields;
use crate::template::{context::normalise, envelope::shorten, suggest::did_you_mean};

/// The path in the folder of a file that the option names.
pub fn path(fields: &Fields<'_>, name: &'static str, given: &str) -> Option<String> {
    let shown = shorten(given);
    if given.starts_with('~') {
        fields.fail(
            name,
            format!("`{name}`: `{shown}` is in your home, which is not here; put the file into the template's folder"),
        );
        return None;
    }
    let Some(folder) = fields.reading.folder else {
        fields.fail(
            name,
            format!(
                "`{name}` names `{shown}`, but this request came without files; send the template's folder as tar or \
                 tar.gz, as `fournil build` does"
            ),
        );
        return None;
    };
    let Some(path) = normalise(given) else {
        fields.fail(
            name,
            format!("`{name}`: `{shown}` is outside the template's folder; put the file into it and name it relative to it"),
        );
        return None;
    };
    if !folder.exists(&path) {
        let hint = did_you_mean(&path, folder.files())
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_default();
        fields.fail(name, format!("`{name}`: the folder has no `{shown}`{hint}"));
        return None;
    }
    Some(path)
}

/// The path of a file that is not a folder.
pub fn file(fields: &Fields<'_>, name: &'static str, given: &str) -> Option<String> {
    let path = path(fields, name, given)?;
    if fields.reading.folder.is_some_and(|folder| folder.is_dir(&path)) {
        fields.fail(name, format!("`{name}`: `{}` is a folder; a file is needed", shorten(given)));
        return None;
    }
    Some(path)
}

/// The text of the file that the option names.
pub fn text(fields: &Fields<'_>, name: &'static str) -> Option<String> {
    let given = fields.filled(name)?;
    let path = file(fields, name, &given)?;
    let data = fields.reading.folder?.get(&path)?;
    match String::from_utf8(data.to_vec()) {
        Ok(text) => Some(text),
        Err(_) => {
            fields.fail(name, format!("`{name}`: `{}` is no UTF-8 text", shorten(&given)));
            None
        }
    }
}

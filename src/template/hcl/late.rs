//! Expressions that wait for the VM: `build.ID` and what is made of it. They stand in a plan's texts as `{{hcl 0}}` and are
//! evaluated when the run gets there.

use std::{borrow::Cow, collections::BTreeMap};

use chrono::Utc;

use super::world::Unpacked;
use crate::{
    hcl::{Budget, Data, Deferred, Errors, Type, Value},
    template::render::{DEFERRED, LateData},
};

/// Bytes of a text with all its expressions evaluated.
const LONGEST: usize = 1 << 20;

/// What stands in a text for the deferred expression of this number.
pub(super) fn placeholder(number: usize) -> String {
    format!("{{{{{DEFERRED} {number}}}}}")
}

/// Whether a text of the template has the word in it that stands for an expression, in whatever form.
pub(super) fn names_deferred(text: &str) -> bool {
    text.split("{{").skip(1).any(|inside| {
        let action = inside.split("}}").next().unwrap_or_default();
        action.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == DEFERRED)
    })
}

/// Evaluates the deferred expressions of a text and puts their values into it; `secret` hears of those that are sensitive.
///
/// # Errors
/// What is wrong with an expression, now that all its names are known.
pub fn fill_in<'t>(
    text: &'t str,
    data: &LateData,
    secret: &mut dyn FnMut(&str),
) -> Result<Cow<'t, str>, String> {
    let begin = format!("{{{{{DEFERRED} ");
    if !text.contains(&begin) {
        return Ok(Cow::Borrowed(text));
    }
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(&begin) {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        let inside = &from[begin.len()..];
        let end = inside.find("}}").ok_or("`}}` is missing")?;
        let number: usize =
            inside[..end].trim().parse().map_err(|_| format!("`{DEFERRED}` takes a number"))?;
        let deferred =
            data.deferred.get(&number).ok_or_else(|| format!("there is no deferred expression {number}"))?;
        filled.push_str(&evaluate(deferred, data, secret)?);
        if filled.len() > LONGEST {
            return Err(format!("the text has more than {LONGEST} bytes"));
        }
        rest = &inside[end + 2..];
    }
    filled.push_str(rest);
    Ok(Cow::Owned(filled))
}

fn evaluate(deferred: &Deferred, data: &LateData, secret: &mut dyn FnMut(&str)) -> Result<String, String> {
    let build: BTreeMap<String, Value> =
        data.generated.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let world = Unpacked { folder: data.files.as_deref(), now: Utc::now() };
    let budget = Budget::default();
    let value = deferred.evaluate("build", &build, &world, &budget).map_err(|Errors(errors)| {
        errors.into_iter().map(|error| error.message).collect::<Vec<_>>().join("; ")
    })?;
    let value = Type::Text.convert(value)?;
    value.sensitive_texts(secret);
    match value.data {
        Data::Text(text) => Ok(text.to_string()),
        Data::Null => Err("an expression is null where a text is needed".to_owned()),
        _ => Err("an expression has no value although the VM runs".to_owned()),
    }
}

//! The texts of a configuration as clients may see them again: without secrets.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::load::{File, Loaded};
use crate::{
    hcl::{
        Body, Span,
        ast::{Expr, Kind},
    },
    template::json::redact::{Redactor, SECRET_OPTIONS, SENSITIVE},
};

/// The files by path, with secret options, the defaults and values of sensitive variables, and every occurrence of a
/// secret replaced.
pub(super) fn redact(loaded: &Loaded, sensitive_variables: &[&str], secrets: &BTreeSet<String>) -> Value {
    let mut blank: Vec<Span> = Vec::new();
    for file in &loaded.templates {
        in_template(file, &mut blank);
    }
    for body in loaded.auto_values.iter().chain(&loaded.values).filter_map(|file| file.body.as_ref()) {
        let values =
            body.attributes.iter().filter(|value| sensitive_variables.contains(&value.name.as_str()));
        blank.extend(values.map(|value| value.expr.span));
    }
    let redactor = Redactor::new(secrets.iter().map(String::as_str));
    let mut files = Map::new();
    let mut base = 0;
    for (path, text) in &loaded.texts {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let own = blank.iter().filter(|span| span.start >= base && span.end <= base.saturating_add(length));
        let mut own: Vec<(usize, usize)> =
            own.map(|span| ((span.start - base) as usize, (span.end - base) as usize)).collect();
        own.sort_unstable();
        let is_json = path.ends_with(".json");
        let (mut shown, mut from) = (String::new(), 0);
        for (start, end) in own {
            // A JSON value's span is only where it begins.
            let end = if is_json { json_end(text, start) } else { end };
            if start < from || end < start || !text.is_char_boundary(start) || !text.is_char_boundary(end) {
                continue;
            }
            shown.push_str(&text[from..start]);
            shown.push_str(&format!("\"{SENSITIVE}\""));
            from = end;
        }
        shown.push_str(&text[from..]);
        files.insert(path.clone(), Value::from(redactor.text(&shown)));
        base = base.saturating_add(length).saturating_add(1);
    }
    json!({ "format": "hcl2", "files": files })
}

fn in_template(file: &File, blank: &mut Vec<Span>) {
    let Some(body) = &file.body else { return };
    for block in &body.blocks {
        let is_sensitive = block
            .body
            .attribute("sensitive")
            .is_some_and(|attribute| !matches!(attribute.expr.kind, Kind::Bool(false)));
        match (block.name.as_str(), is_sensitive) {
            ("variable", true) => {
                blank.extend(block.body.attribute("default").map(|default| default.expr.span))
            }
            ("local", true) => {
                blank.extend(block.body.attribute("expression").map(|expression| expression.expr.span));
            }
            _ => in_body(&block.body, blank),
        }
    }
}

/// Options whose value is never shown, unless it only names something.
fn in_body(body: &Body, blank: &mut Vec<Span>) {
    for attribute in &body.attributes {
        let is_secret = SECRET_OPTIONS.contains(&attribute.name.as_str());
        if is_secret && attribute.expr.as_reference().is_none() {
            blank.push(attribute.expr.span);
        } else {
            in_expr(&attribute.expr, blank);
        }
    }
    body.blocks.iter().for_each(|block| in_body(&block.body, blank));
}

/// Objects hold options too: in the JSON form, and in `override`.
fn in_expr(expr: &Expr, blank: &mut Vec<Span>) {
    match &expr.kind {
        Kind::Object(members) => {
            for (key, value) in members {
                let is_secret =
                    matches!(&key.kind, Kind::Text(name) if SECRET_OPTIONS.contains(&name.as_ref()));
                if is_secret && value.as_reference().is_none() {
                    blank.push(value.span);
                } else {
                    in_expr(value, blank);
                }
            }
        }
        Kind::List(items) => items.iter().for_each(|item| in_expr(item, blank)),
        _ => {}
    }
}

/// Where the JSON value ends that begins here.
fn json_end(text: &str, start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<serde::de::IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => start + values.byte_offset(),
        _ => start,
    }
}

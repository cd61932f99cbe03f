//! The template without its secrets, as clients may see it.

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::{Map, Value};

use super::reader::{Kind, Node};

/// What stands in place of a secret.
pub const SENSITIVE: &str = "<sensitive>";

/// Options whose value is never shown, whatever it is.
pub const SECRET_OPTIONS: [&str; 9] = [
    "secret_key",
    "token",
    "mfa_code",
    "ssh_password",
    "ssh_bastion_password",
    "ssh_proxy_password",
    "ssh_private_key",
    "winrm_password",
    "password",
];

/// A shorter secret is replaced only where it is the whole text; inside other texts it would hit by chance.
const SHORTEST_INSIDE: usize = 4;

/// The template as JSON, with secret options, sensitive variables and every occurrence of a secret replaced.
pub fn redact(root: &Node, sensitive_variables: &BTreeSet<String>, secrets: &BTreeSet<String>) -> Value {
    let mut value = Redactor::new(secrets.iter().map(String::as_str)).node(root);
    if let Some(Value::Object(variables)) = value.get_mut("variables") {
        for (name, value) in variables {
            if sensitive_variables.contains(name) && !value.is_null() {
                *value = Value::from(SENSITIVE);
            }
        }
    }
    value
}

/// Replaces secrets.
pub struct Redactor<'a> {
    secrets: BTreeSet<&'a str>,
    /// Finds the longer ones within a text; none if there are too many for that, and then no text is shown.
    inside: Option<AhoCorasick>,
}

impl<'a> Redactor<'a> {
    /// Replaces these.
    pub fn new(secrets: impl Iterator<Item = &'a str>) -> Self {
        let secrets: BTreeSet<&str> = secrets.collect();
        let inside = secrets.iter().filter(|secret| secret.len() >= SHORTEST_INSIDE);
        // The longest first, so that no rest of a longer one stays.
        let inside = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(inside).ok();
        Self { secrets, inside }
    }

    fn node(&self, node: &Node) -> Value {
        match &node.kind {
            Kind::String(text) => Value::from(self.text(text)),
            Kind::Number(number) if self.secrets.contains(number.as_str()) => Value::from(SENSITIVE),
            Kind::Array(items) => Value::Array(items.iter().map(|item| self.node(item)).collect()),
            Kind::Object(members) => {
                let mut map = Map::new();
                for member in members {
                    let is_secret = SECRET_OPTIONS.contains(&member.name.as_str());
                    let value = match &member.value.kind {
                        Kind::String(text) if text.is_empty() => Value::from(""),
                        Kind::String(_) | Kind::Number(_) if is_secret => Value::from(SENSITIVE),
                        _ => self.node(&member.value),
                    };
                    map.insert(self.text(&member.name), value);
                }
                Value::Object(map)
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Unknown => node.to_value(),
        }
    }

    /// A text without them.
    pub fn text(&self, text: &str) -> String {
        match &self.inside {
            _ if self.secrets.contains(text) => SENSITIVE.to_owned(),
            None => SENSITIVE.to_owned(),
            Some(inside) if inside.patterns_len() == 0 => text.to_owned(),
            Some(inside) => {
                let mut shown = String::with_capacity(text.len());
                inside.replace_all_with(text, &mut shown, |_, _, shown| {
                    shown.push_str(SENSITIVE);
                    true
                });
                shown
            }
        }
    }
}

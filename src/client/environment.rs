//! Which variables of the user's environment a template needs: those that it names itself, and HCL2's `PKR_VAR_*`. No other
//! is sent.

use std::collections::{BTreeMap, BTreeSet};

use crate::template::is_hcl2;

/// The longest name that is looked for.
const LONGEST: usize = 256;

/// What of `environment` goes with these files, each with its path and its text.
pub fn of_template(
    files: &[(String, String)],
    environment: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut names: BTreeSet<&str> = files.iter().flat_map(|(_, text)| named(text)).collect();
    if files.iter().any(|(path, text)| is_hcl2(Some(path), text)) {
        names.extend(environment.keys().map(String::as_str).filter(|name| name.starts_with("PKR_VAR_")));
    }
    let found = names.into_iter().filter_map(|name| environment.get_key_value(name));
    found.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The names in `env("NAME")`, `{{env "NAME"}}` and ``{{env `NAME`}}``, as they stand in HCL, in JSON, and in HCL as JSON.
/// One in a comment is taken too: it is the user's own template that names it.
fn named(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, word) in text.match_indices("env") {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if text[..at].chars().next_back().is_some_and(is_part) {
            continue;
        }
        let rest = text[at + word.len()..].trim_start();
        let rest = rest.strip_prefix('(').unwrap_or(rest).trim_start();
        let rest = rest.strip_prefix('\\').unwrap_or(rest);
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '`')) else { continue };
        let rest = &rest[1..];
        let Some(end) = rest.find([quote, '\n']) else { continue };
        let name = rest[..end].trim_end_matches('\\');
        // `"env": "x"` is no call.
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if is_name && !name.is_empty() && name.len() <= LONGEST {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_however_they_are_quoted() {
        for (text, expected) in [
            ("default = env(\"A\")", &["A"][..]),
            ("env ( \"A\" ) env(\"B\")", &["A", "B"]),
            (r#""x": "{{env `A`}} {{ env `B` }}""#, &["A", "B"]),
            (r#""x": "{{env \"A\"}}""#, &["A"]),
            (r#""default": "${env(\"A\")}""#, &["A"]),
            ("{{- env `A` | upper -}}", &["A"]),
            ("myenv(\"A\") env.x \"env\": \"x\" env(var.x) env(\"\") env(\"A", &[]),
            ("environment_vars = [\"A\"] local.env(\"A\") env", &[]),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
    }

    #[test]
    fn only_what_the_template_can_read_is_sent() {
        let environment: BTreeMap<String, String> =
            ["A", "B", "SECRET", "PKR_VAR_x"].map(|name| (name.to_owned(), name.to_lowercase())).into();
        let sent = |path: &str, text: &str| -> Vec<String> {
            of_template(&[(path.to_owned(), text.to_owned())], &environment).into_keys().collect()
        };
        assert_eq!(sent("a.json", "{{env `A`}} {{env `MISSING`}}"), ["A"]);
        assert_eq!(sent("a.pkr.hcl", "env(\"B\")"), ["B", "PKR_VAR_x"]);
        assert_eq!(sent("a.pkr.json", "{}"), ["PKR_VAR_x"]);
        assert_eq!(sent("template", "build {}"), ["PKR_VAR_x"]);
    }
}

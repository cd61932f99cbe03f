//! Which builds of a template a request wants: `only` and `except`, as patterns over their names.

use super::{envelope::shorten, json::comma_separated, request::BuildRequest, suggest::or_did_you_mean};
use crate::domain::problem::FieldProblem;

/// The places of the names that `only` and `except` leave. `except` may also name post-processors.
pub fn chosen(
    request: &BuildRequest,
    names: &[&str],
    post_processors: &[&str],
    errors: &mut Vec<FieldProblem>,
) -> Vec<usize> {
    let mut is_known = true;
    for (option, patterns) in [("only", &request.only), ("except", &request.except)] {
        for (index, pattern) in patterns.iter().enumerate() {
            let is_step = option == "except" && post_processors.iter().any(|name| matches(pattern, name));
            if is_step || names.iter().any(|name| matches(pattern, name)) {
                continue;
            }
            is_known = false;
            let listed = format!("the builds are called {}", comma_separated(names));
            let hint = or_did_you_mean(pattern, names.iter().copied(), &listed);
            errors.push(FieldProblem {
                pointer: request.option_pointer(&format!("/{option}/{index}")),
                ..FieldProblem::new(format!(
                    "`{option}` names the build `{}`, which does not exist; {hint}",
                    shorten(pattern)
                ))
            });
        }
    }
    let chosen: Vec<usize> = names
        .iter()
        .enumerate()
        .filter(|(_, name)| request.only.is_empty() || matches_any(&request.only, name))
        .filter(|(_, name)| !matches_any(&request.except, name))
        .map(|(index, _)| index)
        .collect();
    if chosen.is_empty() && !names.is_empty() && is_known {
        errors.push(FieldProblem {
            pointer: request.option_pointer("/except"),
            ..FieldProblem::new("`only` and `except` together leave no build")
        });
    }
    chosen
}

/// Whether a name fits any of these patterns.
pub fn matches_any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

/// Whether a name fits a pattern with `*` and `?`.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            _ => match star {
                // The last star takes one character more.
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    in_name = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

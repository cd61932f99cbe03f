//! What a token is asked for with, by HTTP or on the command line, and the check of it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Limits, Role, token};
use crate::domain::problem::FieldProblem;

/// The builders that a token can be limited to.
pub const BUILDERS: [&str; 4] = ["osc-bsu", "osc-bsusurrogate", "osc-chroot", "osc-bsuvolume"];

/// The most names in one limit.
const NAMES: usize = 32;

/// The longest name of a stored set of keys, and the longest name or value of a label, in bytes.
const TEXT: usize = 255;

/// The longest life of a token that ends at all.
const LONGEST: TimeDelta = TimeDelta::days(3650);

/// A token to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSpec {
    /// What it is called in lists and in the audit: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it is limited to.
    #[serde(flatten)]
    pub limits: Limits,
    /// When it ends to be valid; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

impl TokenSpec {
    /// Everything that is wrong with it.
    #[must_use]
    pub fn problems(&self, now: DateTime<Utc>) -> Vec<FieldProblem> {
        let mut found = Vec::new();
        let mut wrong = |pointer: &str, detail: String| found.push(FieldProblem::at(pointer, detail));
        if let Err(detail) = token::check_name(&self.name) {
            wrong("/name", detail);
        }
        let Limits { builders, credentials, labels, max_builds } = &self.limits;
        if let Some(builders) = builders {
            if builders.is_empty() {
                wrong("/builders", "name at least one builder, or leave the limit out".to_owned());
            }
            for builder in builders.iter().filter(|builder| !BUILDERS.contains(&builder.as_str())) {
                let known = BUILDERS.join(", ");
                wrong("/builders", format!("`{}` is none of {known}", builder.escape_debug()));
            }
        }
        if let Some(credentials) = credentials {
            if credentials.is_empty() || credentials.len() > NAMES {
                wrong("/credentials", format!("name 1 to {NAMES} sets of keys, or leave the limit out"));
            }
            if credentials.iter().any(|name| !is_text(name) || name.is_empty()) {
                wrong("/credentials", format!("a name has 1 to {TEXT} bytes and no control characters"));
            }
        }
        if labels.len() > NAMES {
            wrong("/labels", format!("at most {NAMES} labels can be required"));
        }
        if labels.iter().any(|(name, value)| name.is_empty() || !is_text(name) || !is_text(value)) {
            wrong(
                "/labels",
                format!("a label has a name, both at most {TEXT} bytes without control characters"),
            );
        }
        if *max_builds == Some(0) {
            wrong(
                "/max_builds",
                "at least 1; a token that asks for no builds has the role viewer".to_owned(),
            );
        }
        // An administrator makes tokens without limits, so these would limit nothing.
        if self.role == Role::Admin && self.limits != Limits::default() {
            wrong(
                "/role",
                "an admin cannot be limited: whoever makes tokens can make one without limits".to_owned(),
            );
        }
        match self.expires_at {
            Some(end) if end <= now => wrong("/expires_at", "this moment has passed".to_owned()),
            Some(end) if end - now > LONGEST => {
                wrong(
                    "/expires_at",
                    "at most ten years from now; leave it out for a token without end".to_owned(),
                );
            }
            _ => {}
        }
        found
    }
}

fn is_text(text: &str) -> bool {
    text.len() <= TEXT && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(json: serde_json::Value) -> Vec<String> {
        let spec: TokenSpec = serde_json::from_value(json).unwrap();
        spec.problems(Utc::now()).into_iter().filter_map(|problem| problem.pointer).collect()
    }

    #[test]
    fn good_ones_are_taken() {
        let later = Utc::now() + TimeDelta::days(90);
        for good in [
            json!({ "name": "ops", "role": "admin" }),
            json!({ "name": "ci", "role": "builder", "builders": ["osc-bsu"], "credentials": ["dev"],
                    "labels": { "team": "web" }, "max_builds": 1, "expires_at": later }),
            json!({ "name": "tv", "role": "viewer", "labels": { "team": "" } }),
        ] {
            assert!(problems(good.clone()).is_empty(), "{good}");
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        let wrong = json!({
            "name": "a b", "role": "builder", "builders": ["docker"], "credentials": [], "labels": { "": "x" }, "max_builds": 0,
            "expires_at": "2020-01-01T00:00:00Z",
        });
        let found = problems(wrong);
        assert_eq!(found, ["/name", "/builders", "/credentials", "/labels", "/max_builds", "/expires_at"]);
        assert_eq!(problems(json!({ "name": "x", "role": "admin", "max_builds": 3 })), ["/role"]);
        assert_eq!(problems(json!({ "name": "x", "role": "builder", "builders": [] })), ["/builders"]);
        let far = Utc::now() + TimeDelta::days(4000);
        assert_eq!(problems(json!({ "name": "x", "role": "viewer", "expires_at": far })), ["/expires_at"]);
    }
}

//! Options of a build as query parameters, for bodies that are a template's text or a folder.

use std::{collections::BTreeMap, time::Duration};

use super::{
    envelope::Checker,
    request::{BuildRequest, RequestForm, RequestLimits, TemplateSource},
    suggest::or_did_you_mean,
};
use crate::domain::{Problem, duration, problem::FieldProblem};

/// The names a query may hold, besides `var.NAME`, `env.NAME` and `label.NAME`.
const NAMES: [&str; 11] = [
    "only",
    "except",
    "name",
    "timeout",
    "priority",
    "on_error",
    "keep_for",
    "authorized_key",
    "template",
    "var_file",
    "credentials",
];

/// Options of a build from the query string.
#[derive(Clone, Default, PartialEq)]
pub struct QueryOptions {
    /// `var.NAME=…`
    pub variables: BTreeMap<String, String>,
    /// `env.NAME=…`
    pub env: BTreeMap<String, String>,
    /// `var_file=PATH`, may be repeated: paths in the folder, in order.
    pub var_files: Vec<String>,
    /// `only=a,b` or repeated.
    pub only: Vec<String>,
    /// `except=a,b` or repeated.
    pub except: Vec<String>,
    /// `label.NAME=…`
    pub labels: BTreeMap<String, String>,
    /// `name=…`
    pub name: Option<String>,
    /// `timeout=2h`
    pub timeout: Option<Duration>,
    /// `priority=5`
    pub priority: i32,
    /// `on_error=cleanup`
    pub on_error: Option<String>,
    /// `keep_for=2h`
    pub keep_for: Option<Duration>,
    /// `authorized_key=ssh-ed25519 AAAA…`, may be repeated.
    pub authorized_keys: Vec<String>,
    /// `template=PATH`: the template's path in the folder.
    pub template: Option<String>,
    /// `credentials=NAME`
    pub credentials: Option<String>,
}

impl QueryOptions {
    /// Reads decoded query parameters.
    ///
    /// # Errors
    /// 422 `invalid_request` naming each unknown, repeated or malformed parameter.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Problem> {
        let mut options = Self::default();
        let mut seen = Vec::new();
        let mut errors = Vec::new();
        for (name, value) in pairs {
            if let Err(detail) = options.take(name, value, &mut seen) {
                errors.push(FieldProblem::new(detail));
            }
        }
        if errors.is_empty() { Ok(options) } else { Err(super::request::invalid_request(errors)) }
    }

    fn take(&mut self, name: &str, value: &str, seen: &mut Vec<String>) -> Result<(), String> {
        let list = |value: &str| {
            value.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        if !matches!(name, "only" | "except" | "authorized_key" | "var_file") {
            if seen.iter().any(|other| other == name) {
                return Err(format!("the query parameter `{name}` is given twice"));
            }
            seen.push(name.to_owned());
        }
        if let Some(variable) = name.strip_prefix("var.").filter(|variable| !variable.is_empty()) {
            self.variables.insert(variable.to_owned(), value.to_owned());
            return Ok(());
        }
        if let Some(variable) = name.strip_prefix("env.").filter(|variable| !variable.is_empty()) {
            self.env.insert(variable.to_owned(), value.to_owned());
            return Ok(());
        }
        if let Some(label) = name.strip_prefix("label.").filter(|label| !label.is_empty()) {
            self.labels.insert(label.to_owned(), value.to_owned());
            return Ok(());
        }
        match name {
            "only" => self.only.extend(list(value)),
            "except" => self.except.extend(list(value)),
            "name" => self.name = Some(value.to_owned()),
            "timeout" => {
                self.timeout = Some(duration::parse(value).map_err(|error| format!("`timeout`: {error}"))?);
            }
            "priority" => {
                self.priority =
                    value.parse().map_err(|_| format!("`priority` must be a whole number, not `{value}`"))?;
            }
            "on_error" => self.on_error = Some(value.to_owned()),
            "keep_for" => {
                self.keep_for = Some(duration::parse(value).map_err(|error| format!("`keep_for`: {error}"))?);
            }
            "authorized_key" => self.authorized_keys.push(value.to_owned()),
            "template" => self.template = Some(value.to_owned()),
            "var_file" => self.var_files.push(value.to_owned()),
            "credentials" => self.credentials = Some(value.to_owned()),
            other => {
                let hint = or_did_you_mean(
                    other,
                    NAMES,
                    "known are var.NAME, env.NAME, label.NAME, only, except, name, timeout, priority, on_error, keep_for, authorized_key, template and var_file",
                );
                return Err(format!("there is no query parameter `{other}`; {hint}"));
            }
        }
        Ok(())
    }

    /// Checks the options and joins them with the template.
    ///
    /// # Errors
    /// 422 `invalid_request` or `not_supported_yet`.
    pub(super) fn into_request(
        self,
        template: TemplateSource,
        template_path: Option<String>,
        limits: &RequestLimits,
    ) -> Result<BuildRequest, Problem> {
        let mut request = BuildRequest::new(template);
        request.form = RequestForm::Text;
        request.template_path = template_path;
        request.variables = self.variables;
        request.env = self.env;
        request.var_files = self.var_files;
        request.only = self.only;
        request.except = self.except;
        request.labels = self.labels;
        request.priority = self.priority;
        request.timeout = self.timeout;
        request.name = self.name;
        request.credentials = self.credentials;
        request.keep_for = self.keep_for;
        request.authorized_keys = self.authorized_keys;
        let mut checker = Checker::new(limits);
        if let Some(on_error) = &self.on_error {
            request.on_error = checker.on_error(None, on_error);
        }
        checker.bounds(&request);
        checker.finish()?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<BuildRequest, Problem> {
        let options = QueryOptions::from_pairs(pairs.iter().copied())?;
        BuildRequest::from_template_text("{}", options, &RequestLimits::default())
    }

    #[test]
    fn a_query_holds_every_option() {
        let request = read(&[
            ("var.region", "eu-west-2"),
            ("only", "a,b"),
            ("only", "c"),
            ("label.team", "web"),
            ("timeout", "2h"),
            ("priority", "-3"),
            ("on_error", "run-cleanup-provisioner"),
            ("keep_for", "2h"),
            ("name", "nightly"),
            ("env.PKR_VAR_size", "5"),
            ("var_file", "b.json"),
            ("var_file", "a.json"),
        ])
        .unwrap();
        assert_eq!(request.variables["region"], "eu-west-2");
        assert_eq!(request.only, ["a", "b", "c"]);
        assert_eq!(request.env["PKR_VAR_size"], "5");
        assert_eq!(request.var_files, ["b.json", "a.json"]);
        assert_eq!(request.labels["team"], "web");
        assert_eq!(request.timeout, Some(Duration::from_secs(7200)));
        assert_eq!(request.on_error, crate::domain::OnError::RunCleanupProvisioner);
        assert_eq!((request.priority, request.name.as_deref()), (-3, Some("nightly")));
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (pairs, expected) in [
            (vec![("tiemout", "2h")], "did you mean `timeout`?"),
            (vec![("timeout", "soon")], "`soon` is no duration"),
            (vec![("timeout", "9999h")], "must lie between"),
            (vec![("priority", "high")], "whole number"),
            (vec![("name", "a"), ("name", "b")], "given twice"),
            (vec![("on_error", "explode")], "must be `cleanup`"),
            (vec![("keep_for", "1h")], "needs `on_error`"),
            (vec![("on_error", "hold"), ("authorized_key", "x")], "is no public key"),
            (vec![("credentials", "a b")], "the name of a set of credentials"),
            (vec![("var.", "x")], "no query parameter `var.`"),
            (vec![("env.", "x")], "no query parameter `env.`"),
            (vec![("env.A=B", "x")], "must have a name"),
            (vec![("var_file", "../x.json")], "outside the folder"),
        ] {
            let problem = read(&pairs).unwrap_err();
            assert_eq!(problem.status, 422);
            assert!(problem.errors[0].detail.contains(expected), "{pairs:?}: {}", problem.errors[0].detail);
        }
    }
}

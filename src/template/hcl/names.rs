//! The names that expressions of a configuration can use: `var`, `local`, `data`, `source`, `build`, `path`, `packer`.

use std::collections::BTreeMap;

use crate::{
    hcl::{Cause, Diagnostic, Errors, Names, Span, Value, ast::Step, suggest::Hints},
    template::render::functions::{BUILD_KEYS, PACKER_VERSION},
};

/// Waits for a data source.
pub const DATA: Cause = Cause(1);
/// Waits for the VM.
pub const BUILD: Cause = Cause(2);

/// Values by name.
pub(super) type Values = BTreeMap<String, Value>;

/// All that can be named at a place.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// `var.NAME`
    pub(super) variables: &'a Values,
    /// `local.NAME`; `None` where locals have no value yet.
    pub(super) locals: Option<&'a Values>,
    /// `data.TYPE.NAME`, keyed by type and name.
    pub(super) data: Option<&'a BTreeMap<(String, String), Value>>,
    /// `source.name` and `source.type`, within a build.
    pub(super) source: Option<&'a Values>,
    /// The name of the build block, within one.
    pub(super) build: Option<&'a str>,
    /// Whether `build.ID` and its like will have values here.
    pub(super) has_vm: bool,
    /// `path.root`
    pub(super) root: &'a str,
}

impl<'a> Known<'a> {
    /// Only variables.
    pub(super) const fn variables(variables: &'a Values, root: &'a str) -> Self {
        Self { variables, locals: None, data: None, source: None, build: None, has_vm: false, root }
    }

    fn build(&self, name: &str, span: Span, hints: &Hints) -> Result<Value, Errors> {
        match (name, self.build) {
            ("name", Some(build)) => Ok(build.into()),
            (key, Some(_)) if BUILD_KEYS.contains(&key) => {
                if self.has_vm {
                    Ok(Value::unknown(BUILD))
                } else {
                    Err(wrong(
                        span,
                        format!("`build.{key}` has a value only in provisioners and post-processors"),
                    ))
                }
            }
            (_, None) => Err(wrong(span, "`build` has a value only within a `build` block")),
            (other, Some(_)) => {
                let known = BUILD_KEYS.into_iter().chain(["name"]);
                let listed = format!("known are {}", BUILD_KEYS.join(", "));
                Err(wrong(
                    span,
                    format!("there is no `build.{other}`; {}", hints.or_did_you_mean(other, known, &listed)),
                ))
            }
        }
    }
}

fn wrong(span: Span, message: impl Into<String>) -> Errors {
    Diagnostic { span, message: message.into() }.into()
}

impl Names for Known<'_> {
    fn resolve(
        &self,
        name: &str,
        steps: &[Step],
        span: Span,
        hints: &Hints,
    ) -> Option<Result<(Value, usize), Errors>> {
        let first = steps.first().and_then(Step::name);
        let member = |values: &Values, what: &str, advice: &str| match first {
            None => Ok((Value::object(values.clone()), 0)),
            Some((member, span)) => match values.get(member) {
                Some(value) => Ok((value.clone(), 1)),
                None => {
                    let known = values.keys().map(String::as_str);
                    Err(wrong(
                        span,
                        format!(
                            "there is no {what} `{member}`; {}",
                            hints.or_did_you_mean(member, known, advice)
                        ),
                    ))
                }
            },
        };
        match name {
            "var" => Some(member(self.variables, "variable", "declare it with a `variable` block")),
            "local" => Some(match self.locals {
                Some(locals) => member(locals, "local", "declare it in a `locals` block"),
                None => Err(wrong(span, "locals have no value here")),
            }),
            "data" => Some(self.data(steps, span, hints)),
            "source" => Some(match self.source {
                Some(source) => member(source, "property of a source called", "known are `name` and `type`"),
                None => Err(wrong(span, "`source` has a value only within a `build` block")),
            }),
            "build" => Some(match first {
                Some((key, span)) => self.build(key, span, hints).map(|value| (value, 1)),
                None => Err(wrong(span, "`build` alone is no value; write for example `build.ID`")),
            }),
            "path" => {
                let values =
                    [("root", self.root), ("cwd", ".")].map(|(name, path)| (name.to_owned(), path.into()));
                Some(member(&values.into(), "path called", "known are `root` and `cwd`"))
            }
            "packer" => {
                let values = [("version", PACKER_VERSION), ("iterationID", ""), ("versionFingerprint", "")]
                    .map(|(name, text)| (name.to_owned(), text.into()));
                Some(member(&values.into(), "property of `packer` called", "known is `version`"))
            }
            _ => None,
        }
    }

    fn known(&self) -> Vec<String> {
        let always = ["var", "local", "data", "path", "packer"];
        let within = self.build.map(|_| ["source", "build"]).into_iter().flatten();
        always.into_iter().chain(within).map(str::to_owned).collect()
    }
}

impl Known<'_> {
    fn data(&self, steps: &[Step], span: Span, hints: &Hints) -> Result<(Value, usize), Errors> {
        let Some(data) = self.data else {
            return Err(wrong(span, "data sources have no value here"));
        };
        let (Some((kind, kind_span)), Some((name, name_span))) =
            (steps.first().and_then(Step::name), steps.get(1).and_then(Step::name))
        else {
            return Err(wrong(
                span,
                "a data source is named as `data.TYPE.NAME`, such as `data.outscale-omi.debian.id`",
            ));
        };
        if let Some(value) = data.get(&(kind.to_owned(), name.to_owned())) {
            return Ok((value.clone(), 2));
        }
        let names: Vec<&str> =
            data.keys().filter(|(known, _)| known == kind).map(|(_, name)| name.as_str()).collect();
        if names.is_empty() {
            let kinds = data.keys().map(|(kind, _)| kind.as_str());
            let hint = hints.or_did_you_mean(kind, kinds, "declare it with a `data` block");
            return Err(wrong(kind_span, format!("there is no data source of the type `{kind}`; {hint}")));
        }
        let hint = hints.or_did_you_mean(name, names, "declare it with a `data` block");
        Err(wrong(name_span, format!("there is no data source `{kind}` called `{name}`; {hint}")))
    }
}

//! The blocks at the top of a configuration, sorted by what they declare. Nothing is evaluated here.

use std::collections::BTreeMap;

use super::load::File;
use crate::{
    hcl::{
        Block, Body, Diagnostic, Span,
        ast::{Expr, Kind},
    },
    template::{or_did_you_mean, render::functions::PACKER_VERSION},
};

/// What may stand at the top.
const TOP: [&str; 8] = ["packer", "variable", "variables", "local", "locals", "data", "source", "build"];

/// Declarations of one kind.
const MOST: usize = 1000;

/// A configuration.
#[derive(Default)]
pub(super) struct Config<'a> {
    pub(super) variables: BTreeMap<String, Variable<'a>>,
    pub(super) locals: BTreeMap<String, Local<'a>>,
    pub(super) data: BTreeMap<(String, String), Source<'a>>,
    pub(super) sources: BTreeMap<(String, String), Source<'a>>,
    pub(super) builds: Vec<&'a Block>,
    /// Local names of the OUTSCALE plugin, which builder types begin with.
    pub(super) plugin_names: Vec<String>,
    pub(super) notices: Vec<String>,
}

/// A declared variable.
pub(super) struct Variable<'a> {
    pub(super) span: Span,
    pub(super) default: Option<&'a Expr>,
    pub(super) of: Option<&'a Expr>,
    pub(super) sensitive: Option<&'a Expr>,
    pub(super) validations: Vec<&'a Block>,
}

/// A declared local.
pub(super) struct Local<'a> {
    pub(super) span: Span,
    pub(super) expr: &'a Expr,
    pub(super) sensitive: Option<&'a Expr>,
}

/// A declared source or data source.
pub(super) struct Source<'a> {
    pub(super) span: Span,
    pub(super) body: &'a Body,
}

/// Sorts the blocks of all files.
pub(super) fn collect<'a>(files: &'a [File], wrong: &mut Vec<Diagnostic>) -> Config<'a> {
    let mut config =
        Config { plugin_names: vec!["outscale".to_owned(), "osc".to_owned()], ..Config::default() };
    for body in files.iter().filter_map(|file| file.body.as_ref()) {
        for attribute in &body.attributes {
            wrong.push(Diagnostic {
                span: attribute.name_span,
                message: format!(
                    "`{}` cannot stand at the top of a template; {}",
                    attribute.name,
                    or_did_you_mean(&attribute.name, TOP, "only blocks can")
                ),
            });
        }
        for block in &body.blocks {
            config.block(block, wrong);
        }
    }
    let total = config.variables.len() + config.locals.len() + config.sources.len() + config.data.len();
    if total > MOST || config.builds.len() > MOST {
        wrong.push(Diagnostic {
            span: Span::default(),
            message: format!("a template has at most {MOST} declarations"),
        });
    }
    config
}

impl<'a> Config<'a> {
    fn block(&mut self, block: &'a Block, wrong: &mut Vec<Diagnostic>) {
        let labels = match block.name.as_str() {
            "data" | "source" => 2,
            "variable" | "local" => 1,
            _ => 0,
        };
        if TOP.contains(&block.name.as_str()) && block.labels.len() != labels {
            let wanted = match labels {
                0 => "no labels",
                1 => "one label: its name",
                _ => "two labels: its type and its name",
            };
            wrong.push(Diagnostic {
                span: block.name_span,
                message: format!("a block `{}` has {wanted}", block.name),
            });
            return;
        }
        let label =
            |index: usize| block.labels.get(index).map(|label| label.text.clone()).unwrap_or_default();
        let mut twice = |what: String| {
            wrong.push(Diagnostic { span: block.name_span, message: format!("{what} is declared twice") });
        };
        match block.name.as_str() {
            "packer" => self.packer(block, wrong),
            "variable" => {
                if self.variables.contains_key(&label(0)) {
                    return twice(format!("the variable `{}`", label(0)));
                }
                let variable = variable(block, wrong);
                self.variables.insert(label(0), variable);
            }
            "variables" => {
                for attribute in &block.body.attributes {
                    let span = attribute.name_span;
                    let variable = Variable {
                        span,
                        default: Some(&attribute.expr),
                        of: None,
                        sensitive: None,
                        validations: Vec::new(),
                    };
                    if self.variables.insert(attribute.name.clone(), variable).is_some() {
                        wrong.push(Diagnostic {
                            span,
                            message: format!("the variable `{}` is declared twice", attribute.name),
                        });
                    }
                }
                no_blocks(&block.body, "variables", wrong);
            }
            "local" => {
                let Some(expression) = block.body.attribute("expression") else {
                    wrong.push(Diagnostic {
                        span: block.name_span,
                        message: "a block `local` needs `expression`: its value".to_owned(),
                    });
                    return;
                };
                only(&block.body, "local", &["expression", "sensitive"], wrong);
                no_blocks(&block.body, "local", wrong);
                let sensitive = block.body.attribute("sensitive").map(|attribute| &attribute.expr);
                self.local(
                    label(0),
                    Local { span: block.name_span, expr: &expression.expr, sensitive },
                    wrong,
                );
            }
            "locals" => {
                for attribute in &block.body.attributes {
                    let local = Local { span: attribute.name_span, expr: &attribute.expr, sensitive: None };
                    self.local(attribute.name.clone(), local, wrong);
                }
                no_blocks(&block.body, "locals", wrong);
            }
            "data" | "source" => {
                let source = Source { span: block.name_span, body: &block.body };
                let table = if block.name == "data" { &mut self.data } else { &mut self.sources };
                if table.insert((label(0), label(1)), source).is_some() {
                    twice(format!("the {} `{}` of the type `{}`", block.name, label(1), label(0)));
                }
            }
            "build" => self.builds.push(block),
            "hcp_packer_registry" => self.no_registry(),
            // Packer takes it and never looks into it.
            "communicator" => {
                self.notices.push("a block `communicator` at the top has no effect, as in Packer".to_owned());
            }
            other => {
                let listed = TOP.map(|name| format!("`{name}`")).join(", ");
                let hint = match other {
                    "provisioner" | "post-processor" | "post-processors" | "error-cleanup-provisioner" => {
                        "it belongs into a `build` block".to_owned()
                    }
                    other => or_did_you_mean(other, TOP, &format!("known are {listed}")),
                };
                wrong.push(Diagnostic {
                    span: block.name_span,
                    message: format!("there is no block `{other}` at the top of a template; {hint}"),
                });
            }
        }
    }

    pub(super) fn no_registry(&mut self) {
        let notice = "`hcp_packer_registry` has no effect: it is for HashiCorp's own cloud".to_owned();
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    fn local(&mut self, name: String, local: Local<'a>, wrong: &mut Vec<Diagnostic>) {
        let span = local.span;
        if self.locals.contains_key(&name) {
            wrong.push(Diagnostic { span, message: format!("the local `{name}` is declared twice") });
            return;
        }
        self.locals.insert(name, local);
    }

    fn packer(&mut self, block: &Block, wrong: &mut Vec<Diagnostic>) {
        only(&block.body, "packer", &["required_version"], wrong);
        if let Some(version) = block.body.attribute("required_version") {
            match &version.expr.kind {
                Kind::Text(constraint) => match version_fits(constraint) {
                    Some(true) => {}
                    Some(false) => wrong.push(Diagnostic {
                        span: version.expr.span,
                        message: format!(
                            "the template wants Packer `{constraint}`; fournil reads templates of {PACKER_VERSION}"
                        ),
                    }),
                    None => wrong.push(Diagnostic {
                        span: version.expr.span,
                        message: "this is no constraint on a version, such as `>= 1.10.0, < 2.0.0`".to_owned(),
                    }),
                },
                _ => wrong.push(Diagnostic {
                    span: version.expr.span,
                    message: "`required_version` must be a plain text".to_owned(),
                }),
            }
        }
        for inner in &block.body.blocks {
            if inner.name != "required_plugins" {
                wrong.push(Diagnostic {
                    span: inner.name_span,
                    message: format!(
                        "a block `packer` has no block `{}`; {}",
                        inner.name,
                        or_did_you_mean(&inner.name, ["required_plugins"], "known is `required_plugins`")
                    ),
                });
                continue;
            }
            for plugin in &inner.body.attributes {
                self.plugin(&plugin.name, plugin.name_span, &plugin.expr, wrong);
            }
        }
    }

    fn plugin(&mut self, name: &str, span: Span, expr: &Expr, wrong: &mut Vec<Diagnostic>) {
        let text = |wanted: &str| match &expr.kind {
            Kind::Object(members) => members.iter().find_map(|(key, value)| match (&key.kind, &value.kind) {
                (Kind::Text(key), Kind::Text(value)) if key.as_ref() == wanted => Some(value.to_string()),
                _ => None,
            }),
            _ => None,
        };
        let (Some(source), Some(_)) = (text("source"), text("version")) else {
            wrong.push(Diagnostic {
                span,
                message: format!("the plugin `{name}` needs `source` and `version`, as in `{{ source = \"github.com/outscale/outscale\", version = \">= 1.0.0\" }}`"),
            });
            return;
        };
        if source.trim_end_matches('/').ends_with("outscale/outscale") {
            if !self.plugin_names.iter().any(|known| known == name) {
                self.plugin_names.push(name.to_owned());
            }
            self.notices.push(format!("the plugin `{name}` is built in; its version is not looked at"));
        } else {
            self.notices.push(format!("the plugin `{name}` ({source}) is not installed here; what is not built in is refused where it is used"));
        }
    }
}

fn variable<'a>(block: &'a Block, wrong: &mut Vec<Diagnostic>) -> Variable<'a> {
    only(&block.body, "variable", &["type", "default", "description", "sensitive"], wrong);
    for inner in block.body.blocks.iter().filter(|inner| inner.name != "validation") {
        let hint = or_did_you_mean(&inner.name, ["validation"], "known is `validation`");
        wrong.push(Diagnostic {
            span: inner.name_span,
            message: format!("a block `variable` has no block `{}`; {hint}", inner.name),
        });
    }
    let expr = |name: &str| block.body.attribute(name).map(|attribute| &attribute.expr);
    Variable {
        span: block.labels.first().map_or(block.name_span, |label| label.span),
        default: expr("default"),
        of: expr("type"),
        sensitive: expr("sensitive"),
        validations: block.body.blocks.iter().filter(|inner| inner.name == "validation").collect(),
    }
}

/// Notes attributes that a block does not have.
pub(super) fn only(body: &Body, block: &str, known: &[&str], wrong: &mut Vec<Diagnostic>) {
    only_or_blocks(body, block, known, &[], wrong);
}

/// The same for a block that has blocks in it, too: in JSON one whose name is wrong looks like an attribute.
pub(super) fn only_or_blocks(
    body: &Body,
    block: &str,
    known: &[&str],
    blocks: &[&str],
    wrong: &mut Vec<Diagnostic>,
) {
    for attribute in &body.attributes {
        if !known.contains(&attribute.name.as_str()) {
            let listed = match known {
                [] => "it has none".to_owned(),
                known => format!(
                    "known are {}",
                    known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
                ),
            };
            let meant = known.iter().chain(blocks).copied();
            let hint = or_did_you_mean(&attribute.name, meant, &listed);
            wrong.push(Diagnostic {
                span: attribute.name_span,
                message: format!("a block `{block}` has no `{}`; {hint}", attribute.name),
            });
        }
    }
}

fn no_blocks(body: &Body, block: &str, wrong: &mut Vec<Diagnostic>) {
    for inner in &body.blocks {
        wrong.push(Diagnostic {
            span: inner.name_span,
            message: format!("a block `{block}` has no blocks in it; write `{} = {{ … }}`", inner.name),
        });
    }
}

/// Whether the Packer whose templates we read fits all constraints; `None` if one is none.
fn version_fits(constraints: &str) -> Option<bool> {
    let ours = numbers(PACKER_VERSION)?;
    let mut fits = true;
    for constraint in constraints.split(',') {
        let constraint = constraint.trim();
        let at = constraint.find(|c: char| c.is_ascii_digit() || c == 'v')?;
        let (operator, version) = constraint.split_at(at);
        let wanted = numbers(version)?;
        let mut padded = wanted.clone();
        padded.resize(3, 0);
        fits &= match operator.trim() {
            "" | "=" => ours == padded,
            "!=" => ours != padded,
            ">" => ours > padded,
            ">=" => ours >= padded,
            "<" => ours < padded,
            "<=" => ours <= padded,
            // All but the last number given must be the same.
            "~>" => {
                ours >= padded
                    && ours[..wanted.len().saturating_sub(1)] == wanted[..wanted.len().saturating_sub(1)]
            }
            _ => return None,
        };
    }
    Some(fits)
}

/// The numbers of a version, up to three.
fn numbers(version: &str) -> Option<Vec<u64>> {
    let core = version.trim().trim_start_matches('v').split(['-', '+']).next()?;
    let numbers: Vec<u64> = core.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    (numbers.len() <= 3).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_on_versions_are_understood() {
        assert_eq!(PACKER_VERSION, "1.16.0");
        for (constraint, expected) in [
            (">= 1.7.0", Some(true)),
            (">= 1.7, < 2", Some(true)),
            ("~> 1.8", Some(true)),
            ("~> 1.8.0", Some(false)),
            ("1.16.0", Some(true)),
            ("= 1.15.0", Some(false)),
            ("!= 1.16.0", Some(false)),
            ("> 2", Some(false)),
            ("newest", None),
            ("=> 1", None),
        ] {
            assert_eq!(version_fits(constraint), expected, "{constraint}");
        }
    }
}

//! User variables: what is declared, what the request gives, and the order in which defaults that name each other are
//! rendered.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    pointer_token,
    reader::{Kind, Node},
};
use crate::{
    domain::problem::FieldProblem,
    template::{
        envelope::shorten,
        options::fields::Findings,
        render::{Effort, Renderer, Scope, functions::Facts, keep_fields, variables_named},
        suggest::or_did_you_mean,
    },
};

/// Bytes of a variable's value.
pub const MAX_VALUE: usize = 64 * 1024;
/// Declarations in a template, and values from variable files.
pub const MAX_DECLARED: usize = 256;
/// Variables that lead to each other in a row. Each is a frame on the stack; Packer gives up at this number too.
const MAX_CHAIN: usize = 100;

/// A value that the request gives.
#[derive(Debug)]
pub struct Given {
    /// A template, as the default of a declaration is.
    pub value: String,
    /// Where it stands, with an empty detail.
    pub place: FieldProblem,
}

/// A declaration.
struct Declared<'a> {
    /// Absent: the request must give a value.
    default: Option<&'a str>,
    pointer: String,
    at: u32,
}

/// Finds the value of every variable that is declared or given. As in Packer, a given one needs no declaration.
pub fn resolve(
    declarations: Option<&Node>,
    given: &BTreeMap<String, Given>,
    facts: impl Fn(BTreeMap<String, String>) -> Facts,
    effort: &Rc<Effort>,
    findings: &Findings,
    errors: &mut Vec<FieldProblem>,
) -> BTreeMap<String, String> {
    let declared = declarations.map(|node| declared(node, findings)).unwrap_or_default();
    for (name, Given { place, .. }) in given.iter().filter(|(name, _)| !declared.contains_key(name.as_str()))
    {
        let hint = or_did_you_mean(name, declared.keys().copied(), "declare it under `variables`");
        let place = place.file.as_ref().map(|file| format!(" of `{file}`")).unwrap_or_default();
        let name = shorten(name);
        findings.notice(format!("the template declares no variable `{name}`{place}; {hint}"));
    }
    let mut names: Vec<&str> = declared.keys().copied().chain(given.keys().map(String::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    let mut resolver = Resolver {
        declared,
        given,
        facts: &facts,
        effort,
        findings,
        errors,
        values: BTreeMap::new(),
        open: Vec::new(),
    };
    for name in names {
        resolver.value(name);
    }
    resolver.values
}

fn declared<'a>(node: &'a Node, findings: &Findings) -> BTreeMap<&'a str, Declared<'a>> {
    let mut declared = BTreeMap::new();
    let Some(members) = node.members() else {
        findings.wrong(
            "/variables",
            node.at,
            format!("`variables` must be an object, not {}", node.kind_name()),
        );
        return declared;
    };
    if members.len() > MAX_DECLARED {
        findings.wrong("/variables", node.at, format!("a template has at most {MAX_DECLARED} variables"));
        return declared;
    }
    for member in members {
        let pointer = format!("/variables/{}", pointer_token(&member.name));
        let default = match &member.value.kind {
            Kind::String(text) => Some(text.as_str()),
            Kind::Null => None,
            _ => {
                findings.wrong(
                    &pointer,
                    member.at,
                    format!(
                        "the default of a variable must be a text, not {}; put it in quotes",
                        member.value.kind_name()
                    ),
                );
                Some("")
            }
        };
        declared.insert(member.name.as_str(), Declared { default, pointer, at: member.at });
    }
    declared
}

struct Resolver<'a, F> {
    declared: BTreeMap<&'a str, Declared<'a>>,
    given: &'a BTreeMap<String, Given>,
    facts: &'a F,
    effort: &'a Rc<Effort>,
    findings: &'a Findings,
    errors: &'a mut Vec<FieldProblem>,
    values: BTreeMap<String, String>,
    /// The variables whose values led here.
    open: Vec<&'a str>,
}

impl<'a, F: Fn(BTreeMap<String, String>) -> Facts> Resolver<'a, F> {
    /// Sees to it that the variable has a value; an empty one after an error, so that no other error follows from it.
    fn value(&mut self, name: &'a str) {
        if self.values.contains_key(name) {
            return;
        }
        let value = match self.find(name) {
            Ok(value) => value,
            Err(detail) => {
                match (self.given.get(name), self.declared.get(name)) {
                    (Some(Given { place, .. }), _) => {
                        let detail = format!("the value of the variable `{}`: {detail}", shorten(name));
                        self.errors.push(FieldProblem { detail, ..place.clone() });
                    }
                    (None, Some(declared)) => self.findings.wrong(&declared.pointer, declared.at, detail),
                    (None, None) => {}
                }
                String::new()
            }
        };
        self.values.insert(name.to_owned(), value);
    }

    fn find(&mut self, name: &'a str) -> Result<String, String> {
        let source = match (self.given.get(name), self.declared.get(name)) {
            (Some(given), _) => given.value.as_str(),
            (None, Some(Declared { default: Some(default), .. })) => default,
            _ => {
                return Err(format!(
                    "the variable `{}` has no default, so the request must give it a value",
                    shorten(name)
                ));
            }
        };
        let source = keep_fields(source);
        let mut used = BTreeMap::new();
        self.open.push(name);
        let result = self.used(&source, &mut used);
        self.open.pop();
        result?;
        let value = Renderer::new((self.facts)(used), self.effort).now(&source, Scope::Variables)?;
        if value.len() > MAX_VALUE {
            return Err(format!("the variable `{}` is longer than {MAX_VALUE} bytes", shorten(name)));
        }
        Ok(value)
    }

    /// The values of the variables that a value names.
    fn used(&mut self, source: &str, used: &mut BTreeMap<String, String>) -> Result<(), String> {
        for other in variables_named(source)? {
            let declared = self.declared.get_key_value(other.as_str()).map(|(name, _)| *name);
            let given = || self.given.get_key_value(other.as_str()).map(|(name, _)| name.as_str());
            let Some(other) = declared.or_else(given) else {
                let known = self.declared.keys().copied();
                let hint = or_did_you_mean(&other, known, "declare it under `variables`");
                return Err(format!("there is no variable `{}`; {hint}", shorten(&other)));
            };
            if let Some(start) = self.open.iter().position(|open| *open == other) {
                let circle: Vec<&str> = self.open[start..].iter().copied().chain([other]).collect();
                return Err(format!("the variables refer to each other in a circle: {}", circle.join(" → ")));
            }
            if self.open.len() > MAX_CHAIN {
                return Err(format!("more than {MAX_CHAIN} variables refer to each other in a row"));
            }
            self.value(other);
            used.insert(other.to_owned(), self.values.get(other).cloned().unwrap_or_default());
        }
        Ok(())
    }
}

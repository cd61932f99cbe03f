//! User variables: what is declared, what the request gives, and the order in which defaults that name each other are
//! rendered.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    pointer_token,
    reader::{Kind, Node},
};
use crate::template::{
    envelope::shorten,
    options::fields::Findings,
    render::{Effort, Renderer, Scope, functions::Facts, variables_named},
};

/// Bytes of a variable's value.
const MAX_VALUE: usize = 64 * 1024;
/// Declarations in a template.
const MAX_DECLARED: usize = 256;

/// A declaration.
struct Declared<'a> {
    /// Absent: the request must give a value.
    default: Option<&'a str>,
    pointer: String,
    at: u32,
}

/// Finds the value of every declared variable.
pub fn resolve(
    declarations: Option<&Node>,
    given: &BTreeMap<String, String>,
    facts: impl Fn(BTreeMap<String, String>) -> Facts,
    effort: &Rc<Effort>,
    findings: &Findings,
) -> BTreeMap<String, String> {
    let declared = declarations.map(|node| declared(node, findings)).unwrap_or_default();
    let mut resolver = Resolver {
        declared,
        given,
        facts: &facts,
        effort,
        findings,
        values: BTreeMap::new(),
        open: Vec::new(),
    };
    let names: Vec<&str> = resolver.declared.keys().copied().collect();
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
    given: &'a BTreeMap<String, String>,
    facts: &'a F,
    effort: &'a Rc<Effort>,
    findings: &'a Findings,
    values: BTreeMap<String, String>,
    /// The variables whose defaults led here.
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
                if let Some(declared) = self.declared.get(name) {
                    self.findings.wrong(&declared.pointer, declared.at, detail);
                }
                String::new()
            }
        };
        self.values.insert(name.to_owned(), value);
    }

    fn find(&mut self, name: &'a str) -> Result<String, String> {
        if let Some(given) = self.given.get(name) {
            return Ok(given.clone());
        }
        let Some(default) = self.declared.get(name).and_then(|declared| declared.default) else {
            return Err(format!(
                "the variable `{}` has no default, so the request must give it a value",
                shorten(name)
            ));
        };
        let mut used = BTreeMap::new();
        self.open.push(name);
        let result = self.used(default, &mut used);
        self.open.pop();
        result?;
        let value = Renderer::new((self.facts)(used), self.effort).now(default, Scope::Variables)?;
        if value.len() > MAX_VALUE {
            return Err(format!("the variable `{}` is longer than {MAX_VALUE} bytes", shorten(name)));
        }
        Ok(value)
    }

    /// The values of the variables that a default names.
    fn used(&mut self, default: &str, used: &mut BTreeMap<String, String>) -> Result<(), String> {
        for other in variables_named(default)? {
            let Some((other, _)) = self.declared.get_key_value(other.as_str()) else { continue };
            let other: &'a str = other;
            if let Some(start) = self.open.iter().position(|open| *open == other) {
                let circle: Vec<&str> = self.open[start..].iter().copied().chain([other]).collect();
                return Err(format!("the variables refer to each other in a circle: {}", circle.join(" → ")));
            }
            // Each open default is a frame on the stack; 256 declarations bound it.
            self.value(other);
            used.insert(other.to_owned(), self.values.get(other).cloned().unwrap_or_default());
        }
        Ok(())
    }
}

//! Expressions → values.

mod budget;
mod call;
mod collections;
mod operators;
mod template;
mod traverse;

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};

pub use budget::Budget;

use super::{
    Cause, Data, Span, Unknown, Value,
    ast::{Expr, Kind, Step},
    deferred::Deferred,
    suggest::Hints,
};

/// Something wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where.
    pub span: Span,
    /// What is wrong and what would be right.
    pub message: String,
}

/// So much can be wrong with an expression before no more is looked for.
const MOST_ERRORS: usize = 1000;

/// All that is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Errors(pub Vec<Diagnostic>);

impl From<Diagnostic> for Errors {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

/// The result of evaluating.
pub type Evaluated = Result<Value, Errors>;

/// What functions may see of the world.
pub trait Host {
    /// The present moment (`timestamp()`).
    fn now(&self) -> DateTime<Utc>;
    /// The moment at which everything began (`legacy_isotime()`).
    fn started(&self) -> DateTime<Utc>;
    /// An environment variable; `None` where none can be seen, as outside of the defaults of variables.
    ///
    /// # Errors
    /// Why there is none to be had.
    fn env(&self, name: &str) -> Result<String, String>;
    /// A file's content.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
    /// Whether there is a file.
    ///
    /// # Errors
    /// The path cannot be looked at.
    fn exists(&self, path: &str) -> Result<bool, String>;
    /// All files below a folder, relative to it.
    ///
    /// # Errors
    /// The path cannot be looked at.
    fn files_below(&self, folder: &str) -> Result<Vec<String>, String>;
    /// What a path becomes when it is made absolute (`abspath`).
    fn absolute(&self, path: &str) -> String;
}

/// Where names get their values from.
pub trait Names {
    /// The value of a name with the steps that follow it, and how many of the steps are taken care of; `None`: there is
    /// no such name.
    fn resolve(
        &self,
        name: &str,
        steps: &[Step],
        span: Span,
        hints: &Hints,
    ) -> Option<Result<(Value, usize), Errors>>;
    /// The names there are, for "did you mean".
    fn known(&self) -> Vec<String>;
}

impl Names for BTreeMap<String, Value> {
    fn resolve(&self, name: &str, _: &[Step], _: Span, _: &Hints) -> Option<Result<(Value, usize), Errors>> {
        self.get(name).map(|value| Ok((value.clone(), 0)))
    }

    fn known(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// Names that a `for` or a template function binds, over those around it.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    above: Option<&'a Scope<'a>>,
    bound: &'a [(Arc<str>, Value)],
}

impl Scope<'_> {
    /// Nothing is bound.
    pub const EMPTY: Scope<'static> = Scope { above: None, bound: &[] };

    fn get(&self, name: &str) -> Option<&Value> {
        let own = self.bound.iter().rev().find(|(known, _)| known.as_ref() == name).map(|(_, value)| value);
        own.or_else(|| self.above?.get(name))
    }
}

/// Evaluates expressions.
#[derive(Clone, Copy)]
pub struct Evaluator<'a> {
    /// Where names get their values from.
    pub names: &'a dyn Names,
    /// What functions may see of the world.
    pub host: &'a dyn Host,
    /// How much work there may be.
    pub budget: &'a Budget,
    is_in_file: bool,
}

impl<'a> Evaluator<'a> {
    /// An evaluator over these.
    #[must_use]
    pub const fn new(names: &'a dyn Names, host: &'a dyn Host, budget: &'a Budget) -> Self {
        Self { names, host, budget, is_in_file: false }
    }

    /// Evaluates an expression.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn evaluate(&self, expr: &Expr) -> Evaluated {
        self.eval(expr, &Scope::EMPTY)
    }

    /// Evaluates an expression in which a few more names are bound.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn evaluate_with(&self, expr: &Expr, bound: &[(Arc<str>, Value)]) -> Evaluated {
        self.eval(expr, &Scope { above: None, bound })
    }

    fn eval(&self, expr: &Expr, scope: &Scope<'_>) -> Evaluated {
        let _deeper = self.budget.step().map_err(|message| wrong(expr.span, message))?;
        let value = match &expr.kind {
            Kind::Null => Value::null(),
            Kind::Bool(value) => (*value).into(),
            Kind::Number(number) => number.clone().into(),
            Kind::Text(text) => Data::Text(Arc::clone(text)).into(),
            Kind::List(items) => self.list(items, scope)?,
            Kind::Object(members) => self.object(members, scope)?,
            Kind::Template(parts) => self.template(parts, expr.span, scope)?,
            Kind::Name(name) => self.name(name, &[], expr.span, scope)?.0,
            Kind::Traverse(base, steps) => self.traverse(base, steps, expr.span, scope)?,
            Kind::Call(call) => self.call(call, expr.span, scope)?,
            Kind::Conditional(parts) => self.conditional(parts, scope)?,
            Kind::Unary(operator, operand) => self.unary(*operator, operand, scope)?,
            Kind::Binary(operator, operands) => self.binary(*operator, operands, scope)?,
            Kind::For(each) => self.for_each(each, expr.span, scope)?,
        };
        // Whoever walks through a value later can rely on its being small.
        let is_made = matches!(expr.kind, Kind::List(_) | Kind::Object(_) | Kind::For(_) | Kind::Call(_));
        if is_made && matches!(value.data, Data::Sequence(..) | Data::Map(..) | Data::Text(_)) {
            self.budget.made(&value).map_err(|message| wrong(expr.span, message))?;
        }
        self.with_origin(value, expr, scope)
    }

    /// Remembers where an unknown value came from; the outermost expression wins.
    fn with_origin(&self, mut value: Value, expr: &Expr, scope: &Scope<'_>) -> Evaluated {
        if let Data::Unknown(unknown) = &mut value.data {
            self.budget.steps(expr.size()).map_err(|message| wrong(expr.span, message))?;
            unknown.origin = Some(Arc::new(self.deferred(expr, scope)));
        }
        Ok(value)
    }

    /// The expression with the values of all names in it that are known.
    fn deferred(&self, expr: &Expr, scope: &Scope<'_>) -> Deferred {
        let mut names: BTreeMap<String, Value> = BTreeMap::new();
        let mut bound: BTreeMap<String, Value> = BTreeMap::new();
        expr.references(&mut |name, steps, span| {
            if let Some(value) = scope.get(name) {
                // What is unknown of it brings its own origin.
                bound.insert(name.to_owned(), value.clone());
                return;
            }
            let Some(Ok((mut value, taken))) = self.names.resolve(name, steps, span, &self.budget.hints)
            else {
                return;
            };
            let (taken, further) = steps.split_at(taken);
            let mut path: Vec<&str> = taken.iter().filter_map(Step::name).map(|(name, _)| name).collect();
            // Only what is asked for is kept: `var.region`, not all of `var`.
            for step in further {
                let Some((name, _)) = step.name() else { break };
                let Some(member) = value.members().and_then(|members| members.get(name)) else { break };
                value = member.clone().marked(value.sensitive);
                path.push(name);
            }
            if value.is_unknown() {
                return;
            }
            keep(&mut names, name, &path, value);
        });
        Deferred { expr: expr.clone(), names, bound }
    }

    /// A name with what of the steps belongs to it; the rest is left to the caller.
    fn name(
        &self,
        name: &str,
        steps: &[Step],
        span: Span,
        scope: &Scope<'_>,
    ) -> Result<(Value, usize), Errors> {
        if let Some(value) = scope.get(name) {
            return Ok((value.clone(), 0));
        }
        match self.names.resolve(name, steps, span, &self.budget.hints) {
            Some(found) => found,
            None => {
                let known = self.names.known();
                let listed = match known.as_slice() {
                    [] => "nothing can be named here".to_owned(),
                    known => format!("known are {}", quoted(known)),
                };
                let hint = if steps.is_empty() && !known.iter().any(|known| known == name) {
                    format!("{listed}; put a text in quotes")
                } else {
                    listed
                };
                let hint = self.budget.hints.or_did_you_mean(name, known.iter().map(String::as_str), &hint);
                Err(wrong(span, format!("there is no `{name}` here; {hint}")))
            }
        }
    }
}

/// Puts a value where `root.path` finds it.
fn keep(names: &mut BTreeMap<String, Value>, root: &str, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        names.insert(root.to_owned(), value);
        return;
    };
    let mut below = match names.get(root).map(|value| &value.data) {
        Some(Data::Map(_, members)) => members.as_ref().clone(),
        _ => BTreeMap::new(),
    };
    keep(&mut below, first, rest, value);
    names.insert(root.to_owned(), Value::object(below));
}

/// An error at a place.
fn wrong(span: Span, message: impl Into<String>) -> Errors {
    Diagnostic { span, message: message.into() }.into()
}

/// What comes of an operation with something unknown in it.
fn unknown(cause: Cause, sensitive: bool) -> Value {
    Value { data: Data::Unknown(Unknown { cause, origin: None }), sensitive }
}

/// `` `a`, `b` and `c` ``, so many that a message stays readable.
fn quoted(words: &[String]) -> String {
    let mut quoted: Vec<String> = words.iter().take(20).map(|word| format!("`{word}`")).collect();
    if words.len() > 20 {
        quoted.push("…".to_owned());
    }
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;

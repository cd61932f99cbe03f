//! The syntax tree of expressions. It can be stored, so that an expression can be evaluated later and elsewhere.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Number, Span};

/// An expression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expr {
    /// Where it stands.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of expression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text without anything to evaluate in it.
    Text(Arc<str>),
    /// `[…]`
    List(Vec<Expr>),
    /// `{…}`; a plain name as a key is a text.
    Object(Vec<(Expr, Expr)>),
    /// A text with something to evaluate in it.
    Template(Vec<Part>),
    /// A name: `var`, or what a `for` binds.
    Name(Arc<str>),
    /// `.name`, `[index]`, `.*`, `[*]`
    Traverse(Box<Expr>, Vec<Step>),
    /// `name(…)`
    Call(Box<Call>),
    /// `condition ? this : that`
    Conditional(Box<[Expr; 3]>),
    /// `!x`, `-x`
    Unary(Unary, Box<Expr>),
    /// `x + y` and the like.
    Binary(Binary, Box<[Expr; 2]>),
    /// `[for …]`, `{for …}`
    For(Box<For>),
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// Text as it is.
    Text(Arc<str>),
    /// `${…}`
    Value(Expr),
    /// `%{if …}`
    If {
        /// What decides.
        condition: Expr,
        /// What stands there if it is true.
        then: Vec<Part>,
        /// And if not.
        otherwise: Vec<Part>,
    },
    /// `%{for …}`
    For {
        /// The names it binds.
        names: ForNames,
        /// What it goes through.
        collection: Expr,
        /// What stands there for each item.
        body: Vec<Part>,
    },
}

impl Part {
    /// How many expressions and texts it consists of.
    fn size(&self) -> usize {
        let all = |parts: &[Self]| parts.iter().map(Self::size).sum::<usize>();
        1 + match self {
            Self::Text(_) => 0,
            Self::Value(expr) => expr.size(),
            Self::If { condition, then, otherwise } => condition.size() + all(then) + all(otherwise),
            Self::For { collection, body, .. } => collection.size() + all(body),
        }
    }
}

/// The names that a `for` binds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForNames {
    /// The key or index, if it is wanted.
    pub key: Option<Arc<str>>,
    /// The value.
    pub value: Arc<str>,
}

/// A step into a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// `.name`
    Attribute(Arc<str>, Span),
    /// `[index]`, and the old `.0`
    Index(Expr),
    /// `.*`
    AttributeSplat(Span),
    /// `[*]`
    FullSplat(Span),
}

impl Step {
    /// The name that the step takes, with its place, if that is plain to see: `.name`, `["name"]`.
    #[must_use]
    pub fn name(&self) -> Option<(&str, Span)> {
        match self {
            Self::Attribute(name, span) => Some((name, *span)),
            Self::Index(index) => match &index.kind {
                Kind::Text(text) => Some((text, index.span)),
                _ => None,
            },
            Self::AttributeSplat(_) | Self::FullSplat(_) => None,
        }
    }
}

/// A call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The function's name.
    pub name: Arc<str>,
    /// Where the name stands.
    pub name_span: Span,
    /// What it is given.
    pub arguments: Vec<Expr>,
    /// Whether the last argument is a list of arguments (`…`).
    pub expand_last: bool,
}

/// `[for …]`, `{for …}`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct For {
    /// The names it binds.
    pub names: ForNames,
    /// What it goes through.
    pub collection: Expr,
    /// The key of each member; absent: it makes a list.
    pub key: Option<Expr>,
    /// Each value.
    pub value: Expr,
    /// Whether values of the same key are grouped (`…`).
    pub grouping: bool,
    /// Which items count.
    pub condition: Option<Expr>,
}

/// Operators of one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unary {
    /// `-`
    Minus,
    /// `!`
    Not,
}

/// Operators of two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Binary {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `&&`
    And,
    /// `||`
    Or,
}

impl Expr {
    /// An expression of this kind at this place.
    #[must_use]
    pub const fn new(span: Span, kind: Kind) -> Self {
        Self { span, kind }
    }

    /// The name and the steps, if it is `name.step…` or a name alone.
    #[must_use]
    pub fn as_reference(&self) -> Option<(&str, &[Step])> {
        match &self.kind {
            Kind::Name(name) => Some((name, &[])),
            Kind::Traverse(base, steps) => match &base.kind {
                Kind::Name(name) => Some((name, steps)),
                _ => None,
            },
            _ => None,
        }
    }

    /// How many expressions it consists of.
    #[must_use]
    pub fn size(&self) -> usize {
        let all = |exprs: &[Self]| exprs.iter().map(Self::size).sum::<usize>();
        let optional = |expr: &Option<Self>| expr.as_ref().map_or(0, Self::size);
        1 + match &self.kind {
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Name(_) => 0,
            Kind::List(items) => all(items),
            Kind::Object(members) => members.iter().map(|(key, value)| key.size() + value.size()).sum(),
            Kind::Template(parts) => parts.iter().map(Part::size).sum(),
            Kind::Traverse(base, steps) => {
                let indexes = steps.iter().map(|step| match step {
                    Step::Index(index) => index.size(),
                    _ => 1,
                });
                base.size() + indexes.sum::<usize>()
            }
            Kind::Call(call) => all(&call.arguments),
            Kind::Conditional(parts) => all(parts.as_slice()),
            Kind::Unary(_, operand) => operand.size(),
            Kind::Binary(_, operands) => all(operands.as_slice()),
            Kind::For(each) => {
                each.collection.size() + each.value.size() + optional(&each.key) + optional(&each.condition)
            }
        }
    }

    /// Calls `visit` with every reference to a name that is not bound within the expression.
    pub fn references<'a>(&'a self, visit: &mut dyn FnMut(&'a str, &'a [Step], Span)) {
        References { bound: Vec::new(), visit }.expr(self);
    }
}

/// Looks for references.
struct References<'a, 'v> {
    bound: Vec<&'a str>,
    visit: &'v mut dyn FnMut(&'a str, &'a [Step], Span),
}

impl<'a> References<'a, '_> {
    fn name(&mut self, name: &'a str, steps: &'a [Step], span: Span) {
        if !self.bound.contains(&name) {
            (self.visit)(name, steps, span);
        }
    }

    fn expr(&mut self, expr: &'a Expr) {
        match &expr.kind {
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) => {}
            Kind::List(items) => items.iter().for_each(|item| self.expr(item)),
            Kind::Object(members) => members.iter().for_each(|(key, value)| {
                self.expr(key);
                self.expr(value);
            }),
            Kind::Template(parts) => self.parts(parts),
            Kind::Name(name) => self.name(name, &[], expr.span),
            Kind::Traverse(base, steps) => {
                match &base.kind {
                    Kind::Name(name) => self.name(name, steps, expr.span),
                    _ => self.expr(base),
                }
                for step in steps {
                    if let Step::Index(index) = step {
                        self.expr(index);
                    }
                }
            }
            Kind::Call(call) => call.arguments.iter().for_each(|argument| self.expr(argument)),
            Kind::Conditional(parts) => parts.iter().for_each(|part| self.expr(part)),
            Kind::Unary(_, operand) => self.expr(operand),
            Kind::Binary(_, operands) => operands.iter().for_each(|operand| self.expr(operand)),
            Kind::For(each) => {
                self.expr(&each.collection);
                self.within(&each.names, |this| {
                    each.key
                        .iter()
                        .chain([&each.value])
                        .chain(&each.condition)
                        .for_each(|part| this.expr(part));
                });
            }
        }
    }

    fn parts(&mut self, parts: &'a [Part]) {
        for part in parts {
            match part {
                Part::Text(_) => {}
                Part::Value(expr) => self.expr(expr),
                Part::If { condition, then, otherwise } => {
                    self.expr(condition);
                    self.parts(then);
                    self.parts(otherwise);
                }
                Part::For { names, collection, body } => {
                    self.expr(collection);
                    self.within(names, |this| this.parts(body));
                }
            }
        }
    }

    fn within(&mut self, names: &'a ForNames, inside: impl FnOnce(&mut Self)) {
        let before = self.bound.len();
        self.bound.extend(names.key.as_deref());
        self.bound.push(&names.value);
        inside(self);
        self.bound.truncate(before);
    }
}

//! The structure around expressions: attributes and blocks.

use super::{Span, ast::Expr, eval::Diagnostic};

/// Attributes of a body, and blocks of it. Whoever reads one looks through all of them for each.
const MOST: usize = 2000;

/// What stands in a file or in a block.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Body {
    /// `name = expression`, in order, no name twice.
    pub attributes: Vec<Attribute>,
    /// `name "label" { … }`, in order.
    pub blocks: Vec<Block>,
    /// The whole.
    pub span: Span,
    /// Whether it was read from JSON, where a block that no schema tells of looks like an attribute.
    pub is_json: bool,
}

/// `name = expression`
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub name_span: Span,
    /// Its value.
    pub expr: Expr,
}

/// `name "label" { … }`
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub name_span: Span,
    /// Its labels.
    pub labels: Vec<Label>,
    /// What is in it.
    pub body: Body,
}

/// A label of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

impl Body {
    /// The error of a body that has too many attributes or blocks.
    pub(super) fn too_many(span: Span, attributes: usize, blocks: usize) -> Option<Diagnostic> {
        let message = || format!("at most {MOST} attributes and {MOST} blocks can stand here");
        (attributes.max(blocks) > MOST).then(|| Diagnostic { span, message: message() })
    }

    /// The attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

//! HCL2, the language: text → syntax tree → values. Knows nothing of Packer, OUTSCALE or fournil; what its blocks mean is
//! for `template::hcl`. [`parse`] makes a [`Body`] of a text, [`Evaluator`] makes [`Value`]s of its expressions.
//!
//! Values can be unknown (they depend on something that is not there yet) and sensitive (they must not be shown); both
//! survive every operation. An unknown value remembers the expression it came from, so that it can be evaluated again
//! once what was missing is there ([`Deferred`]). Work is bounded by a [`Budget`], since templates are not trusted.

pub mod ast;
mod body;
mod deferred;
mod eval;
pub mod functions;
mod json;
mod lower;
mod number;
mod parse;
mod source;
#[cfg(test)]
pub(crate) mod testing;
mod types;
mod value;

pub use body::{Attribute, Block, Body, Label};
pub use deferred::Deferred;
pub use eval::{Budget, Diagnostic, Errors, Evaluator, Host, Names, Scope};
pub use json::{JsonNode, JsonView, Schema, body_of as json_body, expression_of as json_expression};
pub use number::Number;
pub use parse::{Offsets, parse, parse_expression, parse_template};
pub use source::{Position, SourceMap, Span};
pub use types::{ObjectAttribute, Type, unify};
pub use value::{Cause, Data, SequenceKind, Unknown, Value};

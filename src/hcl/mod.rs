//! HCL2, the language: text → syntax tree → values. Knows nothing of Packer, OUTSCALE or fournil; what its blocks mean is
//! for `template::hcl`. [`parse()`] makes a [`Body`] of a text, [`Evaluator`] makes [`Value`]s of its expressions.
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
mod literals;
mod lower;
mod number;
mod parse;
#[cfg(test)]
mod properties;
mod source;
pub mod suggest;
mod syntax;
#[cfg(test)]
pub(crate) mod testing;
mod types;
mod value;

pub use body::{Attribute, Block, Body, Label};
pub use deferred::Deferred;
pub use eval::{Budget, Diagnostic, Errors, Evaluator, Host, Names, Scope};
pub use functions::layout;
pub use json::{JsonNode, JsonView, Schema, body_of as json_body, expression_of as json_expression};
pub use number::Number;
pub use parse::{Offsets, parse, parse_expression, parse_template};
pub use source::{Position, SourceMap, Span};
pub use types::{ObjectAttribute, Type, unify};
pub use value::{Cause, Data, SequenceKind, Unknown, Value};

#[cfg(test)]
mod independence {
    use std::{fs, path::Path};

    fn check(folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                check(&path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            // Nothing is imported with braces behind `crate`, which would hide from this test what it is.
            for used in text.split("crate::").skip(1) {
                let is_own = used.starts_with("hcl") || used.starts_with('"');
                assert!(is_own, "{} uses {}", path.display(), used.lines().next().unwrap_or_default());
            }
        }
    }

    /// The language can become a crate of its own as long as it needs nothing else of fournil.
    #[test]
    fn the_language_uses_nothing_else_of_this_crate() {
        check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/hcl"));
    }
}

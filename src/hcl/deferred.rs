//! An expression that waits for something, with the values of all other names in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Value, ast::Expr};

/// An expression that can be evaluated once the names that are missing are there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deferred {
    /// The expression.
    pub expr: Expr,
    /// What is known of the names in it.
    pub names: BTreeMap<String, Value>,
}

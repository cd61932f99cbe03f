//! The functions that expressions can call: what each takes, and how arguments are brought into that form before it is
//! called. A function sees only known values of the types it asked for, unless it says otherwise; marks are the caller's
//! affair.

mod arguments;
mod calendar;
mod csv;
mod decimals;
mod digests;
mod encoding;
mod environment;
mod files;
mod format;
mod formatdate;
mod glob;
mod ids;
mod items;
mod json;
pub mod layout;
mod maps;
mod network;
mod numbers;
mod parts;
mod paths;
mod refused;
mod regexes;
mod secrets;
mod sequences;
mod sets;
mod strings;
mod time;
mod yaml;
mod yaml_encode;
mod yaml_scalars;

use std::collections::BTreeMap;

pub use arguments::{Arguments, Failure};
pub use refused::refusal;

use super::Value;

/// What a function answers.
pub type Answer = Result<Value, Failure>;

/// A function.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub parameters: &'static [Parameter],
    /// What it takes after those, as often as it is given.
    pub rest: Option<Parameter>,
    /// Whether it only moves values about and does not look into them. Such a function is called with parts that are
    /// not known, and parts of its answer keep their own marks. Any other gives an unknown answer if anything in its
    /// arguments is unknown, and a sensitive one if anything in them is sensitive.
    pub moves_only: bool,
    /// What it does.
    pub body: fn(&Arguments<'_>) -> Answer,
}

impl Function {
    /// A function that looks into its arguments.
    const fn new(
        name: &'static str,
        parameters: &'static [Parameter],
        body: fn(&Arguments<'_>) -> Answer,
    ) -> Self {
        Self { name, parameters, rest: None, moves_only: false, body }
    }

    /// The same, which takes as many more of these as are given.
    const fn and_more(self, rest: Parameter) -> Self {
        Self { rest: Some(rest), ..self }
    }

    /// The same, which only moves values about.
    const fn moving(self) -> Self {
        Self { moves_only: true, ..self }
    }
}

/// What a parameter takes. Simple values are converted as everywhere in HCL; `null` is refused but by those that say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// Anything but `null`.
    Any,
    /// Anything, `null` too.
    AnyOrNull,
    /// A text.
    Text,
    /// A number.
    Number,
    /// `true` or `false`
    Bool,
    /// A list, tuple or set of anything.
    Sequence,
    /// A list, tuple or set of texts.
    Texts,
    /// A list, tuple or set of numbers.
    Numbers,
    /// A map or object of anything.
    Map,
}

/// All functions by name.
pub fn all() -> &'static BTreeMap<&'static str, Function> {
    static ALL: std::sync::LazyLock<BTreeMap<&'static str, Function>> = std::sync::LazyLock::new(|| {
        let lists: &[&[Function]] = &[
            csv::FUNCTIONS,
            digests::FUNCTIONS,
            encoding::FUNCTIONS,
            environment::FUNCTIONS,
            files::FUNCTIONS,
            format::FUNCTIONS,
            formatdate::FUNCTIONS,
            ids::FUNCTIONS,
            items::FUNCTIONS,
            json::FUNCTIONS,
            maps::FUNCTIONS,
            network::FUNCTIONS,
            numbers::FUNCTIONS,
            paths::FUNCTIONS,
            regexes::FUNCTIONS,
            secrets::FUNCTIONS,
            sequences::FUNCTIONS,
            sets::FUNCTIONS,
            strings::FUNCTIONS,
            time::FUNCTIONS,
            yaml::FUNCTIONS,
            yaml_encode::FUNCTIONS,
        ];
        lists.iter().copied().flatten().map(|function| (function.name, *function)).collect()
    });
    &ALL
}

#[cfg(test)]
mod tests;

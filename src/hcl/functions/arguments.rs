//! The arguments of a call, already of the types that the function asked for.

use std::collections::BTreeMap;

use super::super::{Budget, Data, Host, Number, Value};

/// What a function is called with.
pub struct Arguments<'a> {
    /// The values, one per parameter and one for each of the rest.
    pub values: Vec<Value>,
    /// What the functions may see of the world.
    pub host: &'a dyn Host,
    /// How much work is left.
    pub budget: &'a Budget,
}

/// Why a function has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The argument it is about, counted from 0; absent: the call as a whole.
    pub argument: Option<usize>,
    /// What is wrong, as a part of a sentence that begins with the function's name. Never repeats a value.
    pub message: String,
}

impl Failure {
    /// Something is wrong with this argument, counted from 0.
    pub fn at(argument: usize, message: impl Into<String>) -> Self {
        Self { argument: Some(argument), message: message.into() }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { argument: None, message }
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl Arguments<'_> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value at a place.
    #[must_use]
    pub fn value(&self, index: usize) -> &Value {
        const NULL: &Value = &Value::null();
        self.values.get(index).unwrap_or(NULL)
    }

    /// The values from a place on.
    #[must_use]
    pub fn from(&self, index: usize) -> &[Value] {
        self.values.get(index..).unwrap_or_default()
    }

    /// The text at a place whose parameter is a text.
    #[must_use]
    pub fn text(&self, index: usize) -> &str {
        self.value(index).as_text().unwrap_or_default()
    }

    /// The number at a place whose parameter is a number.
    #[must_use]
    pub fn number(&self, index: usize) -> Number {
        match &self.value(index).data {
            Data::Number(number) => number.clone(),
            _ => Number::from_i64(0),
        }
    }

    /// The whole number at a place whose parameter is a number.
    ///
    /// # Errors
    /// It is not whole, or too large.
    pub fn whole(&self, index: usize) -> Result<i64, Failure> {
        self.number(index).whole().ok_or_else(|| Failure::at(index, "must be a whole number"))
    }

    /// The boolean at a place whose parameter is one.
    #[must_use]
    pub fn flag(&self, index: usize) -> bool {
        matches!(self.value(index).data, Data::Bool(true))
    }

    /// The items at a place whose parameter is a sequence.
    #[must_use]
    pub fn items(&self, index: usize) -> &[Value] {
        self.value(index).items().unwrap_or_default()
    }

    /// The texts at a place whose parameter is a sequence of texts.
    #[must_use]
    pub fn texts(&self, index: usize) -> Vec<&str> {
        self.items(index).iter().map(|item| item.as_text().unwrap_or_default()).collect()
    }

    /// The members at a place whose parameter is a map.
    #[must_use]
    pub fn members(&self, index: usize) -> &BTreeMap<String, Value> {
        static EMPTY: BTreeMap<String, Value> = BTreeMap::new();
        self.value(index).members().unwrap_or(&EMPTY)
    }

    /// Takes room for an answer of so many bytes or items; to be called before it is made if a short call can make a
    /// long answer.
    ///
    /// # Errors
    /// There is not so much left.
    pub fn room(&self, bytes: usize) -> Result<(), Failure> {
        self.budget.room(bytes).map_err(Failure::from)
    }
}

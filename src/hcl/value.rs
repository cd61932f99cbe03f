//! Values: what expressions evaluate to.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Number, deferred::Deferred};

/// A value with its mark. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// What it is.
    pub data: Data,
    /// Whether it must not be shown. Parts of it have marks of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
}

/// Values within each other.
const DEEPEST: usize = 100;

/// What a value is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Data {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(Arc<str>),
    /// Values in a row.
    Sequence(SequenceKind, Arc<Vec<Value>>),
    /// Names and values. The flag says whether it is a map, whose values are all of one type, or else an object.
    Map(bool, Arc<BTreeMap<String, Value>>),
    /// Not known yet.
    Unknown(Unknown),
}

/// The kinds of values in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SequenceKind {
    /// Each of a type of its own: what `[…]` makes.
    Tuple,
    /// All of one type.
    List,
    /// All of one type, sorted, none twice.
    Set,
}

/// Something that is not known yet.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Unknown {
    /// What has to be known first.
    pub cause: Cause,
    /// How to find it out then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Arc<Deferred>>,
}

/// What an unknown value waits for: a set of things that the configuration's owner numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cause(pub u8);

impl Cause {
    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it waits for this.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl From<Data> for Value {
    fn from(data: Data) -> Self {
        Self { data, sensitive: false }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Data::Bool(value).into()
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Data::Number(Number::from_i64(value)).into()
    }
}

impl From<Number> for Value {
    fn from(value: Number) -> Self {
        Data::Number(value).into()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Data::Text(text.into()).into()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Data::Text(text.into()).into()
    }
}

impl Value {
    /// `null`
    #[must_use]
    pub const fn null() -> Self {
        Self { data: Data::Null, sensitive: false }
    }

    /// What `[…]` makes.
    #[must_use]
    pub fn tuple(items: Vec<Self>) -> Self {
        Data::Sequence(SequenceKind::Tuple, Arc::new(items)).into()
    }

    /// A list; the caller sees to it that all items are of one type.
    #[must_use]
    pub fn list(items: Vec<Self>) -> Self {
        Data::Sequence(SequenceKind::List, Arc::new(items)).into()
    }

    /// A list of texts.
    pub fn texts<T: Into<Self>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::list(items.into_iter().map(Into::into).collect())
    }

    /// A set: sorted, none twice.
    #[must_use]
    pub fn set(items: Vec<Self>) -> Self {
        let mut items = items;
        items.sort_by(super::types::order);
        items.dedup_by(|left, right| super::types::equal(left, right));
        Data::Sequence(SequenceKind::Set, Arc::new(items)).into()
    }

    /// What `{…}` makes.
    #[must_use]
    pub fn object(members: BTreeMap<String, Self>) -> Self {
        Data::Map(false, Arc::new(members)).into()
    }

    /// A map; the caller sees to it that all values are of one type.
    #[must_use]
    pub fn map(members: BTreeMap<String, Self>) -> Self {
        Data::Map(true, Arc::new(members)).into()
    }

    /// A value that is not known.
    #[must_use]
    pub const fn unknown(cause: Cause) -> Self {
        Self { data: Data::Unknown(Unknown { cause, origin: None }), sensitive: false }
    }

    /// The same, sensitive if this is true or it was before.
    #[must_use]
    pub const fn marked(mut self, sensitive: bool) -> Self {
        self.sensitive |= sensitive;
        self
    }

    /// Whether it is `null`.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    /// Whether it itself is not known; parts of it may be unknown without that.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self.data, Data::Unknown(_))
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The items, if it is a sequence.
    #[must_use]
    pub fn items(&self) -> Option<&[Self]> {
        match &self.data {
            Data::Sequence(_, items) => Some(items),
            _ => None,
        }
    }

    /// The members, if it is a map or an object.
    #[must_use]
    pub fn members(&self) -> Option<&BTreeMap<String, Self>> {
        match &self.data {
            Data::Map(_, members) => Some(members),
            _ => None,
        }
    }

    /// What it or any part of it waits for.
    #[must_use]
    pub fn waits_for(&self) -> Option<Cause> {
        let all =
            |values: &mut dyn Iterator<Item = &Self>| values.filter_map(Self::waits_for).reduce(Cause::and);
        match &self.data {
            Data::Unknown(unknown) => Some(unknown.cause),
            Data::Sequence(_, items) => all(&mut items.iter()),
            Data::Map(_, members) => all(&mut members.values()),
            _ => None,
        }
    }

    /// Whether it or any part of it is sensitive.
    #[must_use]
    pub fn holds_sensitive(&self) -> bool {
        self.sensitive
            || match &self.data {
                Data::Sequence(_, items) => items.iter().any(Self::holds_sensitive),
                Data::Map(_, members) => members.values().any(Self::holds_sensitive),
                _ => false,
            }
    }

    /// Calls `found` with the text of every scalar that is sensitive or part of something sensitive.
    pub fn sensitive_texts(&self, found: &mut dyn FnMut(&str)) {
        self.sensitive_below(false, found);
    }

    fn sensitive_below(&self, above: bool, found: &mut dyn FnMut(&str)) {
        let is_sensitive = above || self.sensitive;
        match &self.data {
            Data::Text(text) if is_sensitive => found(text),
            Data::Number(number) if is_sensitive => found(&number.to_string()),
            Data::Sequence(_, items) => {
                items.iter().for_each(|item| item.sensitive_below(is_sensitive, found))
            }
            Data::Map(_, members) => {
                members.values().for_each(|value| value.sensitive_below(is_sensitive, found));
            }
            Data::Unknown(Unknown { origin: Some(origin), .. }) => {
                let names = origin.names.values().chain(origin.bound.values());
                names.for_each(|value| value.sensitive_below(is_sensitive, found));
            }
            _ => {}
        }
    }

    /// About how many bytes it takes written out, though parts of it may be shared; `None` if its parts are nested deeper
    /// than any walk through them should go.
    #[must_use]
    pub fn measure(&self, most: usize) -> Option<usize> {
        let mut left = most;
        self.measured(DEEPEST, &mut left).then_some(most - left)
    }

    /// Takes its weight out of `left`; false if it is nested too deeply. Stops when nothing is left.
    fn measured(&self, depth: usize, left: &mut usize) -> bool {
        if depth == 0 {
            return false;
        }
        let mut take = |bytes: usize| *left = left.saturating_sub(bytes);
        match &self.data {
            Data::Text(text) => take(16 + text.len()),
            _ => take(16),
        }
        match &self.data {
            Data::Sequence(_, items) => items.iter().all(|item| *left == 0 || item.measured(depth - 1, left)),
            Data::Map(_, members) => members.iter().all(|(name, value)| {
                *left = left.saturating_sub(name.len());
                *left == 0 || value.measured(depth - 1, left)
            }),
            _ => true,
        }
    }

    /// `a text`, `a list` … for messages.
    #[must_use]
    pub const fn kind_name(&self) -> &'static str {
        match &self.data {
            Data::Null => "null",
            Data::Bool(_) => "true or false",
            Data::Number(_) => "a number",
            Data::Text(_) => "a text",
            Data::Sequence(SequenceKind::Set, _) => "a set",
            Data::Sequence(..) => "a list",
            Data::Map(true, _) => "a map",
            Data::Map(false, _) => "an object",
            Data::Unknown(_) => "a value that is not known yet",
        }
    }
}

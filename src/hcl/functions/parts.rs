//! What several functions need to take values apart and put them together.

use super::{
    super::{Data, SequenceKind, Type, Value},
    Failure,
};

/// About the bytes that an item of a list takes besides what it holds.
pub const ITEM: usize = 64;

/// The answer of a function that only moves values about but has to look into this one, if anything in it is unknown.
pub fn waiting(value: &Value) -> Option<Value> {
    value.waits_for().map(|cause| Value::unknown(cause).marked(value.holds_sensitive()))
}

/// The answer of a function that makes a list of this sequence, if the type of its items depends on one that is not known.
pub fn waiting_type(value: &Value) -> Option<Value> {
    let items = value.items().unwrap_or_default();
    // Beside a text, numbers become texts; a text stays what it is.
    let may_become_text = |item: &Value| matches!(item.data, Data::Number(_) | Data::Bool(_));
    let has_text = items.iter().any(|item| matches!(item.data, Data::Text(_)));
    let is_open = !has_text && items.iter().any(Value::is_unknown) && items.iter().any(may_become_text);
    if is_open { waiting(value) } else { None }
}

/// The kind of a sequence.
pub const fn kind(value: &Value) -> Option<SequenceKind> {
    match &value.data {
        Data::Sequence(kind, _) => Some(*kind),
        _ => None,
    }
}

/// The items of an argument that must have an order, and whether it is a list rather than a tuple.
///
/// # Errors
/// It is a set.
pub fn in_order(value: &Value, argument: usize) -> Result<(&[Value], bool), Failure> {
    match &value.data {
        Data::Sequence(SequenceKind::Set, _) => Err(Failure::at(
            argument,
            "must be a list, not a set, whose items have no order; make a list of it, as in `[for x in … : x]`",
        )),
        Data::Sequence(kind, items) => Ok((items, *kind == SequenceKind::List)),
        _ => Err(Failure::at(argument, format!("must be a list, not {}", value.kind_name()))),
    }
}

/// A list or a tuple of these.
pub fn sequence(is_list: bool, items: Vec<Value>) -> Value {
    if is_list { Value::list(items) } else { Value::tuple(items) }
}

/// The items of a sequence as those of a list, which are all of one type.
///
/// # Errors
/// They cannot be.
pub fn as_list(value: &Value, argument: usize) -> Result<Vec<Value>, Failure> {
    let unmarked = Value::from(value.data.clone());
    let list = Type::List(Box::new(Type::Any))
        .convert(unmarked)
        .map_err(|message| Failure::at(argument, format!("cannot be made a list: {message}")))?;
    Ok(list.items().unwrap_or_default().to_vec())
}

/// A whole number that counts something.
///
/// # Errors
/// It is negative.
pub fn count(number: i64, argument: usize) -> Result<usize, Failure> {
    usize::try_from(number).map_err(|_| Failure::at(argument, "must not be negative"))
}

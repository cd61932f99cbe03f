//! Functions that put lists together and take them apart. They do not look at the items; those that do are in `items`.

use bigdecimal::RoundingMode;

use super::{
    super::{Data, Number, SequenceKind, Value, types::unify},
    Answer, Arguments, Failure, Function,
    Parameter::{self, Any, AnyOrNull, Sequence},
    numbers::{is_negative, rounded},
    parts::{ITEM, as_list, count, in_order, kind, sequence, waiting, waiting_type},
};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    Function::new("chunklist", &[Sequence, Parameter::Number], chunklist).moving(),
    Function::new("coalescelist", &[AnyOrNull], coalescelist).and_more(AnyOrNull).moving(),
    Function::new("concat", &[Sequence], concat).and_more(Sequence).moving(),
    Function::new("element", &[Sequence, Parameter::Number], element).moving(),
    Function::new("flatten", &[Sequence], flatten).moving(),
    Function::new("length", &[Any], length).moving(),
    Function::new("range", &[Parameter::Number], range).and_more(Parameter::Number),
    Function::new("reverse", &[Sequence], reverse).moving(),
    Function::new("slice", &[Sequence, Parameter::Number, Parameter::Number], slice).moving(),
];

/// The items of a set change places once what is unknown among them is known.
fn waiting_set(value: &Value) -> Option<Value> {
    if kind(value) == Some(SequenceKind::Set) { waiting(value) } else { None }
}

fn chunklist(args: &Arguments<'_>) -> Answer {
    if let Some(unknown) = waiting_set(args.value(0)).or_else(|| waiting_type(args.value(0))) {
        return Ok(unknown);
    }
    let (items, size) = (as_list(args.value(0), 0)?, count(args.whole(1)?, 1)?);
    if items.is_empty() {
        return Ok(Value::list(Vec::new()));
    }
    args.room(items.len().saturating_mul(ITEM))?;
    // A size of 0 means one chunk of all.
    let size = if size == 0 { items.len() } else { size };
    Ok(Value::list(items.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect()))
}

fn coalescelist(args: &Arguments<'_>) -> Answer {
    for (index, value) in args.values.iter().enumerate().filter(|(_, value)| !value.is_null()) {
        let (items, _) = in_order(value, index)?;
        if !items.is_empty() {
            return Ok(value.clone());
        }
    }
    Err("all lists are empty".into())
}

/// A list of lists of one type, else a tuple.
fn concat(args: &Arguments<'_>) -> Answer {
    let mut items: Vec<Value> = Vec::new();
    let mut is_list = true;
    for (index, value) in args.values.iter().enumerate() {
        let (more, more_is_list) = in_order(value, index)?;
        is_list &= more_is_list;
        args.room(more.len().saturating_mul(ITEM))?;
        items.extend_from_slice(more);
    }
    let of = unify(&items);
    let mut kinds = items.iter().filter(|item| !item.is_null() && !item.is_unknown()).map(Value::kind_name);
    let are_one_kind = kinds.next().is_none_or(|first| kinds.all(|kind| kind == first));
    if !is_list || (of == super::super::Type::Any && !are_one_kind) {
        return Ok(Value::tuple(items));
    }
    Ok(Value::list(items.into_iter().map(|item| of.convert(item)).collect::<Result<_, _>>()?))
}

fn element(args: &Arguments<'_>) -> Answer {
    let (items, _) = in_order(args.value(0), 0)?;
    let index = count(args.whole(1)?, 1)?;
    let index = index.checked_rem(items.len()).ok_or_else(|| Failure::at(0, "must not be empty"))?;
    Ok(items.get(index).cloned().unwrap_or_else(Value::null))
}

/// Without recursion, since it goes as deep as the lists do.
fn flatten(args: &Arguments<'_>) -> Answer {
    let mut flat = Vec::new();
    let mut is_sensitive = false;
    let mut waits_for = None;
    let mut open = vec![args.items(0).iter()];
    while let Some(items) = open.last_mut() {
        let Some(item) = items.next() else {
            open.pop();
            continue;
        };
        match &item.data {
            Data::Sequence(_, below) => {
                is_sensitive |= item.sensitive;
                args.room(ITEM)?;
                open.push(below.iter());
            }
            Data::Unknown(unknown) => {
                // It may turn out to be a list.
                is_sensitive |= item.sensitive;
                waits_for = Some(waits_for.map_or(unknown.cause, |before| unknown.cause.and(before)));
            }
            _ => {
                args.room(ITEM)?;
                flat.push(item.clone());
            }
        }
    }
    let value = match waits_for {
        None => Value::tuple(flat),
        Some(cause) => {
            is_sensitive |= flat.iter().any(Value::holds_sensitive);
            Value::unknown(cause)
        }
    };
    Ok(value.marked(is_sensitive))
}

fn length(args: &Arguments<'_>) -> Answer {
    let value = args.value(0);
    if let Some(unknown) = waiting_set(value) {
        return Ok(unknown);
    }
    let length = match &value.data {
        Data::Text(text) => text.chars().count(),
        Data::Sequence(_, items) => items.len(),
        Data::Map(_, members) => members.len(),
        _ => {
            return Err(Failure::at(
                0,
                format!("must be a list, a map or a text, not {}", value.kind_name()),
            ));
        }
    };
    Ok(i64::try_from(length).unwrap_or(i64::MAX).into())
}

/// `range(end)`, `range(start, end)`, `range(start, end, step)`
fn range(args: &Arguments<'_>) -> Answer {
    let zero = Number::from_i64(0);
    let (start, end) =
        if args.len() == 1 { (zero, args.number(0)) } else { (args.number(0), args.number(1)) };
    let step = match args.len() {
        1 | 2 => Number::from_i64(if end < start { -1 } else { 1 }),
        3 => args.number(2),
        _ => return Err("takes at most 3 arguments: the start, the end and the step".into()),
    };
    if step.is_zero() {
        return Err(Failure::at(2, "must not be 0"));
    }
    let is_down = is_negative(&step);
    if (is_down && end > start) || (!is_down && end < start) {
        return Err(Failure::at(2, "goes away from the end"));
    }
    let steps = end.minus(&start).and_then(|distance| distance.divided_by(&step));
    let steps = steps.and_then(|steps| rounded(&steps, RoundingMode::Up)).and_then(|steps| steps.whole());
    let steps = steps.and_then(|steps| usize::try_from(steps).ok()).unwrap_or(usize::MAX);
    args.room(steps.saturating_mul(2 * ITEM))?;
    let mut numbers = Vec::new();
    let mut next = start;
    while if is_down { next > end } else { next < end } {
        let after = next.plus(&step).ok_or("a number has too many digits")?;
        numbers.push(next);
        next = after;
    }
    Ok(Value::list(numbers.into_iter().map(Value::from).collect()))
}

fn reverse(args: &Arguments<'_>) -> Answer {
    let value = args.value(0);
    if let Some(unknown) = waiting_set(value) {
        return Ok(unknown);
    }
    args.room(args.items(0).len().saturating_mul(ITEM))?;
    let items = args.items(0).iter().rev().cloned().collect();
    Ok(sequence(kind(value) != Some(SequenceKind::Tuple), items))
}

fn slice(args: &Arguments<'_>) -> Answer {
    let (items, is_list) = in_order(args.value(0), 0)?;
    let (start, end) = (count(args.whole(1)?, 1)?, count(args.whole(2)?, 2)?);
    if end > items.len() {
        return Err(Failure::at(2, "must not be greater than the length of the list"));
    }
    let taken = items.get(start..end).ok_or_else(|| Failure::at(1, "must not be greater than the end"))?;
    args.room(taken.len().saturating_mul(ITEM))?;
    Ok(sequence(is_list, taken.to_vec()))
}

//! Functions of sets. Lists are taken as sets, except by `setproduct`, which keeps their order.

use super::{
    super::{
        SequenceKind, Type, Value,
        types::{equal, order, unify},
    },
    Answer, Arguments, Failure, Function,
    Parameter::Sequence,
    parts::{ITEM, as_list, kind, waiting_type},
};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    Function::new("setintersection", &[Sequence], setintersection).and_more(Sequence),
    Function::new("setproduct", &[Sequence, Sequence], setproduct).and_more(Sequence).moving(),
    Function::new("setunion", &[Sequence], setunion).and_more(Sequence),
];

/// The type that all items of all arguments can have.
fn common(args: &Arguments<'_>) -> Result<(Vec<Value>, Type), Failure> {
    let mut all: Vec<Value> = Vec::new();
    for value in &args.values {
        let items = value.items().unwrap_or_default();
        args.room(items.len().saturating_mul(ITEM))?;
        all.extend_from_slice(items);
    }
    let of = unify(&all);
    Ok((all, of))
}

fn converted(of: &Type, items: &[Value]) -> Result<Vec<Value>, Failure> {
    Ok(items.iter().map(|item| of.convert(item.clone())).collect::<Result<_, _>>()?)
}

fn setunion(args: &Arguments<'_>) -> Answer {
    let (all, of) = common(args)?;
    Ok(Value::set(converted(&of, &all)?))
}

fn setintersection(args: &Arguments<'_>) -> Answer {
    let (_, of) = common(args)?;
    let mut common = converted(&of, args.items(0))?;
    for index in 1..args.len() {
        let mut other = converted(&of, args.items(index))?;
        other.sort_by(order);
        common.retain(|item| {
            let found =
                other.binary_search_by(|other| order(other, item)).ok().and_then(|place| other.get(place));
            found.is_some_and(|found| equal(found, item))
        });
    }
    Ok(Value::set(common))
}

/// A list if all arguments are lists, else a set.
fn setproduct(args: &Arguments<'_>) -> Answer {
    let is_set = args.values.iter().any(|value| kind(value) == Some(SequenceKind::Set));
    // Which items a set has depends on which are equal.
    if is_set || args.values.iter().any(|value| waiting_type(value).is_some()) {
        let causes = args.values.iter().filter_map(Value::waits_for);
        if let Some(cause) = causes.reduce(super::super::Cause::and) {
            return Ok(Value::unknown(cause).marked(args.values.iter().any(Value::holds_sensitive)));
        }
    }
    let lists: Vec<Vec<Value>> = args
        .values
        .iter()
        .enumerate()
        .map(|(index, value)| as_list(value, index))
        .collect::<Result<_, _>>()?;
    let total =
        lists.iter().try_fold(1_usize, |total, list| total.checked_mul(list.len())).unwrap_or(usize::MAX);
    // One that is empty makes all of it so, however long the others are.
    let total = if lists.iter().any(Vec::is_empty) { 0 } else { total };
    args.room(total.saturating_mul(ITEM).saturating_mul(lists.len() + 1))?;
    let mut product = Vec::with_capacity(total);
    for number in 0..total {
        // The last list's items change fastest.
        let mut left = number;
        let mut items: Vec<Value> = Vec::with_capacity(lists.len());
        for list in lists.iter().rev() {
            let place = left.checked_rem(list.len()).unwrap_or_default();
            left = left.checked_div(list.len()).unwrap_or_default();
            items.extend(list.get(place).cloned());
        }
        items.reverse();
        product.push(Value::tuple(items));
    }
    Ok(if is_set {
        Value::set(product).marked(args.values.iter().any(Value::holds_sensitive))
    } else {
        Value::list(product)
    })
}

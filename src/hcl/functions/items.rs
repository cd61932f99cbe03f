//! Functions that look at the items of lists: which are there, which are true, which come first.

use super::{
    super::{
        Data, Type, Value,
        types::{equal, order, unify},
    },
    Answer, Arguments, Failure, Function,
    Parameter::{AnyOrNull, Sequence, Texts},
    parts::{as_list, in_order},
};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    Function::new("alltrue", &[Sequence], |args| {
        Ok(truths(args)?.iter().all(|item| *item == Some(true)).into())
    }),
    Function::new("anytrue", &[Sequence], |args| Ok(truths(args)?.contains(&Some(true)).into())),
    Function::new("coalesce", &[AnyOrNull], coalesce).and_more(AnyOrNull),
    Function::new("compact", &[Sequence], compact),
    Function::new("contains", &[Sequence, AnyOrNull], |args| {
        Ok(args.items(0).iter().any(|item| equal(item, args.value(1))).into())
    }),
    Function::new("distinct", &[Sequence], distinct),
    Function::new("index", &[Sequence, AnyOrNull], index),
    Function::new("sort", &[Texts], sort),
];

/// The items as booleans; `null` is none.
fn truths(args: &Arguments<'_>) -> Result<Vec<Option<bool>>, Failure> {
    let items = converted(args, &Type::Bool)?;
    Ok(items
        .iter()
        .map(|item| match item.data {
            Data::Bool(value) => Some(value),
            _ => None,
        })
        .collect())
}

/// The items of the first argument, converted; `null` stays.
fn converted(args: &Arguments<'_>, of: &Type) -> Result<Vec<Value>, Failure> {
    let items = args.items(0).iter().enumerate().map(|(index, item)| {
        of.convert(item.clone())
            .map_err(|message| Failure::at(0, format!("is wrong at its item [{index}]: {message}")))
    });
    items.collect()
}

fn coalesce(args: &Arguments<'_>) -> Answer {
    let of = unify(&args.values);
    let is_set = |value: &&Value| !value.is_null() && value.as_text() != Some("");
    let first = args.values.iter().find(is_set).ok_or("all arguments are null or empty")?;
    Ok(of.convert(first.clone())?)
}

fn compact(args: &Arguments<'_>) -> Answer {
    let texts = converted(args, &Type::Text)?;
    Ok(Value::list(
        texts.into_iter().filter(|text| text.as_text().is_some_and(|text| !text.is_empty())).collect(),
    ))
}

fn distinct(args: &Arguments<'_>) -> Answer {
    let mut items: Vec<(usize, Value)> = as_list(args.value(0), 0)?.into_iter().enumerate().collect();
    // Equal ones come to stand together, the first of them first.
    items.sort_by(|(_, left), (_, right)| order(left, right));
    items.dedup_by(|(_, later), (_, earlier)| equal(later, earlier));
    items.sort_by_key(|(index, _)| *index);
    Ok(Value::list(items.into_iter().map(|(_, item)| item).collect()))
}

fn index(args: &Arguments<'_>) -> Answer {
    let (items, _) = in_order(args.value(0), 0)?;
    let found =
        items.iter().position(|item| equal(item, args.value(1))).ok_or("the list has no such item")?;
    Ok(i64::try_from(found).unwrap_or(i64::MAX).into())
}

fn sort(args: &Arguments<'_>) -> Answer {
    let mut texts = args.texts(0);
    texts.sort_unstable();
    Ok(Value::texts(texts))
}

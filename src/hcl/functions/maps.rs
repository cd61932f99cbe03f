//! Functions of maps and objects.

use std::collections::BTreeMap;

use super::{
    super::{Data, Type, Value, types::unify},
    Answer, Arguments, Failure, Function,
    Parameter::{AnyOrNull, Map, Sequence, Text, Texts},
    parts::{ITEM, in_order, sequence, waiting},
};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    Function::new("keys", &[Map], keys).moving(),
    Function::new("lookup", &[Map, Text], lookup).and_more(AnyOrNull).moving(),
    Function::new("merge", &[], merge).and_more(AnyOrNull).moving(),
    Function::new("values", &[Map], values).moving(),
    Function::new("zipmap", &[Texts, Sequence], zipmap).moving(),
];

/// Whether it is a map rather than an object.
const fn is_map(value: &Value) -> bool {
    matches!(value.data, Data::Map(true, _))
}

fn made(is_map: bool, members: BTreeMap<String, Value>) -> Value {
    if is_map { Value::map(members) } else { Value::object(members) }
}

fn keys(args: &Arguments<'_>) -> Answer {
    let keys = args.members(0).keys().map(|key| Value::from(key.as_str())).collect();
    Ok(sequence(is_map(args.value(0)), keys))
}

fn values(args: &Arguments<'_>) -> Answer {
    Ok(sequence(is_map(args.value(0)), args.members(0).values().cloned().collect()))
}

fn lookup(args: &Arguments<'_>) -> Answer {
    if args.len() > 3 {
        return Err("takes at most 3 arguments: the map, the key and the value for a missing key".into());
    }
    let members = args.members(0);
    if let Some(found) = members.get(args.text(1)) {
        return Ok(found.clone());
    }
    let default = args
        .from(2)
        .first()
        .ok_or("the map has no such key, and there is no third argument to take instead")?;
    if !is_map(args.value(0)) {
        return Ok(default.clone());
    }
    let values: Vec<Value> = members.values().cloned().collect();
    unify(&values)
        .convert(default.clone())
        .map_err(|message| Failure::at(2, format!("must be of the type of the map's values: {message}")))
}

/// A map if all are maps of one type, else an object.
fn merge(args: &Arguments<'_>) -> Answer {
    let mut merged: BTreeMap<String, Value> = BTreeMap::new();
    let mut given = 0;
    let mut are_maps = true;
    let mut of: Option<Type> = None;
    for (index, value) in args.values.iter().enumerate().filter(|(_, value)| !value.is_null()) {
        let Some(members) = value.members() else {
            return Err(Failure::at(index, format!("must be a map or an object, not {}", value.kind_name())));
        };
        given += 1;
        are_maps &= is_map(value);
        if are_maps
            && let Some(first) = members.values().find(|value| !value.is_null() && !value.is_unknown())
        {
            let first = Type::of(first);
            are_maps = of.as_ref().is_none_or(|of| *of == first);
            of = Some(first);
        }
        args.room(members.len().saturating_mul(ITEM))?;
        merged.extend(members.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    if given == 0 && !args.is_empty() {
        return Ok(Value::null());
    }
    Ok(made(are_maps && given > 0, merged))
}

/// The keys are looked at, the values are not.
fn zipmap(args: &Arguments<'_>) -> Answer {
    let keys = args.value(0);
    if let Some(unknown) = waiting(keys) {
        return Ok(unknown.marked(args.value(1).holds_sensitive()));
    }
    let (values, is_list) = in_order(args.value(1), 1)?;
    let names = args.texts(0);
    if names.len() != values.len() {
        return Err("there must be as many keys as values".into());
    }
    args.room(names.len().saturating_mul(ITEM))?;
    let members = names.into_iter().map(str::to_owned).zip(values.iter().cloned()).collect();
    Ok(made(is_list, members).marked(keys.holds_sensitive()))
}

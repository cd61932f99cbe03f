//! The functions of texts, numbers, lists, maps and sets, called from expressions.

mod format;
mod items;
mod maps;
mod numbers;
mod regexes;
mod sequences;
mod sets;
mod strings;

use std::collections::BTreeMap;

use super::super::{
    Cause, Type, Value,
    testing::{evaluate, show},
};

/// `unknown`, `secret`, a `list`, a `set` and a `map`.
fn names() -> BTreeMap<String, Value> {
    let letters = ["b", "a"].map(Value::from).to_vec();
    let map = BTreeMap::from([("x".to_owned(), Value::from(1)), ("y".to_owned(), Value::from(2))]);
    BTreeMap::from([
        ("unknown".to_owned(), Value::unknown(Cause(1))),
        ("secret".to_owned(), Value::from("s").marked(true)),
        ("list".to_owned(), Value::list(letters.clone())),
        ("set".to_owned(), Value::set(letters)),
        ("unknown_set".to_owned(), Value::set(vec!["a".into(), Value::unknown(Cause(2))])),
        ("map".to_owned(), Value::map(map)),
    ])
}

fn outcome(text: &str) -> String {
    match evaluate(text, &names()) {
        Ok(value) => show(&value),
        Err(errors) => format!("error: {}", errors.join("; ")),
    }
}

/// Each expression has this value, as JSON.
fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .map(|(text, expected)| (text, expected, outcome(text)))
        .filter(|(_, expected, outcome)| expected != &outcome)
        .map(|(text, expected, outcome)| format!("{text}\n    is        {outcome}\n    should be {expected}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// Each expression's value is of this type.
fn check_types(table: &[(&str, &str)]) {
    for (text, expected) in table {
        let value = evaluate(text, &names()).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        assert_eq!(Type::of(&value).to_string(), *expected, "{text}");
    }
}

/// Each expression fails, and the message has this in it.
fn check_failures(table: &[(&str, &str)]) {
    for (text, expected) in table {
        let outcome = outcome(text);
        assert!(outcome.starts_with("error: ") && outcome.contains(expected), "{text}\n    is {outcome}");
    }
}

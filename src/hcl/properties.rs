//! What holds for every expression: it is evaluated in the same way each time, secrets keep their mark on every way
//! they take, and waiting for the VM changes nothing about the result.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::{
    Budget, Cause, Data, Deferred, Errors, Evaluator, Unknown, Value,
    functions::{self, Function, Parameter},
    parse::{Offsets, parse_expression},
    testing::{World, show},
};

/// What must not come out unmarked. Long enough to be found nowhere else by chance.
const CANARY: &str = "Kanari-enVogel+7/3=x";

/// Functions that answer something else each time, or take long by design.
const UNSTEADY: [&str; 3] = ["uuidv4", "bcrypt", "rsadecrypt"];

fn object(members: &[(&str, Value)]) -> Value {
    Value::object(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// The names that expressions are made of; `build.ID` is what is given.
fn names(id: Value) -> BTreeMap<String, Value> {
    let secret = Value::from(CANARY).marked(true);
    let var = object(&[
        ("secret", secret.clone()),
        ("pair", Value::tuple(vec!["plain".into(), secret.clone()])),
        ("map", Value::map([("a".to_owned(), "x".into()), ("b".to_owned(), secret.clone())].into())),
        ("whole", Value::texts([CANARY, "other"]).marked(true)),
        ("keyed", Value::object([(CANARY.to_owned(), 1.into())].into()).marked(true)),
        ("set", Value::set(vec!["s".into(), secret])),
        ("text", "some text".into()),
        ("list", Value::texts(["a", "b", "c"])),
        ("number", 3.into()),
        ("nothing", Value::null()),
    ]);
    [("var".to_owned(), var), ("build".to_owned(), object(&[("ID", id), ("name", "web".into())]))].into()
}

fn one_of(texts: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(texts).prop_map(str::to_owned).boxed()
}

/// Strategies for expressions of each kind, so that most of what they make has a value.
#[derive(Clone)]
struct Kinds {
    text: BoxedStrategy<String>,
    number: BoxedStrategy<String>,
    flag: BoxedStrategy<String>,
    list: BoxedStrategy<String>,
    map: BoxedStrategy<String>,
}

impl Kinds {
    fn leaves() -> Self {
        Self {
            text: one_of(&[
                "var.secret",
                "var.secret",
                "build.ID",
                "build.ID",
                "build.name",
                "var.text",
                "v",
                "k",
                "var.map.b",
                "var.pair[1]",
                "var.whole[0]",
                "\"\"",
                "\"a\"",
                "\"%s-%v\"",
                "\"YYYY\"",
                "\"10.0.0.0/8\"",
                "\"[a-z]+\"",
                "\"hello.txt\"",
                "\"{\\\"a\\\": [1]}\"",
                "\"1h\"",
                "\"UTF-8\"",
                "\"sub\"",
                "\"2026-03-02T12:00:00Z\"",
                "keys(var.keyed)[0]",
            ]),
            number: one_of(&[
                "0",
                "1",
                "2",
                "-3",
                "1.5",
                "var.number",
                "16",
                "length(build.ID)",
                "length(var.secret)",
            ]),
            flag: one_of(&["true", "false", "var.secret == \"a\"", "build.ID == \"a\"", "null"]),
            list: one_of(&[
                "var.pair",
                "var.whole",
                "var.set",
                "var.list",
                "[]",
                "[build.ID, 1]",
                "[var.secret]",
                "values(var.map)",
                "keys(var.keyed)",
            ]),
            map: one_of(&[
                "var.map",
                "var.keyed",
                "{}",
                "{ a = build.ID, b = var.secret }",
                "{ (build.ID) = 1 }",
            ]),
        }
    }

    fn any(&self) -> BoxedStrategy<String> {
        let Self { text, number, flag, list, map } = self.clone();
        prop_oneof![4 => text, 1 => number, 1 => flag, 3 => list, 2 => map, 1 => Just("var.nothing".to_owned())].boxed()
    }

    fn of(&self, parameter: Parameter) -> BoxedStrategy<String> {
        match parameter {
            Parameter::Any | Parameter::AnyOrNull => self.any(),
            Parameter::Text => self.text.clone(),
            Parameter::Number => self.number.clone(),
            Parameter::Bool => self.flag.clone(),
            Parameter::Sequence | Parameter::Texts => self.list.clone(),
            Parameter::Numbers => prop::collection::vec(self.number.clone(), 1..3)
                .prop_map(|numbers| format!("[{}]", numbers.join(", ")))
                .boxed(),
            Parameter::Map => self.map.clone(),
        }
    }

    /// A call of any function, with arguments of the kinds that it takes.
    fn call(&self) -> BoxedStrategy<String> {
        let functions: Vec<Function> = functions::all()
            .values()
            .filter(|function| !UNSTEADY.contains(&function.name))
            .copied()
            .collect();
        let kinds = self.clone();
        (prop::sample::select(functions), 0_usize..3)
            .prop_flat_map(move |(function, more)| {
                let rest = std::iter::repeat_n(function.rest, more).flatten();
                let arguments: Vec<_> =
                    function.parameters.iter().copied().chain(rest).map(|kind| kinds.of(kind)).collect();
                arguments.prop_map(move |arguments| format!("{}({})", function.name, arguments.join(", ")))
            })
            .boxed()
    }

    /// Expressions with these in them.
    fn within(&self) -> Self {
        let any = self.any();
        let Self { text, number, flag, list, map } = self.clone();
        // What has any kind at all: in place of each kind, now and then.
        let open = {
            let collection = prop_oneof![2 => list.clone(), 1 => map.clone()].boxed();
            prop_oneof![
                8 => self.call(),
                1 => (any.clone(), any.clone()).prop_map(|(a, b)| format!("try({a}, {b})")),
                1 => (flag.clone(), any.clone(), any.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
                1 => (list.clone(), number.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
                1 => (map.clone(), text.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
                1 => (map.clone(), one_of(&[".a", ".b", ".*", "[*].a"])).prop_map(|(a, b)| format!("({a}){b}")),
                1 => (collection, any.clone()).prop_map(|(a, b)| format!("[for k, v in {a} : {b}][0]")),
                1 => (any.clone(), one_of(&["string", "number", "list(string)", "set(string)", "map(string)", "object({ a = optional(string) })"]))
                    .prop_map(|(a, of)| format!("convert({a}, {of})")),
                1 => list.clone().prop_map(|a| format!("max({a}...)")),
            ]
            .boxed()
        };
        let collection = prop_oneof![2 => list.clone(), 1 => map.clone()].boxed();
        let operator = one_of(&["+", "-", "*", "/", "%"]);
        let comparison = one_of(&["==", "!=", "<", ">="]);
        Self {
            text: prop_oneof![
                2 => text.clone(),
                3 => (text.clone(), text.clone()).prop_map(|(a, b)| format!("\"<${{{a}}} ${{{b}}}>\"")),
                1 => (flag.clone(), text.clone()).prop_map(|(a, b)| format!("\"%{{if {a}}}x${{{b}}}%{{else}}y%{{endif}}\"")),
                1 => (collection.clone(), text.clone()).prop_map(|(a, b)| format!("\"%{{for k, v in {a}}}-${{{b}}}%{{endfor}}\"")),
                1 => list.clone().prop_map(|a| format!("templatefile(\"greeting.tpl\", {{ names = {a} }})")),
                1 => any.clone().prop_map(|a| format!("jsonencode({a})")),
                3 => open.clone(),
            ].boxed(),
            number: prop_oneof![
                2 => number.clone(),
                1 => (number.clone(), operator, number).prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
                1 => any.clone().prop_map(|a| format!("length({a})")),
                1 => open.clone(),
            ].boxed(),
            flag: prop_oneof![
                1 => flag.clone(),
                1 => (any.clone(), comparison, any.clone()).prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
                1 => (flag.clone(), one_of(&["&&", "||"]), flag.clone()).prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
                1 => flag.clone().prop_map(|a| format!("(!{a})")),
                1 => any.clone().prop_map(|a| format!("can({a})")),
                1 => open.clone(),
            ].boxed(),
            list: prop_oneof![
                1 => list.clone(),
                3 => prop::collection::vec(any.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
                2 => (collection.clone(), any.clone()).prop_map(|(a, b)| format!("[for k, v in {a} : {b}]")),
                1 => (collection.clone(), any.clone(), flag.clone()).prop_map(|(a, b, c)| format!("[for k, v in {a} : {b} if {c}]")),
                1 => (list, one_of(&["[*]", ".*"])).prop_map(|(a, b)| format!("({a}){b}")),
                2 => open.clone(),
            ].boxed(),
            map: prop_oneof![
                1 => map.clone(),
                2 => (any.clone(), any.clone()).prop_map(|(a, b)| format!("{{ a = {a}, b = {b} }}")),
                1 => (text.clone(), any.clone()).prop_map(|(a, b)| format!("{{ ({a}) = {b}, b = 1 }}")),
                1 => (collection.clone(), text.clone(), any.clone()).prop_map(|(a, b, c)| format!("{{for k, v in {a} : {b} => {c}...}}")),
                1 => (collection, text, any).prop_map(|(a, b, c)| format!("{{for k, v in {a} : \"${{k}}${{{b}}}\" => {c}}}")),
                1 => open,
            ].boxed(),
        }
    }
}

/// Random expressions, most of which have a value.
fn expression() -> BoxedStrategy<String> {
    let first = Kinds::leaves().within();
    let second = first.within();
    let third = second.within();
    prop_oneof![first.any(), second.any(), third.any(), third.call()].boxed()
}

fn evaluate(text: &str, names: &BTreeMap<String, Value>) -> Option<Result<Value, Errors>> {
    let expr = parse_expression(text, &Offsets::from(0)).ok()?;
    // `k` and `v` are bound by nobody outside of a `for`.
    let bound = [("k", Value::from("key")), ("v", Value::from("value"))];
    let bound = bound.map(|(name, value)| (Arc::from(name), value));
    let budget = Budget::default();
    Some(Evaluator::new(names, &World, &budget).evaluate_with(&expr, &bound))
}

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// The forms in which our functions can write the canary.
fn forms() -> Vec<String> {
    let plain = CANARY.to_owned();
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    vec![plain.to_lowercase(), plain.to_uppercase(), reversed(&plain), STANDARD.encode(&plain), hex, plain]
}

/// The texts of a value that nothing marks, names of members too.
fn unmarked(value: &Value, found: &mut Vec<String>) {
    if value.sensitive {
        return;
    }
    match &value.data {
        Data::Text(text) => found.push(text.to_string()),
        Data::Sequence(_, items) => items.iter().for_each(|item| unmarked(item, found)),
        Data::Map(_, members) => members.iter().for_each(|(name, value)| {
            found.push(name.clone());
            unmarked(value, found);
        }),
        _ => {}
    }
}

/// All that waits in `open` evaluated, with the rest as it is.
fn filled_in(open: &Value, build: &BTreeMap<String, Value>) -> Result<Value, Errors> {
    let data = match &open.data {
        Data::Unknown(Unknown { origin, .. }) => {
            let origin = origin.as_ref().expect("whatever waits knows what for");
            let stored = serde_json::to_string(origin.as_ref()).unwrap();
            let mut reader = serde_json::Deserializer::from_str(&stored);
            let origin: Deferred = serde::Deserialize::deserialize(&mut reader).unwrap();
            return origin.evaluate("build", build, &World, &Budget::default());
        }
        Data::Sequence(kind, items) => {
            let items = items.iter().map(|item| filled_in(item, build)).collect::<Result<_, _>>()?;
            Data::Sequence(*kind, Arc::new(items))
        }
        Data::Map(kind, members) => {
            let members = members.iter().map(|(name, value)| Ok((name.clone(), filled_in(value, build)?)));
            Data::Map(*kind, Arc::new(members.collect::<Result<_, Errors>>()?))
        }
        other => other.clone(),
    };
    Ok(Value { data, sensitive: open.sensitive })
}

/// The value without marks: a value that waits may be marked by what it would have been had it come otherwise.
fn plain(value: &Value) -> String {
    show(value).replace("sensitive(", "(")
}

proptest! {
    #[test]
    fn what_is_evaluated_twice_is_the_same(text in expression()) {
        let names = names("i-12345678".into());
        let first = evaluate(&text, &names);
        prop_assert_eq!(&first, &evaluate(&text, &names), "{}", text);
    }

    #[test]
    fn secrets_are_marked_wherever_they_get_to(text in expression()) {
        let Some(Ok(value)) = evaluate(&text, &names("i-12345678".into())) else { return Ok(()) };
        let mut found = Vec::new();
        unmarked(&value, &mut found);
        for form in forms() {
            prop_assert!(!found.iter().any(|text| text.contains(&form)), "{} shows {}: {:?}", text, form, found);
        }
    }

    #[test]
    fn what_waits_for_the_vm_comes_to_what_it_would_have_been(text in expression()) {
        let open = evaluate(&text, &names(Value::unknown(Cause(2))));
        let known = evaluate(&text, &names("i-12345678".into()));
        let (Some(open), Some(known)) = (open, known) else { return Ok(()) };
        let build = [("ID".to_owned(), Value::from("i-12345678"))].into();
        match (open, known) {
            (Ok(open), Ok(known)) => {
                let later = filled_in(&open, &build);
                prop_assert_eq!(later.as_ref().map(plain), Ok(plain(&known)), "{}", text);
            }
            // An error may be in a part that nothing asks for, as in `length([…])`.
            (Ok(open), Err(_)) => drop(filled_in(&open, &build)),
            // What fails without the VM fails with it.
            (Err(errors), Ok(known)) => prop_assert!(false, "{} is {:?}, but was refused: {:?}", text, known, errors),
            (Err(_), Err(_)) => {}
        }
    }
}

use std::collections::BTreeMap;

use super::*;
use crate::hcl::{
    Offsets, parse, parse_expression,
    testing::{World, evaluate, show, shown},
};

fn names() -> BTreeMap<String, Value> {
    let ids = Value::tuple(vec!["a".into(), "b".into()]);
    let object = |pairs: &[(&str, Value)]| {
        Value::object(pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    };
    let people = Value::tuple(vec![
        object(&[("name", "Ann".into()), ("tags", Value::tuple(vec!["x".into()]))]),
        object(&[("name", "Bob".into()), ("tags", Value::tuple(vec![]))]),
    ]);
    let var = object(&[
        ("ids", ids),
        ("people", people),
        ("count", 3.into()),
        ("nothing", Value::null()),
        ("secret", Value::from("hunter2").marked(true)),
        ("pair", Value::tuple(vec!["plain".into(), Value::from("hidden").marked(true)])),
    ]);
    let build = object(&[("ID", Value::unknown(Cause(2)))]);
    [("var", var), ("build", build), ("data", Value::unknown(Cause(1)))]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

fn with_names(text: &str) -> String {
    match evaluate(text, &names()) {
        Ok(value) => show(&value),
        Err(errors) => format!("error: {}", errors.join("; ")),
    }
}

#[test]
fn expressions_evaluate_as_in_hcl() {
    for (text, expected) in [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 % 4 - -1", "4"),
        ("1 / 4", "0.25"),
        ("0.1 + 0.2 == 0.3", "true"),
        ("\"5\" + 1", "6"),
        ("!false && true || false", "true"),
        ("1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3 && 1 != 2", "true"),
        ("1 == \"1\"", "false"),
        ("[] == []", "true"),
        ("{a = 1} == {a = 1}", "true"),
        ("true ? 1 : \"a\"", "\"1\""),
        ("false ? 1 : 2", "2"),
        ("{a = 1, \"b\" = [true, null], (upper(\"c\")) = 1.50}", r#"{"C":1.5,"a":1,"b":[true,null]}"#),
        ("\"a${1 + 1}b$${c}%%{d}\"", "\"a2b${c}%{d}\""),
        ("\"${[1]}\"", "[1]"),
        ("\"\\u00e9\\n\\t\\\"\\\\\"", "\"é\\n\\t\\\"\\\\\""),
        ("[for x in [1, 2, 3] : x * 2 if x != 2]", "[2,6]"),
        ("[for i, x in [\"a\", \"b\"] : \"${i}${x}\"]", r#"["0a","1b"]"#),
        ("{for k, v in {b = 1, a = 2} : upper(k) => v}", r#"{"A":2,"B":1}"#),
        ("{for x in [\"a1\", \"a2\", \"b1\"] : substr(x, 0, 1) => x...}", r#"{"a":["a1","a2"],"b":["b1"]}"#),
        ("[[1, 2], [3]].0[1]", "2"),
        ("{a = {b = 7}}.a[\"b\"]", "7"),
        ("[{n = 1}, {n = 2}].*.n", "[1,2]"),
        ("[{n = [1, 2]}, {n = [3]}][*].n[0]", "[1,3]"),
        ("[{n = [1, 2]}, {n = [3]}].*.n[0]", "[1,2]"),
        ("null[*]", "[]"),
        ("\"x\"[*]", "[\"x\"]"),
        ("try(1 / 0, \"fallback\")", "\"fallback\""),
        ("can({}.missing)", "false"),
        ("can(1)", "true"),
        ("convert([1, \"a\", 1], set(string))", "<\"1\",\"a\">"),
        ("convert({a = 1}, map(string))", r#"{"a":"1"}"#),
        ("convert({a = 1}, object({a = number, b = optional(string, \"x\")}))", r#"{"a":1,"b":"x"}"#),
        ("templatefile(\"greeting.tpl\", {names = [\"Ann\", \"Bob\"]})", "\"Hi Ann!\\nHi Bob!\\n\""),
        ("\"%{if true}yes%{else}no%{endif}\"", "\"yes\""),
        ("\"%{for x in [1, 2]}<${x}>%{endfor}\"", "\"<1><2>\""),
        ("\"a  ${~ \"b\" ~}  c\"", "\"abc\""),
    ] {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn names_are_found_step_by_step() {
    for (text, expected) in [
        ("var.ids[1]", "\"b\""),
        ("var.people[*].name", r#"["Ann","Bob"]"#),
        ("var.people.*.tags[0]", r#"["x"]"#),
        ("var[\"count\"] + 1", "4"),
        ("[for person in var.people : person.name if length(person.tags) > 0]", r#"["Ann"]"#),
        ("var.nothing[*]", "[]"),
        ("{for var in [1] : \"k\" => var}", r#"{"k":1}"#),
    ] {
        assert_eq!(with_names(text), expected, "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_advice() {
    for (text, expected) in [
        ("var.cuont", "there is no `cuont` in this value; did you mean `count`?"),
        ("vra.count", "there is no `vra` here; did you mean `var`?"),
        ("var.ids[7]", "there is no item of this number; the list has 2 items, `[0]` to `[1]`"),
        (
            "var.people.name",
            "there is no `name` in a list; take an item first, as in `[0].name`, or all of them, as in `[*].name`",
        ),
        ("uper(\"a\")", "there is no function `uper`; did you mean `upper`?"),
        ("vault(\"a\", \"b\")", "the function `vault` asks another system"),
        ("\"${null}\"", "null"),
        ("\"a${[1]}\"", "a list cannot be put into a text"),
        ("1 + \"x\"", "a number is needed, and this text is none"),
        ("1 / 0", "division by zero"),
        ("true ? : 1", "expected"),
        ("{for x in [1, 1] : \"k\" => x}", "two items have the same key"),
        ("[for x in 5 : x]", "`for` goes through a list, a set or a map, not through a number"),
        ("upper()", "`upper` takes 1 argument, not 0"),
        ("upper([1])", "argument 1 of `upper`: a text is needed, not a list"),
        ("templatefile(\"nope\", {})", "the folder has no `nope`"),
    ] {
        let found = with_names(text);
        let is_there = found.contains(expected) || (expected == "expected" && found.contains("must be"));
        assert!(is_there || found == expected, "{text}: {found}");
    }
    let both = evaluate("[var.a, 1 / 0, nowhere]", &names()).unwrap_err();
    assert_eq!(both.len(), 3, "{both:?}");
}

#[test]
fn sensitive_marks_survive_every_operation() {
    for (text, expected) in [
        ("var.secret", "sensitive(\"hunter2\")"),
        ("\"x ${var.secret}\"", "sensitive(\"x hunter2\")"),
        ("upper(var.secret)", "sensitive(\"HUNTER2\")"),
        ("[var.secret, 1]", "[sensitive(\"hunter2\"),1]"),
        ("[var.secret][0]", "sensitive(\"hunter2\")"),
        ("var.secret == \"a\"", "sensitive(false)"),
        ("var.secret == \"a\" ? 1 : 2", "sensitive(2)"),
        ("[for x in var.pair : x]", "[\"plain\",sensitive(\"hidden\")]"),
        ("join(\",\", var.pair)", "sensitive(\"plain,hidden\")"),
        ("concat(var.pair, [1])", "[\"plain\",sensitive(\"hidden\"),1]"),
        ("{(var.secret) = 1}", "sensitive({\"hunter2\":1})"),
        ("try(var.secret, 1)", "sensitive(\"hunter2\")"),
        ("convert(var.secret, string)", "sensitive(\"hunter2\")"),
        ("\"%{if var.secret == \"x\"}a%{else}b%{endif}\"", "sensitive(\"b\")"),
    ] {
        assert_eq!(with_names(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_known_yet_stays_so_and_remembers_how_to_find_out() {
    for (text, expected) in [
        ("build.ID", "unknown(2)"),
        ("\"vm ${build.ID} of ${var.count}\"", "unknown(2)"),
        ("upper(build.ID)", "unknown(2)"),
        ("[build.ID, 1]", "[unknown(2),1]"),
        ("concat([build.ID], [1])", "[unknown(2),1]"),
        ("length([build.ID, 1])", "2"),
        ("build.ID == \"i\" ? 1 : 2", "unknown(2)"),
        ("build.ID == data.x.y", "unknown(3)"),
        ("data.outscale-omi.x.id", "unknown(1)"),
        ("try(build.ID, 1)", "unknown(2)"),
        ("[for x in data.list : x]", "unknown(1)"),
        ("build.ID && var.secret", "sensitive(unknown(2))"),
    ] {
        assert_eq!(with_names(text), expected, "{text}");
    }
    let value = evaluate("[for k in var.ids : \"${k}-${build.ID}-${var.count}\"]", &names()).unwrap();
    let Data::Unknown(Unknown { origin: Some(origin), .. }) = &value.items().unwrap()[1].data else {
        panic!("{value:?}")
    };
    // Stored and read again, as a plan is.
    let stored = serde_json::to_string(origin.as_ref()).unwrap();
    assert!(!stored.contains("hunter2"), "only what is named is kept: {stored}");
    let origin: Deferred = serde_json::from_str(&stored).unwrap();
    let build = [("ID".to_owned(), "i-1".into())].into();
    let later = origin.evaluate("build", &build, &World, &Budget::default()).unwrap();
    assert_eq!(show(&later), "\"b-i-1-3\"");
    // What a `for` binds may itself have to wait.
    let value = evaluate("[for id in [build.ID, var.secret] : \"<${id}>\"]", &names()).unwrap();
    let Data::Unknown(Unknown { origin: Some(origin), .. }) = &value.items().unwrap()[0].data else {
        panic!("{value:?}")
    };
    let later = origin.evaluate("build", &build, &World, &Budget::default()).unwrap();
    assert_eq!(show(&later), "\"<i-1>\"");
}

/// The value of the attribute `a` of a file.
fn attribute(text: &str) -> String {
    let body = parse(text, &Offsets::from(0)).unwrap();
    let budget = Budget::default();
    let names = BTreeMap::new();
    let value = Evaluator::new(&names, &World, &budget).evaluate(&body.attribute("a").unwrap().expr).unwrap();
    value.as_text().unwrap().to_owned()
}

#[test]
fn strip_markers_take_one_line_and_heredocs_their_indentation() {
    for (text, expected) in [
        ("<<END\n  kept\nEND", "  kept\n"),
        ("<<-END\n    one\n      two\n\n    three ${1}\n  END", "one\n  two\n\nthree 1\n"),
        // Indentation of what follows a marker stays: it is what lists in YAML files rely on.
        (
            "<<END\nusers:\n%{ for x in [1, 2] ~}\n  - ${x}\n%{ endfor ~}\nend\nEND",
            "users:\n  - 1\n  - 2\nend\n",
        ),
        ("<<END\na\n\n  ${~ 1 ~}\n\n  b\nEND", "a\n\n1\n  b\n"),
        ("<<END\na\n%{~ if true }b%{ endif }\nEND", "ab\n"),
        // A line whose line break is stripped does not begin anew, and keeps its indentation under `<<-`.
        (
            "<<-END\n    one\n    %{ for x in [1, 2] ~}\n    item ${x}\n    %{ endfor ~}\n    end\n    END",
            "one\n    item 1\n    item 2\n    end\n",
        ),
        (
            "<<-END\n    one\n    %{ for x in [1, 2] }\n    item ${x}\n    %{ endfor }\n    END",
            "one\n\nitem 1\n\nitem 2\n\n",
        ),
        ("<<-END\n    ${1}\n  ${~ 2}\n    END", "    1\n2\n"),
        ("\"a\\n  ${~ 1 ~}  \\n b\"", "a1b"),
        ("\" ${~ true ~} \"", "true"),
    ] {
        assert_eq!(attribute(&format!("a = {text}\n")), expected, "{text}");
    }
    let budget = Budget::default();
    let names = BTreeMap::new();
    let evaluator = Evaluator::new(&names, &World, &budget);
    // Places inside are those of the file.
    let text = "a = <<-END\n    one ${nowhere}\n    END\n";
    let body = parse(text, &Offsets::from(0)).unwrap();
    let Errors(errors) = evaluator.evaluate(&body.attribute("a").unwrap().expr).unwrap_err();
    let span = errors[0].span;
    assert_eq!(&text[span.start as usize..span.end as usize], "nowhere");
}

#[test]
fn hostile_texts_end_in_an_error() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    for text in [
        deep("(", ")"),
        deep("[", "]"),
        deep("{a = ", "}"),
        deep("f(", ")"),
        deep("!", ""),
        deep("-", ""),
        deep("\"${", "}\""),
        deep("1 + ", ""),
        deep("true ? 1 : ", ""),
        deep("true ? ", " : 1"),
        deep("x.", ""),
        deep("1 == ", ""),
        format!("a{}", "[0]".repeat(100_000)),
        format!("a{}", ".*".repeat(100_000)),
        "[for a in range(100000) : [for b in range(100000) : b]]".to_owned(),
        "\"%{for a in range(9999)}%{for b in range(9999)}x%{endfor}%{endfor}\"".to_owned(),
        format!("[{}]", "for x in [1] : ".repeat(10_000)),
        // Values that share their parts: small to make, endless to walk through.
        (0..20).fold("1".to_owned(), |inner, _| {
            format!("[for x in [{inner}] : [x, x, x, x, x, x, x, x, x, x]]")
        }) + " == 1",
        (0..90).fold("1".to_owned(), |inner, _| format!("[for x in [{inner}] : [x]]")) + " == 1",
    ] {
        let expr = parse_expression(&text, &Offsets::from(0));
        if let Ok(expr) = expr {
            let budget = Budget::default();
            let names = BTreeMap::new();
            drop(Evaluator::new(&names, &World, &budget).evaluate(&expr));
        }
    }
}

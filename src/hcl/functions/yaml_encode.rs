//! `yamlencode`: a value as a YAML document in block style. Texts and names are always in double quotes, so that nothing
//! reads them as something else.

use super::{Arguments, Failure, Function, Parameter};
use crate::hcl::{Data, Value};

pub const FUNCTIONS: &[Function] = &[Function {
    name: "yamlencode",
    parameters: &[Parameter::AnyOrNull],
    rest: None,
    moves_only: false,
    body: |args| {
        let mut writer = Writer { args, text: String::new() };
        let value = args.value(0);
        writer.block(value, 0, 0)?;
        // Without quotes only this says where a value ends that is all of a document.
        if matches!(value.data, Data::Null | Data::Bool(_) | Data::Number(_)) {
            writer.text.push_str("...\n");
        }
        Ok(writer.text.into())
    },
}];

/// Values within each other.
const DEEPEST: usize = 64;
/// Characters of a name that can stand before a `:`. Readers need not look further than 1024; most writers stop here.
const LONGEST_NAME: usize = 128;

struct Writer<'a> {
    args: &'a Arguments<'a>,
    text: String,
}

impl Writer<'_> {
    /// Writes a value and the end of its last line. Its first line is already begun, its others begin with so many spaces.
    fn block(&mut self, value: &Value, indent: usize, depth: usize) -> Result<(), Failure> {
        if depth > DEEPEST {
            return Err(Failure::at(0, format!("is nested too deeply; {DEEPEST} levels are possible")));
        }
        let before = self.text.len();
        match &value.data {
            Data::Sequence(_, items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.spaces(indent)?;
                    }
                    self.text.push_str("- ");
                    self.block(item, indent + 2, depth + 1)?;
                }
                return self.args.room(2 * items.len());
            }
            Data::Map(_, members) if !members.is_empty() => {
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        self.spaces(indent)?;
                    }
                    self.member(name, value, indent, depth)?;
                }
                return Ok(());
            }
            Data::Sequence(..) => self.text.push_str("[]"),
            Data::Map(..) => self.text.push_str("{}"),
            // The evaluator does not call this with something unknown.
            Data::Null | Data::Unknown(_) => self.text.push_str("null"),
            Data::Bool(true) => self.text.push_str("true"),
            Data::Bool(false) => self.text.push_str("false"),
            Data::Number(number) => self.text.push_str(&number.to_string()),
            Data::Text(content) => quote(&mut self.text, content),
        }
        self.text.push('\n');
        self.args.room(self.text.len() - before)
    }

    fn member(&mut self, name: &str, value: &Value, indent: usize, depth: usize) -> Result<(), Failure> {
        let before = self.text.len();
        let is_long = name.chars().nth(LONGEST_NAME).is_some();
        if is_long {
            self.text.push_str("? ");
        }
        quote(&mut self.text, name);
        if is_long {
            self.text.push('\n');
            self.spaces(indent)?;
        }
        self.text.push(':');
        self.args.room(self.text.len() - before)?;
        match &value.data {
            _ if is_long => {
                self.text.push(' ');
                self.block(value, indent + 2, depth + 1)
            }
            // The items of a member stand below its name without more spaces.
            Data::Sequence(_, items) if !items.is_empty() => {
                self.text.push('\n');
                self.spaces(indent)?;
                self.block(value, indent, depth + 1)
            }
            Data::Map(_, members) if !members.is_empty() => {
                self.text.push('\n');
                self.spaces(indent + 2)?;
                self.block(value, indent + 2, depth + 1)
            }
            _ => {
                self.text.push(' ');
                self.block(value, indent, depth + 1)
            }
        }
    }

    fn spaces(&mut self, count: usize) -> Result<(), Failure> {
        self.args.room(count)?;
        self.text.extend(std::iter::repeat_n(' ', count));
        Ok(())
    }
}

/// Writes a text in double quotes, on one line.
fn quote(text: &mut String, content: &str) {
    text.push('"');
    for c in content.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\0' => text.push_str("\\0"),
            '\u{7}' => text.push_str("\\a"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{b}' => text.push_str("\\v"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            '\u{1b}' => text.push_str("\\e"),
            '\u{85}' => text.push_str("\\N"),
            '\u{2028}' => text.push_str("\\L"),
            '\u{2029}' => text.push_str("\\P"),
            '\0'..' ' | '\u{7f}'..'\u{a0}' => text.push_str(&format!("\\x{:02X}", u32::from(c))),
            '\u{feff}' | '\u{fffe}'..='\u{ffff}' => text.push_str(&format!("\\u{:04X}", u32::from(c))),
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::hcl::{
        Value,
        testing::{evaluate, shown},
    };

    #[test]
    fn values_are_written_in_blocks() {
        for (expression, expected) in [
            ("null", "null\n...\n"),
            ("true", "true\n...\n"),
            ("0", "0\n...\n"),
            (r#""""#, "\"\"\n"),
            (r#""yes""#, "\"yes\"\n"),
            ("[]", "[]\n"),
            ("{}", "{}\n"),
            (r#"{ a = "b", c = "d" }"#, "\"a\": \"b\"\n\"c\": \"d\"\n"),
            (r#"{ foo = [1, 2, 3], bar = "baz" }"#, "\"bar\": \"baz\"\n\"foo\":\n- 1\n- 2\n- 3\n"),
            (
                r#"{ foo = [1, { a = "b", c = "d" }, 3], bar = "baz" }"#,
                "\"bar\": \"baz\"\n\"foo\":\n- 1\n- \"a\": \"b\"\n  \"c\": \"d\"\n- 3\n",
            ),
            ("[[1, [2]], []]", "- - 1\n  - - 2\n- []\n"),
            (
                "{ a = { b = { c = [{ d = [1] }], e = {} } } }",
                "\"a\":\n  \"b\":\n    \"c\":\n    - \"d\":\n      - 1\n    \"e\": {}\n",
            ),
            (
                r#""\u00e9 \t\n\r\"\\ \u0000\u0001\u001b\u007f\u0085\u2028\ufeff😀""#,
                "\"é \\t\\n\\r\\\"\\\\ \\0\\x01\\e\\x7F\\N\\L\\uFEFF😀\"\n",
            ),
            ("convert([\"b\", \"a\", \"b\"], set(string))", "- \"a\"\n- \"b\"\n"),
            ("0.1", "0.1\n...\n"),
        ] {
            assert_eq!(
                evaluate(&format!("yamlencode({expression})"), &BTreeMap::new()),
                Ok(expected.into()),
                "{expression}"
            );
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let long = "n".repeat(5000);
        for value in [
            "null",
            "[1, -2.5, 1e30, true, \"no\", \"12\", \"2024-01-02\", \"\"]",
            r#"{ "a b" = [[[1], {}], [[]]], "" = null, "- x: #" = { y = [{ z = 1, w = [2] }] } }"#,
            r#""- a\n  b: c\n\n\ttrailing \n""#,
            r#"{ "${long}" = { "${long}" = [1, { a = 2 }] }, "x${long}" = [[1]], "y${long}" = "z" }"#,
        ] {
            let names = BTreeMap::from([("long".to_owned(), Value::from(long.as_str()))]);
            let expression = format!("yamldecode(yamlencode({value}))");
            assert_eq!(evaluate(&expression, &names), evaluate(value, &names), "{value}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let mut value = Value::from("x");
        for _ in 0..80 {
            value = Value::tuple(vec![value]);
        }
        let answer = evaluate("yamlencode(it)", &BTreeMap::from([("it".to_owned(), value)]));
        assert_eq!(
            answer.unwrap_err(),
            ["argument 1 of `yamlencode` is nested too deeply; 64 levels are possible"]
        );
        let value = Value::tuple(vec![Value::from("\u{1}".repeat(1 << 20)); 20]);
        let answer = evaluate("yamlencode(it)", &BTreeMap::from([("it".to_owned(), value)]));
        assert_eq!(answer.unwrap_err(), ["`yamlencode`: the configuration makes too large values"]);
        assert_eq!(shown("yamlencode()"), "error: `yamlencode` takes 1 argument, not 0");
    }
}

//! `jsondecode` and `jsonencode`. Reads and writes JSON by hand: numbers stay exact, nesting is bounded, and what is
//! written is byte for byte what Packer writes (compact, names sorted, `<`, `>` and `&` escaped).

use std::collections::BTreeMap;

use super::{Answer, Arguments, Failure, Function, Parameter};
use crate::hcl::{Data, Number, Value};

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "jsondecode",
        parameters: &[Parameter::Text],
        rest: None,
        moves_only: false,
        body: |args| Reader { args, rest: args.text(0), whole: args.text(0).len() }.document(),
    },
    Function {
        name: "jsonencode",
        parameters: &[Parameter::AnyOrNull],
        rest: None,
        moves_only: false,
        body: |args| {
            let mut text = String::new();
            write(args, &mut text, args.value(0), 0)?;
            Ok(text.into())
        },
    },
];

/// Values within each other.
const DEEPEST: usize = 64;
/// Bytes that a value takes beside its content.
const BYTES_A_VALUE: usize = 64;

/// Reads a JSON text from its beginning to its end.
struct Reader<'a> {
    args: &'a Arguments<'a>,
    /// What is not read yet.
    rest: &'a str,
    /// Bytes of the text, to say where something is wrong.
    whole: usize,
}

impl<'a> Reader<'a> {
    fn document(mut self) -> Answer {
        self.args.room(self.whole)?;
        let value = self.value(0)?;
        self.skip_space();
        if self.rest.is_empty() { Ok(value) } else { Err(self.wrong("there is something after the value")) }
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::at(0, format!("is no JSON: {what} (byte {})", self.whole - self.rest.len() + 1))
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Takes this text if it is what comes next.
    fn takes(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Answer {
        if depth > DEEPEST {
            return Err(Failure::at(0, format!("is nested too deeply; {DEEPEST} levels are possible")));
        }
        self.args.room(BYTES_A_VALUE)?;
        self.skip_space();
        if self.takes("{") {
            self.object(depth)
        } else if self.takes("[") {
            self.array(depth)
        } else if self.takes("\"") {
            Ok(self.text()?.into())
        } else if self.takes("true") {
            Ok(true.into())
        } else if self.takes("false") {
            Ok(false.into())
        } else if self.takes("null") {
            Ok(Value::null())
        } else {
            self.number()
        }
    }

    fn object(&mut self, depth: usize) -> Answer {
        let mut members = BTreeMap::new();
        self.skip_space();
        if self.takes("}") {
            return Ok(Value::object(members));
        }
        loop {
            self.skip_space();
            if !self.takes("\"") {
                return Err(self.wrong("a name in quotes is missing"));
            }
            let name = self.text()?;
            self.skip_space();
            if !self.takes(":") {
                return Err(self.wrong("a `:` is missing"));
            }
            let value = self.value(depth + 1)?;
            members.insert(name, value);
            self.skip_space();
            if self.takes("}") {
                return Ok(Value::object(members));
            }
            if !self.takes(",") {
                return Err(self.wrong("a `,` or `}` is missing"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Answer {
        let mut items = Vec::new();
        self.skip_space();
        if self.takes("]") {
            return Ok(Value::tuple(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.takes("]") {
                return Ok(Value::tuple(items));
            }
            if !self.takes(",") {
                return Err(self.wrong("a `,` or `]` is missing"));
            }
        }
    }

    /// The rest of a text whose opening quote is taken.
    fn text(&mut self) -> Result<String, Failure> {
        let mut text = String::new();
        loop {
            let plain =
                self.rest.find(|c: char| matches!(c, '"' | '\\') || c < ' ').unwrap_or(self.rest.len());
            let (before, after) = self.rest.split_at(plain);
            text.push_str(before);
            self.rest = after;
            if self.takes("\"") {
                return Ok(text);
            }
            if !self.takes("\\") {
                return Err(self.wrong("a text does not end, or holds a control character"));
            }
            text.push(self.escape()?);
        }
    }

    /// The character that an escape stands for; its backslash is taken.
    fn escape(&mut self) -> Result<char, Failure> {
        const PLAIN: [(&str, char); 8] = [
            ("\"", '"'),
            ("\\", '\\'),
            ("/", '/'),
            ("b", '\u{8}'),
            ("f", '\u{c}'),
            ("n", '\n'),
            ("r", '\r'),
            ("t", '\t'),
        ];
        if let Some((_, stands_for)) = PLAIN.into_iter().find(|(letter, _)| self.takes(letter)) {
            return Ok(stands_for);
        }
        let first = self.code_unit()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        // A pair of surrogates is one character; half a pair is none.
        let before = self.rest;
        if self.takes("\\")
            && let Ok(second @ 0xdc00..0xe000) = self.code_unit()
        {
            let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        self.rest = before;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    /// `uXXXX`
    fn code_unit(&mut self) -> Result<u32, Failure> {
        let digits = self.rest.strip_prefix('u').and_then(|rest| rest.get(..4));
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(Ok(code)) = digits.map(|digits| u32::from_str_radix(digits, 16)) else {
            return Err(self.wrong("there is no such escape after `\\`"));
        };
        self.rest = self.rest.get(5..).unwrap_or_default();
        Ok(code)
    }

    fn number(&mut self) -> Answer {
        let length = self.rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
        let (digits, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        if digits.is_empty() {
            return Err(self.wrong("a value is missing"));
        }
        if !is_number(digits) {
            return Err(self.wrong("there is a number that is none"));
        }
        let number: Number =
            digits.parse().map_err(|()| self.wrong("there is a number with too many digits"))?;
        self.rest = rest;
        Ok(number.into())
    }
}

/// Whether this is a number in the form that JSON wants.
fn is_number(text: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let (whole, decimals) = match mantissa.split_once('.') {
        Some((whole, decimals)) => (whole, Some(decimals)),
        None => (mantissa, None),
    };
    is_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && decimals.is_none_or(is_digits)
        && exponent.is_none_or(is_digits)
}

fn write(args: &Arguments<'_>, text: &mut String, value: &Value, depth: usize) -> Result<(), Failure> {
    if depth > DEEPEST {
        return Err(Failure::at(0, format!("is nested too deeply; {DEEPEST} levels are possible")));
    }
    let before = text.len();
    match &value.data {
        // The evaluator does not call this with something unknown.
        Data::Null | Data::Unknown(_) => text.push_str("null"),
        Data::Bool(true) => text.push_str("true"),
        Data::Bool(false) => text.push_str("false"),
        Data::Number(number) => text.push_str(&number.to_string()),
        Data::Text(content) => write_text(text, content),
        Data::Sequence(_, items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(args, text, item, depth + 1)?;
            }
            text.push(']');
            return args.room(2 + items.len());
        }
        Data::Map(_, members) => {
            text.push('{');
            for (index, (name, value)) in members.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                let before = text.len();
                write_text(text, name);
                text.push(':');
                args.room(text.len() - before)?;
                write(args, text, value, depth + 1)?;
            }
            text.push('}');
            return args.room(2 + members.len());
        }
    }
    args.room(text.len() - before)
}

/// Writes a text in quotes, so that it can stand in HTML and in a script too.
fn write_text(text: &mut String, content: &str) {
    text.push('"');
    for c in content.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..' ' => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
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

    fn with_text(call: &str, text: impl Into<String>) -> Result<Value, Vec<String>> {
        evaluate(call, &BTreeMap::from([("it".to_owned(), Value::from(text.into()))]))
    }

    #[test]
    fn values_are_written_compactly_and_in_order() {
        for (expression, expected) in [
            ("jsonencode(null)", "null"),
            ("jsonencode(true)", "true"),
            ("jsonencode([])", "[]"),
            ("jsonencode({})", "{}"),
            (
                "jsonencode({ b = [1, \"x\", null], a = { c = false } })",
                r#"{"a":{"c":false},"b":[1,"x",null]}"#,
            ),
            ("jsonencode(9007199254740993)", "9007199254740993"),
            ("jsonencode(1e21)", "1000000000000000000000"),
            ("jsonencode(-0.000001)", "-0.000001"),
            (r#"jsonencode("<a href=\"x\">&\n\t\\é")"#, r#""\u003ca href=\"x\"\u003e\u0026\n\t\\é""#),
            (
                r#"jsonencode("\u0000\u0008\u000c\u001f\u007f\u2028")"#,
                "\"\\u0000\\b\\f\\u001f\u{7f}\\u2028\"",
            ),
            ("jsonencode(convert([\"b\", \"a\", \"b\"], set(string)))", r#"["a","b"]"#),
        ] {
            assert_eq!(evaluate(expression, &BTreeMap::new()), Ok(expected.into()), "{expression}");
        }
    }

    #[test]
    fn texts_are_read() {
        for (text, expected) in [
            ("null", "null"),
            (" \t\r\n true ", "true"),
            ("{}", "{}"),
            ("[ ]", "[]"),
            (r#"{"b": [1, -2.50, 1e3, "x"], "a": {"c": null}}"#, r#"{"a":{"c":null},"b":[1,-2.5,1000,"x"]}"#),
            (r#"{"a": 1, "a": 2}"#, r#"{"a":2}"#),
            ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            (r#""\u00e9 \ud83d\ude00 \ud83d \ude00x \" \/ \b""#, "\"é 😀 \u{fffd} \u{fffd}x \\\" / \\b\""),
            (r#""\ud83d\n""#, "\"\u{fffd}\\n\""),
        ] {
            let value = with_text("jsondecode(it)", text).unwrap();
            assert_eq!(crate::hcl::testing::show(&value), expected, "{text}");
        }
        assert_eq!(shown(r#"jsondecode("[1, {\"a\": 2}]")[1].a"#), "2");
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        for (text, expected) in [
            ("", "a value is missing (byte 1)"),
            ("[1, 2", "a `,` or `]` is missing (byte 6)"),
            ("[1,]", "a value is missing (byte 4)"),
            ("{\"a\" 1}", "a `:` is missing (byte 6)"),
            ("{a: 1}", "a name in quotes is missing (byte 2)"),
            ("{\"a\": 1", "a `,` or `}` is missing (byte 8)"),
            ("truely", "there is something after the value (byte 5)"),
            ("01", "there is a number that is none (byte 1)"),
            ("1.", "there is a number that is none (byte 1)"),
            ("1e", "there is a number that is none (byte 1)"),
            ("+1", "there is a number that is none (byte 1)"),
            ("1e999999999", "there is a number with too many digits (byte 1)"),
            ("\"abc", "a text does not end, or holds a control character (byte 5)"),
            ("\"a\nb\"", "a text does not end, or holds a control character (byte 3)"),
            ("\"\\q\"", "there is no such escape after `\\` (byte 3)"),
            ("\"\\u12é4\"", "there is no such escape after `\\` (byte 3)"),
        ] {
            let expected = format!("argument 1 of `jsondecode` is no JSON: {expected}");
            assert_eq!(with_text("jsondecode(it)", text), Err(vec![expected]), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(with_text("jsonencode(jsondecode(it))", nested(64)), Ok(nested(64).into()));
        let too_deep =
            vec!["argument 1 of `jsondecode` is nested too deeply; 64 levels are possible".to_owned()];
        assert_eq!(with_text("jsondecode(it)", nested(66)), Err(too_deep.clone()));
        assert_eq!(with_text("jsondecode(it)", "[".repeat(1_000_000)), Err(too_deep));
        let mut value = Value::null();
        for _ in 0..80 {
            value = Value::tuple(vec![value]);
        }
        let answer = evaluate("jsonencode(it)", &BTreeMap::from([("it".to_owned(), value)]));
        assert_eq!(
            answer.unwrap_err(),
            ["argument 1 of `jsonencode` is nested too deeply; 64 levels are possible"]
        );
    }

    #[test]
    fn large_answers_are_bounded() {
        let text = format!("[{}0]", "0,".repeat(2_000_000));
        assert_eq!(
            with_text("jsondecode(it)", text).unwrap_err(),
            ["`jsondecode`: the configuration makes too large values"]
        );
        let value = Value::tuple(vec![Value::from("<".repeat(1 << 20)); 16]);
        let answer = evaluate("jsonencode(it)", &BTreeMap::from([("it".to_owned(), value)]));
        assert!(answer.unwrap_err()[0].contains("the configuration "));
    }
}

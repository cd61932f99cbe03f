//! Reads JSON text into nodes that know where they stand. It refuses what a template must not have (a name twice in
//! one object, too deep nesting), and says of every error the line and the column.

use serde_json::{Map, Value};

use crate::{
    domain::{Problem, problem::FieldProblem},
    template::envelope::shorten,
};

/// Deeper nesting than any template needs.
const MAX_DEPTH: usize = 64;

/// The place of a node that was not read from text.
pub const NOWHERE: u32 = u32::MAX;

/// A JSON value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Byte offset in the text, or [`NOWHERE`].
    pub at: u32,
    /// What it is.
    pub kind: Kind,
}

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number as it was written.
    Number(String),
    /// A text.
    String(String),
    /// A list.
    Array(Vec<Node>),
    /// Names and values, in order.
    Object(Vec<Member>),
    /// Known once a data source has been asked; never read from text.
    Unknown,
}

/// One entry of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub at: u32,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// The members, if it is an object.
    pub fn members(&self) -> Option<&[Member]> {
        match &self.kind {
            Kind::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The value of this name, if it is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.members()?.iter().find(|member| member.name == name).map(|member| &member.value)
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// `a text`, `a list`… for messages.
    pub const fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "null",
            Kind::Bool(_) => "true or false",
            Kind::Number(_) => "a number",
            Kind::String(_) => "a text",
            Kind::Array(_) => "a list",
            Kind::Object(_) => "an object",
            Kind::Unknown => "a value that is not known yet",
        }
    }

    /// A node without a place.
    pub fn from_value(value: &Value) -> Self {
        let kind = match value {
            Value::Null => Kind::Null,
            Value::Bool(value) => Kind::Bool(*value),
            Value::Number(number) => Kind::Number(number.to_string()),
            Value::String(text) => Kind::String(text.clone()),
            Value::Array(items) => Kind::Array(items.iter().map(Self::from_value).collect()),
            Value::Object(members) => Kind::Object(
                members
                    .iter()
                    .map(|(name, value)| Member {
                        name: name.clone(),
                        at: NOWHERE,
                        value: Self::from_value(value),
                    })
                    .collect(),
            ),
        };
        Self { at: NOWHERE, kind }
    }

    /// The same value for serde.
    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null | Kind::Unknown => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => serde_json::from_str(number).unwrap_or(Value::Null),
            Kind::String(text) => Value::String(text.clone()),
            Kind::Array(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|member| (member.name.clone(), member.value.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

/// Why a text is not usable JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    /// Byte offset.
    pub at: usize,
    /// What is wrong there.
    pub detail: String,
}

impl ReadError {
    /// 400 `invalid_json` with line and column.
    pub fn into_problem(self, text: &str) -> Problem {
        let (line, column) = position(text, self.at);
        Problem::new(
            400,
            "invalid_json",
            "Not valid JSON",
            format!("Line {line}, column {column}: {}.", self.detail),
        )
        .with_errors(vec![FieldProblem {
            line: Some(line),
            column: Some(column),
            ..FieldProblem::new(self.detail)
        }])
    }
}

/// Line and column of a byte, both from 1; columns count characters.
pub fn position(text: &str, at: usize) -> (u32, u32) {
    let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let before = &text[..at];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// Reads one JSON value, which must be the whole text.
///
/// # Errors
/// The first thing that is wrong.
pub fn read(text: &str) -> Result<Node, ReadError> {
    if text.len() >= NOWHERE as usize {
        return Err(ReadError { at: 0, detail: "the text is larger than 4 GiB".to_owned() });
    }
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0 };
    if text.starts_with('\u{feff}') {
        reader.at = 3;
    }
    reader.skip_space();
    if reader.at == reader.bytes.len() {
        return Err(reader.wrong("there is nothing; a JSON object was expected"));
    }
    let node = reader.value(0)?;
    reader.skip_space();
    if reader.at < reader.bytes.len() {
        return Err(reader.wrong("there is more text after the end of the JSON value"));
    }
    Ok(node)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, detail: impl Into<String>) -> ReadError {
        ReadError { at: self.at, detail: detail.into() }
    }

    /// The offset for a node. The text's length was checked to fit.
    const fn place(&self) -> u32 {
        self.at as u32
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// What stands here, for messages.
    fn found(&self) -> String {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            None => "the end of the text".to_owned(),
            Some('\n') => "the end of the line".to_owned(),
            Some(other) => format!("`{}`", other.escape_debug()),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, ReadError> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(format!("the nesting is deeper than {MAX_DEPTH}")));
        }
        let at = self.place();
        let kind = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Kind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Kind::Number(self.number()?),
            Some(b't') if self.word("true") => Kind::Bool(true),
            Some(b'f') if self.word("false") => Kind::Bool(false),
            Some(b'n') if self.word("null") => Kind::Null,
            Some(b'\'') => return Err(self.wrong("JSON texts stand in double quotes")),
            Some(b'/' | b'#') => {
                return Err(self.wrong(
                    "JSON has no comments; a name that starts with `_` at the top of a template is one",
                ));
            }
            _ => return Err(self.wrong(format!("a value was expected, not {}", self.found()))),
        };
        Ok(Node { at, kind })
    }

    fn word(&mut self, word: &str) -> bool {
        let is_here = self.bytes[self.at..].starts_with(word.as_bytes());
        if is_here {
            self.at += word.len();
        }
        is_here
    }

    fn object(&mut self, depth: usize) -> Result<Kind, ReadError> {
        self.at += 1;
        let mut members: Vec<Member> = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Kind::Object(members));
        }
        loop {
            self.skip_space();
            match self.peek() {
                Some(b'"') => {}
                Some(b'}') => {
                    return Err(self.wrong("there is a comma before this `}`; JSON allows none there"));
                }
                _ => {
                    return Err(
                        self.wrong(format!("a name in double quotes was expected, not {}", self.found()))
                    );
                }
            }
            let at = self.place();
            let name = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.wrong(format!(
                    "`:` was expected after the name `{}`, not {}",
                    shorten(&name),
                    self.found()
                )));
            }
            self.at += 1;
            self.skip_space();
            let value = self.value(depth + 1)?;
            members.push(Member { name, at, value });
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                _ => return Err(self.wrong(format!("`,` or `}}` was expected, not {}", self.found()))),
            }
        }
        self.refuse_duplicates(&members)?;
        Ok(Kind::Object(members))
    }

    /// A name given twice is an error, because one of the two values would be lost silently.
    fn refuse_duplicates(&self, members: &[Member]) -> Result<(), ReadError> {
        let mut order: Vec<&Member> = members.iter().collect();
        order.sort_by(|left, right| left.name.cmp(&right.name).then(left.at.cmp(&right.at)));
        let twice =
            order.windows(2).filter(|pair| pair[0].name == pair[1].name).min_by_key(|pair| pair[1].at);
        match twice {
            None => Ok(()),
            Some(pair) => {
                let (line, _) = position(self.text, pair[0].at as usize);
                Err(ReadError {
                    at: pair[1].at as usize,
                    detail: format!(
                        "`{}` is given twice in one object, first in line {line}",
                        shorten(&pair[1].name)
                    ),
                })
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Kind, ReadError> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Kind::Array(items));
        }
        loop {
            self.skip_space();
            if self.peek() == Some(b']') {
                return Err(self.wrong("there is a comma before this `]`; JSON allows none there"));
            }
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Kind::Array(items));
                }
                _ => return Err(self.wrong(format!("`,` or `]` was expected, not {}", self.found()))),
            }
        }
    }

    fn string(&mut self) -> Result<String, ReadError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let plain = self.at;
            while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
                self.at += 1;
            }
            text.push_str(&self.text[plain..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => self.escape(&mut text)?,
                Some(b'\n') => {
                    return Err(self.wrong("the line ends inside a text; write `\\n` for a line end"));
                }
                Some(_) => {
                    return Err(
                        self.wrong(format!("a text holds the control character {}; escape it", self.found()))
                    );
                }
                None => {
                    return Err(ReadError { at: start, detail: "this text has no closing quote".to_owned() });
                }
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Result<(), ReadError> {
        let start = self.at;
        self.at += 1;
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let high = self.hex4(start)?;
                let code = if (0xd800..0xdc00).contains(&high) {
                    if !self.word("\\u") {
                        return Err(ReadError { at: start, detail: "half of a surrogate pair".to_owned() });
                    }
                    let low = self.hex4(start)?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(ReadError { at: start, detail: "half of a surrogate pair".to_owned() });
                    }
                    0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                } else {
                    high
                };
                text.push(
                    char::from_u32(code).ok_or_else(|| ReadError {
                        at: start,
                        detail: "half of a surrogate pair".to_owned(),
                    })?,
                );
                return Ok(());
            }
            _ => {
                return Err(ReadError {
                    at: start,
                    detail: format!("`\\` must be followed by one of `\"\\/bfnrtu`, not {}", self.found()),
                });
            }
        };
        self.at += 1;
        text.push(character);
        Ok(())
    }

    fn hex4(&mut self, start: usize) -> Result<u32, ReadError> {
        let code = self
            .bytes
            .get(self.at..self.at + 4)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| ReadError {
                at: start,
                detail: "`\\u` must be followed by four hex digits".to_owned(),
            })?;
        self.at += 4;
        Ok(code)
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<String, ReadError> {
        let start = self.at;
        let wrong = ReadError { at: start, detail: "this is no JSON number".to_owned() };
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return Err(wrong);
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(wrong);
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(wrong);
            }
        }
        if self.at - start > 400 {
            return Err(ReadError { at: start, detail: "this number is too long".to_owned() });
        }
        Ok(self.text[start..self.at].to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> (u32, u32, String) {
        let error = read(text).unwrap_err();
        let (line, column) = position(text, error.at);
        (line, column, error.detail)
    }

    #[test]
    fn errors_have_their_place() {
        for (text, line, column, detail) in [
            ("{\n  \"a\": 1,\n  \"a\": 2\n}", 3, 3, "`a` is given twice in one object, first in line 2"),
            (
                "{\"a\": [1, {\"b\": 1, \"b\": 2}]}",
                1,
                20,
                "`b` is given twice in one object, first in line 1",
            ),
            ("{\"é\": tru}", 1, 7, "a value was expected, not `t`"),
            ("{\"a\": 1,}", 1, 9, "there is a comma before this `}`; JSON allows none there"),
            ("{\"a\": 1", 1, 8, "`,` or `}` was expected, not the end of the text"),
            ("{\"a\" 1}", 1, 6, "`:` was expected after the name `a`, not `1`"),
            ("{a: 1}", 1, 2, "a name in double quotes was expected, not `a`"),
            ("{} {}", 1, 4, "there is more text after the end of the JSON value"),
            ("", 1, 1, "there is nothing; a JSON object was expected"),
            ("[\"abc]", 1, 2, "this text has no closing quote"),
            ("[01]", 1, 2, "this is no JSON number"),
            ("[\"\\x\"]", 1, 3, "`\\` must be followed by one of `\"\\/bfnrtu`, not `x`"),
            ("[\"\\ud800\"]", 1, 3, "half of a surrogate pair"),
        ] {
            assert_eq!(error(text), (line, column, detail.to_owned()), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow() {
        let text = "[".repeat(1_000_000);
        assert!(read(&text).unwrap_err().detail.contains("nesting"));
        assert!(read(&format!("{}{}", "[".repeat(60), "]".repeat(60))).is_ok());
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            ".*".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::btree_map(".*", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read_the_same(value in json()) {
            prop_assert_eq!(read(&value.to_string()).unwrap().to_value(), value.clone());
            prop_assert_eq!(read(&serde_json::to_string_pretty(&value).unwrap()).unwrap().to_value(), value.clone());
            prop_assert_eq!(Node::from_value(&value).to_value(), value);
        }

        #[test]
        fn any_text_is_read_or_refused_as_serde_does(text in "[\\[\\]{}\",:0-9a-e.\\\\ \\n-]{0,24}") {
            // serde takes duplicate names; everything else agrees.
            let ours = read(&text);
            if !ours.as_ref().is_err_and(|error| error.detail.contains("twice")) {
                prop_assert_eq!(ours.is_ok(), serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".*") {
            if let Err(error) = read(&text) {
                let _ = position(&text, error.at);
            }
        }
    }
}

//! `yamldecode`: one YAML document as a value. The reading of the text is left to a parser; what is done here is its
//! meaning, as Packer sees it: names are texts, `<<` is a name like others, and what scalars are is for
//! [`yaml_scalars`](super::yaml_scalars). [`yaml_encode`](super::yaml_encode) writes.

use std::collections::{BTreeMap, HashMap};

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle, StrInput, Tag};

use super::{
    Answer, Arguments, Failure, Function, Parameter,
    yaml_scalars::{number, plain, time, word},
};
use crate::hcl::{Data, Value};

pub const FUNCTIONS: &[Function] = &[Function {
    name: "yamldecode",
    parameters: &[Parameter::Text],
    rest: None,
    moves_only: false,
    body: |args| {
        args.room(args.text(0).len())?;
        Reader::new(args).document()
    },
}];

/// Values within each other.
const DEEPEST: usize = 64;
/// Bytes that a value takes beside its content.
const BYTES_A_VALUE: usize = 64;

struct Reader<'a> {
    args: &'a Arguments<'a>,
    parser: Parser<'a, StrInput<'a>>,
    /// Values that have a name; those that are not finished yet are not among them.
    anchors: HashMap<usize, Value>,
    /// The line of the last event.
    line: usize,
}

impl<'a> Reader<'a> {
    fn new(args: &'a Arguments<'a>) -> Self {
        let mut options = granit_parser::Options::default();
        options.set_emit_comments(false);
        options.flow_nesting_limit = DEEPEST + 2;
        options.block_nesting_limit = DEEPEST + 2;
        let parser = Parser::new_from_str_with_options(args.text(0), options);
        Self { args, parser, anchors: HashMap::new(), line: 1 }
    }

    fn document(mut self) -> Answer {
        // The beginning of the stream.
        self.event()?;
        if matches!(self.event()?, Event::StreamEnd) {
            return Ok(Value::null());
        }
        let value = self.value(0)?;
        // The end of the document.
        self.event()?;
        match self.event()? {
            Event::StreamEnd => Ok(value),
            _ => Err(self.wrong("a second document begins; there can be only one")),
        }
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::at(0, format!("cannot be read as YAML: {what} (line {})", self.line))
    }

    fn event(&mut self) -> Result<Event<'a>, Failure> {
        match self.parser.next() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => {
                self.line = error.marker().line();
                // What the parser says may repeat parts of the text.
                Err(self.wrong("its form is wrong, or nested too deeply"))
            }
            None => Err(self.wrong("it ends too early")),
        }
    }

    fn value(&mut self, depth: usize) -> Answer {
        let event = self.event()?;
        self.value_of(event, depth)
    }

    fn value_of(&mut self, event: Event<'a>, depth: usize) -> Answer {
        if depth > DEEPEST {
            return Err(self.wrong(&format!("it is nested too deeply; {DEEPEST} levels are possible")));
        }
        self.args.room(BYTES_A_VALUE)?;
        let (anchor, value) = match event {
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor).cloned();
                let value = known.ok_or_else(|| self.wrong("a value refers to itself"))?;
                // Aliases of aliases of aliases would be many.
                self.args.budget.made(&value)?;
                if depth + height(&value) > DEEPEST {
                    return Err(
                        self.wrong(&format!("it is nested too deeply; {DEEPEST} levels are possible"))
                    );
                }
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => (anchor, self.scalar(&text, style, tag.as_deref())?),
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq")?;
                let mut items = Vec::new();
                loop {
                    match self.event()? {
                        Event::SequenceEnd => break,
                        item => items.push(self.value_of(item, depth + 1)?),
                    }
                }
                (anchor, Value::tuple(items))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map")?;
                let mut members = BTreeMap::new();
                loop {
                    let name = match self.event()? {
                        Event::MappingEnd => break,
                        Event::Scalar(text, style, anchor, tag) => {
                            let name = self.scalar(&text, style, tag.as_deref())?;
                            if anchor != 0 {
                                self.anchors.insert(anchor, name.clone());
                            }
                            name
                        }
                        _ => return Err(self.wrong("a name must be a text")),
                    };
                    let name = match name.data {
                        Data::Text(text) => text.to_string(),
                        Data::Number(number) => number.to_string(),
                        Data::Bool(value) => value.to_string(),
                        _ => return Err(self.wrong("a name must not be null")),
                    };
                    let value = self.value(depth + 1)?;
                    members.insert(name, value);
                }
                (anchor, Value::object(members))
            }
            _ => return Err(self.wrong("a value is missing")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    /// Sees to it that a tag, if there is one, is this one.
    fn check_tag(&self, tag: Option<&Tag>, wanted: &str) -> Result<(), Failure> {
        match tag {
            None => Ok(()),
            Some(tag) if is_unspecific(tag) || tag.core_suffix() == Some(wanted) => Ok(()),
            Some(_) => Err(self.wrong("there is a tag that does not fit")),
        }
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Answer {
        let Some(tag) = tag else {
            return match style {
                ScalarStyle::Plain => plain(text).map_err(|what| self.wrong(what)),
                _ => Ok(text.into()),
            };
        };
        let wrong = || self.wrong("there is a value that does not fit its tag");
        let kind = tag.suffix_in_namespace("tag:yaml.org,2002:");
        match kind.as_deref() {
            Some("str") => Ok(text.into()),
            None if is_unspecific(tag) => Ok(text.into()),
            Some("null") => Ok(Value::null()),
            Some("bool") => word(text).filter(|value| !value.is_null()).ok_or_else(wrong),
            Some("int" | "float") => match number(text) {
                Some(number) => number.map(Value::from).map_err(|what| self.wrong(what)),
                None => Err(wrong()),
            },
            Some("timestamp") => time(text).map(Value::from).ok_or_else(wrong),
            // There are no bytes among the values, so it stays base64.
            Some("binary") => {
                let is_base64 = |byte: u8| {
                    byte.is_ascii_alphanumeric()
                        || matches!(byte, b'+' | b'/' | b'=')
                        || byte.is_ascii_whitespace()
                };
                if text.bytes().all(is_base64) { Ok(text.into()) } else { Err(wrong()) }
            }
            _ => Err(self.wrong("there is a tag that is not known")),
        }
    }
}

/// `!`, which says of a scalar only that it is a text.
fn is_unspecific(tag: &Tag) -> bool {
    tag.handle().is_empty() && tag.suffix() == "!" || tag.handle() == "!" && tag.suffix().is_empty()
}

/// Levels of values within this one.
fn height(value: &Value) -> usize {
    match &value.data {
        Data::Sequence(_, items) => items.iter().map(height).max().map_or(0, |height| height + 1),
        Data::Map(_, members) => members.values().map(height).max().map_or(0, |height| height + 1),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::hcl::{
        Value,
        testing::{evaluate, show},
    };

    fn decoded(text: &str) -> String {
        match evaluate("yamldecode(it)", &BTreeMap::from([("it".to_owned(), Value::from(text))])) {
            Ok(value) => show(&value),
            Err(errors) => errors.join("; "),
        }
    }

    #[test]
    fn documents_become_values() {
        for (text, expected) in [
            ("", "null"),
            ("# nothing\n", "null"),
            ("---\n...\n", "null"),
            ("hello: world", r#"{"hello":"world"}"#),
            ("a: 1\nb:\n- x\n- {c: ~, d: []}\n", r#"{"a":1,"b":["x",{"c":null,"d":[]}]}"#),
            ("%YAML 1.2\n---\n- 1\n", "[1]"),
            (
                "text: |\n  two\n  lines\nfolded: >-\n  one\n  line\n",
                r#"{"folded":"one line","text":"two\nlines\n"}"#,
            ),
            ("1: a\ntrue: b\n1.50: c\n\"no\": d\n", r#"{"1":"a","1.5":"c","no":"d","true":"b"}"#),
            ("a: 1\na: 2\n", r#"{"a":2}"#),
            ("a: &x [1]\nb: *x\n<<: *x\n", r#"{"<<":[1],"a":[1],"b":[1]}"#),
            ("&k name: 1\nother: *k\n", r#"{"name":1,"other":"name"}"#),
            ("{\"json\": [1, true, null, \"x\\u00e9\"]}", r#"{"json":[1,true,null,"xé"]}"#),
        ] {
            assert_eq!(decoded(text), expected, "{text}");
        }
    }

    #[test]
    fn scalars_are_what_they_look_like() {
        for (text, expected) in [
            ("true", "true"),
            ("Yes", "true"),
            ("off", "false"),
            ("tRue", r#""tRue""#),
            ("NULL", "null"),
            ("nULL", r#""nULL""#),
            ("12", "12"),
            ("+12", "12"),
            ("-012", "-12"),
            ("0x1F", "31"),
            ("0o17", "15"),
            ("-0x1F", r#""-0x1F""#),
            ("0xZ", r#""0xZ""#),
            ("1_000", r#""1_000""#),
            ("1.", "1"),
            (".5", "0.5"),
            ("-1.50e+3", "-1500"),
            ("1e", r#""1e""#),
            ("+", r#""+""#),
            (".", r#"".""#),
            ("9007199254740993.1", "9007199254740993.1"),
            ("1.2.3", r#""1.2.3""#),
            ("'12'", r#""12""#),
            ("\"true\"", r#""true""#),
            ("''", r#""""#),
            ("12:30:45", r#""12:30:45""#),
            ("2024-1-2", r#""2024-01-02T00:00:00Z""#),
            ("2024-01-02 03:04:05.5", r#""2024-01-02T03:04:05Z""#),
            ("2024-01-02t03:04:05Z", r#""2024-01-02T03:04:05Z""#),
            ("2024-01-02T03:04:05+02:00", r#""2024-01-02T03:04:05+02:00""#),
            ("2024-13-02", r#""2024-13-02""#),
            ("2024-01-02x", r#""2024-01-02x""#),
            ("'2024-01-02'", r#""2024-01-02""#),
            ("!!str 12", r#""12""#),
            ("! 12", r#""12""#),
            ("!!int \"12\"", "12"),
            ("!!float 1.5", "1.5"),
            ("!!bool yes", "true"),
            ("!!null x", "null"),
            ("!!timestamp '2024-01-02'", r#""2024-01-02T00:00:00Z""#),
            ("!!binary aGVsbG8=", r#""aGVsbG8=""#),
            ("!<tag:yaml.org,2002:str> 12", r#""12""#),
            ("!!seq [1]", "[1]"),
            ("!!map {a: 1}", r#"{"a":1}"#),
        ] {
            assert_eq!(decoded(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_value_is_refused() {
        for (text, expected) in [
            ("a: [", "its form is wrong, or nested too deeply (line 1)"),
            ("a: b: c", "its form is wrong, or nested too deeply (line 1)"),
            ("a\n---\nb\n", "a second document begins; there can be only one (line 2)"),
            ("a: *nothing", "its form is wrong, or nested too deeply (line 1)"),
            ("a: 1\nb: &x [*x]", "a value refers to itself (line 2)"),
            ("~: 1", "a name must not be null (line 1)"),
            ("[a]: 1", "a name must be a text (line 1)"),
            (".inf", "there is a number that is infinite or none (line 1)"),
            ("-.INF", "there is a number that is infinite or none (line 1)"),
            (".nan", "there is a number that is infinite or none (line 1)"),
            ("1e999", "there is a number with too many digits (line 1)"),
            ("0xffffffffffffffffffffffffffffffffff", "there is a number with too many digits (line 1)"),
            ("!!int x", "there is a value that does not fit its tag (line 1)"),
            ("!!bool null", "there is a value that does not fit its tag (line 1)"),
            ("!!binary '%'", "there is a value that does not fit its tag (line 1)"),
            ("!mine x", "there is a tag that is not known (line 1)"),
            ("!!set {a}", "there is a tag that does not fit (line 1)"),
            ("!!seq {a: 1}", "there is a tag that does not fit (line 1)"),
        ] {
            let expected = format!("argument 1 of `yamldecode` cannot be read as YAML: {expected}");
            assert_eq!(decoded(text), expected, "{text}");
        }
    }

    #[test]
    fn bombs_do_not_go_off() {
        let mut laughs = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for level in 1..20 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            laughs.push_str(&format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", ")));
        }
        assert_eq!(decoded(&laughs), "`yamldecode`: the configuration makes too large values");

        let mut deep = "a0: &a0 [x]\n".to_owned();
        for level in 1..100 {
            deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        assert!(decoded(&deep).contains("it is nested too deeply; 64 levels are possible"));

        for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
            let nested = |depth: usize| format!("{}x{}", open.repeat(depth), close.repeat(depth));
            assert!(decoded(&nested(10_000)).contains("nested too deeply"), "{open}");
        }
        assert!(decoded(&"? ".repeat(10_000)).contains("a name must be a text"));
        assert!(decoded(&format!("{}x{}", "[".repeat(64), "]".repeat(64))).starts_with("[["));
    }
}

//! Functions with regular expressions. Those of HCL are Go's; where the `regex` crate reads one differently it is
//! rewritten. The time they take grows with the text and with the pattern, and is paid for as room.

use std::collections::BTreeMap;

use regex::{Captures, Regex, RegexBuilder};

use super::{super::Value, Answer, Arguments, Failure, Function, Parameter::Text, parts::ITEM};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    Function::new("regex", &[Text, Text], first_match),
    Function::new("regexall", &[Text, Text], all_matches),
    Function::new("regex_replace", &[Text, Text, Text], |args| {
        replaced(args, args.text(0), (args.text(1), 1), args.text(2))
    }),
];

/// Bytes of a pattern.
const LONGEST: usize = 16 << 10;
/// Bytes that a compiled pattern may take, tried in this order: few take more than the first.
const SIZES: [usize; 3] = [16 << 10, 128 << 10, 1 << 20];
/// Bytes of memory for speed.
const CACHE: usize = 1 << 20;
/// Groups within each other.
const DEPTH: u32 = 50;

/// A compiled pattern, and how many times the smallest's size it takes.
struct Pattern {
    regex: Regex,
    size: usize,
}

impl Pattern {
    /// Pays for looking for one match more, which may take a look at all that is left of the text: the next search for
    /// `.*x|a` in a text of many `a` does.
    fn search(&self, args: &Arguments<'_>, left: usize) -> Result<(), Failure> {
        args.room((left / 8).saturating_mul(self.size))
    }
}

fn first_match(args: &Arguments<'_>) -> Answer {
    let Pattern { regex, .. } = for_groups(args)?;
    let captures =
        regex.captures(args.text(1)).ok_or("the regular expression matches no part of the text")?;
    Ok(groups(&regex, &captures))
}

fn all_matches(args: &Arguments<'_>) -> Answer {
    let pattern = for_groups(args)?;
    let text = args.text(1);
    let mut found = Vec::new();
    for captures in pattern.regex.captures_iter(text) {
        let end = captures.get(0).map_or(0, |whole| whole.end());
        pattern.search(args, text.len().saturating_sub(end))?;
        args.room(pattern.regex.captures_len().saturating_mul(ITEM))?;
        found.push(groups(&pattern.regex, &captures));
    }
    Ok(Value::list(found))
}

/// The text with every match of a pattern, which comes from an argument, replaced. `$1` and `${name}` stand for groups.
pub(super) fn replaced(args: &Arguments<'_>, text: &str, pattern: (&str, usize), with: &str) -> Answer {
    let pattern = compile(args, pattern.0, pattern.1, text)?;
    let references = with.matches('$').count();
    let mut result = String::new();
    let mut end = 0;
    for captures in pattern.regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        pattern.search(args, text.len().saturating_sub(whole.end()))?;
        args.room(with.len().saturating_add(references.saturating_mul(whole.len())))?;
        result.push_str(text.get(end..whole.start()).unwrap_or_default());
        captures.expand(with, &mut result);
        end = whole.end();
    }
    result.push_str(text.get(end..).unwrap_or_default());
    Ok(result.into())
}

/// The pattern of a function that answers with its groups.
fn for_groups(args: &Arguments<'_>) -> Result<Pattern, Failure> {
    let pattern = compile(args, args.text(0), 0, args.text(1))?;
    let named = pattern.regex.capture_names().flatten().count();
    if named > 0 && named + 1 < pattern.regex.captures_len() {
        return Err(Failure::at(0, "must give names to all of its groups or to none; `(?:…)` is no group"));
    }
    Ok(pattern)
}

/// A text without groups, else a tuple of them, or an object if they have names.
fn groups(regex: &Regex, captures: &Captures<'_>) -> Value {
    let value = |index: usize| captures.get(index).map_or_else(Value::null, |group| group.as_str().into());
    if regex.captures_len() == 1 {
        return value(0);
    }
    let names = regex.capture_names().enumerate();
    let named: BTreeMap<String, Value> =
        names.filter_map(|(index, name)| Some((name?.to_owned(), value(index)))).collect();
    if named.is_empty() {
        Value::tuple((1..regex.captures_len()).map(value).collect())
    } else {
        Value::object(named)
    }
}

fn compile(args: &Arguments<'_>, pattern: &str, argument: usize, text: &str) -> Result<Pattern, Failure> {
    if pattern.len() > LONGEST {
        return Err(Failure::at(argument, format!("must have at most {LONGEST} bytes")));
    }
    let pattern = from_go(pattern);
    for size in SIZES {
        args.room(size / 4)?;
        let mut builder = RegexBuilder::new(&pattern);
        match builder.size_limit(size).dfa_size_limit(CACHE).nest_limit(DEPTH).build() {
            Ok(regex) => {
                args.room(text.len().saturating_mul(size >> 12))?;
                return Ok(Pattern { regex, size: size >> 14 });
            }
            Err(regex::Error::CompiledTooBig(_)) => {}
            // The error's own text repeats the pattern.
            Err(_) => return Err(Failure::at(argument, "must be a regular expression (RE2), and is none")),
        }
    }
    Err(Failure::at(argument, "is too large a regular expression"))
}

/// A pattern of Go's in the syntax of the `regex` crate: there `\d`, `\s`, `\w` and `\b` know all scripts, `\<` and `\>`
/// are the edges of a word, there is no `\Q…\E`, and `[`, `&&`, `~~` and `--` are operators in a class.
fn from_go(pattern: &str) -> String {
    let mut rewritten = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    let mut in_class = false;
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => match rest.next() {
                Some('Q') if !in_class => {
                    let (quoted, after) = rest.as_str().split_once("\\E").unwrap_or((rest.as_str(), ""));
                    rewritten.push_str(&regex::escape(quoted));
                    rest = after.chars();
                }
                Some('b') if !in_class => rewritten.push_str(r"(?-u:\b)"),
                Some(escaped) => match class(escaped) {
                    Some(class) => rewritten.push_str(class),
                    None if matches!(escaped, '<' | '>') => rewritten.push(escaped),
                    None => rewritten.extend(['\\', escaped]),
                },
                None => rewritten.push('\\'),
            },
            '[' if !in_class => {
                in_class = true;
                rewritten.push('[');
                if rest.as_str().starts_with('^') {
                    rewritten.extend(rest.next());
                }
                if rest.as_str().starts_with(']') {
                    rest.next();
                    rewritten.push_str("\\]");
                }
            }
            '[' => match rest.as_str().strip_prefix(':').and_then(|rest| rest.split_once(":]")) {
                Some((name, after)) => {
                    rewritten.push_str(&format!("[:{name}:]"));
                    rest = after.chars();
                }
                None => rewritten.push_str("\\["),
            },
            ']' => {
                in_class = false;
                rewritten.push(']');
            }
            '&' | '~' if in_class => rewritten.extend(['\\', letter]),
            '-' if in_class && rest.as_str().starts_with('-') => {
                rest.next();
                rewritten.push_str("-\\-");
            }
            letter => rewritten.push(letter),
        }
    }
    rewritten
}

const fn class(escaped: char) -> Option<&'static str> {
    match escaped {
        'd' => Some("[0-9]"),
        'D' => Some("[^0-9]"),
        's' => Some(r"[\t\n\f\r ]"),
        'S' => Some(r"[^\t\n\f\r ]"),
        'w' => Some("[0-9A-Za-z_]"),
        'W' => Some("[^0-9A-Za-z_]"),
        _ => None,
    }
}

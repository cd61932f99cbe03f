//! Functions of texts. Positions and lengths are counted in characters (code points). What has to do with regular
//! expressions is in `regexes`, and `format` in `format`.

use std::collections::BTreeSet;

use super::{
    super::Value,
    Answer, Arguments, Function,
    Parameter::{Number, Text, Texts},
    parts::{ITEM, count},
};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    Function::new("chomp", &[Text], |args| Ok(args.text(0).trim_end_matches(['\r', '\n']).into())),
    Function::new("endswith", &[Text, Text], |args| Ok(args.text(0).ends_with(args.text(1)).into())),
    Function::new("indent", &[Number, Text], indent),
    Function::new("join", &[Text, Texts], join).and_more(Texts),
    Function::new("lower", &[Text], |args| Ok(args.text(0).chars().map(lower).collect::<String>().into())),
    Function::new("replace", &[Text, Text, Text], replace),
    Function::new("split", &[Text, Text], split),
    Function::new("startswith", &[Text, Text], |args| Ok(args.text(0).starts_with(args.text(1)).into())),
    Function::new("strcontains", &[Text, Text], |args| Ok(args.text(0).contains(args.text(1)).into())),
    Function::new("strrev", &[Text], |args| Ok(args.text(0).chars().rev().collect::<String>().into())),
    Function::new("substr", &[Text, Number, Number], substr),
    Function::new("title", &[Text], title),
    Function::new("trim", &[Text, Text], trim),
    Function::new("trimprefix", &[Text, Text], |args| {
        Ok(args.text(0).strip_prefix(args.text(1)).unwrap_or(args.text(0)).into())
    }),
    Function::new("trimspace", &[Text], |args| Ok(args.text(0).trim().into())),
    Function::new("trimsuffix", &[Text, Text], |args| {
        Ok(args.text(0).strip_suffix(args.text(1)).unwrap_or(args.text(0)).into())
    }),
    Function::new("upper", &[Text], |args| Ok(args.text(0).chars().map(upper).collect::<String>().into())),
];

/// The first characters of a text.
pub(super) fn first(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// What follows the first characters of a text.
fn after(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).and_then(|(start, _)| text.get(start..)).unwrap_or_default()
}

fn indent(args: &Arguments<'_>) -> Answer {
    let (spaces, text) = (count(args.whole(0)?, 0)?, args.text(1));
    let lines = text.matches('\n').count();
    if lines == 0 {
        return Ok(text.into());
    }
    args.room(text.len().saturating_add(lines.saturating_mul(spaces)))?;
    Ok(text.replace('\n', &format!("\n{}", " ".repeat(spaces))).into())
}

fn join(args: &Arguments<'_>) -> Answer {
    let separator = args.text(0);
    let items: Vec<&str> = (1..args.len()).flat_map(|list| args.texts(list)).collect();
    let length = items.iter().fold(0_usize, |length, item| length.saturating_add(item.len()));
    args.room(length.saturating_add(separator.len().saturating_mul(items.len())))?;
    Ok(items.join(separator).into())
}

/// Slashes around the search text have no meaning, unlike in Terraform; `regex_replace` is there for patterns.
fn replace(args: &Arguments<'_>) -> Answer {
    let (text, search, with) = (args.text(0), args.text(1), args.text(2));
    let found = text.matches(search).count();
    args.room(text.len().saturating_add(found.saturating_mul(with.len())))?;
    Ok(text.replace(search, with).into())
}

fn split(args: &Arguments<'_>) -> Answer {
    let (separator, text) = (args.text(0), args.text(1));
    if separator.is_empty() {
        args.room(text.chars().count().saturating_mul(ITEM))?;
        return Ok(Value::texts(text.chars().map(String::from)));
    }
    args.room(text.matches(separator).count().saturating_mul(ITEM))?;
    Ok(Value::texts(text.split(separator)))
}

fn substr(args: &Arguments<'_>) -> Answer {
    let (text, offset, length) = (args.text(0), args.whole(1)?, args.whole(2)?);
    let distance = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
    let start = if offset < 0 { text.chars().count().saturating_sub(distance) } else { distance };
    let rest = after(text, start);
    // A negative length means all that follows.
    Ok(usize::try_from(length).map_or(rest, |length| first(rest, length)).into())
}

fn title(args: &Arguments<'_>) -> Answer {
    let mut before = ' ';
    let letters = args.text(0).chars().map(|letter| {
        let is_first = separates_words(before);
        before = letter;
        if is_first { upper(letter) } else { letter }
    });
    Ok(letters.collect::<String>().into())
}

fn trim(args: &Arguments<'_>) -> Answer {
    let unwanted: BTreeSet<char> = args.text(1).chars().collect();
    Ok(args.text(0).trim_matches(|letter| unwanted.contains(&letter)).into())
}

fn separates_words(letter: char) -> bool {
    if letter.is_ascii() {
        !letter.is_ascii_alphanumeric() && letter != '_'
    } else {
        !letter.is_alphanumeric() && letter.is_whitespace()
    }
}

/// HCL maps letter by letter: a letter whose capital form is several letters stays as it is.
fn upper(letter: char) -> char {
    only(letter.to_uppercase()).unwrap_or(letter)
}

fn lower(letter: char) -> char {
    only(letter.to_lowercase()).unwrap_or(letter)
}

fn only(mut letters: impl Iterator<Item = char>) -> Option<char> {
    letters.next().filter(|_| letters.next().is_none())
}

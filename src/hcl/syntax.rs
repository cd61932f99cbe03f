//! What the parser says about a broken text, in our words and at the place where it is broken. The parser goes back to where
//! an attribute begins if its value cannot be read; then the value is looked at once more on its own.

use hcl_edit::parser::{Error, parse_expr};

use super::{eval::Diagnostic, parse::Offsets};

/// Something wrong at an offset.
struct Broken {
    offset: usize,
    message: String,
}

/// What is wrong with a file.
pub(super) fn in_file(error: &Error, text: &str, offsets: &Offsets) -> Diagnostic {
    let offset = error.location().offset().min(text.len());
    // Where it says what it expected, it did not go back.
    let went_back = !error.message().contains("expected ");
    let broken = went_back.then(|| value_of_attribute(text, offset)).flatten();
    let broken = broken.unwrap_or_else(|| explain(error, text));
    placed(broken, offsets)
}

/// What is wrong with an expression, or a text with `${…}` in it.
pub(super) fn in_expression(error: &Error, text: &str, offsets: &Offsets) -> Diagnostic {
    placed(explain(error, text), offsets)
}

fn placed(Broken { offset, message }: Broken, offsets: &Offsets) -> Diagnostic {
    Diagnostic { span: offsets.span(Some(offset..offset)), message }
}

const fn is_in_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-')
}

/// What is wrong with the value of the attribute that begins here, if one does.
fn value_of_attribute(text: &str, offset: usize) -> Option<Broken> {
    let name = text.get(offset..)?;
    let behind = name.trim_start_matches(is_in_name);
    let value =
        behind.trim_start_matches([' ', '\t']).strip_prefix('=').filter(|rest| !rest.starts_with('='))?;
    let value = value.trim_start_matches([' ', '\t']);
    if behind.len() == name.len() {
        return None;
    }
    let start = text.len() - value.len();
    if let Some(quote) = open_quote(value) {
        let message =
            "the text that begins here does not end on its line; `<<-END` begins one of several lines"
                .to_owned();
        return Some(Broken { offset: start + quote, message });
    }
    let error = parse_expr(value).err()?;
    let broken = explain(&error, value);
    Some(Broken { offset: start + broken.offset, ..broken })
}

/// Where the quote stands that nothing closes on the first line.
fn open_quote(text: &str) -> Option<usize> {
    let line = text.lines().next().unwrap_or_default();
    // Quotes and brackets that are open, the innermost last.
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut letters = line.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let is_in_text = matches!(open.last(), Some(('"', _)));
        match letter {
            '\\' if is_in_text => drop(letters.next()),
            '"' if is_in_text => drop(open.pop()),
            '"' => open.push(('"', at)),
            '$' | '%' if is_in_text => {
                let next = letters.next_if(|(_, next)| *next == letter || *next == '{');
                if matches!(next, Some((_, '{'))) {
                    open.push(('{', at));
                }
            }
            '{' if !is_in_text => open.push(('{', at)),
            '}' if matches!(open.last(), Some(('{', _))) => drop(open.pop()),
            '#' if open.is_empty() => break,
            _ => {}
        }
    }
    open.last().filter(|(kind, _)| *kind == '"').map(|(_, at)| *at)
}

fn explain(error: &Error, text: &str) -> Broken {
    // It may stand within a character.
    let offset = text.floor_char_boundary(error.location().offset().min(text.len()));
    let said = error.message();
    let expected = said.split_once("expected ").map_or("", |(_, expected)| expected).trim();
    let rest = text.get(offset..).unwrap_or_default();
    let found = match rest.chars().next() {
        _ if rest.trim().is_empty() => "the text ends".to_owned(),
        Some('\n' | '\r') => "the line ends".to_owned(),
        Some(found) => format!("there is `{found}`"),
        None => String::new(),
    };
    let message = if expected.contains("unique attribute key") {
        let name = rest.split(|letter| !is_in_name(letter)).next().unwrap_or_default();
        format!("`{name}` is set twice here")
    } else if expected.contains("nested levels") {
        format!(
            "this is nested too deeply; possible are {}",
            expected.trim_start_matches("at most ").trim_end_matches(" must be")
        )
    } else if said.contains("invalid escape sequence") {
        // The parser stands before or behind the letter, or within it, and no such letter is a backslash.
        let offset = text[..offset].rfind('\\').map_or(offset, |escape| escape + 1);
        let letter = text[offset..].chars().next().unwrap_or('\\');
        let message = format!("there is no escape `\\{letter}` in texts; known are {}", listed(expected));
        return Broken { offset, message };
    } else if rest.starts_with("${") {
        "what begins here with `${` is broken, or its `}` is missing".to_owned()
    } else if rest.starts_with("%{") {
        "what begins here with `%{` is broken, or its `%{ endif }` or `%{ endfor }` is missing".to_owned()
    } else if rest.starts_with('\'') {
        "there is `'`; texts stand in double quotes".to_owned()
    } else if rest.starts_with(',') && expected.contains("newline") {
        "there is `,`; each attribute stands on a line of its own".to_owned()
    } else if rest.trim().is_empty() && expected.starts_with("`}`") {
        "the text ends where `}` must be".to_owned()
    } else if expected.contains("heredoc end delimiter") {
        "the heredoc is not ended: the word behind `<<` must stand alone on a line".to_owned()
    } else if expected.is_empty() {
        format!("{found}, which has no meaning at this place")
    } else {
        format!("{found} where {} must be", listed(expected))
    };
    Broken { offset, message }
}

/// What could have stood there, shortened to what helps.
fn listed(expected: &str) -> String {
    // All that a value can begin with.
    if expected.contains("letter") && expected.contains("digit") {
        return "a value".to_owned();
    }
    let words = [
        ("newline or eof", "the end of the line"),
        ("newline", "the end of the line"),
        ("identifier", "a name"),
        ("expression", "a value"),
        (", ", " or "),
    ];
    words.iter().fold(expected.to_owned(), |expected, (theirs, ours)| expected.replace(theirs, ours))
}

#[cfg(test)]
mod tests {
    use super::super::parse::{Offsets, parse};

    #[test]
    fn an_unknown_escape_is_named_whatever_letter_it_has() {
        for letter in ['q', '0', '߽', '語', '🥖', '\u{301}'] {
            for text in [
                format!("a = \"\\{letter}\"\n"),
                format!("b \"x\\{letter}\" {{\n}}\n"),
                format!("lo a \"= \\{letter}"),
            ] {
                let found = parse(&text, &Offsets::from(0)).unwrap_err();
                let escape = text.find('\\').unwrap() + 1;
                assert_eq!(found[0].span.start as usize, escape, "{text}: {found:?}");
                assert!(
                    found[0].message.contains(&format!("there is no escape `\\{letter}`")),
                    "{text}: {found:?}"
                );
            }
        }
    }
}

//! `format` and `formatlist`: the verbs are those of HCL, which are nearly those of C's `printf`. How numbers with a
//! fraction are written is in `decimals`.

use super::{
    super::{Data, Type, Value},
    Answer, Arguments, Failure, Function,
    Parameter::{AnyOrNull, Text},
    decimals::Decimals,
    strings::first,
};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    Function::new("format", &[Text], format).and_more(AnyOrNull),
    Function::new("formatlist", &[Text], formatlist).and_more(AnyOrNull),
];

fn format(args: &Arguments<'_>) -> Answer {
    let values: Vec<&Value> = args.from(1).iter().collect();
    formatted(args, &values).map(Value::from)
}

/// Goes through all lists at once; what is no list is the same each time.
fn formatlist(args: &Arguments<'_>) -> Answer {
    let mut rounds: Option<usize> = None;
    for (index, value) in args.from(1).iter().enumerate() {
        let Some(items) = value.items() else { continue };
        if rounds.is_some_and(|rounds| rounds != items.len()) {
            return Err(Failure::at(index + 1, "must be as long as the lists before it"));
        }
        rounds = Some(items.len());
    }
    let mut texts = Vec::new();
    for round in 0..rounds.unwrap_or(1) {
        let values: Vec<&Value> = args
            .from(1)
            .iter()
            .map(|value| value.items().map_or(Some(value), |items| items.get(round)).unwrap_or(value))
            .collect();
        texts.push(formatted(args, &values)?);
    }
    Ok(Value::texts(texts))
}

/// What stands between `%` and the end of a verb.
#[derive(Debug, Default)]
struct Verb {
    plus: bool,
    minus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
    argument: Option<usize>,
    letter: char,
}

/// A text that grows as far as there is room.
struct Writing<'a> {
    args: &'a Arguments<'a>,
    text: String,
}

impl Writing<'_> {
    fn push(&mut self, text: &str) -> Result<(), Failure> {
        self.args.room(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    fn repeat(&mut self, letter: char, count: usize) -> Result<(), Failure> {
        self.args.room(count)?;
        self.text.extend(std::iter::repeat_n(letter, count));
        Ok(())
    }
}

fn formatted(args: &Arguments<'_>, values: &[&Value]) -> Result<String, Failure> {
    let mut writing = Writing { args, text: String::new() };
    let mut rest = args.text(0);
    let (mut verbs, mut next, mut used) = (0, 0, 0);
    while let Some((before, after)) = rest.split_once('%') {
        writing.push(before)?;
        verbs += 1;
        let wrong = |what: &str| Failure::at(0, format!("is wrong at its `%` number {verbs}: {what}"));
        let (verb, after) = read(after).map_err(wrong)?;
        rest = after;
        if verb.letter == '%' {
            writing.push("%")?;
            continue;
        }
        let index = verb.argument.unwrap_or(next);
        let value = values.get(index).ok_or_else(|| wrong("there is no value for it among the arguments"))?;
        next = index + 1;
        used = used.max(next);
        write(&mut writing, &verb, value).map_err(|failure| match failure {
            Wrong::Verb => wrong(
                "known are `%s`, `%q`, `%d`, `%v`, `%t`, `%f`, `%e`, `%g`, `%b`, `%o`, `%x`, `%X`, `%c` and `%%`",
            ),
            Wrong::Value(message) => Failure::at(index + 1, format!("cannot be put into the format: {message}")),
            Wrong::Other(failure) => failure,
        })?;
    }
    writing.push(rest)?;
    if used < values.len() {
        return Err(Failure::at(used + 1, "has no place in the format, which uses fewer values"));
    }
    Ok(writing.text)
}

/// Reads a verb behind its `%`.
fn read(text: &str) -> Result<(Verb, &str), &'static str> {
    let mut verb = Verb::default();
    let mut rest = text;
    while let Some(flag) = rest.chars().next() {
        match flag {
            '+' => verb.plus = true,
            '-' => verb.minus = true,
            '0' => verb.zero = true,
            ' ' => verb.space = true,
            '#' => verb.sharp = true,
            _ => break,
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    if let (Some(width), after) = digits(rest)? {
        (verb.width, rest) = (width, after);
    }
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = digits(after)?;
        verb.precision = Some(precision.ok_or("behind `.` a number must follow")?);
        rest = after;
    }
    if let Some(after) = rest.strip_prefix('[') {
        let (number, after) = digits(after)?;
        let index = number
            .and_then(|number| number.checked_sub(1))
            .ok_or("`[…]` holds the number of a value, from 1")?;
        verb.argument = Some(index);
        rest = after.strip_prefix(']').ok_or("there is no `]` for its `[`")?;
    }
    let mut letters = rest.chars();
    verb.letter = letters.next().ok_or("the text ends; write `%%` for a percent sign")?;
    Ok((verb, letters.as_str()))
}

fn digits(text: &str) -> Result<(Option<usize>, &str), &'static str> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    match text.split_at_checked(end) {
        Some((digits, rest)) if !digits.is_empty() => {
            // Small enough that nothing calculated with it overflows.
            let number: u32 = digits.parse().map_err(|_| "the number in it is too large")?;
            Ok((usize::try_from(number).ok(), rest))
        }
        _ => Ok((None, text)),
    }
}

enum Wrong {
    /// There is no such verb.
    Verb,
    /// It cannot take the value.
    Value(String),
    /// There is no more room.
    Other(Failure),
}

impl From<Failure> for Wrong {
    fn from(failure: Failure) -> Self {
        Self::Other(failure)
    }
}

fn write(writing: &mut Writing<'_>, verb: &Verb, value: &Value) -> Result<(), Wrong> {
    if value.is_null() && verb.letter != 'v' {
        return Err(Wrong::Value("it is null".to_owned()));
    }
    let converted = |of: Type| of.convert(value.clone()).map_err(Wrong::Value);
    let number = || match converted(Type::Number)?.data {
        Data::Number(number) => Ok(number),
        _ => Err(Wrong::Value("a number is needed".to_owned())),
    };
    let whole = || {
        let whole = number()?.big_whole();
        whole.ok_or_else(|| Wrong::Value("a whole number is needed".to_owned()))
    };
    match verb.letter {
        'v' => match &value.data {
            Data::Text(text) if !verb.sharp => padded(writing, verb, text),
            Data::Number(number) if !verb.sharp => {
                let decimals = Decimals::of(number);
                let sign = if decimals.is_negative() { "-" } else { "" };
                padded(writing, verb, &format!("{sign}{}", decimals.general(None, 'e')))
            }
            _ => {
                let mut json = Writing { args: writing.args, text: String::new() };
                write_json(&mut json, value)?;
                padded(writing, verb, &json.text)
            }
        },
        's' | 'q' => {
            let text = converted(Type::Text)?;
            let text = text.as_text().unwrap_or_default();
            let text = match verb.precision {
                // As in HCL a precision of 0 is none.
                None | Some(0) => text,
                Some(precision) => first(text, precision),
            };
            if verb.letter == 's' {
                padded(writing, verb, text)
            } else {
                padded(writing, verb, &quoted(text))
            }
        }
        't' => {
            let is_true = matches!(converted(Type::Bool)?.data, Data::Bool(true));
            Ok(writing.push(if is_true { "true" } else { "false" })?)
        }
        'c' => {
            let letter = u32::try_from(whole()?).ok().and_then(char::from_u32);
            let letter =
                letter.ok_or_else(|| Wrong::Value("the number of a character is needed".to_owned()))?;
            padded(writing, verb, letter.encode_utf8(&mut [0; 4]))
        }
        'b' => integer(writing, verb, &whole()?, 2, "0b"),
        'o' => integer(writing, verb, &whole()?, 8, "0"),
        'd' => integer(writing, verb, &whole()?, 10, ""),
        'x' => integer(writing, verb, &whole()?, 16, "0x"),
        'X' => integer(writing, verb, &whole()?, 16, "0X"),
        'e' | 'E' | 'f' | 'g' | 'G' => {
            let decimals = Decimals::of(&number()?);
            writing.args.room(verb.precision.unwrap_or_default())?;
            let precision = verb.precision.unwrap_or(6);
            let text = match verb.letter {
                'f' => decimals.fixed(precision),
                'e' | 'E' => decimals.exponential(precision, verb.letter),
                'g' => decimals.general(verb.precision, 'e'),
                _ => decimals.general(verb.precision, 'E'),
            };
            let sign = sign(verb, decimals.is_negative());
            numeric(writing, verb, sign, &text, verb.zero)
        }
        _ => Err(Wrong::Verb),
    }
}

const fn sign(verb: &Verb, is_negative: bool) -> &'static str {
    match (is_negative, verb.plus, verb.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    }
}

fn integer(
    writing: &mut Writing<'_>,
    verb: &Verb,
    whole: &bigdecimal::num_bigint::BigInt,
    base: u32,
    prefix: &str,
) -> Result<(), Wrong> {
    let digits = whole.magnitude().to_str_radix(base);
    let digits = if verb.letter == 'X' { digits.to_uppercase() } else { digits };
    let is_empty = verb.precision == Some(0) && digits == "0";
    let zeros = verb.precision.unwrap_or_default().saturating_sub(digits.len());
    writing.args.room(zeros)?;
    let prefix = if verb.sharp { prefix } else { "" };
    let is_negative = whole.sign() == bigdecimal::num_bigint::Sign::Minus;
    let sign = format!("{}{prefix}", sign(verb, is_negative));
    let text = if is_empty { String::new() } else { format!("{}{digits}", "0".repeat(zeros)) };
    numeric(writing, verb, &sign, &text, verb.zero && verb.precision.is_none())
}

/// A sign and digits; zeros go between them, spaces before or behind them.
fn numeric(
    writing: &mut Writing<'_>,
    verb: &Verb,
    sign: &str,
    digits: &str,
    zeros: bool,
) -> Result<(), Wrong> {
    let missing = verb.width.saturating_sub(sign.len() + digits.len());
    let (left, between, right) = match (verb.minus, zeros) {
        (true, _) => (0, 0, missing),
        (false, true) => (0, missing, 0),
        (false, false) => (missing, 0, 0),
    };
    writing.repeat(' ', left)?;
    writing.push(sign)?;
    writing.repeat('0', between)?;
    writing.push(digits)?;
    Ok(writing.repeat(' ', right)?)
}

fn padded(writing: &mut Writing<'_>, verb: &Verb, text: &str) -> Result<(), Wrong> {
    let missing = verb.width.saturating_sub(text.chars().count());
    let letter = if verb.zero { '0' } else { ' ' };
    if verb.minus {
        writing.push(text)?;
        writing.repeat(letter, missing)?;
    } else {
        writing.repeat(letter, missing)?;
        writing.push(text)?;
    }
    Ok(())
}

fn write_json(writing: &mut Writing<'_>, value: &Value) -> Result<(), Failure> {
    match &value.data {
        Data::Text(text) => writing.push(&quoted(text)),
        Data::Number(number) => writing.push(&number.to_string()),
        Data::Bool(value) => writing.push(if *value { "true" } else { "false" }),
        Data::Null | Data::Unknown(_) => writing.push("null"),
        Data::Sequence(_, items) => {
            writing.push("[")?;
            for (index, item) in items.iter().enumerate() {
                writing.push(if index > 0 { "," } else { "" })?;
                write_json(writing, item)?;
            }
            writing.push("]")
        }
        Data::Map(_, members) => {
            writing.push("{")?;
            for (index, (name, value)) in members.iter().enumerate() {
                writing.push(if index > 0 { "," } else { "" })?;
                writing.push(&quoted(name))?;
                writing.push(":")?;
                write_json(writing, value)?;
            }
            writing.push("}")
        }
    }
}

/// A text as JSON has it in HCL, which can stand in HTML as well.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    for letter in serde_json::Value::from(text).to_string().chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => quoted.push(letter),
        }
    }
    quoted
}

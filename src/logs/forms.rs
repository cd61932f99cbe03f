//! The spellings in which a secret turns up in output: as it is, and in the encodings that shells, JSON, URLs, XML and
//! the usual tools give it.

use std::collections::BTreeSet;

use base64::{
    Engine,
    alphabet::{Alphabet, STANDARD, URL_SAFE},
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};

use super::controls;

/// Shorter secrets are not looked for: they would blank every other word.
pub(super) const SHORTEST_SECRET: usize = 3;

/// Shorter lines of a secret of several lines are not looked for by themselves.
const SHORTEST_LINE: usize = 4;

/// Shorter encoded forms are not looked for.
const SHORTEST_FORM: usize = 4;

/// Characters after which tools break the lines of base64 (coreutils and MIME; PEM) and of hex (xxd).
const WRAPS: [usize; 3] = [76, 64, 60];

/// Every spelling of a secret, of what is left of it without white space around, and of each of its lines. None for a
/// secret that is too short.
pub(super) fn of_secret(secret: &str) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    let mut texts = BTreeSet::from([secret.to_owned(), secret.trim().to_owned(), controls::strip(secret)]);
    if secret.contains('\n') {
        texts.insert(secret.replace("\r\n", "\n").replace('\n', "\r\n"));
        texts.insert(secret.replace("\r\n", "\n"));
    }
    texts.retain(|text| text.len() >= SHORTEST_SECRET);
    let lines = secret.split(['\n', '\r']).flat_map(|line| [line, line.trim()]);
    if secret.trim().contains(['\n', '\r']) {
        texts.extend(lines.filter(|line| line.trim().len() >= SHORTEST_LINE).map(str::to_owned));
    }
    for text in texts {
        // White space alone is no secret.
        if text.trim().len() >= SHORTEST_SECRET {
            add_spellings(&text, &mut forms);
        }
    }
    forms
}

fn add_spellings(text: &str, forms: &mut BTreeSet<Vec<u8>>) {
    let mut add = |form: String| {
        if form.len() >= SHORTEST_FORM {
            forms.insert(form.into_bytes());
        }
    };
    json(text).into_iter().for_each(&mut add);
    // JSON in JSON.
    json(&escape_json(text, Json::default())).into_iter().for_each(&mut add);
    shell(text).into_iter().for_each(&mut add);
    percent(text).into_iter().for_each(&mut add);
    xml(text).into_iter().for_each(&mut add);
    let hex = hex::encode(text);
    wrapped(&hex).for_each(&mut add);
    add(hex.to_uppercase());
    add(hex);
    for alphabet in [&STANDARD, &URL_SAFE] {
        base64(text, alphabet).into_iter().for_each(&mut add);
    }
    forms.insert(text.as_bytes().to_vec());
}

/// The text in base64, wherever in a longer text it stands. Three bytes make four characters, so there are three
/// alignments; of each, the characters that depend on the secret alone, and for a secret at the end of the text also
/// the last ones.
fn base64(text: &str, alphabet: &Alphabet) -> Vec<String> {
    let engine = GeneralPurpose::new(alphabet, NO_PAD);
    let mut forms = Vec::new();
    for offset in 0..3 {
        let bytes = [&b"\0\0"[..offset], text.as_bytes()].concat();
        let encoded = engine.encode(&bytes);
        let begin = (offset * 8).div_ceil(6);
        let end = bytes.len() * 8 / 6;
        forms.push(encoded[begin..end].to_owned());
        forms.push(format!("{}{}", &encoded[begin..], &"=="[..(3 - bytes.len() % 3) % 3]));
        forms.push(encoded[begin..].to_owned());
        if offset == 0 {
            forms.extend(wrapped(&encoded));
        }
    }
    // `echo $SECRET | base64`
    let line = engine.encode([text.as_bytes(), b"\n"].concat());
    forms.extend(wrapped(&line));
    forms.push(line);
    forms
}

/// The lines of a long encoded text, where a tool breaks it into lines. A short last one is left out.
fn wrapped(encoded: &str) -> impl Iterator<Item = String> {
    WRAPS.into_iter().filter(|width| encoded.len() > *width).flat_map(|width| {
        let lines = encoded.as_bytes().chunks(width).filter(|line| line.len() >= 2 * SHORTEST_FORM);
        lines.map(|line| String::from_utf8_lossy(line).into_owned())
    })
}

/// Which characters a writer of JSON escapes beside those that it must.
#[derive(Clone, Copy, Default)]
struct Json {
    /// Everything that is not ASCII (Python).
    ascii: bool,
    /// `<`, `>` and `&` (Go).
    html: bool,
    /// `/` (PHP).
    slash: bool,
    /// With capital letters.
    upper: bool,
}

fn json(text: &str) -> Vec<String> {
    let plain = Json::default();
    let ascii = Json { ascii: true, ..plain };
    let html = Json { html: true, ..plain };
    let styles = [
        plain,
        ascii,
        html,
        Json { slash: true, ..plain },
        Json { slash: true, ..ascii },
        Json { html: true, ..ascii },
        Json { upper: true, ..html },
        Json { upper: true, ..ascii },
    ];
    styles.into_iter().map(|style| escape_json(text, style)).collect()
}

fn escape_json(text: &str, style: Json) -> String {
    let mut out = String::new();
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '/' if style.slash => out.push_str("\\/"),
            _ if char < ' '
                || (style.ascii && !char.is_ascii())
                || (style.html && matches!(char, '<' | '>' | '&')) =>
            {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    out.push_str(&if style.upper {
                        format!("\\u{unit:04X}")
                    } else {
                        format!("\\u{unit:04x}")
                    });
                }
            }
            _ => out.push(char),
        }
    }
    out
}

fn shell(text: &str) -> Vec<String> {
    let escaped = |special: fn(char) -> bool| -> String {
        text.chars().flat_map(|char| special(char).then_some('\\').into_iter().chain([char])).collect()
    };
    vec![
        // In single quotes, in the three ways to write one within.
        text.replace('\'', r"'\''"),
        text.replace('\'', r#"'"'"'"#),
        text.replace('\'', "''"),
        // In double quotes.
        escaped(|char| matches!(char, '\\' | '"' | '$' | '`')),
        // `printf %q`
        escaped(|char| char.is_ascii() && !char.is_ascii_alphanumeric() && !"@%+=:,./-_\n".contains(char)),
        // $'…'
        escape_json(text, Json::default()).replace("\\\"", "\"").replace('\'', "\\'"),
    ]
}

fn percent(text: &str) -> Vec<String> {
    // What is left as it is: nothing; RFC 3986 (Go, Python); a path; encodeURIComponent; the user part of a URL; forms.
    const KEPT: [&str; 6] = ["", "-_.~", "-_.~/", "-_.!~*'()", "-_.~!$&'()*+,;=", "*-._"];
    let mut forms = Vec::new();
    for kept in KEPT {
        for (upper, plus) in [(true, false), (false, false), (true, true), (false, true)] {
            let encode = |byte: u8| match char::from(byte) {
                char if char.is_ascii_alphanumeric() || kept.contains(char) && char.is_ascii() => {
                    char.to_string()
                }
                ' ' if plus => "+".to_owned(),
                _ if upper => format!("%{byte:02X}"),
                _ => format!("%{byte:02x}"),
            };
            forms.push(text.bytes().map(encode).collect());
        }
    }
    forms
}

fn xml(text: &str) -> Vec<String> {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let quoted = text.replace('"', "&quot;");
    vec![
        quoted.replace('\'', "&#39;"),
        quoted.replace('\'', "&apos;"),
        quoted.replace('\'', "&#x27;"),
        text.replace('"', "&#34;").replace('\'', "&#39;"),
        quoted,
        text,
    ]
}

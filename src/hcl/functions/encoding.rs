//! Texts in other forms: base64, compressed, in other character sets, in URLs.

use std::io::Write;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use encoding_rs::Encoding;
use flate2::{Compression, write::GzEncoder};

use super::{Answer, Arguments, Failure, Function, Parameter};

pub const FUNCTIONS: &[Function] = &[
    of_text("base64decode", |args| {
        let bytes = base64_bytes(args, 0)?;
        String::from_utf8(bytes)
            .map(Into::into)
            .map_err(|_| Failure::at(0, "is not the base64 of a UTF-8 text"))
    }),
    of_text("base64encode", |args| Ok(STANDARD.encode(args.text(0)).into())),
    of_text("base64gzip", |args| {
        let text = args.text(0);
        args.room(text.len())?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let written = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
        written
            .map(|bytes| STANDARD.encode(bytes).into())
            .map_err(|_| Failure::at(0, "could not be compressed"))
    }),
    Function {
        name: "textdecodebase64",
        parameters: &[Parameter::Text, Parameter::Text],
        rest: None,
        moves_only: false,
        body: |args| {
            let charset = Charset::of(args, 1)?;
            let bytes = base64_bytes(args, 0)?;
            // A byte of some character sets is three bytes of UTF-8.
            args.room(bytes.len().saturating_mul(3))?;
            Ok(charset.decode(&bytes).into())
        },
    },
    Function {
        name: "textencodebase64",
        parameters: &[Parameter::Text, Parameter::Text],
        rest: None,
        moves_only: false,
        body: |args| {
            let charset = Charset::of(args, 1)?;
            let text = args.text(0);
            args.room(text.len().saturating_mul(3))?;
            let bytes = charset.encode(text);
            let missing = || Failure::at(0, "has a character that this character set has not");
            Ok(STANDARD.encode(bytes.ok_or_else(missing)?).into())
        },
    },
    of_text("urlencode", |args| {
        let text = args.text(0);
        args.room(text.len().saturating_mul(3))?;
        Ok(url_encode(text).into())
    }),
];

const fn of_text(name: &'static str, body: fn(&Arguments<'_>) -> Answer) -> Function {
    Function { name, parameters: &[Parameter::Text], rest: None, moves_only: false, body }
}

/// As strict as Go: padded, but bits that are left over may be anything.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The bytes that an argument is the base64 of. It may be broken into lines.
pub fn base64_bytes(args: &Arguments<'_>, index: usize) -> Result<Vec<u8>, Failure> {
    let text = args.text(index);
    args.room(text.len())?;
    let joined: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    LENIENT.decode(joined).map_err(|_| Failure::at(index, "is no base64"))
}

fn url_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            b' ' => encoded.push('+'),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// A character set. Those that browsers read in a way of their own, or do not write, are done here.
enum Charset {
    Ascii,
    Latin1,
    Utf16 { is_big_endian: bool, has_mark: bool },
    Other(&'static Encoding),
}

impl Charset {
    /// The character set whose IANA name an argument is.
    fn of(args: &Arguments<'_>, index: usize) -> Result<Self, Failure> {
        let name = args.text(index);
        let is = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if is(&["US-ASCII", "ASCII", "ISO646-US", "us", "ANSI_X3.4-1968"]) {
            Ok(Self::Ascii)
        } else if is(&["ISO-8859-1", "ISO_8859-1", "ISO_8859-1:1987", "latin1", "l1", "IBM819", "CP819"]) {
            Ok(Self::Latin1)
        } else if is(&["UTF-16", "csUTF16"]) {
            Ok(Self::Utf16 { is_big_endian: true, has_mark: true })
        } else if is(&["UTF-16BE", "csUTF16BE"]) {
            Ok(Self::Utf16 { is_big_endian: true, has_mark: false })
        } else if is(&["UTF-16LE", "csUTF16LE"]) {
            Ok(Self::Utf16 { is_big_endian: false, has_mark: false })
        } else {
            let known =
                Encoding::for_label(name.as_bytes()).filter(|known| known.output_encoding() == *known);
            let wrong = || {
                Failure::at(index, "is no character set that is known here; try \"UTF-8\" or \"UTF-16LE\"")
            };
            known.map(Self::Other).ok_or_else(wrong)
        }
    }

    /// The text in this set; nothing if a character is not in it.
    fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let single = |largest: char| {
            text.chars().map(|c| u8::try_from(c).ok().filter(|_| c <= largest)).collect::<Option<Vec<u8>>>()
        };
        match self {
            Self::Ascii => single('\u{7f}'),
            Self::Latin1 => single('\u{ff}'),
            Self::Utf16 { is_big_endian, has_mark } => {
                let mark = has_mark.then_some(0xfeff);
                let units = mark.into_iter().chain(text.encode_utf16());
                Some(
                    units
                        .flat_map(|unit| if *is_big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() })
                        .collect(),
                )
            }
            Self::Other(encoding) => {
                let (bytes, _, is_incomplete) = encoding.encode(text);
                (!is_incomplete).then(|| bytes.into_owned())
            }
        }
    }

    /// The text that these bytes are in this set. What is none becomes U+FFFD, as in Packer.
    fn decode(&self, bytes: &[u8]) -> String {
        match self {
            Self::Ascii => bytes
                .iter()
                .map(|byte| if byte.is_ascii() { char::from(*byte) } else { char::REPLACEMENT_CHARACTER })
                .collect(),
            Self::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            Self::Utf16 { is_big_endian, has_mark } => {
                let (is_big_endian, bytes) = match bytes {
                    [0xfe, 0xff, rest @ ..] if *has_mark => (true, rest),
                    [0xff, 0xfe, rest @ ..] if *has_mark => (false, rest),
                    all => (*is_big_endian, all),
                };
                let (pairs, odd) = bytes.as_chunks::<2>();
                let units = pairs.iter().map(|pair| {
                    if is_big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) }
                });
                let text = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
                text.chain(odd.first().map(|_| char::REPLACEMENT_CHARACTER)).collect()
            }
            Self::Other(encoding) => encoding.decode_without_bom_handling(bytes).0.into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read};

    use base64::{Engine, engine::general_purpose::STANDARD};

    use crate::hcl::testing::{evaluate, shown};

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("é😀", "w6nwn5iA"),
        ] {
            assert_eq!(shown(&format!("base64encode(\"{text}\")")), format!("\"{encoded}\""));
            assert_eq!(shown(&format!("base64decode(\"{encoded}\")")), format!("\"{text}\""));
        }
        assert_eq!(shown(r#"base64decode("Zm9v\r\nYmFy\n")"#), r#""foobar""#);
        assert_eq!(shown(r#"base64decode("Zh==")"#), r#""f""#);
        for wrong in ["Zg", "Zg=", "Z", "Zm9 v", "Zm9v_w==", "é"] {
            let expected = "error: argument 1 of `base64decode` is no base64";
            assert_eq!(shown(&format!("base64decode(\"{wrong}\")")), expected, "{wrong}");
        }
        assert_eq!(
            shown(r#"base64decode("/w==")"#),
            "error: argument 1 of `base64decode` is not the base64 of a UTF-8 text"
        );
    }

    #[test]
    fn what_is_compressed_can_be_read_again() {
        let value = evaluate(r#"base64gzip("hello hello hello")"#, &BTreeMap::new()).unwrap();
        let bytes = STANDARD.decode(value.as_text().unwrap()).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello hello hello");
    }

    #[test]
    fn texts_go_into_other_character_sets_and_back() {
        for (text, charset, encoded) in [
            ("Hello World", "UTF-16LE", "SABlAGwAbABvACAAVwBvAHIAbABkAA=="),
            ("é😀", "UTF-16LE", "6QA92ADe"),
            ("é😀", "utf-16be", "AOnYPd4A"),
            ("é", "UTF-16", "/v8A6Q=="),
            ("é", "UTF-8", "w6k="),
            ("é", "ISO-8859-1", "6Q=="),
            ("€", "windows-1252", "gA=="),
            ("€", "ISO-8859-15", "pA=="),
            ("日本", "Shift_JIS", "k/qWew=="),
            ("日本", "EUC-JP", "xvzL3A=="),
            ("abc", "US-ASCII", "YWJj"),
            ("", "UTF-16LE", ""),
        ] {
            let encode = format!("textencodebase64(\"{text}\", \"{charset}\")");
            assert_eq!(shown(&encode), format!("\"{encoded}\""), "{encode}");
            let decode = format!("textdecodebase64(\"{encoded}\", \"{charset}\")");
            assert_eq!(shown(&decode), format!("\"{text}\""), "{decode}");
        }
    }

    #[test]
    fn what_a_character_set_has_not_is_refused() {
        for (text, charset) in [("€", "ISO-8859-1"), ("é", "US-ASCII"), ("日", "windows-1252")] {
            assert_eq!(
                shown(&format!("textencodebase64(\"{text}\", \"{charset}\")")),
                "error: argument 1 of `textencodebase64` has a character that this character set has not"
            );
        }
        for charset in ["", "EBCDIC-37", "replacement"] {
            assert_eq!(
                shown(&format!("textencodebase64(\"x\", \"{charset}\")")),
                "error: argument 2 of `textencodebase64` is no character set that is known here; try \"UTF-8\" or \"UTF-16LE\""
            );
        }
        // Not a whole number of units, half a pair, a byte that is none.
        assert_eq!(shown(r#"textdecodebase64("YQBi", "UTF-16LE")"#), "\"a\u{fffd}\"");
        assert_eq!(shown(r#"textdecodebase64("Pdg=", "UTF-16LE")"#), "\"\u{fffd}\"");
        assert_eq!(shown(r#"textdecodebase64("Yf8=", "UTF-8")"#), "\"a\u{fffd}\"");
        assert_eq!(shown(r#"textdecodebase64("Yf8=", "ascii")"#), "\"a\u{fffd}\"");
        assert_eq!(shown(r#"textdecodebase64("//5hAA==", "UTF-16")"#), "\"a\"");
        assert_eq!(
            shown(r#"textdecodebase64("%", "UTF-8")"#),
            "error: argument 1 of `textdecodebase64` is no base64"
        );
    }

    #[test]
    fn texts_go_into_urls() {
        for (text, expected) in [
            ("Hello World!", "Hello+World%21"),
            ("foo:bar@localhost?foo=bar&bar=baz", "foo%3Abar%40localhost%3Ffoo%3Dbar%26bar%3Dbaz"),
            ("☃", "%E2%98%83"),
            ("a-b_c.d~e", "a-b_c.d~e"),
            ("", ""),
        ] {
            assert_eq!(shown(&format!("urlencode(\"{text}\")")), format!("\"{expected}\""));
        }
    }
}

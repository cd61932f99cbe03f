//! No secret survives, in any spelling and however the stream is cut.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use proptest::prelude::*;

use super::*;

fn redactor(secrets: &[&str]) -> Redactor {
    Redactor::new(&secrets.iter().map(|secret| SecretString::from(*secret)).collect::<Vec<_>>())
}

fn through_stream(redactor: &Redactor, chunks: &[&[u8]]) -> String {
    let mut stream = redactor.stream();
    let mut out = Vec::new();
    for chunk in chunks {
        stream.push(chunk, &mut out);
    }
    stream.finish(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn a_secret_is_replaced_in_every_spelling() {
    let secret = r#"p'a"s$s/w\o&r d<é>+1"#;
    let redactor = redactor(&[secret]);
    let percent_lower = "p%27a%22s%24s%2fw%5co%26r%20d%3c%c3%a9%3e%2b1";
    let spellings = [
        secret.to_owned(),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        hex::encode(secret),
        hex::encode_upper(secret),
        percent_lower.to_owned(),
        "p%27a%22s%24s%2Fw%5Co%26r%20d%3C%C3%A9%3E%2B1".to_owned(),
        "p%27a%22s%24s%2Fw%5Co%26r+d%3C%C3%A9%3E%2B1".to_owned(),
        "p'a%22s%24s%2Fw%5Co%26r%20d%3C%C3%A9%3E%2B1".to_owned(),
        r#"p'a\"s$s/w\\o&r d<é>+1"#.to_owned(),
        r#"p'a\"s$s/w\\o\u0026r d\u003cé\u003e+1"#.to_owned(),
        r#"p'a\"s$s/w\\o&r d<\u00e9>+1"#.to_owned(),
        r#"p'a\"s$s\/w\\o&r d<\u00e9>+1"#.to_owned(),
        r#"p'\''a"s$s/w\o&r d<é>+1"#.to_owned(),
        r#"p'"'"'a"s$s/w\o&r d<é>+1"#.to_owned(),
        r#"p'a\"s\$s/w\\o&r d<é>+1"#.to_owned(),
        r#"p\'a\"s\$s/w\\o\&r\ d\<é\>+1"#.to_owned(),
        "p&#39;a&quot;s$s/w\\o&amp;r d&lt;é&gt;+1".to_owned(),
    ];
    for spelling in spellings {
        let text = format!("before {spelling} behind");
        assert_eq!(redactor.redact(&text), "before <sensitive> behind", "{spelling}");
        assert_eq!(through_stream(&redactor, &[text.as_bytes()]), "before <sensitive> behind", "{spelling}");
    }
}

#[test]
fn base64_of_a_longer_text_does_not_show_the_secret_at_any_alignment() {
    let secret = "correct horse battery";
    let redactor = redactor(&[secret]);
    for before in ["", "u:", "user:", "admin:", "x"] {
        for behind in ["", "!", "!!", "!!!"] {
            let text = format!("{before}{secret}{behind}");
            for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                let shown = redactor.redact(&encoded).into_owned();
                assert!(shown.contains(MARKER), "{text}: {shown}");
                // What is left are the characters that hold bits of the neighbours: less than two characters.
                let left = shown.replace(MARKER, "").replace('=', "").len();
                assert!(left * 6 <= (before.len() + behind.len()) * 8 + 16, "{text}: {shown}");
            }
        }
    }
}

#[test]
fn wrapped_base64_of_a_long_secret_is_replaced_line_by_line() {
    let secret = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(6);
    let redactor = redactor(&[&secret]);
    for width in [64, 76] {
        let encoded = STANDARD.encode(&secret);
        let lines: Vec<_> = encoded.as_bytes().chunks(width).map(String::from_utf8_lossy).collect();
        let shown = redactor.redact(&lines.join("\n")).into_owned();
        let shown: Vec<_> = shown.lines().collect();
        assert!(shown[..shown.len() - 1].iter().all(|line| *line == MARKER), "{shown:?}");
    }
}

#[test]
fn each_line_of_a_secret_of_several_lines_is_replaced() {
    let key = "-----BEGIN KEY-----\nAAAAB3NzaC1yc2E\r\n  indented\nxy\n-----END KEY-----\n";
    let redactor = redactor(&[key]);
    assert_eq!(redactor.redact(&format!("key: {key}.")), "key: <sensitive>.");
    assert_eq!(redactor.redact("a AAAAB3NzaC1yc2E b"), "a <sensitive> b");
    assert_eq!(redactor.redact("a indented b"), "a <sensitive> b");
    assert_eq!(redactor.redact("xy"), "xy");
    assert_eq!(redactor.redact(&hex::encode("AAAAB3NzaC1yc2E")), "<sensitive>");
}

#[test]
fn short_and_empty_secrets_are_left_alone() {
    let redactor = redactor(&["", "a", "ab", "\n", "   ", " x \n"]);
    assert_eq!(redactor.redact("an abacus\n   x "), "an abacus\n   x ");
    assert_eq!(through_stream(&Redactor::default(), &[b"any", b"thing"]), "anything");
}

#[test]
fn overlapping_secrets_leave_nothing_of_either() {
    let redactor = redactor(&["abcdef", "defghi", "abcdefghijkl"]);
    assert_eq!(redactor.redact("-abcdefghi-"), "-<sensitive>-");
    assert_eq!(through_stream(&redactor, &[b"-abcdef", b"ghi-"]), "-<sensitive>-");
    assert_eq!(redactor.redact("abcdefghijkl"), "<sensitive>");
    assert_eq!(redactor.redact("abcdefabcdef"), "<sensitive><sensitive>");
}

#[test]
fn no_more_is_held_back_than_may_become_a_secret() {
    let redactor = redactor(&["secret-word"]);
    let mut stream = redactor.stream();
    let mut out = Vec::new();
    stream.push(b"nothing here; sec", &mut out);
    assert_eq!(out, b"nothing here; ");
    stream.push(b"ond\n", &mut out);
    assert_eq!(out, b"nothing here; second\n");
    stream.push(b"secret-wor", &mut out);
    stream.finish(&mut out);
    assert_eq!(out, b"nothing here; second\n<sensitive>");
}

#[test]
fn a_secret_added_later_is_known_to_streams_under_way() {
    let redactor = redactor(&["first"]);
    let mut stream = redactor.stream();
    let mut out = Vec::new();
    stream.push(b"second fir", &mut out);
    redactor.add(&[SecretString::from("second")]);
    stream.push(b"st second\n", &mut out);
    assert_eq!(out, b"second <sensitive> <sensitive>\n");
}

#[test]
fn a_redactor_does_not_show_its_secrets() {
    let redactor = redactor(&["hunter2"]);
    let mut stream = redactor.stream();
    stream.push(b"hunter", &mut Vec::new());
    let shown = format!("{redactor:?} {stream:?}");
    assert!(!shown.contains("hunter") && !shown.contains("104, 117"), "{shown}");
}

/// Texts of few letters, so that secrets overlap with each other and with what stands around them.
fn text(length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof![Just('a'), Just('b'), Just('\''), Just('é')], length)
        .prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #[test]
    fn no_secret_survives_any_chunking(
        secrets in proptest::collection::vec(text(3..9), 1..4),
        pieces in proptest::collection::vec((text(0..6), any::<prop::sample::Index>(), 0..8_u8), 0..8),
        cuts in proptest::collection::vec(1_usize..9, 0..200),
    ) {
        let redactor = redactor(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
        let mut whole = String::new();
        for (filler, secret, spelling) in &pieces {
            let secret = secret.get(&secrets);
            whole.push_str(filler);
            match spelling {
                0 => whole.push_str(&STANDARD.encode(secret)),
                1 => whole.push_str(&hex::encode(secret)),
                2 => whole.push_str(&secret.replace('\'', r"'\''")),
                _ => whole.push_str(secret),
            }
        }
        let mut chunks = Vec::new();
        let mut rest = whole.as_bytes();
        for cut in cuts {
            let (chunk, behind) = rest.split_at(cut.min(rest.len()));
            chunks.push(chunk);
            rest = behind;
        }
        chunks.push(rest);

        let shown = through_stream(&redactor, &chunks);
        prop_assert_eq!(&shown, &through_stream(&redactor, &[whole.as_bytes()]));
        let shown = shown.replace(MARKER, "\n");
        for secret in &secrets {
            for spelling in [
                secret.clone(),
                secret.replace('\'', r"'\''"),
                hex::encode(secret),
                STANDARD_NO_PAD.encode(secret),
            ] {
                prop_assert!(!shown.contains(&spelling), "{spelling} in {shown}");
            }
        }
    }
}

//! Any output with a secret in it, cut into any chunks: the secret never comes through, and the chunks make no difference.
#![no_main]

use fournil::logs::Redactor;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "a-secret/of \"fuzzing\"";

fuzz_target!(|input: (&[u8], &[u8], u8)| {
    let (before, after, size) = input;
    let text = [before, SECRET.as_bytes(), after].concat();
    let redactor = Redactor::new(&[SECRET.to_owned().into()]);
    let redacted = |size: usize| {
        let (mut stream, mut out) = (redactor.stream(), Vec::new());
        for chunk in text.chunks(size) {
            stream.push(chunk, &mut out);
        }
        stream.finish(&mut out);
        out
    };
    let whole = redacted(text.len());
    assert!(!whole.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    assert_eq!(redacted(usize::from(size) + 1), whole);
});

//! Any request signed: no panic, and what is written into headers fits one.
#![no_main]

use chrono::DateTime;
use fournil::oapi::signing::{SignedRequest, SigningKeys, sign};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str, &[u8], &str, i64)| {
    let (host, path, header, body, secret, seconds) = input;
    let time = DateTime::from_timestamp(seconds.rem_euclid(4_000_000_000), 0).unwrap_or_default();
    let headers = [("content-type", header)];
    let request = SignedRequest { method: "POST", host, path, headers: &headers, body };
    let sign_with = |secret: String| {
        let secret_key = secret.into();
        sign(&request, &SigningKeys { access_key: "KEY", secret_key: &secret_key, region: "eu-west-2" }, time)
    };
    let signature = sign_with(secret.to_owned());
    assert!(signature.authorization.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    assert_eq!(signature.timestamp.len(), 16);
    // The secret is in nothing but the signature itself.
    let other = sign_with(format!("{secret}x"));
    let parts = |signature: &str| signature.rsplit_once("Signature=").map(|(head, hex)| (head.to_owned(), hex.len()));
    assert_eq!(parts(&signature.authorization), parts(&other.authorization));
    assert_ne!(signature.authorization, other.authorization);
});

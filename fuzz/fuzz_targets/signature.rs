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
    let secret_key = secret.to_owned().into();
    let keys = SigningKeys { access_key: "KEY", secret_key: &secret_key, region: "eu-west-2" };
    let signature = sign(&request, &keys, time);
    assert!(signature.authorization.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    assert_eq!(signature.timestamp.len(), 16);
    assert!(secret.len() < 24 || !signature.authorization.contains(secret));
});

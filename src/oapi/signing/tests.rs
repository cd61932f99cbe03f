//! Known signatures with their intermediate values, and a comparison with curl's independent implementation.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use chrono::TimeZone;
use proptest::prelude::*;

use super::*;

const ACCESS_KEY: &str = "ABCDEFGHIJ0123456789";
const SECRET_KEY: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123";
const UTF8_JSON: &str = "application/json; charset=utf-8";

/// A signature made by an independent program and confirmed by other clients of OUTSCALE.
struct Vector {
    region: &'static str,
    host: &'static str,
    path: &'static str,
    timestamp: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    payload_sha256: &'static str,
    canonical_request_sha256: &'static str,
    signing_key: &'static str,
    authorization: &'static str,
}

const VECTORS: [Vector; 3] = [
    Vector {
        region: "eu-west-2",
        host: "api.eu-west-2.outscale.com",
        path: "/api/v1/ReadVms",
        timestamp: "20260321T094512Z",
        headers: &[("content-type", UTF8_JSON)],
        body: r#"{"Filters": {"VmStateNames": ["running"]}}"#,
        payload_sha256: "066a77c3180c440644c4a2887e1a791344336376f4a353a2916c7e726711cf1c",
        canonical_request_sha256: "95bfd6c82564b74afb5cf148ae906174c0dd231888ac237da38e03e3ee27f222",
        signing_key: "6cef9ebb09ed23e09778e4536ad77563dbf2cc3127c8ffad4f03202f480c637b",
        authorization: "OSC4-HMAC-SHA256 Credential=ABCDEFGHIJ0123456789/20260321/eu-west-2/api/osc4_request, \
            SignedHeaders=content-type;host;x-osc-date, \
            Signature=82c51c368699f08b5ebd47af4e235fa607abc529f23953776bb55a231439fd50",
    },
    Vector {
        region: "cloudgouv-eu-west-1",
        host: "api.cloudgouv-eu-west-1.outscale.com",
        path: "/api/v1/CreateImage",
        timestamp: "20261231T235959Z",
        headers: &[("content-type", UTF8_JSON)],
        body: r#"{"ImageName":"golden-web-2026.12","Description":"Image dorée – équipe réseau","VmId":"i-0a1b2c3d","NoReboot":true}"#,
        payload_sha256: "dd60b83142271644ee24c693ec5c932a9d5fe4dcb8f66f86d2eb97078b82b081",
        canonical_request_sha256: "50ad05f6e6e83135f5fcd24bf5d8387e7ef659ccdec309846f791a8e24d00ac0",
        signing_key: "21758e0737079d1187b180ce24cb28cd72cf4fa526699c63d10b52ba7dc3ed9d",
        authorization: "OSC4-HMAC-SHA256 \
            Credential=ABCDEFGHIJ0123456789/20261231/cloudgouv-eu-west-1/api/osc4_request, \
            SignedHeaders=content-type;host;x-osc-date, \
            Signature=1a7fddcbc964945fb60233f95591c4ec7a4a30e8d5a4e0467d526284e13d605b",
    },
    Vector {
        region: "eu-west-2",
        host: "127.0.0.1:8787",
        path: "/api/v1/ReadSubregions",
        timestamp: "20260228T000000Z",
        headers: &[],
        body: "",
        payload_sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        canonical_request_sha256: "165fc02a859d44d11e8a5e713cab1ea0b0b6b4f7f1955789fe87ba83af01ecc8",
        signing_key: "8f426469ea40f4c5d94a49bc0932115127d75a691189583085f131e043485cb1",
        authorization: "OSC4-HMAC-SHA256 Credential=ABCDEFGHIJ0123456789/20260228/eu-west-2/api/osc4_request, \
            SignedHeaders=host;x-osc-date, \
            Signature=cb483ca0a80b0bb8b29f3f27f4e889e52e882b25d95078495e12d50c53e84222",
    },
];

fn time(timestamp: &str) -> DateTime<Utc> {
    chrono::NaiveDateTime::parse_from_str(timestamp, "%Y%m%dT%H%M%SZ").unwrap().and_utc()
}

#[test]
fn known_signatures_come_out_at_every_step() {
    for vector in VECTORS {
        let secret_key = SecretString::from(SECRET_KEY);
        let request = SignedRequest {
            method: "POST",
            host: vector.host,
            path: vector.path,
            headers: vector.headers,
            body: vector.body.as_bytes(),
        };
        let (canonical, _) = canonical_request(&request, vector.timestamp);
        assert!(canonical.ends_with(vector.payload_sha256), "{}", vector.path);
        assert_eq!(hex::encode(Sha256::digest(&canonical)), vector.canonical_request_sha256);
        let key = signing_key(&secret_key, &vector.timestamp[..8], vector.region);
        assert_eq!(hex::encode(key), vector.signing_key);
        let keys = SigningKeys { access_key: ACCESS_KEY, secret_key: &secret_key, region: vector.region };
        let signature = sign(&request, &keys, time(vector.timestamp));
        assert_eq!(signature.timestamp, vector.timestamp);
        assert_eq!(signature.authorization, vector.authorization);
    }
}

/// What curl sent, as far as it was signed.
struct Sent {
    host: String,
    timestamp: String,
    authorization: String,
}

/// Has curl sign and send a request to a listener of this test; `None` if there is no curl that can sign.
fn sent_by_curl(region: &str, action: &str, secret_key: &str, timestamp: &str, body: &str) -> Option<Sent> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut host, mut timestamp, mut authorization, mut length) = Default::default();
        for line in reader.by_ref().lines() {
            let line = line.unwrap();
            let Some((name, value)) = line.split_once(": ") else {
                if line.is_empty() {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "host" => host = value.to_owned(),
                "x-osc-date" => timestamp = value.to_owned(),
                "authorization" => authorization = value.to_owned(),
                "content-length" => length = value.parse::<u64>().unwrap(),
                _ => {}
            }
        }
        std::io::copy(&mut reader.take(length), &mut std::io::sink()).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}").unwrap();
        Sent { host, timestamp, authorization }
    });
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"])
        .args([
            "--aws-sigv4",
            &format!("osc:osc:{region}:api"),
            "--user",
            &format!("{ACCESS_KEY}:{secret_key}"),
        ])
        .args(["--header", "Content-Type: application/json", "--header", &format!("X-Osc-Date: {timestamp}")])
        .args(["--data-binary", "@-", &format!("http://{address}/api/v1/{action}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let mut curl = match curl {
        Ok(curl) => curl,
        Err(error) => {
            println!("skipped: curl cannot be run ({error})");
            return None;
        }
    };
    curl.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    assert!(curl.wait().unwrap().success(), "curl could not sign and send");
    Some(server.join().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn curl_signs_the_same(
        region in "[a-z]{2}-[a-z]{4,9}-[1-9]",
        action in "[A-Z][A-Za-z]{2,20}",
        secret_key in "[A-Z0-9]{40}",
        seconds in 1_600_000_000_i64..2_500_000_000,
        text in "\\PC{0,200}",
    ) {
        let time = Utc.timestamp_opt(seconds, 0).unwrap();
        let body = serde_json::json!({ "Description": text }).to_string();
        let timestamp = time.format("%Y%m%dT%H%M%SZ").to_string();
        let Some(sent) = sent_by_curl(&region, &action, &secret_key, &timestamp, &body) else { return Ok(()) };
        prop_assert_eq!(&sent.timestamp, &timestamp);
        let request = SignedRequest {
            method: "POST",
            host: &sent.host,
            path: &format!("/api/v1/{action}"),
            headers: &[("content-type", "application/json")],
            body: body.as_bytes(),
        };
        let secret_key = SecretString::from(secret_key);
        let keys = SigningKeys { access_key: ACCESS_KEY, secret_key: &secret_key, region: &region };
        prop_assert_eq!(sign(&request, &keys, time).authorization, sent.authorization);
    }
}

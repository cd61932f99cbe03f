//! The checks against published and self-made signatures. The keys belong to nobody.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

const ACCESS_KEY: &str = "ABCDEFGHIJ0123456789";
const SECRET_KEY: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123";

struct Vector {
    path: &'static str,
    body: &'static str,
    headers: &'static [(&'static str, &'static str)],
    authorization: &'static str,
}

/// Made by independent programs: OUTSCALE's Python SDK, curl and botocore agree on them.
const VECTORS: [Vector; 5] = [
    Vector {
        path: "/api/v1/ReadVms",
        body: r#"{"Filters": {"VmStateNames": ["running"]}}"#,
        headers: &[
            ("content-type", "application/json; charset=utf-8"),
            ("host", "api.eu-west-2.outscale.com"),
            ("x-osc-date", "20260321T094512Z"),
        ],
        authorization: "OSC4-HMAC-SHA256 Credential=ABCDEFGHIJ0123456789/20260321/eu-west-2/api/osc4_request, \
                        SignedHeaders=content-type;host;x-osc-date, \
                        Signature=82c51c368699f08b5ebd47af4e235fa607abc529f23953776bb55a231439fd50",
    },
    Vector {
        path: "/api/v1/CreateImage",
        body: r#"{"ImageName":"golden-web-2026.12","Description":"Image dorée – équipe réseau","VmId":"i-0a1b2c3d","NoReboot":true}"#,
        headers: &[
            ("content-type", "application/json; charset=utf-8"),
            ("host", "api.cloudgouv-eu-west-1.outscale.com"),
            ("x-osc-date", "20261231T235959Z"),
        ],
        authorization: "OSC4-HMAC-SHA256 \
                        Credential=ABCDEFGHIJ0123456789/20261231/cloudgouv-eu-west-1/api/osc4_request, \
                        SignedHeaders=content-type;host;x-osc-date, \
                        Signature=1a7fddcbc964945fb60233f95591c4ec7a4a30e8d5a4e0467d526284e13d605b",
    },
    Vector {
        path: "/api/v1/ReadSubregions",
        body: "",
        headers: &[("host", "127.0.0.1:8787"), ("x-osc-date", "20260228T000000Z")],
        authorization: "OSC4-HMAC-SHA256 Credential=ABCDEFGHIJ0123456789/20260228/eu-west-2/api/osc4_request, \
                        SignedHeaders=host;x-osc-date, \
                        Signature=cb483ca0a80b0bb8b29f3f27f4e889e52e882b25d95078495e12d50c53e84222",
    },
    Vector {
        path: "/api/v1/ReadImages",
        body: r#"{"Filters":{"ImageNames":["Ubuntu*"]}}"#,
        headers: &[("host", "api.us-east-2.outscale.com"), ("x-amz-date", "20260321T094512Z")],
        authorization: "AWS4-HMAC-SHA256 Credential=ABCDEFGHIJ0123456789/20260321/us-east-2/oapi/aws4_request, \
                        SignedHeaders=host;x-amz-date, \
                        Signature=9c4797b65f3ce31d786dbdceb966cd304e6ef104f081136782200550d4c21576",
    },
    Vector {
        path: "/api/v1/ReadVms",
        body: "{}",
        headers: &[
            ("content-type", "application/json"),
            ("host", "api.eu-west-2.outscale.com"),
            ("x-amz-date", "20260321T094512Z"),
        ],
        authorization: "AWS4-HMAC-SHA256 Credential=ABCDEFGHIJ0123456789/20260321/eu-west-2/osc/aws4_request, \
                        SignedHeaders=content-type;host;x-amz-date, \
                        Signature=02fe40ae19e7d762b7833988c596abdba46252c4d77e88afaa461b4cdc478f1f",
    },
];

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    pairs.collect()
}

fn time(text: &str) -> DateTime<Utc> {
    NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%SZ").unwrap().and_utc()
}

fn check(path: &str, body: &str, headers: &HeaderMap, now: &str, quirks: &Quirks) -> Result<(), Refusal> {
    let keys =
        Keys { access_key: ACCESS_KEY.to_owned(), secret_key: Secret(SECRET_KEY.to_owned()), role: None };
    let received = Received { method: "POST", path, query: "", headers, body: body.as_bytes() };
    verify(&received, &keys, "eu-west-2", time(now), quirks)
}

/// The headers of a vector, and its time.
fn of_vector(vector: &Vector) -> (HeaderMap, &'static str) {
    let mut all = headers(vector.headers);
    all.insert("authorization", HeaderValue::from_static(vector.authorization));
    let (_, now) = vector.headers.iter().find(|(name, _)| name.ends_with("-date")).unwrap();
    (all, now)
}

#[test]
fn signatures_of_other_programs_are_right() {
    for vector in &VECTORS {
        let (headers, now) = of_vector(vector);
        assert_eq!(
            check(vector.path, vector.body, &headers, now, &Quirks::default()),
            Ok(()),
            "{}",
            vector.path
        );
    }
}

#[test]
fn whatever_is_changed_makes_a_signature_wrong() {
    for vector in &VECTORS {
        let (headers, now) = of_vector(vector);
        let check = |path: &str, body: &str, headers: &HeaderMap| {
            check(path, body, headers, now, &Quirks::default()).unwrap_err()
        };
        let mut other_host = headers.clone();
        other_host.insert("host", HeaderValue::from_static("elsewhere"));
        let longer = format!("{} ", vector.body);
        for refusal in [
            check("/api/v1/DeleteVms", vector.body, &headers),
            check(vector.path, &longer, &headers),
            check(vector.path, vector.body, &other_host),
        ] {
            assert_eq!((refusal.error.code, refusal.error.status, refusal.is_guess), (1, 401, true));
        }
    }
}

#[test]
fn a_host_signed_without_its_port_is_taken() {
    // The third vector signs 127.0.0.1:8787; the first one is received with a port that was not signed.
    let (mut headers, now) = of_vector(&VECTORS[0]);
    headers.insert("host", HeaderValue::from_static("api.eu-west-2.outscale.com:443"));
    assert_eq!(check(VECTORS[0].path, VECTORS[0].body, &headers, now, &Quirks::default()), Ok(()));
}

#[test]
fn a_doubled_slash_may_be_signed_or_not() {
    let (headers, now) = of_vector(&VECTORS[0]);
    assert_eq!(check("//api/v1/ReadVms", VECTORS[0].body, &headers, now, &Quirks::default()), Ok(()));
}

#[test]
fn each_defect_has_its_code() {
    let vector = &VECTORS[0];
    let (good, now) = of_vector(vector);
    let code = |change: &dyn Fn(&mut HeaderMap)| {
        let mut headers = good.clone();
        change(&mut headers);
        let refusal = check(vector.path, vector.body, &headers, now, &Quirks::default()).unwrap_err();
        assert!(!refusal.is_guess);
        (refusal.error.code, refusal.error.status)
    };
    let authorize = |headers: &mut HeaderMap, text: &str| {
        headers.insert("authorization", HeaderValue::from_str(text).unwrap());
    };
    assert_eq!(code(&|headers| drop(headers.remove("authorization"))), (1, 401));
    assert_eq!(code(&|headers| drop(headers.remove("x-osc-date"))), (1, 401));
    assert_eq!(code(&|headers| authorize(headers, "Basic dXNlcjpwYXNz")), (9, 401));
    assert_eq!(code(&|headers| authorize(headers, "Bearer token")), (12, 401));
    assert_eq!(code(&|headers| authorize(headers, "OSC4-HMAC-SHA256 nonsense")), (1, 401));
    let unknown = vector.authorization.replace(ACCESS_KEY, "ZZZZZZZZZZ0123456789");
    assert_eq!(code(&|headers| authorize(headers, &unknown)), (4120, 400));
}

#[test]
fn five_minutes_are_the_window() {
    let vector = &VECTORS[0];
    let (headers, _) = of_vector(vector);
    let code = |now: &str| {
        let checked = check(vector.path, vector.body, &headers, now, &Quirks::default());
        checked.map_err(|refusal| refusal.error.code)
    };
    assert_eq!(code("20260321T095012Z"), Ok(()));
    assert_eq!(code("20260321T094012Z"), Ok(()));
    assert_eq!(code("20260321T095013Z"), Err(1));
    assert_eq!(code("20260321T094011Z"), Err(1));
}

#[test]
fn the_region_of_the_scope_matters_only_if_it_is_to() {
    let (headers, now) = of_vector(&VECTORS[1]);
    let check = |quirks: &Quirks| check(VECTORS[1].path, VECTORS[1].body, &headers, now, quirks);
    assert_eq!(check(&Quirks::default()), Ok(()));
    let strict = Quirks { strict_signature_region: true, ..Quirks::default() };
    assert_eq!(check(&strict).unwrap_err().error.code, 1);
}

#[test]
fn four_wrong_signatures_lock_the_key() {
    let mut lock = Lock::default();
    for _ in 0..3 {
        lock.note_wrong(4);
    }
    assert_eq!(lock.check(), Ok(()));
    lock.reset();
    for _ in 0..4 {
        lock.note_wrong(4);
    }
    assert_eq!(lock.check().unwrap_err().code, 13);
    let mut open = Lock::default();
    (0..100).for_each(|_| open.note_wrong(0));
    assert_eq!(open.check(), Ok(()));
}

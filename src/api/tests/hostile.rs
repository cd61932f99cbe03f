//! Whatever is sent, the server answers, and never with a fault of its own.

use super::*;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

/// Sends requests of any content, one after the other to one server.
async fn never_fails<S: Strategy>(
    pool: PgPool,
    cases: u32,
    strategy: S,
    make: impl Fn(S::Value) -> Request<Body>,
) where
    S::Value: Clone,
{
    let api = TestApi::start(pool);
    let mut runner = TestRunner::default();
    for _ in 0..cases {
        let value = strategy.new_tree(&mut runner).unwrap().current();
        let answer = api.send(make(value.clone())).await;
        assert!(!answer.status.is_server_error(), "{}: {} for {value:?}", answer.status, answer.text());
        if answer.status.is_client_error() {
            assert_eq!(answer.header("content-type"), "application/problem+json", "for {value:?}");
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![".{0,12}", "[\\PC\0]{0,6}", "osc-bsu", "\\{\\{[a-z ]{0,8}\\}\\}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    let key = prop_oneof![
        "[a-z_]{0,8}",
        ".{0,4}",
        Just("type".to_owned()),
        Just("builders".to_owned()),
        Just("omi_name".to_owned()),
        Just("labels".to_owned()),
        Just("name".to_owned()),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn post(media_type: &str, body: impl Into<Body>) -> Request<Body> {
    request(Method::POST, "/builds", &[("content-type", media_type)], body.into())
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn any_bytes_are_answered(pool: PgPool) {
    let media_types = prop::sample::select(vec![
        "application/json",
        "application/x-tar",
        "application/gzip",
        "multipart/form-data; boundary=x",
        "text/plain",
    ]);
    let strategy = (media_types, prop::collection::vec(any::<u8>(), 0..600));
    never_fails(pool, 150, strategy, |(media_type, body)| post(media_type, body)).await;
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn any_json_is_answered(pool: PgPool) {
    never_fails(pool, 200, any_json(), |body| post("application/json", body.to_string())).await;
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn any_value_in_a_valid_template_is_answered(pool: PgPool) {
    let strategy = (
        prop::sample::select(vec!["omi_name", "region", "name", "description", "tags"]),
        any_json(),
        any_json(),
    );
    let make = |(option, value, labels): (&str, Value, Value)| {
        let mut template = template();
        template["builders"][0][option] = value;
        post("application/json", json!({ "template": template, "labels": { "a": labels } }).to_string())
    };
    never_fails(pool, 200, strategy, make).await;
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn any_query_is_answered(pool: PgPool) {
    let name = prop::sample::select(vec![
        "state",
        "builder",
        "label",
        "name",
        "created_after",
        "limit",
        "cursor",
        "wait",
        "version",
        "after",
        "tail",
        "run",
        "x",
    ]);
    let value = "[a-zA-Z0-9=:.+,%-]{0,12}|(%[0-9A-F]{2}){0,6}|-?[0-9]{1,22}";
    let path = prop::sample::select(vec![
        "/builds",
        "/builds/019aab4f-9a1f-7c0e-9d2f-3b6f5d0c1a22",
        "/builds/x/logs",
        "/events",
    ]);
    let strategy = (path, prop::collection::vec((name, value), 1..4));
    let make = |(path, pairs): (&str, Vec<(&str, String)>)| {
        let query: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let path = format!("{path}?{}", query.join("&"));
        request(
            Method::GET,
            if path.parse::<axum::http::Uri>().is_ok() { &path } else { "/" },
            &[],
            Body::empty(),
        )
    };
    never_fails(pool, 300, strategy, make).await;
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_nul_character_is_refused_before_it_is_stored(pool: PgPool) {
    let api = TestApi::start(pool);
    let body = json!({ "template": template(), "labels": { "a": "\0" } });
    assert_eq!(api.post_json("/builds", &[], &body).await.status.as_u16(), 422);
    let body = json!({ "template": template(), "name": "a\0b" });
    assert_eq!(api.post_json("/builds", &[], &body).await.status.as_u16(), 422);
}

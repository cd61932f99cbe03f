//! Clouds without room: the next type of VM and the next Subregion are asked, and what was tried is told.

use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, id_of},
    template::{machineless, template, with},
};

fn choosing(options: Value) -> Value {
    let mut builder = with(machineless("image-x"), options);
    builder.as_object_mut().unwrap().remove("vm_type");
    template(builder, json!([]))
}

/// What was asked for, in order: type and place.
async fn asked(app: &TestApp) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let calls = app.sandbox.calls("CreateVms").await;
    let requests = calls.iter().map(|call| &call["request"]);
    requests.map(|request| (text(&request["VmType"]), text(&request["Placement"]["SubregionName"]))).collect()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn the_next_place_and_then_the_next_type_is_asked(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.fault(json!({ "action": "CreateVms", "code": 10001, "times": 2 })).await;
    let build = app
        .bake_well(&choosing(json!({
            "vm_types": ["tinav5.c2r4p1", "tinav5.c1r1p2"], "subregions": ["eu-west-2a", "eu-west-2b"],
        })))
        .await;
    let pairs =
        [("tinav5.c2r4p1", "eu-west-2a"), ("tinav5.c2r4p1", "eu-west-2b"), ("tinav5.c1r1p2", "eu-west-2a")];
    assert_eq!(asked(&app).await, pairs.map(|(kind, place)| (kind.to_owned(), place.to_owned())));
    let log = app.log(id_of(&build)).await;
    assert!(log.contains("there is no room for a tinav5.c2r4p1 in eu-west-2b"), "{log}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn when_there_is_no_room_anywhere_all_that_was_tried_is_told(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.fault(json!({ "action": "CreateVms", "code": 10001, "times": 100 })).await;
    let error = app
        .bake_badly(&choosing(json!({ "vm_types": ["tinav5.c2r4p1", "tinav5.c1r1p2"] })), "oapi_capacity")
        .await;
    let detail = error["detail"].as_str().unwrap();
    assert!(detail.contains("tinav5.c2r4p1, tinav5.c1r1p2"), "{detail}");
    assert_eq!((&error["retryable"], &error["oapi"]["code"]), (&json!(true), &json!("10001")));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn another_refusal_than_missing_room_is_final(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.fault(json!({ "action": "CreateVms", "code": 10022, "status": 400 })).await;
    app.bake_badly(&choosing(json!({ "vm_types": ["tinav5.c2r4p1", "tinav5.c1r1p2"] })), "oapi_quota").await;
    assert_eq!(asked(&app).await.len(), 1);
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_vm_whose_answer_was_lost_is_not_looked_for_under_another_type(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.fault(json!({ "action": "CreateVms", "code": 10001 })).await;
    app.sandbox.fault(json!({ "action": "CreateVms", "nth": 2, "drop": "after", "invisible_ms": 300 })).await;
    app.bake_well(&choosing(json!({ "vm_types": ["tinav5.c2r4p1", "tinav5.c1r1p2"] }))).await;
    let kinds: Vec<String> = asked(&app).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds.first().map(String::as_str), Some("tinav5.c2r4p1"));
    assert!(kinds[1..].iter().all(|kind| kind == "tinav5.c1r1p2"), "{kinds:?}");
}

//! Asking again: retries, repeated requests, and builds that want the same name.

use chrono::{DateTime, Utc};
use fournil::queue::QUEUE_CHANNEL;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};

use crate::{
    app::{PATIENCE, TestApp, accepted, id_of},
    template::{machineless, template, with},
};

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_failed_build_can_be_retried_as_a_new_one(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.fault(json!({ "action": "CreateVms", "code": 10001, "times": 100 })).await;
    let request = json!({ "template": template(machineless("again"), json!([])), "labels": { "team": "a" } });
    let first = app.bake(&request).await;
    app.failed(&first, "oapi_capacity").await;
    app.sandbox.clear_faults().await;
    let retry = app.request(Method::POST, &format!("/builds/{}/retry", id_of(&first))).send().await.unwrap();
    let second = app.wait_build(&accepted(retry).await).await;
    app.succeeded(&second).await;
    assert_eq!((&second["retry_of"], &second["labels"]), (&first["id"], &first["labels"]));
    assert_eq!(app.get(&format!("/builds/{}", id_of(&first))).await["state"], "failed");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn requests_with_the_same_key_bake_once(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let ask = |name: &str| {
        let request = app.request(Method::POST, "/builds").header("idempotency-key", "the same");
        request.json(&template(machineless(name), json!([]))).send()
    };
    let (one, two, three) = tokio::join!(ask("once"), ask("once"), ask("once"));
    let mut ids = Vec::new();
    for answer in [one, two, three] {
        let answer = answer.unwrap();
        // While the first is being accepted, the others may be told to ask again.
        if answer.status() != StatusCode::CONFLICT {
            ids.push(answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned());
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    app.succeeded(&app.wait_build(&ids[0]).await).await;
    let replayed = ask("once").await.unwrap();
    assert_eq!(
        (replayed.status(), replayed.headers()["idempotency-replayed"].as_bytes()),
        (StatusCode::OK, b"true".as_slice())
    );
    let build: Value = replayed.json().await.unwrap();
    assert_eq!((id_of(&build), &build["state"]), (ids[0].as_str(), &"succeeded".into()));
    assert_eq!(ask("twice").await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(app.sandbox.calls("CreateVms").await.len(), 1);
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn builds_of_the_same_name_follow_one_another(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let same = template(machineless("same"), json!([]));
    let replacing = template(
        with(machineless("same"), json!({ "force_deregister": true, "force_delete_snapshot": true })),
        json!([]),
    );
    app.sandbox.fault(json!({ "action": "CreateImage", "hold": true })).await;
    let first = app.post_build(&same).await;
    app.sandbox.until_held().await;
    let second = app.post_build(&same).await;
    let third = app.post_build(&replacing).await;
    // Another name need not wait.
    let beside = app.bake_well(&template(machineless("other"), json!([]))).await;
    let mut wakes = PgListener::connect_with(&app.pool).await.unwrap();
    wakes.listen(QUEUE_CHANNEL).await.unwrap();
    app.sandbox.clear_faults().await;
    let first = app.wait_build(&first).await;
    app.succeeded(&first).await;
    let second = app.wait_build(&second).await;
    app.failed(&second, "omi_name_taken").await;
    let third = app.wait_build(&third).await;
    app.succeeded(&third).await;
    assert!(time(&second["started_at"]) >= time(&first["finished_at"]), "{second:#}");
    assert!(time(&third["started_at"]) >= time(&second["finished_at"]), "{third:#}");
    assert!(time(&beside["finished_at"]) <= time(&first["finished_at"]), "{beside:#}");
    // Each end wakes the next one, which need not wait for a look at the tables that comes once a second anyway.
    for _ in [&first, &second, &third] {
        let wake = tokio::time::timeout(PATIENCE, wakes.recv()).await;
        wake.expect("the end of a build wakes workers").unwrap();
    }
    let mut images = vec![third["artifacts"][0]["id"].clone(), beside["artifacts"][0]["id"].clone()];
    images.sort_by_key(ToString::to_string);
    assert_eq!(app.sandbox.resources().await["images"], Value::Array(images));
}

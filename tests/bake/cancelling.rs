//! Cancelling at every step: the build ends as cancelled, and nothing of it is left.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, eventually},
    template::{builder, machineless, shell, template, with},
};

/// Cancels a build when it is in this step, held there by the fault; checks what is left.
async fn cancel_at(app: &TestApp, step: &str, fault: Option<Value>, request: &Value) {
    if let Some(fault) = &fault {
        app.sandbox.fault(fault.clone()).await;
    }
    let before = app.sandbox.resources().await;
    let id = app.post_build(request).await;
    eventually(&format!("{step} runs"), || async {
        app.steps(&id).await.get(step).is_some_and(|state| state == "running")
            && !app.sandbox.is_waiting_to_strike().await
    })
    .await;
    assert_eq!(app.cancel(&id).await.status(), StatusCode::ACCEPTED);
    // Asking twice changes nothing.
    assert_eq!(app.cancel(&id).await.status(), StatusCode::ACCEPTED);
    let build = app.wait_build(&id).await;
    let log = app.log(&id).await;
    assert_eq!(
        (&build["state"], &build["error"]["code"]),
        (&"cancelled".into(), &"cancelled".into()),
        "{step}: {build:#}\n{log}"
    );
    assert_eq!((&build["leftovers"], &build["artifacts"]), (&json!([]), &json!([])), "{step}");
    let steps = app.steps(&id).await;
    assert!(!steps.values().any(|state| state == "running"), "{step}: {steps:?}");
    assert_eq!(app.sandbox.resources().await, before, "{step}:\n{log}");
    app.sandbox.clear_faults().await;
}

fn slow(action: &str, nth: u32) -> Option<Value> {
    Some(json!({ "action": action, "nth": nth, "delay_ms": 600 }))
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_build_can_be_cancelled_at_every_step_up_to_the_launch(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    let subnet = app.sandbox.all_resources().await["subnets"][0].clone();
    let builder = with(
        builder("image-x"),
        json!({ "associate_public_ip_address": true, "subnet_id": subnet, "temporary_key_pair_name": "k" }),
    );
    let request = template(builder, json!([]));
    for (step, action) in [
        ("check_credentials", "ReadAccounts"),
        ("resolve_source", "ReadImages"),
        ("check_name", "ReadImages"),
        ("resolve_network", "ReadSubnets"),
        ("make_key", "ReadKeypairs"),
        ("open_security_group", "CreateSecurityGroup"),
        ("open_security_group", "CreateSecurityGroupRule"),
        ("allocate_public_ip", "CreatePublicIp"),
        ("create_keypair", "CreateKeypair"),
        ("launch_vm", "CreateVms"),
    ] {
        cancel_at(&app, step, slow(action, 1), &request).await;
    }
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_build_can_be_cancelled_at_every_step_behind_the_launch(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    let options = json!({ "omi_account_ids": ["123456789012"], "tags": { "a": "b" } });
    let request = template(with(machineless("image-x"), options), json!([]));
    for (step, fault) in [
        ("wait_for_vm", slow("ReadVms", 1)),
        ("stop_vm", slow("StopVms", 1)),
        ("create_omi", slow("CreateImage", 1)),
        ("wait_for_omi", slow("ReadImages", 3)),
        ("share_omi", slow("UpdateImage", 1)),
        ("tag_omi", slow("CreateTags", 4)),
    ] {
        cancel_at(&app, step, fault, &request).await;
    }
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_build_can_be_cancelled_while_it_connects_and_provisions(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let closed = with(builder("image-x"), json!({ "security_group_id": app.closed_group().await }));
    cancel_at(&app, "connect", None, &template(closed, json!([]))).await;
    cancel_at(&app, "provision", None, &template(builder("image-x"), json!([shell(&["sleep 60"])]))).await;
    cancel_at(
        &app,
        "provision",
        None,
        &template(builder("image-x"), json!([{ "type": "sleep", "duration": "60s" }])),
    )
    .await;
    let never_stops = with(builder("image-x"), json!({ "disable_stop_vm": true }));
    cancel_at(&app, "stop_vm", None, &template(never_stops, json!([shell(&["true"])]))).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_build_that_waits_in_the_queue_is_cancelled_at_once_and_one_that_has_ended_not_at_all(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.fault(json!({ "action": "CreateVms", "delay_ms": 1500 })).await;
    let request = template(machineless("same"), json!([]));
    let first = app.post_build(&request).await;
    app.wait_until(&first, "it runs", |build| build["state"] == "running").await;
    let second = app.post_build(&request).await;
    assert_eq!(app.cancel(&second).await.status(), StatusCode::ACCEPTED);
    let build = app.wait_build(&second).await;
    assert_eq!((&build["state"], &build["started_at"]), (&"cancelled".into(), &json!(null)), "{build:#}");
    app.succeeded(&app.wait_build(&first).await).await;
    let answer = app.cancel(&first).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert!(answer.json::<Value>().await.unwrap()["detail"].as_str().unwrap().contains("succeeded"));
}

//! Cancelling at every step: the build ends as cancelled, and nothing of it is left. Only at the last one it is too late.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, eventually, id_of},
    template::{builder, machineless, shell, template, with},
};

/// Cancels a build when it is in all these steps, held there by the fault (or for ever by itself), and lets the held calls go
/// only when the worker knows that it has to stop; answers the build when it has ended.
async fn end_of_cancelled(app: &TestApp, steps: &[&str], fault: Option<Value>, request: &Value) -> Value {
    if let Some(fault) = fault {
        app.sandbox.fault(fault).await;
    }
    let id = app.post_build(request).await;
    eventually(&format!("{steps:?} run"), || async {
        let states = app.steps(&id).await;
        steps.iter().all(|step| states.get(*step).is_some_and(|state| state == "running"))
            && !app.sandbox.is_waiting_to_strike().await
    })
    .await;
    assert_eq!(app.cancel(&id).await.status(), StatusCode::ACCEPTED);
    // Asking twice changes nothing.
    assert_eq!(app.cancel(&id).await.status(), StatusCode::ACCEPTED);
    app.worker_has_looked().await;
    app.sandbox.clear_faults().await;
    let build = app.wait_build(&id).await;
    let states = app.steps(&id).await;
    assert!(!states.values().any(|state| state == "running"), "{steps:?}: {states:?}");
    assert_eq!(build["leftovers"], json!([]), "{steps:?}: {build:#}");
    build
}

/// The same; it must end as cancelled, and nothing may be left.
async fn cancel_at(app: &TestApp, steps: &[&str], fault: Option<Value>, request: &Value) {
    let before = app.sandbox.resources().await;
    let build = end_of_cancelled(app, steps, fault, request).await;
    assert_cancelled(app, steps, &build).await;
    assert_eq!(app.sandbox.resources().await, before, "{steps:?}:\n{}", app.log(id_of(&build)).await);
}

async fn assert_cancelled(app: &TestApp, steps: &[&str], build: &Value) {
    assert_eq!(
        (&build["state"], &build["error"]["code"], &build["artifacts"]),
        (&"cancelled".into(), &"cancelled".into(), &json!([])),
        "{steps:?}: {build:#}\n{}",
        app.log(id_of(build)).await
    );
}

fn hold(action: &str, nth: u32) -> Option<Value> {
    Some(json!({ "action": action, "nth": nth, "hold": true }))
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
    cancel_at(&app, &["check_credentials"], hold("ReadAccounts", 1), &request).await;
    // Beside each other, and nobody knows whose call comes first.
    let both = json!({ "action": "ReadImages", "times": 2, "hold": true });
    cancel_at(&app, &["resolve_source", "check_name"], Some(both), &request).await;
    for (step, action) in [
        ("resolve_network", "ReadSubnets"),
        ("make_key", "ReadKeypairs"),
        ("open_security_group", "CreateSecurityGroup"),
        ("open_security_group", "CreateSecurityGroupRule"),
        ("allocate_public_ip", "CreatePublicIp"),
        ("create_keypair", "CreateKeypair"),
        ("launch_vm", "CreateVms"),
    ] {
        cancel_at(&app, &[step], hold(action, 1), &request).await;
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
        ("wait_for_vm", hold("ReadVms", 1)),
        ("stop_vm", hold("StopVms", 1)),
        ("create_omi", hold("CreateImage", 1)),
        ("wait_for_omi", hold("ReadImages", 3)),
        ("share_omi", hold("UpdateImage", 1)),
        ("tag_omi", hold("CreateTags", 4)),
    ] {
        cancel_at(&app, &[step], fault, &request).await;
    }
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_build_can_be_cancelled_while_it_replaces_an_omi_until_the_new_one_is_ready(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    let options = json!({ "force_deregister": true, "force_delete_snapshot": true });
    let request = template(with(machineless("image-x"), options), json!([]));
    let old = app.bake_well(&request).await;

    // The old OMI goes all the same: it was asked for already. What it can be made of again stays.
    let build = end_of_cancelled(&app, &["free_name"], hold("DeleteImage", 1), &request).await;
    assert_cancelled(&app, &["free_name"], &build).await;
    let mut left = app.sandbox.resources().await;
    assert_eq!((&left["images"], &left["snapshots"]), (&json!([]), &old["artifacts"][0]["snapshots"]));

    // At the last step the new OMI is ready and the old one gone: to remove the new one now would leave none.
    let old = app.bake_well(&request).await;
    let build = end_of_cancelled(&app, &["replace_omi"], hold("DeleteSnapshot", 1), &request).await;
    app.succeeded(&build).await;
    let new = &build["artifacts"][0];
    assert_ne!(new["id"], old["artifacts"][0]["id"]);
    left["images"] = json!([new["id"]]);
    let snapshots = left["snapshots"].as_array_mut().unwrap();
    snapshots.extend(new["snapshots"].as_array().unwrap().clone());
    snapshots.sort_by_key(ToString::to_string);
    assert_eq!(app.sandbox.resources().await, left);
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_build_can_be_cancelled_while_it_connects_and_provisions(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let group = app.closed_group().await;
    let closed = with(builder("image-x"), json!({ "security_group_id": group, "ssh_timeout": "1h" }));
    let provisioned = |provisioner| template(builder("image-x"), json!([provisioner]));
    let never_stops = with(builder("image-x"), json!({ "disable_stop_vm": true }));
    // Nothing has to hold these: they would go on for an hour.
    for (step, request) in [
        ("connect", template(closed, json!([]))),
        ("provision", provisioned(shell(&["sleep 3600"]))),
        ("provision", provisioned(json!({ "type": "sleep", "duration": "1h" }))),
        ("stop_vm", template(never_stops, json!([shell(&["true"])]))),
    ] {
        cancel_at(&app, &[step], None, &request).await;
    }
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_build_that_waits_in_the_queue_is_cancelled_at_once_and_one_that_has_ended_not_at_all(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.fault(json!({ "action": "CreateVms", "hold": true })).await;
    let request = template(machineless("same"), json!([]));
    let first = app.post_build(&request).await;
    app.sandbox.until_held().await;
    let second = app.post_build(&request).await;
    assert_eq!(app.cancel(&second).await.status(), StatusCode::ACCEPTED);
    let build = app.wait_build(&second).await;
    assert_eq!((&build["state"], &build["started_at"]), (&"cancelled".into(), &json!(null)), "{build:#}");
    app.sandbox.clear_faults().await;
    app.succeeded(&app.wait_build(&first).await).await;
    let answer = app.cancel(&first).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert!(answer.json::<Value>().await.unwrap()["detail"].as_str().unwrap().contains("succeeded"));
}

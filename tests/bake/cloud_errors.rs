//! What the cloud refuses or fails at: each told clearly, with everything that was made until then removed.

use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, eventually},
    sandbox::Machines,
    template::{builder, machineless, template, with},
};

fn bake_of(builder: Value) -> Value {
    template(builder, json!([]))
}

fn detail(error: &Value) -> &str {
    error["detail"].as_str().unwrap()
}

fn hint(error: &Value) -> &str {
    error["hint"].as_str().unwrap_or_default()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_wrong_secret_key_fails_the_first_step(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::start(database, Machines::None, &[("OSC_SECRET_KEY", "NOT0THE0KEY")]).await;
    let error = app.bake_badly(&bake_of(machineless("image-x")), "oapi_unauthorized").await;
    assert_eq!(error["step"], "check_credentials");
    assert!(hint(&error).contains("key"), "{error:#}");
    assert_eq!(error["retryable"], false);
    assert!(!error.to_string().contains("NOT0THE0KEY"));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn an_unknown_access_key_fails_the_first_step(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::start(database, Machines::None, &[("OSC_ACCESS_KEY", "NOBODYS0KEY000000000")]).await;
    let error = app.bake_badly(&bake_of(machineless("image-x")), "oapi_unauthorized").await;
    assert_eq!((&error["step"], &error["oapi"]["action"].is_string()), (&"check_credentials".into(), &true));
    assert!(error["oapi"]["request_id"].is_string(), "{error:#}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn keys_that_are_missing_are_told_with_where_they_were_sought(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app =
        TestApp::start(database, Machines::None, &[("OSC_ACCESS_KEY", ""), ("OSC_SECRET_KEY", "")]).await;
    let error = app.bake_badly(&bake_of(machineless("image-x")), "credentials_missing").await;
    assert!(detail(&error).contains("OSC_ACCESS_KEY"), "{error:#}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_clock_that_is_wrong_by_an_hour_is_told_in_seconds(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.post("clock", json!({ "skew_seconds": 3600 })).await;
    let error = app.bake_badly(&bake_of(machineless("image-x")), "clock_skew").await;
    let text = format!("{} {}", detail(&error), hint(&error));
    // On a busy machine the answer, and the time in it, may be some seconds old.
    let seconds =
        text.split_whitespace().find_map(|word| word.parse::<u32>().ok().filter(|count| *count > 999));
    assert!(seconds.is_some_and(|seconds| (3500..=3601).contains(&seconds)), "{error:#}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn the_source_omi_must_be_found_and_be_one(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let from = |filter: Value| bake_of(with(machineless("image-x"), json!({ "source_omi_filter": filter })));
    let none = json!({ "filters": { "image-name": "huge-*" }, "owners": ["Outscale"] });
    let error = app.bake_badly(&from(none), "source_omi_not_found").await;
    assert!(detail(&error).contains("huge-*"), "{error:#}");

    let mut by_id = with(machineless("image-x"), json!({ "source_omi": "ami-00000000" }));
    by_id.as_object_mut().unwrap().remove("source_omi_filter");
    let error = app.bake_badly(&bake_of(by_id), "source_omi_not_found").await;
    assert!(detail(&error).contains("ami-00000000"), "{error:#}");

    for name in ["twin-1", "twin-2"] {
        app.bake_well(&bake_of(machineless(name))).await;
    }
    let twins = |most_recent: bool| json!({ "filters": { "image-name": "twin-*" }, "owners": ["self"], "most_recent": most_recent });
    let error = app.bake_badly(&from(twins(false)), "source_omi_ambiguous").await;
    assert!(detail(&error).starts_with('2') && hint(&error).contains("most_recent"), "{error:#}");
    app.bake_well(&from(twins(true))).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_taken_name_is_told_before_anything_is_made_unless_it_may_be_replaced(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    let first = app.bake_well(&bake_of(machineless("taken"))).await;
    let launched = app.sandbox.calls("CreateVms").await.len();
    let error = app.bake_badly(&bake_of(machineless("taken")), "omi_name_taken").await;
    assert!(detail(&error).contains(first["artifacts"][0]["id"].as_str().unwrap()), "{error:#}");
    assert!(hint(&error).contains("force_deregister"));
    assert_eq!(app.sandbox.calls("CreateVms").await.len(), launched);

    let replacing =
        with(machineless("taken"), json!({ "force_deregister": true, "force_delete_snapshot": true }));
    let second = app.bake_well(&bake_of(replacing.clone())).await;
    let living = app.sandbox.resources().await;
    assert_eq!(living["images"], json!([second["artifacts"][0]["id"]]));
    assert_eq!(living["snapshots"], second["artifacts"][0]["snapshots"]);

    // Its name had to be freed first; what it was made of is still there.
    app.sandbox.fault(json!({ "action": "CreateImage", "state": "failed" })).await;
    let error = app.bake_badly(&bake_of(replacing), "resource_failed").await;
    assert_eq!(error["step"], "wait_for_omi");
    assert_eq!(app.sandbox.resources().await["snapshots"], living["snapshots"]);
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn quota_and_capacity_are_told_with_the_clouds_own_code(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.post("limits", json!({ "quotas": { "vms": 0 } })).await;
    let error = app.bake_badly(&bake_of(machineless("image-x")), "oapi_quota").await;
    assert_eq!((&error["step"], &error["oapi"]["action"]), (&"launch_vm".into(), &"CreateVms".into()));
    assert!(error["oapi"]["code"].is_string() && error["oapi"]["request_id"].is_string(), "{error:#}");
    app.sandbox.post("limits", json!({ "quotas": { "vms": null, "images": 0 } })).await;
    let error = app.bake_badly(&bake_of(machineless("image-x")), "oapi_quota").await;
    assert_eq!(error["step"], "create_omi");
    app.sandbox.post("limits", json!({ "quotas": { "images": null } })).await;

    app.sandbox.fault(json!({ "action": "CreateVms", "code": 10001, "times": 100 })).await;
    let error = app.bake_badly(&bake_of(machineless("image-x")), "oapi_capacity").await;
    assert_eq!(error["retryable"], true);
    app.sandbox.clear_faults().await;
    app.bake_well(&bake_of(machineless("image-x"))).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_resource_that_fails_by_itself_ends_the_build(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.fault(json!({ "action": "CreateVms", "state": "terminated" })).await;
    let error = app.bake_badly(&bake_of(machineless("image-x")), "resource_failed").await;
    assert!(detail(&error).contains("terminated"), "{error:#}");
    app.sandbox.fault(json!({ "action": "CreateImage", "state": "failed" })).await;
    let error = app.bake_badly(&bake_of(machineless("image-x")), "resource_failed").await;
    assert_eq!(error["step"], "wait_for_omi");
    assert!(detail(&error).contains("failed"), "{error:#}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_cloud_that_is_gone_or_busy_for_a_moment_does_not_end_the_build(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    for fault in [
        json!({ "action": "ReadAccounts", "status": 503, "times": 2 }),
        json!({ "action": "CreateVms", "drop": "after" }),
        json!({ "action": "CreateVms", "invisible_ms": 300 }),
        json!({ "action": "CreateImage", "drop": "after" }),
        json!({ "action": "ReadVms", "body": "<html>Bad Gateway</html>", "status": 502 }),
        json!({ "action": "CreateTags", "drop": "before" }),
        json!({ "action": "DeleteVms", "drop": "after" }),
    ] {
        app.sandbox.fault(fault.clone()).await;
        let build =
            app.bake(&bake_of(machineless(&format!("after {}", fault["action"].as_str().unwrap())))).await;
        app.sandbox.clear_faults().await;
        app.succeeded(&build).await;
        // A second one of the same action needs a name of its own.
        let id = build["artifacts"][0]["id"].as_str().unwrap();
        let request = fournil::oapi::types::DeleteImage { image_id: id.to_owned() };
        app.cloud().call(&request).await.unwrap();
    }
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn what_a_slow_call_without_an_answer_made_is_found_again(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    // The call lasts longer than the settle time, and then its effect is invisible for a while.
    let late = json!({ "action": "CreateKeypair", "delay_ms": 1500, "drop": "after", "invisible_ms": 700 });
    app.sandbox.fault(late).await;
    app.sandbox.fault(json!({ "action": "CreateVms", "code": 10001, "times": 100 })).await;
    app.bake_badly(&bake_of(builder("image-x")), "oapi_capacity").await;
    assert_eq!(app.sandbox.resources().await["keypairs"], json!([]));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn what_a_slow_call_makes_beside_a_failed_one_is_removed_too(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    // All happen at the same time; those that are held end when the other has failed.
    app.sandbox.fault(json!({ "action": "CreateSecurityGroup", "code": 10022, "status": 400 })).await;
    for action in ["CreateKeypair", "CreatePublicIp"] {
        app.sandbox.fault(json!({ "action": action, "hold": true })).await;
    }
    let builder = with(builder("image-x"), json!({ "associate_public_ip_address": true }));
    let id = app.post_build(&bake_of(builder)).await;
    eventually("one has failed", || async {
        app.steps(&id).await.get("open_security_group").is_some_and(|state| state == "failed")
    })
    .await;
    app.sandbox.until_held().await;
    app.sandbox.clear_faults().await;
    let build = app.wait_build(&id).await;
    assert_eq!(
        (&build["state"], &build["error"]["step"]),
        (&"failed".into(), &"open_security_group".into()),
        "{build:#}"
    );
    eventually("the held calls have ended", || async {
        app.sandbox.calls("CreateKeypair").await.len() == 1
            && app.sandbox.calls("CreatePublicIp").await.len() == 1
    })
    .await;
    let living = app.sandbox.resources().await;
    assert_eq!((&living["keypairs"], &living["public_ips"]), (&json!([]), &json!([])));
}

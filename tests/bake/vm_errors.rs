//! What goes wrong between fournil and the VM: getting in, and what scripts do there.

use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, id_of},
    template::{builder, shell, template, with},
};

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_port_that_no_group_opens_is_told_after_the_timeout(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let closed = with(
        builder("image-x"),
        json!({ "security_group_id": app.closed_group().await, "ssh_timeout": "2s" }),
    );
    let build = app.bake(&template(closed, json!([]))).await;
    let code = build["error"]["code"].as_str().unwrap_or_default().to_owned();
    assert!(["ssh_timeout", "ssh_refused", "ssh_no_banner"].contains(&code.as_str()), "{build:#}");
    let error = app.failed(&build, &code).await;
    assert_eq!(error["step"], "connect");
    assert!(error["detail"].as_str().unwrap().contains("within 2s"), "{error:#}");
    assert!(
        ["port", "security group"].iter().any(|word| error["hint"].as_str().unwrap().contains(word)),
        "{error:#}"
    );
    assert!(app.log(id_of(&build)).await.contains("console"));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_user_that_the_vm_does_not_know_is_told_as_such(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let wrong = with(builder("image-x"), json!({ "ssh_username": "ubuntu", "ssh_handshake_attempts": 3 }));
    let error = app.bake_badly(&template(wrong, json!([])), "ssh_auth").await;
    assert!(error["detail"].as_str().unwrap().contains("ubuntu"), "{error:#}");
    assert!(error["hint"].as_str().unwrap().contains("ssh_username"), "{error:#}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_failing_script_fails_the_build_with_its_code_and_last_lines(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let script = shell(&["echo about to fail >&2", "exit 3"]);
    let mut with_cleanup = template(builder("image-x"), json!([shell(&["true"]), script.clone()]));
    with_cleanup["error-cleanup-provisioner"] = shell(&["echo cleaning in the VM"]);
    let build = app.bake(&with_cleanup).await;
    let error = app.failed(&build, "provisioner_failed").await;
    assert!(error["detail"].as_str().unwrap().contains('3'), "{error:#}");
    assert!(error.to_string().contains("about to fail"), "{error:#}");
    assert_eq!(error["step"], "provision");
    assert!(app.log(id_of(&build)).await.contains("cleaning in the VM"));

    let allowed = with(script, json!({ "valid_exit_codes": [0, 3] }));
    app.bake_well(&template(builder("image-y"), json!([allowed]))).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_provisioner_has_its_time_and_its_retries(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let slow = with(shell(&["echo begun", "sleep 3600"]), json!({ "timeout": "1s" }));
    let error = app.bake_badly(&template(builder("slow"), json!([slow])), "provisioner_timeout").await;
    assert!(
        error["detail"].as_str().unwrap().contains("1s") || error["detail"].as_str().unwrap().contains("1 s"),
        "{error:#}"
    );

    // Fails twice, then not any more.
    let lines =
        ["n=$(cat /tmp/n 2>/dev/null || echo 0)", "echo $((n+1)) > /tmp/n", "echo try $n", "test $n -ge 2"];
    let retried = |max_retries: u32| with(shell(&lines), json!({ "max_retries": max_retries }));
    let build = app.bake_well(&template(builder("retried"), json!([retried(2)]))).await;
    let log = app.log(id_of(&build)).await;
    assert!(log.contains("try 0") && log.contains("try 1") && log.contains("try 2"), "{log}");
    app.bake_badly(&template(builder("given up"), json!([retried(1)])), "provisioner_failed").await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_vm_that_ends_while_it_is_provisioned_fails_the_build(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let id = app
        .post_build(&template(builder("image-x"), json!([shell(&["echo the script runs", "sleep 3600"])])))
        .await;
    crate::app::eventually("the script runs", || async {
        app.log(&id).await.contains("    osc-bsu: the script runs\n")
    })
    .await;
    let living = app.sandbox.resources().await;
    let vm_ids: Vec<String> = serde_json::from_value(living["vms"].clone()).unwrap();
    app.cloud().call(&fournil::oapi::types::DeleteVms { vm_ids }).await.unwrap();
    let build = app.wait_build(&id).await;
    let code = build["error"]["code"].as_str().unwrap_or_default();
    assert!(["provisioner_disconnected", "ssh_lost"].contains(&code), "{build:#}");
    app.failed(&build, code).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_build_has_its_time_too(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let template: Value = template(builder("image-x"), json!([shell(&["sleep 3600"])]));
    let build = app.bake(&json!({ "template": template, "timeout": "3s" })).await;
    assert_eq!(
        (&build["state"], &build["error"]["code"]),
        (&"failed".into(), &"build_timeout".into()),
        "{build:#}"
    );
    assert_eq!(build["leftovers"], json!([]));
}

//! What a failed build leaves when it is told to: things kept for a while, a VM held for a person, and how both go on.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, eventually, is_final},
    template::{builder, machineless, shell, template, with},
};

/// A build of this template with what is to happen after an error.
fn after_error(template: Value, options: Value) -> Value {
    with(json!({ "template": template }), options)
}

/// A bake without a way into the VM, whose last step but some fails.
async fn failing_at_the_omi(app: &TestApp, options: Value) -> Value {
    app.sandbox.fault(json!({ "action": "CreateImage", "code": 10022, "status": 400 })).await;
    let request = after_error(template(machineless("image-x"), json!([])), options);
    let id = app.post_build(&request).await;
    app.wait_until(&id, "it is held or has ended", |build| {
        is_final(build) || !build["runs"][0]["held"].is_null()
    })
    .await
}

fn id(build: &Value) -> &str {
    build["id"].as_str().unwrap()
}

async fn nothing_is_left(app: &TestApp, build: &Value) {
    eventually("everything is removed", || async {
        let build = app.get(&format!("/builds/{}", id(build))).await;
        build["runs"][0]["cleanup"] == "done" && build["leftovers"] == json!([])
    })
    .await;
}

/// The ids of what lives in the cloud.
async fn living(app: &TestApp) -> Vec<String> {
    let living = app.sandbox.resources().await;
    let kinds = living.as_object().unwrap().values();
    kinds.flat_map(|ids| ids.as_array().unwrap()).map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn what_an_aborted_build_made_is_listed_and_removed_when_somebody_says_so(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    let build = failing_at_the_omi(&app, json!({ "on_error": "abort" })).await;
    assert_eq!((&build["state"], &build["on_error"]), (&"failed".into(), &"abort".into()), "{build:#}");
    let run = &build["runs"][0];
    assert_eq!(run["cleanup"], "pending");
    let kept_until: chrono::DateTime<chrono::Utc> = run["kept_until"].as_str().unwrap().parse().unwrap();
    assert!(kept_until > chrono::Utc::now() + chrono::TimeDelta::hours(23));
    let mut listed: Vec<String> = build["leftovers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    let mut living = living(&app).await;
    listed.sort();
    living.sort();
    assert_eq!(listed, living, "what lives is what the build lists");
    assert!(living.iter().any(|id| id.starts_with("i-")), "the VM is there: {living:?}");
    let log = app.log(id(&build)).await;
    assert!(log.contains("kept for 24h: ") && log.contains("VM i-"), "{log}");
    let metrics = app.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("\nfournil_runs_kept 1\n") && metrics.contains("\nfournil_cleanups_open 0\n"),
        "{metrics}"
    );

    let path = format!("/builds/{}/cleanup", id(&build));
    assert_eq!(app.post(&path, &json!({})).await.status(), StatusCode::ACCEPTED);
    nothing_is_left(&app, &build).await;
    assert_eq!(app.post(&path, &json!({})).await.status(), StatusCode::OK);
    assert_eq!(app.get(&format!("/builds/{}", id(&build))).await["state"], "failed");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn what_is_kept_goes_when_its_time_is_over(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let build = failing_at_the_omi(&app, json!({ "on_error": "abort", "keep_for": "1s" })).await;
    assert_eq!(build["state"], "failed");
    nothing_is_left(&app, &build).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_held_build_waits_and_its_name_is_free_for_others(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let build = failing_at_the_omi(&app, json!({ "on_error": "hold" })).await;
    let run = &build["runs"][0];
    assert_eq!(
        (&build["state"], &run["state"], &run["step"]),
        (&"running".into(), &"running".into(), &"held".into()),
        "{build:#}"
    );
    assert_eq!(run["error"]["step"], "create_omi");
    assert!(run["held"]["vm"].as_str().unwrap().starts_with("i-"));
    assert!(run["held_until"].is_string());
    let metrics = app.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\nfournil_runs_held 1\n"), "{metrics}");
    // Whoever mends the template can bake at once.
    app.bake_well(&template(machineless("image-x"), json!([]))).await;
    // It has not ended, so there is nothing to clean up or to ask for again.
    let path = format!("/builds/{}", id(&build));
    for verb in ["cleanup", "retry"] {
        assert_eq!(app.post(&format!("{path}/{verb}"), &json!({})).await.status(), StatusCode::CONFLICT);
    }
    for (body, status) in [
        (json!({ "then": "explode" }), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({ "after": "cleanup" }), StatusCode::UNPROCESSABLE_ENTITY),
        (json!([]), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({ "run": "nobody" }), StatusCode::CONFLICT),
    ] {
        assert_eq!(app.post(&format!("{path}/release"), &body).await.status(), status, "{body}");
    }
    let release = app.request(Method::POST, &format!("{path}/release")).send().await.unwrap();
    assert_eq!(release.status(), StatusCode::ACCEPTED, "an empty body stands for cleanup");
    let build = app.wait_build(id(&build)).await;
    app.failed(&build, "oapi_quota").await;
    // The same again is the same; something else is too late.
    assert_eq!(app.post(&format!("{path}/release"), &json!({})).await.status(), StatusCode::ACCEPTED);
    let late = app.post(&format!("{path}/release"), &json!({ "then": "keep" })).await;
    assert_eq!(late.status(), StatusCode::CONFLICT);
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_held_build_runs_its_failed_step_again(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let build = failing_at_the_omi(&app, json!({ "on_error": "hold" })).await;
    let path = format!("/builds/{}/release", id(&build));
    assert_eq!(app.post(&path, &json!({ "then": "retry" })).await.status(), StatusCode::ACCEPTED);
    let build = app.wait_build(id(&build)).await;
    app.succeeded(&build).await;
    assert_eq!(app.sandbox.calls("CreateVms").await.len(), 1, "it went on with the VM that it had");
    assert_eq!(build["runs"][0]["attempt"], 1);
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_hold_ends_by_itself_or_with_a_cancel_or_as_kept(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let build = failing_at_the_omi(&app, json!({ "on_error": "hold", "keep_for": "1s" })).await;
    let build = app.wait_build(id(&build)).await;
    app.failed(&build, "oapi_quota").await;

    let build = failing_at_the_omi(&app, json!({ "on_error": "hold" })).await;
    assert_eq!(app.cancel(id(&build)).await.status(), StatusCode::ACCEPTED);
    let build = app.wait_build(id(&build)).await;
    app.failed(&build, "oapi_quota").await;

    let build = failing_at_the_omi(&app, json!({ "on_error": "hold" })).await;
    app.post(&format!("/builds/{}/release", id(&build)), &json!({ "then": "keep" })).await;
    let build = app.wait_build(id(&build)).await;
    assert!(build["runs"][0]["kept_until"].is_string(), "{build:#}");
    assert_ne!(living(&app).await, [""; 0]);
    app.post(&format!("/builds/{}/cleanup", id(&build)), &json!({})).await;
    nothing_is_left(&app, &build).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn nothing_is_held_or_kept_where_nothing_was_made(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    for on_error in ["hold", "abort"] {
        let builder = with(machineless("image-x"), json!({ "source_omi": "ami-00000000" }));
        let request = after_error(template(builder, json!([])), json!({ "on_error": on_error }));
        app.bake_badly(&request, "source_omi_not_found").await;
    }
    let request = after_error(template(machineless("image-x"), json!([])), json!({ "on_error": "abort" }));
    app.sandbox.fault(json!({ "action": "CreateVms", "hold": true })).await;
    let id = app.post_build(&request).await;
    eventually("the VM is being asked for", || async { !app.sandbox.is_waiting_to_strike().await }).await;
    app.cancel(&id).await;
    app.sandbox.clear_faults().await;
    let build = app.wait_build(&id).await;
    assert_eq!(
        (&build["state"], &build["leftovers"]),
        (&"cancelled".into(), &json!([])),
        "who cancels wants it gone"
    );
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_person_gets_into_the_held_vm_mends_it_and_the_build_succeeds(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let provisioners = json!([
        shell(&["test -e /tmp/mended", "echo all is well"]),
        // Only those keys of `authorized_keys` are of this run that it marks.
        shell(&["grep -c fournil: ~/.ssh/authorized_keys"])
    ]);
    let request = after_error(
        template(builder("image-x"), provisioners),
        json!({ "on_error": "ask", "authorized_keys": [public.trim()] }),
    );
    let id = app.post_build(&request).await;
    let build = app.wait_until(&id, "it is held", |build| !build["runs"][0]["held"].is_null()).await;
    let held = &build["runs"][0]["held"];
    assert_eq!((&held["user"], &held["authorized_keys"]), (&"outscale".into(), &json!(1)), "{held:#}");
    let ssh = tokio::process::Command::new("ssh")
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "IdentitiesOnly=yes",
        ])
        .arg("-i")
        .arg(&key)
        .args(held["ssh"].as_str().unwrap().split(' ').skip(1))
        .arg("touch /tmp/mended")
        .output()
        .await
        .unwrap();
    assert!(ssh.status.success(), "{ssh:?}");
    app.post(&format!("/builds/{id}/release"), &json!({ "then": "retry" })).await;
    let build = app.wait_build(&id).await;
    app.succeeded(&build).await;
    let log = app.log(&id).await;
    assert!(log.contains("all is well"), "{log}");
    // Whoever was let in must not be let into every VM of the OMI.
    assert!(log.contains("took your keys out of the VM"), "{log}");
    assert_eq!(build["runs"][0]["attempt"], 1);
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn the_cleanup_provisioner_runs_unless_the_build_is_aborted(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    for (on_error, runs) in [("cleanup", true), ("run-cleanup-provisioner", true), ("abort", false)] {
        let mut template = template(builder("image-x"), json!([shell(&["echo broken >/tmp/why", "exit 3"])]));
        template["error-cleanup-provisioner"] = json!({ "type": "file", "direction": "download", "source": "/tmp/why", "destination": "why.txt" });
        let id = app.post_build(&after_error(template, json!({ "on_error": on_error }))).await;
        let build = app.wait_build(&id).await;
        assert_eq!(build["state"], "failed");
        let files = app.get(&format!("/builds/{id}/files")).await;
        let kept = files["files"].as_array().unwrap().iter().any(|file| file["path"] == "why.txt");
        assert_eq!(kept, runs, "{on_error}: {files:#}");
        assert_eq!(build["runs"][0]["kept_until"].is_string(), on_error != "cleanup", "{on_error}");
        app.post(&format!("/builds/{id}/cleanup"), &json!({})).await;
        eventually("it is clean", || async {
            let build = app.get(&format!("/builds/{id}")).await;
            build["runs"][0]["cleanup"] == "done"
        })
        .await;
    }
}

//! What happens behind a provisioner that failed, on the worker's host, and to the artifact once it is made.

use fournil::config::Capability;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, id_of, is_final},
    sandbox::{ACCESS_KEY, Machines, SECRET_KEY},
    template::{builder, machineless, shell, template, with},
};

fn with_post_processors(mut template: Value, post_processors: Value) -> Value {
    template["post-processors"] = post_processors;
    template
}

fn manifest_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_downloaded_file_is_summed_and_stands_in_the_manifest(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let provisioners = json!([
        { "type": "file", "content": "made on {{build `ID`}}", "destination": "/home/{{build `User`}}/report" },
        { "type": "file", "direction": "download", "source": "/home/{{build `User`}}/report", "destination": "out/" },
    ]);
    let post_processors = json!([
        "manifest",
        [
            { "type": "artifice", "files": ["out/*"] },
            { "type": "checksum", "checksum_types": ["sha256"], "output": "sums/{{.BuildName}}.{{.ChecksumType}}" },
            { "type": "manifest", "strip_path": true, "custom_data": { "vm": "{{build `ID`}}", "of": "{{build `PackerRunUUID`}}" } },
        ],
        { "type": "manifest", "name": "left-out", "output": "left-out.json" },
    ]);
    let template = with_post_processors(template(builder("summed"), provisioners), post_processors);
    let build = app.bake_well(&json!({ "template": template, "except": ["left-out"] })).await;
    let id = id_of(&build);

    assert_eq!(
        app.files(id).await,
        ["osc-bsu/out/report", "osc-bsu/packer-manifest.json", "osc-bsu/sums/osc-bsu.sha256"]
    );
    let report = app.file(id, "osc-bsu/out/report").await;
    let vm = report.strip_prefix("made on ").unwrap();
    assert!(vm.starts_with("i-"), "{report}");
    let sum = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&report));
    let line = format!("{sum}\treport\n");
    assert_eq!(app.file(id, "osc-bsu/sums/osc-bsu.sha256").await, line);
    let manifest = manifest_of(&app.file(id, "osc-bsu/packer-manifest.json").await);
    assert_eq!(manifest["last_run_uuid"], id);
    let [omi, files] = manifest["builds"].as_array().unwrap().as_slice() else { panic!("{manifest:#}") };
    let artifact = format!("eu-west-2:{}", build["artifacts"][0]["id"].as_str().unwrap());
    assert_eq!((&omi["artifact_id"], &omi["files"]), (&artifact.into(), &json!(null)));
    assert!(omi["build_time"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!(
        files["files"],
        json!([{ "name": "report", "size": report.len() }, { "name": "osc-bsu.sha256", "size": line.len() }])
    );
    assert_eq!(files["custom_data"], json!({ "vm": vm, "of": id }));
    // The service's own manifest is of the OMI.
    assert_eq!(
        app.get(&format!("/builds/{id}/manifest")).await["builds"][0]["artifact_id"],
        omi["artifact_id"]
    );
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn runs_share_one_manifest(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let named = |name: &str| with(machineless(&format!("{name}-omi")), json!({ "name": name }));
    let template = json!({
        "builders": [named("one"), named("two"), named("three")], "post-processors": ["manifest", "checksum"],
    });
    let build = app.bake_well(&template).await;
    assert_eq!(app.files(id_of(&build)).await, ["one/packer-manifest.json"]);
    let manifest = manifest_of(&app.file(id_of(&build), "one/packer-manifest.json").await);
    let entries = manifest["builds"].as_array().unwrap().iter();
    let mut entries: Vec<_> =
        entries.map(|entry| (entry["name"].as_str().unwrap(), &entry["artifact_id"])).collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    assert_eq!(entries.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["one", "three", "two"]);
    for (name, id) in entries {
        let run = build["runs"].as_array().unwrap().iter().find(|run| run["name"] == name).unwrap();
        assert_eq!(*id, format!("eu-west-2:{}", run["artifacts"][0]["id"].as_str().unwrap()));
    }
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_failing_post_processor_fails_the_run_and_leaves_the_omi(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    let post_processors = json!([
        [{ "type": "artifice", "files": ["nothing"] }, { "type": "manifest", "output": "never.json" }],
        { "type": "manifest", "output": "always.json" },
    ]);
    let template = with_post_processors(template(machineless("stays"), json!([])), post_processors);
    for on_error in ["cleanup", "abort"] {
        let mut options = json!({ "template": template, "on_error": on_error });
        options["template"]["builders"][0]["omi_name"] = format!("stays-{on_error}").into();
        let build = app.bake(&options).await;
        let id = id_of(&build);
        let (state, error) = (&build["state"], &build["error"]);
        let log = app.log(id).await;
        assert_eq!(
            (state, &error["code"]),
            (&"failed".into(), &"post_processor_failed".into()),
            "{build:#}\n{log}"
        );
        assert_eq!(error["step"], "post_process");
        assert!(error["detail"].as_str().unwrap().contains("`artifice` (artifice) failed"), "{error:#}");
        assert_eq!(build["artifacts"][0]["name"], format!("stays-{on_error}"), "{build:#}");
        assert_eq!(app.files(id).await, ["osc-bsu/always.json"]);
        let living = app.sandbox.resources().await;
        let omi = &build["artifacts"][0]["id"];
        assert!(living["images"].as_array().unwrap().contains(omi), "{living:#}");
        if on_error == "cleanup" {
            assert_eq!((&build["leftovers"], &living["vms"]), (&json!([]), &json!([])));
        } else {
            app.post(&format!("/builds/{id}/cleanup"), &json!({})).await;
            app.wait_until(id, "it is cleaned up", |build| build["runs"][0]["cleanup"] == "done").await;
            let living = app.sandbox.resources().await;
            assert!(living["images"].as_array().unwrap().contains(omi), "{living:#}");
            assert_eq!(living["vms"], json!([]));
        }
    }
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn post_processors_that_run_again_write_nothing_twice(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::start_with(database, Machines::None, &[], &[Capability::ShellLocal]).await;
    let host = tempfile::tempdir().unwrap();
    let marker = host.path().join("fixed");
    let local = json!({ "type": "shell-local", "inline": [format!("test -e {}", marker.display())] });
    let post_processors = json!(["manifest", [local, "manifest"]]);
    let template = with_post_processors(template(machineless("again"), json!([])), post_processors);
    let id = app.post_build(&json!({ "template": template, "on_error": "hold" })).await;
    let is_held = |build: &Value| build["runs"][0]["held"].is_object();
    let build = app.wait_until(&id, "the run is held", is_held).await;
    assert_eq!(build["artifacts"][0]["name"], "again", "{build:#}");
    std::fs::write(&marker, "").unwrap();
    let released = app.post(&format!("/builds/{id}/release"), &json!({ "then": "retry" })).await;
    assert_eq!(released.status(), 202);
    let build = app.wait_build(&id).await;
    app.succeeded(&build).await;
    assert_eq!(build["artifacts"].as_array().unwrap().len(), 1, "{build:#}");
    let manifest = manifest_of(&app.file(&id, "osc-bsu/packer-manifest.json").await);
    assert_eq!(manifest["builds"].as_array().unwrap().len(), 2, "{manifest:#}");
    assert_eq!(app.sandbox.calls("CreateImage").await.len(), 1);
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn shell_local_is_refused_where_the_operator_has_not_turned_it_on(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    let local = json!({ "type": "shell-local", "inline": ["id"] });
    for (provisioners, post_processors, place) in [
        (json!([local]), json!([]), "/provisioners/0/type"),
        (json!([]), json!([local]), "/post-processors/0/type"),
    ] {
        let template = with_post_processors(template(builder("refused"), provisioners), post_processors);
        let answer = app.post("/builds", &template).await;
        assert_eq!(answer.status(), 422);
        let problem: Value = answer.json().await.unwrap();
        let error = &problem["errors"][0];
        assert_eq!(error["pointer"], place, "{problem:#}");
        assert!(error["detail"].as_str().unwrap().contains("--capabilities shell-local"), "{problem:#}");
    }
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn shell_local_runs_on_the_host_without_the_servers_variables(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines_and_shell_local(database).await else { return };
    let local = |lines: &[&str]| json!({ "type": "shell-local", "inline": lines });
    let provisioners = json!([
        shell(&["echo in the VM | sudo tee /report"]),
        { "type": "file", "direction": "download", "source": "/report", "destination": "in/report" },
        {
            "type": "shell-local", "env": { "SECRET": "{{user `token`}}", "VM": "{{build `ID`}}" },
            "inline": ["env | sed s/^/variable:/", "mkdir out", "cp in/report out/early", "echo token $SECRET"],
        },
        local(&["echo to standard error >&2"]),
    ]);
    let post_processors = json!([[
        local(&["cat in/report out/early > out/late", "echo $PACKER_BUILD_NAME of $PACKER_RUN_UUID >> out/late"]),
        { "type": "artifice", "files": ["out/*"] },
        "manifest",
    ]]);
    let mut template = with_post_processors(template(builder("with-host"), provisioners), post_processors);
    template["variables"] = json!({ "token": "a-very-secret-token" });
    template["sensitive-variables"] = json!(["token"]);
    let build = app.bake_well(&template).await;
    let (id, log) = (id_of(&build), app.log(id_of(&build)).await);

    let variables = log.lines().filter_map(|line| Some(line.split_once("variable:")?.1.split_once('=')?.0));
    let mut variables: Vec<&str> =
        variables.filter(|name| !["_", "SHLVL", "PWD", "OLDPWD"].contains(name)).collect();
    variables.sort_unstable();
    assert_eq!(
        variables,
        [
            "HOME",
            "LANG",
            "PACKER_BUILDER_TYPE",
            "PACKER_BUILD_NAME",
            "PACKER_RUN_UUID",
            "PATH",
            "SECRET",
            "VM"
        ],
        "{log}"
    );
    for secret in [SECRET_KEY, ACCESS_KEY, "a-very-secret-token"] {
        assert!(!log.lines().any(|line| line.contains("variable:") && line.contains(secret)), "{log}");
    }
    assert!(log.contains("token <sensitive>") && log.contains("to standard error"), "{log}");
    assert!(log.contains("variable:VM=i-"), "{log}");
    assert_eq!(app.file(id, "osc-bsu/out/early").await, "in the VM\n");
    assert_eq!(app.file(id, "osc-bsu/out/late").await, format!("in the VM\nin the VM\nosc-bsu of {id}\n"));
    assert_eq!(
        app.files(id).await,
        ["osc-bsu/in/report", "osc-bsu/out/early", "osc-bsu/out/late", "osc-bsu/packer-manifest.json"]
    );
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_run_that_needs_the_host_waits_for_a_worker_that_may_use_it(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::start_with(database, Machines::None, &[], &[Capability::ShellLocal]).await;
    let local = json!({ "type": "shell-local", "inline": ["echo here; sleep 1000"] });
    let template = with_post_processors(template(machineless("waits"), json!([])), json!([local]));
    let id = app.post_build(&template).await;
    let requires: Vec<String> =
        sqlx::query_scalar("SELECT requires FROM runs").fetch_one(&app.pool).await.unwrap();
    assert_eq!(requires, ["shell-local"]);
    // Cancelling ends the script, and the OMI goes with the build.
    crate::app::eventually("the script runs", || async { app.log(&id).await.contains("here") }).await;
    app.cancel(&id).await;
    let build = app.wait_until(&id, "it has ended", is_final).await;
    assert_eq!((&build["state"], &build["artifacts"]), (&"cancelled".into(), &json!([])), "{build:#}");
    assert_eq!(app.sandbox.resources().await["images"], json!([]));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_failure_that_the_template_goes_on_behind_is_a_warning(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let fails =
        with(shell(&["echo tried", "exit 3"]), json!({ "continue_on_error": true, "max_retries": 1 }));
    let build = app.bake_well(&template(builder("went-on"), json!([fails, shell(&["echo after it"])]))).await;
    let log = app.log(id_of(&build)).await;
    assert_eq!(log.matches("tried\n").count(), 2, "{log}");
    assert!(log.contains("Warning: provisioner 1 (shell) failed") && log.contains("after it"), "{log}");
}

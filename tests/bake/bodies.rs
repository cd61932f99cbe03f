//! One bake in every form of request, and by the command `fournil build`.

use std::path::Path;

use reqwest::Method;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::process::Command;

use crate::{
    app::{TestApp, accepted},
    template::{builder, machineless, shell, tar, tar_gz, template, with},
};

/// A folder whose template stands at `path`.
fn folder(path: &str, name: &str) -> Vec<(String, String)> {
    let provisioners = json!([{ "type": "shell", "script": "say.sh" }]);
    let template = template(builder(name), provisioners).to_string();
    vec![(path.to_owned(), template), ("say.sh".to_owned(), "#!/bin/sh\necho said in the VM\n".to_owned())]
}

fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
    files.iter().map(|(path, data)| (path.as_str(), data.as_str())).collect()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn every_form_of_request_bakes(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let plain = |name: &str| template(builder(name), json!([shell(&["echo said in the VM"])]));
    let bare = app.post_build(&plain("bare")).await;
    let envelope = json!({ "template": plain("envelope"), "labels": { "team": "a" }, "name": "enveloped" });
    let envelope = app.post_build(&envelope).await;
    let text = app.post_build(&json!({ "template": plain("text").to_string() })).await;
    let short = json!({ "builder": builder("short"), "provisioners": [shell(&["echo said in the VM"])] });
    let short = app.post_build(&short).await;
    let post = |media_type: &'static str, path: &str, body: Vec<u8>| {
        app.request(Method::POST, path).header("content-type", media_type).body(body).send()
    };
    let body = tar_gz(&borrowed(&folder("template.json", "gzip")));
    let gzip = accepted(post("application/gzip", "/builds", body).await.unwrap()).await;
    let body = tar(&borrowed(&folder("osc/linux.json", "tar")));
    let tarred =
        accepted(post("application/x-tar", "/builds?template=osc/linux.json", body).await.unwrap()).await;
    let context = tar(&borrowed(&folder("template.json", "unused")));
    let request = json!({ "template": template(builder("multipart"), json!([{ "type": "shell", "script": "say.sh" }])) });
    let body = multipart(&request.to_string(), &context);
    let multi = accepted(post("multipart/form-data; boundary=limit", "/builds", body).await.unwrap()).await;

    for (id, name) in [
        (bare, "bare"),
        (envelope, "envelope"),
        (text, "text"),
        (short, "short"),
        (gzip, "gzip"),
        (tarred, "tar"),
        (multi, "multipart"),
    ] {
        let build = app.wait_build(&id).await;
        app.succeeded(&build).await;
        assert_eq!(build["artifacts"][0]["name"], name);
        assert!(app.log(&id).await.contains("said in the VM"), "{name}");
    }
}

fn multipart(request: &str, context: &[u8]) -> Vec<u8> {
    let mut body = format!(
        "--limit\r\ncontent-disposition: form-data; name=\"request\"\r\ncontent-type: application/json\r\n\r\n{request}\r\n\
         --limit\r\ncontent-disposition: form-data; name=\"context\"; filename=\"c.tar\"\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(context);
    body.extend_from_slice(b"\r\n--limit--\r\n");
    body
}

/// `fournil build` on a template; its exit code and what it printed.
async fn fournil_build(app: &TestApp, folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fournil"));
    command.arg("build").args(arguments).arg(folder).args(["--server", &app.url]).env_remove("FOURNIL_TOKEN");
    let output = command.output().await.unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&printed).into_owned())
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn the_command_build_follows_a_bake_and_its_exit_code_tells_the_end(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("scripts")).unwrap();
    std::fs::write(folder.path().join("scripts/say.sh"), "echo \"said $WHAT\"; exit $CODE\n").unwrap();
    let provisioner = json!({ "type": "shell", "script": "scripts/say.sh", "environment_vars": ["CODE={{user `code`}}", "WHAT={{user `what`}}"] });
    let mut template =
        template(with(builder("cli-{{user `code`}}"), json!({ "name": "first" })), json!([provisioner]));
    template["variables"] = json!({ "code": "0", "what": "this" });
    std::fs::write(folder.path().join("template.json"), template.to_string()).unwrap();

    let (code, printed) = fournil_build(&app, folder.path(), &["-var", "what=that"]).await;
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains("said that"), "{printed}");
    assert!(printed.contains("ami-"), "{printed}");
    let (code, printed) = fournil_build(&app, folder.path(), &["-var", "code=7"]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("said this") && printed.contains('7'), "{printed}");
    let (code, printed) = fournil_build(&app, folder.path(), &["-only", "second"]).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("second") && printed.contains("first"), "{printed}");

    let builds = app.get("/builds").await;
    let states: Vec<_> =
        builds["builds"].as_array().unwrap().iter().map(|build| build["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["failed", "succeeded"]);
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_template_with_two_sources_makes_two_omis(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let named = |name: &str| with(machineless(&format!("{name}-omi")), json!({ "name": name }));
    let build = app.bake_well(&json!({ "builders": [named("one"), named("two")] })).await;
    let names: Vec<_> =
        build["artifacts"].as_array().unwrap().iter().map(|artifact| &artifact["name"]).collect();
    assert_eq!(names, ["one-omi", "two-omi"]);
    let build = app
        .bake_well(&json!({ "template": { "builders": [named("three"), named("four")] }, "only": ["four"] }))
        .await;
    assert_eq!((&build["artifacts"][0]["name"], &build["artifacts"][1]), (&"four-omi".into(), &json!(null)));
}

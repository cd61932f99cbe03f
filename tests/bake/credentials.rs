//! Where keys come from: stored sets, the VM's role; and the master key that guards what is stored.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::{io::AsyncReadExt, net::TcpListener};

use crate::{
    app::{TestApp, accepted, eventually, id_of, is_final},
    sandbox::{ACCESS_KEY, Machines, SECRET_KEY},
    served::{Served, fournil, printed, run},
    template::{machineless, template},
};

/// No keys in the worker's environment.
const NO_KEYS: [(&str, &str); 2] = [("OSC_ACCESS_KEY", ""), ("OSC_SECRET_KEY", "")];

fn bake(name: &str) -> Value {
    template(machineless(name), json!([]))
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_build_uses_a_stored_set(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::start(database, Machines::None, &NO_KEYS).await;
    let put = |set: Value| app.request(Method::PUT, "/credentials/prod").json(&set).send();
    put(json!({ "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "endpoint": app.sandbox.url }))
        .await
        .unwrap();
    let build = app.bake_well(&json!({ "template": bake("one"), "credentials": "prod" })).await;
    assert_eq!(build["credentials"], "prod");
    let log = app.log(id_of(&build)).await;
    assert!(log.contains("credentials: keys from the stored set `prod`"), "{log}");
    assert!(!log.contains(SECRET_KEY), "{log}");
    assert!(app.get("/credentials").await["credentials"][0]["last_used_at"].is_string());

    // The next build has the keys that are stored by then.
    put(json!({ "access_key": ACCESS_KEY, "secret_key": "wrong", "endpoint": app.sandbox.url }))
        .await
        .unwrap();
    let wrong = json!({ "template": bake("two"), "credentials": "prod" });
    app.bake_badly(&wrong, "oapi_unauthorized").await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_set_that_is_removed_while_a_build_waits_is_told(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::start(database, Machines::None, &NO_KEYS).await;
    let set = json!({ "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "endpoint": app.sandbox.url });
    app.request(Method::PUT, "/credentials/prod").json(&set).send().await.unwrap();
    // Two of the same name follow one another, so that the second waits.
    app.sandbox.fault(json!({ "action": "CreateVms", "hold": true })).await;
    let first = app.post_build(&json!({ "template": bake("same"), "credentials": "prod" })).await;
    app.sandbox.until_held().await;
    let second = app.post_build(&json!({ "template": bake("same"), "credentials": "prod" })).await;
    let kept = app.request(Method::DELETE, "/credentials/prod").send().await.unwrap();
    assert_eq!(kept.status(), 409, "{}", kept.text().await.unwrap());
    // The first has its keys already, and is put an end to when there are keys again for its cleanup.
    let removed = app.request(Method::DELETE, "/credentials/prod?force=true").send().await.unwrap();
    assert_eq!(removed.status(), 200);
    app.sandbox.clear_faults().await;
    let first = app.wait_build(&first).await;
    let second = app.wait_build(&second).await;
    let error = app.failed(&second, "credentials_missing").await;
    assert!(error["detail"].as_str().unwrap().contains("`prod` were removed"), "{error}");
    app.request(Method::PUT, "/credentials/prod").json(&set).send().await.unwrap();
    eventually("what the first build made is removed", || async {
        app.get(&format!("/builds/{}", id_of(&first))).await["leftovers"] == json!([])
    })
    .await;
}

/// What the metadata service hands out for the role now.
pub async fn role_keys(app: &TestApp) -> Value {
    let url = format!("{}/latest/meta-data/iam/security-credentials/baker", app.sandbox.url);
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_build_uses_the_role_of_the_vm_whose_keys_expire_meanwhile(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    if !Machines::ThisOneWithARole.are_possible() {
        println!("skipped: to be a VM of the sandbox needs root");
        return;
    }
    let app = TestApp::start(database, Machines::ThisOneWithARole, &NO_KEYS).await;
    app.sandbox.post("quirks", json!({ "role_token_required": true })).await;
    // Held in the cloud until the keys of its start are good for nothing.
    app.sandbox.fault(json!({ "action": "CreateImage", "hold": true })).await;
    let build = app.post_build(&json!({ "template": bake("role") })).await;
    app.sandbox.until_held().await;
    let first = role_keys(&app).await;
    let expires: chrono::DateTime<chrono::Utc> = first["Expiration"].as_str().unwrap().parse().unwrap();
    eventually("the first keys have expired", || async { chrono::Utc::now() > expires }).await;
    app.sandbox.clear_faults().await;
    let build = app.wait_build(&build).await;
    app.succeeded(&build).await;
    let log = app.log(id_of(&build)).await;
    assert!(log.contains("keys from the role `baker` of this VM"), "{log}");
    let second = role_keys(&app).await;
    assert_ne!(first["AccessKeyId"], second["AccessKeyId"], "the keys were renewed");
    for secret in [&first["SecretAccessKey"], &first["Token"], &second["SecretAccessKey"], &second["Token"]] {
        let secret = secret.as_str().unwrap();
        assert!(!log.contains(secret) && !build.to_string().contains(secret), "{log}");
    }
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn without_any_keys_each_source_is_named(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::start(database, Machines::None, &NO_KEYS).await;
    let error = app.bake_badly(&json!({ "template": bake("none") }), "credentials_missing").await;
    let detail = error["detail"].as_str().unwrap();
    for source in [
        "template",
        "stored set",
        "OSC_ACCESS_KEY",
        "home folder",
        "OSC_SHARED_CREDENTIALS_FILE",
        "metadata service",
    ] {
        assert!(detail.contains(source), "{source} is missing in {detail}");
    }
}

/// Bakes with the set `prod`, and removes what came of it.
async fn bake_with_set(served: &Served, name: &str) {
    let body = json!({ "template": bake(name), "credentials": "prod" });
    let answer = served.request(Method::POST, "/builds").json(&body).send().await.unwrap();
    let id = accepted(answer).await;
    eventually("the build has ended", || async { is_final(&served.build(&id).await) }).await;
    let build = served.build(&id).await;
    assert_eq!(build["state"], "succeeded", "{build:#}");
    served.destroy(&id).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn the_master_key_is_changed_beside_a_running_server(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let (old, new) = ("0123456789abcdef".repeat(4), "fedcba9876543210".repeat(4));
    let with = |key: &str| {
        vec![
            ("FOURNIL_MASTER_KEY".to_owned(), key.to_owned()),
            ("OSC_ENDPOINT_API".to_owned(), app.sandbox.url.clone()),
        ]
    };
    fn pairs(list: &[(String, String)]) -> Vec<(&str, &str)> {
        list.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
    let (of_old, both, swapped, of_new) =
        (with(&old), with(&format!("{old},{new}")), with(&format!("{new},{old}")), with(&new));
    let served = Served::start(&app, &pairs(&of_old)).await;
    let set = served
        .command(&["credentials", "set", "prod", "--access-key", ACCESS_KEY, "--region", "eu-west-2"], &[]);
    let output = run(set, &format!("{SECRET_KEY}\n")).await;
    assert!(output.status.success(), "{}", printed(&output));
    bake_with_set(&served, "before").await;
    let rotate = |served: &Served, key: &[(String, String)]| {
        let mut command = fournil(&pairs(key));
        command.env("DATABASE_URL", &served.database).arg("rotate-key");
        run(command, "")
    };
    // The server has to have the new key first.
    let output = rotate(&served, &swapped).await;
    assert_eq!(output.status.code(), Some(3), "{}", printed(&output));
    let served = served.restart(&pairs(&both)).await;
    let served = served.restart(&pairs(&swapped)).await;
    let output = rotate(&served, &swapped).await;
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(printed(&output).contains("nothing needs"), "{}", printed(&output));
    bake_with_set(&served, "meanwhile").await;
    let served = served.restart(&pairs(&of_new)).await;
    bake_with_set(&served, "after").await;
    // The old key alone is refused with a word about it, also without any.
    let (database, data) = served.end().await;
    for (key, word) in [(&of_old, "another master key"), (&with(" "), "there is no master key")] {
        let mut command = fournil(&pairs(key));
        command
            .env("DATABASE_URL", &database)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path());
        let output = run(command, "").await;
        assert!(!output.status.success() && printed(&output).contains(word), "{}", printed(&output));
    }
}

/// A data folder with a master key in its file.
fn data_with_key() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("master.key");
    std::fs::write(&file, "0123456789abcdef".repeat(4)).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    data
}

/// Replaces the key of [`data_with_key`].
async fn replace_the_key_in_the_file(served: Served, variables: &[(&str, &str)]) -> Served {
    let arguments = ["credentials", "set", "prod", "--access-key", ACCESS_KEY, "--region", "eu-west-2"];
    let output = run(served.command(&arguments, &[]), SECRET_KEY).await;
    assert!(output.status.success(), "{}", printed(&output));
    let output = run(served.beside(&["rotate-key", "--new-key"], &[]), "").await;
    assert_eq!(output.status.code(), Some(3), "{}", printed(&output));
    assert!(printed(&output).contains("restart it"), "{}", printed(&output));
    bake_with_set(&served, "under-the-old-key").await;
    let served = served.restart(variables).await;
    let output = run(served.beside(&["rotate-key", "--drop-old"], &[]), "").await;
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(printed(&output).contains("removed 1 old keys"), "{}", printed(&output));
    let served = served.restart(variables).await;
    bake_with_set(&served, "under-the-new-key").await;
    let key = std::fs::read_to_string(served.data.path().join("master.key")).unwrap();
    assert!(!key.contains("0123456789abcdef") && key.lines().count() == 1);
    served
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_master_key_in_a_file_is_replaced(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let variables = [("OSC_ENDPOINT_API", app.sandbox.url.as_str())];
    let served = Served::start_in(&app, data_with_key(), &variables).await;
    let served = replace_the_key_in_the_file(served, &variables).await;
    // A key of the environment has no file to be changed.
    let key = std::fs::read_to_string(served.data.path().join("master.key")).unwrap();
    let variables = [("FOURNIL_MASTER_KEY", key.trim())];
    let output = run(served.beside(&["rotate-key", "--new-key"], &variables), "").await;
    assert!(printed(&output).contains("FOURNIL_MASTER_KEY is set"), "{}", printed(&output));
    served.end().await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_master_key_beside_an_embedded_database_is_replaced(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let variables = [("OSC_ENDPOINT_API", app.sandbox.url.as_str())];
    let served = Served::embedded(data_with_key(), &variables).await;
    let served = replace_the_key_in_the_file(served, &variables).await;
    // Also when no server runs: the command starts the database itself, and stops it.
    let (_, data) = served.end().await;
    let rotate = |flag: &str| {
        let mut command = fournil(&[]);
        command.args(["rotate-key", flag, "--data-dir"]).arg(data.path());
        run(command, "")
    };
    let before = std::fs::read_to_string(data.path().join("master.key")).unwrap();
    let output = rotate("--new-key").await;
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let output = rotate("--drop-old").await;
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(!data.path().join("postgres/cluster/postmaster.pid").exists(), "it still runs");
    let after = std::fs::read_to_string(data.path().join("master.key")).unwrap();
    assert!(after.lines().count() == 1 && after.trim() != before.trim());
    let served = Served::embedded(data, &variables).await;
    bake_with_set(&served, "under-the-third-key").await;
    served.end().await;
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let count = stream.read(&mut head).await.unwrap();
        String::from_utf8_lossy(&head[..count]).lines().next().unwrap().to_owned()
    });
    let variables = [
        ("OSC_ACCESS_KEY", ACCESS_KEY),
        ("OSC_SECRET_KEY", SECRET_KEY),
        ("OSC_ENDPOINT_API", "https://api.nowhere.invalid"),
        ("HTTPS_PROXY", proxy.as_str()),
    ];
    let mut command = fournil(&variables);
    let data = tempfile::tempdir().unwrap();
    command.args(["sweep", "--without-ledger", "--data-dir"]).arg(data.path());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut sweeping = command.spawn().unwrap();
    let asked = tokio::time::timeout(crate::app::PATIENCE, asked).await.unwrap().unwrap();
    let _ = sweeping.kill();
    let _ = sweeping.wait();
    assert_eq!(asked, "CONNECT api.nowhere.invalid:443 HTTP/1.1");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn hosts_of_no_proxy_are_asked_directly_unless_the_proxy_is_in_the_settings(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    // Nobody listens there.
    let proxy = "http://127.0.0.1:1";
    let usual = [
        ("OSC_ACCESS_KEY", ACCESS_KEY),
        ("OSC_SECRET_KEY", SECRET_KEY),
        ("OSC_ENDPOINT_API", app.sandbox.url.as_str()),
        ("HTTP_PROXY", proxy),
    ];
    let sweep = async |other: &[(&str, &str)]| {
        let variables: Vec<_> = usual.iter().chain(other).copied().collect();
        let mut command = fournil(&variables);
        let data = tempfile::tempdir().unwrap();
        command.args(["sweep", "--without-ledger", "--data-dir"]).arg(data.path());
        run(command, "").await
    };
    let output = sweep(&[("NO_PROXY", "localhost,127.0.0.1")]).await;
    assert!(output.status.success(), "{}", printed(&output));
    for other in [[].as_slice(), &[("NO_PROXY", "127.0.0.1"), ("FOURNIL_OAPI_PROXY", proxy)]] {
        let output = sweep(other).await;
        assert!(!output.status.success(), "{other:?}: {}", printed(&output));
    }
}

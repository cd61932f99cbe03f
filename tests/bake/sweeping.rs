//! `fournil sweep`, the real binary: a fournil is killed in the middle of a bake and its database is dropped. What it left
//! is found and removed; another fournil in the same account, its living build and everybody's OMIs are left alone.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use fournil::oapi::types::{
    BlockDeviceMappingImage, BsuToCreate, CreateImage, CreateKeypair, CreateSecurityGroup, DeleteImage,
    DeleteKeypair, DeleteSecurityGroup, DeleteSnapshot, ReadKeypairs, ResourceTag,
};
use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, ConnectOptions,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    app::{TestApp, eventually, id_of, is_final},
    sandbox::{ACCESS_KEY, SECRET_KEY},
    template::{builder, machineless, template, with},
};

/// Longer than any of these stories: a call that is held for so long is never answered.
const FOR_EVER: u32 = 120_000;

/// The binary, with nothing of the test's environment.
fn fournil(app: &TestApp, database: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_fournil")]).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", "/nonexistent");
    command.envs([
        ("OSC_ACCESS_KEY", ACCESS_KEY),
        ("OSC_SECRET_KEY", SECRET_KEY),
        ("OSC_ENDPOINT_API", &app.sandbox.url),
        ("OSC_REGION", "eu-west-2"),
        ("FOURNIL_OAPI_POLL_INTERVAL", "20ms"),
        ("FOURNIL_OAPI_SETTLE", "1s"),
        ("FOURNIL_OAPI_CALLS_PER_SECOND", "200"),
    ]);
    command.envs(database.map(|url| ("DATABASE_URL", url)));
    command.stdin(Stdio::null());
    command
}

/// Sweeps; answers the exit code, standard output and standard error.
async fn sweep(app: &TestApp, database: Option<&str>, arguments: &[&str]) -> (i32, String, String) {
    let mut command = fournil(app, database);
    command.arg("sweep").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Sweeps with `--json`; answers the exit code and what was found.
async fn sweep_json(app: &TestApp, database: Option<&str>, arguments: &[&str]) -> (i32, Vec<Value>) {
    let arguments = [&["--json"], arguments].concat();
    let (code, text, error) = sweep(app, database, &arguments).await;
    let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{code}: {text}{error}"));
    (code, answer["found"].as_array().unwrap().clone())
}

/// Another fournil in the same account.
struct Other {
    serving: Child,
    url: String,
    database: String,
    data: tempfile::TempDir,
}

impl Other {
    /// With a database of its own.
    async fn start(app: &TestApp, server: &str) -> Self {
        let name = format!("fournil_sweep_{}", uuid::Uuid::new_v4().simple());
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&app.pool).await.unwrap();
        let mut command = fournil(app, Some(&on_server(server, &name)));
        command.env("FOURNIL_MASTER_KEY", "0123456789abcdef".repeat(4));
        Self::serve(command, name, tempfile::tempdir().unwrap()).await
    }

    /// With an embedded database in this folder.
    async fn embedded(app: &TestApp, data: tempfile::TempDir) -> Self {
        Self::serve(fournil(app, None), String::new(), data).await
    }

    async fn serve(mut command: Command, database: String, data: tempfile::TempDir) -> Self {
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path());
        let mut serving = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(serving.stderr.take().unwrap()).lines();
        // Our own fournil must not stand still meanwhile.
        let address = tokio::task::spawn_blocking(move || address_in(lines)).await.unwrap();
        Self { serving, url: format!("http://{address}"), database, data }
    }

    async fn get(&self, path: &str) -> Value {
        reqwest::get(format!("{}{path}", self.url)).await.unwrap().json().await.unwrap()
    }

    async fn post_build(&self, body: &Value) -> String {
        let answer = reqwest::Client::new().post(format!("{}/builds", self.url)).json(body).send().await;
        id_of(&answer.unwrap().json().await.unwrap()).to_owned()
    }

    async fn bake_well(&self, body: &Value) -> Value {
        let id = self.post_build(body).await;
        eventually("the other fournil's build has ended", || async {
            is_final(&self.get(&format!("/builds/{id}")).await)
        })
        .await;
        let build = self.get(&format!("/builds/{id}")).await;
        assert_eq!(build["state"], "succeeded", "{build:#}");
        build
    }

    /// Starts a build and waits until it is in this step and held there by the fault.
    async fn bake_into(&self, app: &TestApp, body: &Value, step: &str, fault: Option<Value>) -> Value {
        if let Some(fault) = fault {
            app.sandbox.fault(fault).await;
        }
        let id = self.post_build(body).await;
        eventually(&format!("the other fournil is in {step}"), || async {
            let steps = self.get(&format!("/builds/{id}/steps")).await;
            let mut steps = steps["steps"].as_array().unwrap().iter();
            steps.any(|known| known["name"] == step && known["state"] == "running")
                && !app.sandbox.is_waiting_to_strike().await
        })
        .await;
        self.get(&format!("/builds/{id}")).await
    }

    /// SIGTERM, and waits for its end; answers its data folder.
    async fn end(self) -> tempfile::TempDir {
        let id = self.serving.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
        let Self { mut serving, data, .. } = self;
        let status = tokio::task::spawn_blocking(move || serving.wait().unwrap()).await.unwrap();
        assert!(status.success(), "{status}");
        data
    }

    /// `kill -9`, and its database is gone too.
    async fn perish(mut self, app: &TestApp) {
        self.serving.kill().unwrap();
        self.serving.wait().unwrap();
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.database);
        sqlx::query(AssertSqlSafe(drop)).execute(&app.pool).await.unwrap();
    }
}

/// The address that `fournil serve` tells.
fn address_in(mut lines: impl Iterator<Item = std::io::Result<String>> + Send + 'static) -> String {
    let mut said = String::new();
    loop {
        let line = lines.next().unwrap_or_else(|| panic!("the other fournil did not start: {said}")).unwrap();
        if let Some((_, rest)) = line.split_once(" on http://") {
            let address = rest.split_whitespace().next().unwrap().to_owned();
            std::thread::spawn(move || lines.for_each(drop));
            return address;
        }
        said.push_str(&line);
    }
}

/// The URL of another database on the same server.
fn on_server(url: &str, database: &str) -> String {
    let mut url: reqwest::Url = url.parse().unwrap();
    url.set_path(database);
    url.to_string()
}

/// All that lives, key pairs by their names as `sweep` calls them.
async fn living(app: &TestApp) -> BTreeSet<String> {
    let mut ids: BTreeSet<String> = BTreeSet::new();
    for (kind, of_kind) in app.sandbox.resources().await.as_object().unwrap() {
        if kind != "keypairs" {
            ids.extend(of_kind.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
        }
    }
    let keypairs = app.cloud().read_all(&ReadKeypairs::default()).await.unwrap();
    ids.extend(keypairs.into_iter().map(|keypair| keypair.keypair_name));
    ids
}

fn ids(found: &[Value]) -> BTreeSet<String> {
    found.iter().map(|thing| thing["id"].as_str().unwrap().to_owned()).collect()
}

fn verdicts(found: &[Value]) -> BTreeSet<&str> {
    found.iter().map(|thing| thing["verdict"].as_str().unwrap()).collect()
}

/// Its VM can never be reached, so that the build stays in `connect` with all that it needs.
fn unreachable(name: &str) -> Value {
    let options = json!({ "associate_public_ip_address": true, "ssh_timeout": "10m" });
    template(with(builder(name), options), json!([]))
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn what_a_lost_database_leaves_is_swept_and_nothing_else(_: PgPoolOptions, database: PgConnectOptions) {
    let url = database.to_url_lossy().to_string();
    let ledger = Some(url.as_str());
    let app = TestApp::without_machines(database).await;
    let ours = app.bake_well(&template(machineless("ours"), json!([]))).await;
    let alive = app.post_build(&unreachable("alive")).await;
    eventually("our build connects", || async {
        app.steps(&alive).await.get("connect").is_some_and(|state| state == "running")
    })
    .await;
    let cloud = app.cloud();
    let group = CreateSecurityGroup {
        security_group_name: "fournil-x".to_owned(),
        description: "of somebody else".to_owned(),
        net_id: None,
    };
    let group = cloud.call(&group).await.unwrap().security_group.security_group_id;
    // A random id: no run of fournil's has one.
    let foreign = format!("fournil-{}-1-key", uuid::Uuid::new_v4());
    cloud.call(&CreateKeypair { keypair_name: foreign.clone(), public_key: None }).await.unwrap();

    let mut theirs = None;
    let slow = |action: &str, nth: u32| Some(json!({ "action": action, "nth": nth, "delay_ms": FOR_EVER }));
    for (step, fault, body, kinds) in [
        // The VM has no tags yet, and its volume never gets any.
        (
            "launch_vm",
            slow("CreateTags", 4),
            unreachable("lost-1"),
            &["keypair", "public_ip", "security_group", "vm", "volume"][..],
        ),
        ("connect", None, unreachable("lost-2"), &["keypair", "public_ip", "security_group", "vm", "volume"]),
        (
            "wait_for_omi",
            slow("ReadImages", 3),
            template(machineless("lost-3"), json!([])),
            &["image", "snapshot", "vm", "volume"],
        ),
    ] {
        let other = Other::start(&app, &url).await;
        if theirs.is_none() {
            theirs = Some(other.bake_well(&template(machineless("theirs"), json!([]))).await);
        }
        let before = living(&app).await;
        let build = other.bake_into(&app, &body, step, fault).await;
        other.perish(&app).await;
        let left: BTreeSet<String> = living(&app).await.difference(&before).cloned().collect();

        let (code, found) = sweep_json(&app, ledger, &[]).await;
        assert_eq!((code, verdicts(&found)), (0, BTreeSet::from(["too_young"])), "{step}: {found:#?}");
        let (code, found) = sweep_json(&app, ledger, &["--delete"]).await;
        assert_eq!((code, ids(&found)), (0, left.clone()), "{step}: {found:#?}");

        let (code, found) = sweep_json(&app, ledger, &["--older-than", "0s"]).await;
        assert_eq!((code, verdicts(&found)), (3, BTreeSet::from(["leftover"])), "{step}: {found:#?}");
        assert_eq!(ids(&found), left, "{step}");
        let found_kinds: BTreeSet<_> = found.iter().map(|thing| thing["kind"].as_str().unwrap()).collect();
        assert_eq!(found_kinds, BTreeSet::from_iter(kinds.iter().copied()), "{step}");
        let run = build["runs"][0]["id"].as_str().unwrap();
        assert!(found.iter().all(|thing| thing["run"] == run && thing["made_at"].is_string()), "{found:#?}");

        let elsewhere = uuid::Uuid::now_v7().to_string();
        let (code, found) = sweep_json(&app, ledger, &["--older-than", "0s", "--run", &elsewhere]).await;
        assert_eq!((code, found), (0, vec![]));

        let arguments = ["--delete", "--older-than", "0s", "--run", run];
        let (code, text, error) = sweep(&app, ledger, &arguments).await;
        assert_eq!(code, 0, "{step}: {text}{error}");
        assert!(left.iter().all(|id| text.contains(&format!(" {id}\n"))), "{step}: {text}");
        assert_eq!(living(&app).await, before, "{step}: {text}{error}");
        app.sandbox.clear_faults().await;
        let (code, text, _) = sweep(&app, ledger, &arguments).await;
        assert_eq!(code, 0);
        assert!(text.contains("Nothing to remove."), "{text}");
    }

    // Of all that is there, each thing is told what it is for.
    let (code, found) = sweep_json(&app, ledger, &["--all", "--older-than", "0s"]).await;
    assert_eq!((code, verdicts(&found)), (0, BTreeSet::from(["artifact", "known"])), "{found:#?}");
    let theirs = theirs.unwrap();
    let announced = &theirs["artifacts"][0];
    let verdict_of =
        |id: &Value| found.iter().find(|thing| thing["id"] == *id).map(|thing| &thing["verdict"]);
    assert_eq!(verdict_of(&announced["id"]), Some(&json!("artifact")));
    assert_eq!(verdict_of(&announced["snapshots"][0]), Some(&json!("artifact")));
    assert_eq!(verdict_of(&ours["artifacts"][0]["id"]), Some(&json!("known")));
    assert!(!ids(&found).contains(&group) && !ids(&found).contains(&foreign));

    // Our own build has lost nothing: it ends as if nobody had swept.
    let steps = app.steps(&alive).await;
    assert_eq!(steps.get("connect").map(String::as_str), Some("running"), "{steps:?}");
    app.cancel(&alive).await;
    let build = app.wait_build(&alive).await;
    assert_eq!((&build["state"], &build["leftovers"]), (&json!("cancelled"), &json!([])), "{build:#}");

    let group = DeleteSecurityGroup { security_group_id: Some(group), ..DeleteSecurityGroup::default() };
    cloud.call(&group).await.unwrap();
    let keypair = DeleteKeypair { keypair_name: Some(foreign), ..DeleteKeypair::default() };
    cloud.call(&keypair).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    cloud.call(&DeleteImage { image_id: text(&announced["id"]) }).await.unwrap();
    cloud.call(&DeleteSnapshot { snapshot_id: text(&announced["snapshots"][0]) }).await.unwrap();
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn without_a_ledger_there_is_no_sweep_unless_it_is_asked_for(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let url = database.to_url_lossy().to_string();
    let app = TestApp::without_machines(database).await;
    let build = app.bake_well(&template(machineless("image-x"), json!([]))).await;
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().to_str().unwrap();
    let bare = format!("fournil_sweep_{}", uuid::Uuid::new_v4().simple());
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {bare}"))).execute(&app.pool).await.unwrap();
    for (arguments, why) in [
        (vec!["--data-dir", folder], "there is no database"),
        (vec!["--database-url", "postgres://postgres@127.0.0.1:1/x"], "cannot be asked"),
        (vec!["--database-url", &on_server(&url, &bare)], "has no ledger: is it the right database?"),
    ] {
        let delete = [&["--delete", "--older-than", "0s"], arguments.as_slice()].concat();
        let (code, text, error) = sweep(&app, None, &delete).await;
        assert_eq!((code, text.as_str()), (1, ""), "{error}");
        assert!(error.contains(why) && error.contains("--without-ledger"), "{error}");
    }
    assert!(std::fs::read_dir(empty.path()).unwrap().next().is_none(), "it made something");
    sqlx::query(AssertSqlSafe(format!("DROP DATABASE {bare}"))).execute(&app.pool).await.unwrap();

    // Without keys it does not begin, with wrong ones it tells so.
    let mut command = fournil(&app, Some(&url));
    command.env_remove("OSC_ACCESS_KEY").env_remove("OSC_SECRET_KEY").arg("sweep");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("set OSC_ACCESS_KEY"), "{output:?}");

    // Asked for, it says loudly what that means; an announced OMI is safe even then.
    let (code, text, error) =
        sweep(&app, None, &["--without-ledger", "--delete", "--older-than", "0s", "--all"]).await;
    assert_eq!(code, 0, "{text}{error}");
    assert!(error.contains("WITHOUT A LEDGER: everything tagged counts as unknown"), "{error}");
    assert!(text.contains("artifact: a build announced it"), "{text}");
    assert!(living(&app).await.contains(build["artifacts"][0]["id"].as_str().unwrap()));
    assert_eq!(sweep(&app, Some(&url), &["--older-than", "soon"]).await.0, 2);
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn in_doubt_a_thing_stays_and_what_cannot_be_removed_is_told(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let url = database.to_url_lossy().to_string();
    let ledger = Some(url.as_str());
    let app = TestApp::without_machines(database).await;
    let build = app.bake_well(&template(machineless("image-x"), json!([]))).await;
    let (run, artifact) = (build["runs"][0]["id"].as_str().unwrap(), &build["artifacts"][0]);
    let cloud = app.cloud();

    // Names of a run that is over; the ledger does not know them.
    for what in ["key", "key2"] {
        let keypair_name = format!("fournil-{run}-1-{what}");
        cloud.call(&CreateKeypair { keypair_name, public_key: None }).await.unwrap();
    }
    // A person made an OMI of an announced one's snapshot and copied all its tags but one.
    let lost = uuid::Uuid::now_v7().to_string();
    let snapshot_id = artifact["snapshots"][0].as_str().map(str::to_owned);
    let mapping = BlockDeviceMappingImage {
        device_name: Some("/dev/sda1".to_owned()),
        bsu: Some(BsuToCreate { snapshot_id, ..BsuToCreate::default() }),
        virtual_device_name: None,
    };
    let request = CreateImage {
        image_name: Some("copied".to_owned()),
        block_device_mappings: vec![mapping],
        root_device_name: Some("/dev/sda1".to_owned()),
        ..CreateImage::default()
    };
    let copied = cloud.call(&request).await.unwrap().image.image_id;
    cloud.tag(&[&copied], &[ResourceTag::new("fournil:run", &lost)]).await.unwrap();
    let sweep_all = async || sweep_json(&app, ledger, &["--delete", "--older-than", "0s"]).await;
    let why_of = |found: &[Value], id: &str| {
        let thing = found.iter().find(|thing| thing["id"] == id).cloned().unwrap_or_default();
        format!("{}: {}", thing["verdict"].as_str().unwrap(), thing["why"].as_str().unwrap())
    };

    app.sandbox.fault(json!({ "action": "DeleteKeypair", "code": 7, "status": 403 })).await;
    let (code, found) = sweep_all().await;
    assert_eq!(code, 1, "{found:#?}");
    assert!(
        why_of(&found, &copied).starts_with("in_doubt: it does not say whether it was finished"),
        "{found:#?}"
    );
    let (removed, failed): (Vec<_>, Vec<_>) =
        found.iter().filter(|thing| thing["kind"] == "keypair").partition(|thing| thing["removed"] == true);
    assert_eq!((removed.len(), failed.len()), (1, 1), "{found:#?}");
    assert_eq!(failed[0]["why"], "its run is over, and the ledger does not know it");
    assert!(failed[0]["error"].as_str().unwrap().contains("code 7"), "{failed:#?}");
    assert!(failed[0]["hint"].as_str().unwrap().contains("EIM policy"), "{failed:#?}");

    // Even if it says that it was not finished: its snapshot says otherwise.
    cloud.tag(&[&copied], &[ResourceTag::new("fournil:artifact", "unfinished")]).await.unwrap();
    let (code, found) = sweep_all().await;
    assert_eq!(code, 3, "{found:#?}");
    assert!(why_of(&found, &copied).contains("is marked otherwise"), "{found:#?}");
    assert!(found.iter().any(|thing| thing["kind"] == "keypair" && thing["removed"] == true), "{found:#?}");
    let living = living(&app).await;
    assert!(living.contains(&copied) && !living.iter().any(|id| id.starts_with("fournil-")), "{living:?}");
    cloud.call(&DeleteImage { image_id: copied }).await.unwrap();
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn the_embedded_ledger_is_asked_while_a_server_runs_on_it_and_when_none_does(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap().to_owned();
    let other = Other::embedded(&app, data).await;
    let build = other.bake_well(&template(machineless("image-x"), json!([]))).await;
    let arguments = ["--data-dir", &folder, "--older-than", "0s", "--delete"];
    let look = async || {
        let (code, text, error) = sweep(&app, None, &arguments).await;
        assert_eq!(code, 0, "{text}{error}");
        assert!(text.contains("knows 1 build\n") && text.contains("known to the ledger"), "{text}{error}");
    };
    look().await;
    // Nobody is disturbed.
    assert_eq!(other.get("/readyz").await["status"], "ready");
    let data = other.end().await;
    look().await;
    look().await;
    assert!(!std::path::Path::new(&folder).join("postgres/cluster/postmaster.pid").exists(), "it still runs");
    drop(data);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let artifact = &build["artifacts"][0];
    app.cloud().call(&DeleteImage { image_id: text(&artifact["id"]) }).await.unwrap();
    app.cloud().call(&DeleteSnapshot { snapshot_id: text(&artifact["snapshots"][0]) }).await.unwrap();
}

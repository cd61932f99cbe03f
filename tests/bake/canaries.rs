//! Canaries: a different one in every place where a secret can stand. After builds that succeed and that fail, none can be
//! read anywhere, in any spelling: database, logs, answers, metrics, files, command lines.

use std::{fs, path::Path, process::Command, sync::Arc};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, accepted, eventually, id_of, is_final},
    canary_search::{Canaries, Watch},
    credentials::role_keys,
    sandbox::{ACCESS_KEY, Machines, SECRET_KEY},
    served::{Served, printed, run},
    template::{builder, chroot, copy_system, surrogate, tar_gz, template, volumes, with},
};

/// 32 bytes.
const MASTER_KEY: &[u8; 32] = b"canary-of-the-master-key-31415!!";
const OF_ENVIRONMENT: &str = "canary-of-the-servers-environment-0001";
const ALLOWED_VARIABLE: &str = "canary-of-an-allowed-variable-0002";
const VARIABLE: &str = "canary/of \"the\" variable&it's+0003";
const CLIENT_ENV: &str = "canary-of-the-clients-environment-0004";
const PASSWORD: &str = "canary-of-the-ssh-password-0005";
const BASTION_PASSWORD: &str = "canary-of-the-bastion-password-0006";
const USER_DATA: &str = "canary-of-the-user-data-0007";
const USER_DATA_FILE: &str = "canary-of-the-user-data-file-0008";
const UPLOADED: &str = "canary-of-an-uploaded-file-0009";
const LOCAL: &str = "canary-of-an-hcl-local-0010";
const VAR_FILE: &str = "canary-of-a-variable-file-0011";
const PROXY: &str = "canary-of-the-proxy-0012";
const EVERYWHERE: &str = "canary/of all \"builders\"&it's+0013";
const API_TOKEN: &str = "canary-of-an-administrators-token-0014";

/// The line of a PEM that is most of its secret.
fn core_of(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).max_by_key(|line| line.len()).unwrap().to_owned()
}

fn ssh_key(folder: &Path) -> String {
    let path = folder.join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ecdsa", "-N", "", "-f"]).arg(&path).status();
    assert!(made.unwrap().success());
    fs::read_to_string(path).unwrap()
}

fn multipart(request: &Value, context: &[u8]) -> Vec<u8> {
    let head = format!(
        "--limit\r\ncontent-disposition: form-data; name=\"request\"\r\n\r\n{request}\r\n\
         --limit\r\ncontent-disposition: form-data; name=\"context\"; filename=\"c\"\r\n\r\n"
    );
    [head.as_bytes(), context, b"\r\n--limit--\r\n"].concat()
}

async fn post(served: &Served, request: &Value, files: &[(&str, &str)]) -> String {
    let answer = served
        .request(Method::POST, "/builds")
        .header("content-type", "multipart/form-data; boundary=limit")
        .body(multipart(request, &tar_gz(files)))
        .send()
        .await
        .unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 202, "{text}");
    id_of(&serde_json::from_str(&text).unwrap()).to_owned()
}

async fn ended(served: &Served, build: &str) -> Value {
    let get = || async {
        let answer = served.request(Method::GET, &format!("/builds/{build}")).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    eventually("the build has ended", || async { is_final(&get().await) }).await;
    get().await
}

/// What the server answers at these paths, in every form that it has.
async fn check_answers(served: &Served, canaries: &Canaries, paths: &[String]) {
    for path in paths {
        for accept in ["application/json", "text/event-stream", "application/x-ndjson", "text/plain"] {
            let answer = served.request(Method::GET, path).header("accept", accept).send().await.unwrap();
            canaries.check(path, &answer.bytes().await.unwrap());
        }
    }
}

/// Everything that is told of a build.
fn paths_of(build: &str) -> impl Iterator<Item = String> {
    ["", "/steps", "/resources", "/artifacts", "/template", "/manifest", "/logs?follow=false", "/files"]
        .map(|below| format!("/builds/{build}{below}"))
        .into_iter()
}

const HCL: &str = r#"
variable "token" {
  type      = string
  sensitive = true
}
variable "of_file" {
  type      = string
  sensitive = true
}
locals {
  plain = "x"
}
local "secret" {
  expression = "canary-of-an-hcl-${"local-0010"}"
  sensitive  = true
}
source "osc-bsu" "x" {
  omi_name     = "canaries-hcl"
  source_omi_filter {
    filters     = { image-name = "tiny-*" }
    owners      = ["Outscale"]
    most_recent = true
  }
  vm_type      = "tinav5.c1r1p2"
  ssh_username = "outscale"
  ssh_timeout  = "3m"
  user_data    = "of ${var.token}"
}
build {
  sources = ["source.osc-bsu.x"]
  provisioner "shell" {
    environment_vars = ["TOKEN=${var.token}", "LOCAL=${local.secret}", "OF_FILE=${var.of_file}"]
    inline = ["echo says \"$TOKEN\" $LOCAL $OF_FILE", "printf %s $LOCAL | base64", "printf x%s $OF_FILE | base64"]
  }
}
"#;

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn no_canary_sings(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let ssh_key = ssh_key(folder.path());
    let x509 = {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["me".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let set_x509 = {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["set".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (ssh_core, x509_core, set_core) = (core_of(&ssh_key), core_of(&x509.1), core_of(&set_x509.1));
    let master = hex::encode(MASTER_KEY);
    let secrets = [
        std::str::from_utf8(MASTER_KEY).unwrap(),
        OF_ENVIRONMENT,
        ALLOWED_VARIABLE,
        VARIABLE,
        CLIENT_ENV,
        PASSWORD,
        BASTION_PASSWORD,
        USER_DATA,
        USER_DATA_FILE,
        UPLOADED,
        LOCAL,
        VAR_FILE,
        PROXY,
        SECRET_KEY,
        &ssh_core,
        &x509_core,
        &set_core,
    ];
    let canaries = Arc::new(Canaries::new(&secrets));
    let watch = Watch::start(canaries.clone());

    let proxy = format!("http://me:{PROXY}@127.0.0.1:1");
    let variables = [
        ("FOURNIL_MASTER_KEY", master.as_str()),
        ("OSC_ACCESS_KEY", "CANARY0ACCESS0KEY"),
        ("OSC_SECRET_KEY", OF_ENVIRONMENT),
        ("ALLOWED", ALLOWED_VARIABLE),
        ("FOURNIL_ENV_ALLOWED", "ALLOWED"),
        ("FOURNIL_OAPI_POLL_INTERVAL", "20ms"),
        ("FOURNIL_OAPI_SETTLE", "1s"),
        ("HTTPS_PROXY", proxy.as_str()),
        ("RUST_LOG", "debug,mio=info,polling=info"),
    ];
    let served = Served::start(&app, &variables).await;
    fs::write(folder.path().join("set.crt"), &set_x509.0).unwrap();
    fs::write(folder.path().join("set.key"), &set_x509.1).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = (path("set.crt"), path("set.key"));
    let set = served.command(
        &[
            "credentials",
            "set",
            "prod",
            "--access-key",
            ACCESS_KEY,
            "--endpoint",
            &app.sandbox.url,
            "--x509-cert",
            &certificate,
            "--x509-key",
            &key,
        ],
        &[],
    );
    let mut outputs = vec![run(set, SECRET_KEY).await];
    assert!(outputs[0].status.success(), "{}", printed(&outputs[0]));
    outputs.push(run(served.command(&["credentials", "list"], &[]), "").await);

    // Keys in the template, with everything that succeeds and then fails.
    let options = json!({
        "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "custom_endpoint_oapi": app.sandbox.url,
        "x509_cert_path": "me.crt", "x509_key_path": "me.key", "ssh_password": PASSWORD,
        "temporary_key_pair_name": "canaries-{{user `code`}}", "user_data": "{{user `data`}}",
    });
    let script = json!({ "type": "shell",
        "environment_vars": ["TOKEN={{user `token`}}", "ENV={{user `env`}}", "ALLOWED={{user `allowed`}}"],
        "inline": ["echo says \"$TOKEN\" $ENV $ALLOWED", "printf %s \"$TOKEN\" | base64", "printf x%s \"$TOKEN\" | base64",
            "printf xx%s $ENV | base64", "cat /tmp/uploaded", "exit {{user `code`}}"] });
    let file = json!({ "type": "file", "source": "uploaded.txt", "destination": "/tmp/nobody-reads-this" });
    let plain = json!({ "type": "shell", "inline": ["echo nothing > /tmp/uploaded"] });
    let mut whole =
        template(with(builder("canaries-{{user `code`}}"), options), json!([file, plain, script]));
    whole["variables"] = json!({ "token": "", "data": "", "code": "0", "env": "{{env `CLIENT`}}", "allowed": "{{env `ALLOWED`}}" });
    whole["sensitive-variables"] = json!(["token", "data", "env", "allowed"]);
    let files = [("uploaded.txt", UPLOADED), ("me.crt", &x509.0), ("me.key", &x509.1)];
    let mut builds = Vec::new();
    for code in ["0", "9"] {
        let request = json!({ "template": whole, "env": { "CLIENT": CLIENT_ENV },
            "variables": { "token": VARIABLE, "data": USER_DATA, "code": code } });
        builds
            .push((post(&served, &request, &files).await, if code == "0" { "succeeded" } else { "failed" }));
    }
    // A key that nobody lets in, a bastion that is not there, user data of a file; with the stored set.
    let options = json!({
        "ssh_private_key_file": "id", "ssh_bastion_host": "127.0.0.1", "ssh_bastion_port": 1, "ssh_bastion_username": "b",
        "ssh_bastion_password": BASTION_PASSWORD, "user_data_file": "data", "ssh_timeout": "3s",
    });
    let locked = template(with(builder("canaries-locked"), options), json!([]));
    let files = [("id", ssh_key.as_str()), ("data", USER_DATA_FILE)];
    let request = json!({ "template": locked, "credentials": "prod" });
    builds.push((post(&served, &request, &files).await, "failed"));
    // HCL2, with a file of variables.
    let of_file = format!("of_file = \"{VAR_FILE}\"\n");
    let files = [("x.pkr.hcl", HCL), ("v.pkrvars.hcl", of_file.as_str())];
    let request = json!({ "template_path": "x.pkr.hcl", "credentials": "prod", "variables": { "token": VARIABLE },
        "var_files": ["v.pkrvars.hcl"] });
    builds.push((post(&served, &request, &files).await, "succeeded"));
    // Refused ones are logged too.
    let mut wrong = whole.clone();
    wrong["builders"][0]["omi_nam"] = json!(PASSWORD);
    let refused = json!({ "template": wrong, "variables": { "token": VARIABLE } });
    for path in ["/builds", "/validate"] {
        let answer = served.request(Method::POST, path).json(&refused).send().await.unwrap();
        assert_eq!(answer.status(), 422);
        canaries.check("a refusal", answer.text().await.unwrap().as_bytes());
    }

    let mut paths: Vec<String> =
        ["/builds", "/workers", "/metrics", "/credentials", "/readyz", "/version", "/openapi.yaml", "/"]
            .map(str::to_owned)
            .into();
    for (build, state) in &builds {
        let ended = ended(&served, build).await;
        let log = served.request(Method::GET, &format!("/builds/{build}/logs")).send().await.unwrap();
        let log = log.text().await.unwrap();
        assert_eq!(ended["state"], *state, "{ended:#}\n{log}");
        assert!(*state == "failed" || log.contains("says <sensitive> <sensitive>"), "{log}");
        paths.extend(paths_of(build));
        outputs.push(run(served.command(&["logs", build], &[]), "").await);
        outputs.push(run(served.command(&["show", build, "--json"], &[]), "").await);
    }
    check_answers(&served, &canaries, &paths).await;
    for output in &outputs {
        canaries.check("the output of a command", printed(output).as_bytes());
    }
    for (build, _) in &builds {
        served.destroy(build).await;
    }
    canaries.check_database(&served.pool).await;
    watch.end();
    let log = fs::read_to_string(served.log_path()).unwrap();
    assert!(log.contains("DEBUG") && log.contains("CreateVms"), "the log is a log");
    let (_, data) = served.end().await;
    canaries.check_files(data.path());
    canaries.would_be_found();
}

/// A build whose every place for commands has the variable `everywhere` in it.
fn everywhere(builder: Value, provisioners: Value) -> Value {
    let mut all = template(builder, provisioners);
    all["variables"] = json!({ "everywhere": "" });
    all["sensitive-variables"] = json!(["everywhere"]);
    let local = json!({ "type": "shell-local", "env": { "SECRET": "{{user `everywhere`}}" },
        "inline": ["echo post-processed $SECRET", "cat > /dev/null <<'END'\n{{user `everywhere`}}\nEND"] });
    let manifest = json!({ "type": "manifest", "custom_data": { "secret": "{{user `everywhere`}}" } });
    all["post-processors"] = json!([[local, manifest]]);
    json!({ "template": all, "variables": { "everywhere": EVERYWHERE } })
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn no_canary_sings_in_other_builders_on_the_host_and_while_a_vm_is_held(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let machines = Machines::ThisOneWithARoleAndNamespaces;
    if !machines.are_possible() {
        println!("skipped: VMs of namespaces and chroots need root");
        return;
    }
    let app = TestApp::start(database, machines, &[]).await;
    let canaries = Arc::new(Canaries::new(&[EVERYWHERE, API_TOKEN]));
    let watch = Watch::start(canaries.clone());
    let master = hex::encode(MASTER_KEY);
    let served = Served::start(
        &app,
        &[
            ("FOURNIL_MASTER_KEY", master.as_str()),
            ("FOURNIL_BOOTSTRAP_TOKEN", API_TOKEN),
            ("FOURNIL_CAPABILITIES", "shell-local,chroot"),
            ("FOURNIL_METADATA_URL", app.sandbox.url.as_str()),
            ("OSC_ENDPOINT_API", app.sandbox.url.as_str()),
            ("OSC_REGION", "eu-west-2"),
            ("FOURNIL_OAPI_POLL_INTERVAL", "20ms"),
            ("FOURNIL_OAPI_SETTLE", "1s"),
            ("RUST_LOG", "debug,mio=info,polling=info"),
        ],
    )
    .await;
    let first = role_keys(&app).await;

    let secret = "{{user `everywhere`}}";
    let env = json!([format!("SECRET={secret}")]);
    let told = json!({ "type": "shell", "environment_vars": env, "inline": ["echo provisioned $SECRET", "printf %s \"$SECRET\" | base64"] });
    let quietly = format!("cat > /dev/null <<'END'\n{secret}\nEND");
    let in_chroot = with(
        chroot("canaries-chroot"),
        json!({ "pre_mount_commands": [quietly], "post_mount_commands": [format!("cat <<'END'\n{secret}\nEND")] }),
    );
    let local = json!({ "type": "shell-local", "environment_vars": env, "inline": ["echo provisioned $SECRET", quietly] });
    let data = json!([{ "device_name": "/dev/xvdf", "volume_size": 1, "snapshot_volume": true }]);
    let surrogate = with(surrogate("canaries-surrogate"), json!({ "user_data": secret }));
    let held = builder("canaries-held");
    let fails = json!({ "type": "shell", "environment_vars": env, "inline": ["echo provisioned $SECRET >&2", "exit 9"] });
    let mut ids = Vec::new();
    for (request, state) in [
        (everywhere(in_chroot, json!([told])), "succeeded"),
        (everywhere(surrogate, json!([told, copy_system()])), "succeeded"),
        (everywhere(volumes(data), json!([told, local])), "succeeded"),
        (with(everywhere(held, json!([fails])), json!({ "on_error": "hold" })), "failed"),
    ] {
        let answer = served.request(Method::POST, "/builds").json(&request).send().await.unwrap();
        ids.push((accepted(answer).await, state));
    }
    let mut paths: Vec<String> =
        ["/builds", "/workers", "/metrics", "/tokens", "/audit", "/whoami"].map(str::to_owned).into();
    for (id, state) in &ids {
        let is_held = |build: &Value| build["runs"][0]["held"].is_object();
        eventually("it has ended or is held", || async {
            let build = served.build(id).await;
            is_final(&build) || is_held(&build)
        })
        .await;
        paths.extend(paths_of(id));
        if *state == "failed" {
            assert!(is_held(&served.build(id).await));
            check_answers(&served, &canaries, &paths).await;
            canaries.check_database(&served.pool).await;
            let release = served.request(Method::POST, &format!("/builds/{id}/release"));
            assert_eq!(release.send().await.unwrap().status(), 202);
        }
        let build = ended(&served, id).await;
        let log = served.request(Method::GET, &format!("/builds/{id}/logs")).send().await.unwrap();
        let log = log.text().await.unwrap();
        assert_eq!(build["state"], *state, "{build:#}\n{log}");
        assert!(log.contains("keys from the role `baker`"), "{log}");
        assert!(log.contains("provisioned <sensitive>"), "{log}");
        assert!(*state == "failed" || log.contains("post-processed <sensitive>"), "{log}");
        if *state == "succeeded" {
            let run = build["runs"][0]["name"].as_str().unwrap();
            let path = format!("/builds/{id}/files/{run}/packer-manifest.json");
            let manifest = served.request(Method::GET, &path).send().await.unwrap();
            assert_eq!(manifest.status(), 200, "{path}");
            paths.push(path);
        }
    }
    // Of the role's keys those are secret that it has had, with their tokens.
    let second = role_keys(&app).await;
    let mut secrets = vec![EVERYWHERE, API_TOKEN];
    for keys in [&first, &second] {
        secrets.extend(["SecretAccessKey", "Token"].map(|name| keys[name].as_str().unwrap()));
    }
    let all = Canaries::new(&secrets);
    check_answers(&served, &all, &paths).await;
    let listing = run(served.command(&["token", "list", "--all"], &[("FOURNIL_TOKEN", API_TOKEN)]), "").await;
    assert!(listing.status.success() && printed(&listing).contains("bootstrap"), "{}", printed(&listing));
    all.check("the list of tokens", printed(&listing).as_bytes());
    for (id, _) in &ids {
        served.destroy(id).await;
    }
    all.check_database(&served.pool).await;
    watch.end();
    let log = fs::read_to_string(served.log_path()).unwrap();
    assert!(log.contains("DEBUG") && log.contains("CreateVms"), "the log is a log");
    let (_, data) = served.end().await;
    all.check_files(data.path());
    all.would_be_found();
}

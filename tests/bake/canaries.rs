//! Canaries: a different one in every place where a secret can stand. After builds that succeed and that fail, none can be
//! read anywhere, in any spelling: database, logs, answers, metrics, files, command lines.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, eventually, id_of, is_final},
    sandbox::{ACCESS_KEY, SECRET_KEY},
    served::{Served, printed, run},
    template::{builder, tar_gz, template, with},
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

/// How a secret may be written: all of it that does not depend on what stands around it.
fn spellings(secret: &str) -> BTreeSet<Vec<u8>> {
    let percent = |kept: &str| -> String {
        let encode = |byte: u8| match char::from(byte) {
            char if char.is_ascii_alphanumeric() || kept.contains(char) => char.to_string(),
            _ => format!("%{byte:02X}"),
        };
        secret.bytes().map(encode).collect()
    };
    let json = serde_json::to_string(secret).unwrap();
    let mut all = BTreeSet::from([
        secret.to_owned(),
        hex::encode(secret),
        hex::encode_upper(secret),
        json.trim_matches('"').to_owned(),
        serde_json::to_string(&json).unwrap().trim_matches('"').to_owned(),
        percent("-_.~"),
        percent(""),
        percent("-_.~").replace("%20", "+"),
        secret.replace('\'', "'\\''"),
        secret.replace('&', "&amp;").replace('"', "&quot;"),
    ]);
    for offset in 0..3 {
        let bytes = [&b"xx"[..offset], secret.as_bytes()].concat();
        let (begin, end) = ((offset * 8).div_ceil(6), bytes.len() * 8 / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            all.insert(engine.encode(&bytes)[begin..end].to_owned());
        }
    }
    all.into_iter().map(String::into_bytes).collect()
}

struct Canaries(Vec<(String, aho_corasick::AhoCorasick)>);

impl Canaries {
    fn new(secrets: &[&str]) -> Self {
        let search = |secret: &&str| {
            let search = aho_corasick::AhoCorasick::new(spellings(secret)).unwrap();
            ((*secret).to_owned(), search)
        };
        Self(secrets.iter().map(search).collect())
    }

    fn check(&self, place: &str, bytes: &[u8]) {
        for (secret, search) in &self.0 {
            if let Some(found) = search.find(bytes) {
                let around = &bytes[found.start().saturating_sub(200)..(found.end() + 100).min(bytes.len())];
                panic!("`{secret}` is in {place}: {}", String::from_utf8_lossy(around));
            }
        }
    }

    fn check_files(&self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                self.check_files(&entry.path());
            } else {
                self.check(&entry.path().display().to_string(), &fs::read(entry.path()).unwrap());
            }
        }
    }

    /// Everything in the database as it would be dumped, and each value of bytes for itself.
    async fn check_database(&self, pool: &sqlx::PgPool) {
        let columns: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
             WHERE table_schema = 'public'",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        assert!(columns.len() > 50, "the tables are there");
        for (table, column, kind) in columns {
            let value =
                if kind == "bytea" { column.clone() } else { format!("convert_to({column}::text, 'UTF8')") };
            let query =
                sqlx::AssertSqlSafe(format!("SELECT {value} FROM {table} WHERE {column} IS NOT NULL"));
            let values: Vec<Vec<u8>> = sqlx::query_scalar(query).fetch_all(pool).await.unwrap();
            for value in values {
                self.check(&format!("{table}.{column}"), &value);
            }
        }
    }
}

/// Looks at the command lines of all processes until it is told to stop.
fn watch_processes(canaries: Arc<Canaries>, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut seen = 0;
        while !stop.load(Ordering::Relaxed) {
            for entry in fs::read_dir("/proc").unwrap().flatten() {
                // Our own test has none on it; what the sandbox runs inside its VMs belongs to the VM.
                let is_ours = fs::read_to_string(entry.path().join("status")).is_ok_and(|status| {
                    status
                        .lines()
                        .find(|line| line.starts_with("NSpid:"))
                        .is_some_and(|line| line.split_whitespace().count() == 2)
                });
                if let (true, Ok(line)) = (is_ours, fs::read(entry.path().join("cmdline"))) {
                    canaries.check("a command line", &line);
                    seen += 1;
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        seen
    })
}

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
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch_processes(canaries.clone(), stop.clone());

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
        for below in ["", "/steps", "/resources", "/artifacts", "/template", "/manifest", "/logs", "/files"] {
            paths.push(format!("/builds/{build}{below}"));
        }
        outputs.push(run(served.command(&["logs", build], &[]), "").await);
        outputs.push(run(served.command(&["show", build, "--json"], &[]), "").await);
    }
    for path in paths {
        for accept in ["application/json", "text/event-stream", "application/x-ndjson", "text/plain"] {
            let answer = served.request(Method::GET, &path).header("accept", accept).send().await.unwrap();
            canaries.check(&path, &answer.bytes().await.unwrap());
        }
    }
    for output in &outputs {
        canaries.check("the output of a command", printed(output).as_bytes());
    }
    for (build, _) in &builds {
        served.destroy(build).await;
    }
    canaries.check_database(&served.pool).await;
    stop.store(true, Ordering::Relaxed);
    let seen = watching.join().expect("no canary is in a command line");
    assert!(seen > 100, "{seen}");
    let log = fs::read_to_string(served.log_path()).unwrap();
    assert!(log.contains("DEBUG") && log.contains("CreateVms"), "the log is a log");
    let (_, data) = served.end().await;
    canaries.check_files(data.path());
    // That nothing was found means something only if it would be found.
    for (secret, search) in &canaries.0 {
        assert!(search.is_match(format!("x{secret}").as_bytes()));
        assert!(search.is_match(STANDARD_NO_PAD.encode(format!("x{secret}x")).as_bytes()));
    }
}

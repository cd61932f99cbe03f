//! Secrets of a request are nowhere to be read: not in an answer, a log, a table or fournil's own output.

use std::{
    io::{self, Read, Write},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::Method;
use serde_json::json;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tracing_subscriber::{Layer, filter::dynamic_filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    app::{TestApp, accepted, id_of},
    sandbox::{ACCESS_KEY, Machines, SECRET_KEY},
    template::{builder, tar_gz, template, with},
};

const VARIABLE: &str = "canary-of-the-variable-4711";
const PASSWORD: &str = "canary-of-the-password-0815";
const IN_FILE: &str = "canary-of-the-file-1234";

/// What fournil's own log says, in all threads, while the story lasts.
static OUTPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static IS_CAPTURING: AtomicBool = AtomicBool::new(false);

struct Capture;

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        OUTPUT.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Captures everything that is logged from now on, the libraries' finest details too.
fn capture() {
    let is_wanted = dynamic_filter_fn(|about, _| {
        // These log each poll of a task.
        let is_noise = ["mio", "polling", "tokio"].iter().any(|library| about.target().starts_with(library));
        IS_CAPTURING.load(Ordering::Relaxed) && !is_noise
    });
    let layer =
        tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Capture).with_filter(is_wanted);
    tracing_subscriber::registry().with(layer).init();
    IS_CAPTURING.store(true, Ordering::Relaxed);
}

fn clean(place: &str, text: &str) {
    for secret in [SECRET_KEY, VARIABLE, PASSWORD, IN_FILE] {
        for form in
            [secret.to_owned(), hex::encode(secret), STANDARD.encode(secret).trim_end_matches('=').to_owned()]
        {
            assert!(!text.contains(&form), "{form} is in {place}: {}", around(text, &form));
        }
    }
}

fn around(text: &str, what: &str) -> String {
    let at = text.find(what).unwrap_or_default();
    text.chars().skip(at.saturating_sub(120)).take(300).collect()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn no_secret_can_be_read_anywhere(_: PgPoolOptions, database: PgConnectOptions) {
    if !Machines::Namespaces.are_possible() {
        return;
    }
    capture();
    // The keys come with the request, not from the worker's surroundings.
    let keys = [("OSC_ACCESS_KEY", ""), ("OSC_SECRET_KEY", "")];
    let app = TestApp::start(database, Machines::Namespaces, &keys).await;
    let options = json!({
        "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "custom_endpoint_oapi": app.sandbox.url,
        "ssh_password": PASSWORD, "temporary_key_pair_name": "key", "user_data": "password {{user `token`}}",
    });
    let script = json!({ "type": "shell", "environment_vars": ["TOKEN={{user `token`}}"],
        "inline": ["echo token $TOKEN", "printf %s $TOKEN | base64", "cat /tmp/f", "for c in $(echo $TOKEN | sed 's/-/ /g'); do printf -- \"$c\"; sleep 0.1; printf -- -; done; echo",
            "exit $CODE"], "env": { "CODE": "{{user `code`}}" } });
    let file = json!({ "type": "file", "source": "secret.txt", "destination": "/tmp/f" });
    let mut template = template(with(builder("secret-{{user `code`}}"), options), json!([file, script]));
    template["variables"] = json!({ "token": "", "code": "0" });
    template["sensitive-variables"] = json!(["token"]);
    let mut builds = Vec::new();
    for code in ["0", "9"] {
        let mut one = template.clone();
        one["variables"]["code"] = code.into();
        let envelope = json!({ "template": one, "variables": { "token": VARIABLE } });
        let context = tar_gz(&[("secret.txt", "nothing\n")]);
        let answer = app
            .request(Method::POST, "/builds")
            .header("content-type", "multipart/form-data; boundary=limit");
        let answer = answer.body(multipart(&envelope.to_string(), &context)).send().await.unwrap();
        builds.push(app.wait_build(&accepted(answer).await).await);
    }
    // And as a folder, where the secrets are in files.
    template["variables"]["token"] = VARIABLE.into();
    template["variables"]["code"] = "1".into();
    template["provisioners"][0] = json!({ "type": "file", "source": "secret.txt", "destination": "/tmp/g" });
    template["provisioners"][1]["inline"][2] = "true".into();
    let folder = tar_gz(&[("template.json", &template.to_string()), ("secret.txt", IN_FILE)]);
    let answer = app.request(Method::POST, "/builds").header("content-type", "application/gzip").body(folder);
    builds.push(app.wait_build(&accepted(answer.send().await.unwrap()).await).await);
    let states: Vec<_> = builds.iter().map(|build| build["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["succeeded", "failed", "failed"], "{builds:#?}");

    for build in &builds {
        let id = id_of(build);
        assert!(app.log(id).await.contains("token "), "the script ran");
        for path in ["", "/steps", "/resources", "/artifacts", "/template", "/manifest", "/logs", "/files"] {
            for accept in ["application/json", "text/event-stream", "application/x-ndjson", "text/plain"] {
                let request =
                    app.request(Method::GET, &format!("/builds/{id}{path}")).header("accept", accept);
                clean(path, &request.send().await.unwrap().text().await.unwrap());
            }
        }
    }
    for path in ["/builds", "/workers", "/metrics"] {
        clean(path, &app.request(Method::GET, path).send().await.unwrap().text().await.unwrap());
    }
    for (table, rows) in tables(&app.pool).await {
        clean(&table, &rows);
    }
    for archive in
        sqlx::query_scalar::<_, Vec<u8>>("SELECT data FROM contexts").fetch_all(&app.pool).await.unwrap()
    {
        let mut text = Vec::new();
        let _ = flate2::read::GzDecoder::new(archive.as_slice()).read_to_end(&mut text);
        clean("an unpacked archive of the database", &String::from_utf8_lossy(&text));
    }
    IS_CAPTURING.store(false, Ordering::Relaxed);
    let output = String::from_utf8_lossy(&OUTPUT.lock().unwrap()).into_owned();
    assert!(output.contains("claimed run"), "the log was captured");
    clean("fournil's own log", &output);
}

/// Every table as text; bytes are in hexadecimal digits.
async fn tables(pool: &PgPool) -> Vec<(String, String)> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut tables = Vec::new();
    for name in names {
        let query =
            sqlx::AssertSqlSafe(format!("SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM {name} AS t"));
        tables.push((name, sqlx::query_scalar(query).fetch_one(pool).await.unwrap()));
    }
    tables
}

fn multipart(request: &str, context: &[u8]) -> Vec<u8> {
    let head = format!(
        "--limit\r\ncontent-disposition: form-data; name=\"request\"\r\n\r\n{request}\r\n\
         --limit\r\ncontent-disposition: form-data; name=\"context\"; filename=\"c\"\r\n\r\n"
    );
    [head.as_bytes(), context, b"\r\n--limit--\r\n"].concat()
}

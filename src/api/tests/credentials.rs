//! Stored sets of credentials: written, listed, used, removed, and never read.

use super::*;
use crate::{
    credentials::sets::SetSecrets,
    store::credential_sets::{self, SECRETS_COLUMN},
};

const SECRET: &str = "hunter2-the-secret-key";

fn set() -> Value {
    json!({ "access_key": "ABCDEFGHIJKLMNOPWX9Z", "secret_key": SECRET, "region": "eu-west-2",
        "endpoint": "https://osc.example.org:8443/api/v1" })
}

async fn put(api: &TestApi, name: &str, body: impl Into<Body>) -> Answer {
    let headers = [("content-type", "application/json")];
    api.send(request(Method::PUT, &format!("/credentials/{name}"), &headers, body.into())).await
}

async fn delete(api: &TestApi, path: &str) -> Answer {
    api.send(request(Method::DELETE, path, &[], Body::empty())).await
}

/// A template without keys of its own.
fn keyless() -> Value {
    let mut template = template();
    for option in ["access_key", "secret_key"] {
        template["builders"][0].as_object_mut().unwrap().remove(option);
    }
    template
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_set_is_stored_and_nothing_secret_is_shown(pool: PgPool) {
    let api = TestApi::start(pool);
    let stored = put(&api, "prod", set().to_string()).await;
    assert_eq!(stored.status, StatusCode::CREATED, "{}", stored.text());
    let list = api.get("/credentials").await;
    for text in [stored.text(), list.text()] {
        assert!(!text.contains("hunter2") && !text.contains("ABCDEF"), "{text}");
    }
    let view = &list.json()["credentials"][0];
    assert_eq!(view, &stored.json());
    assert_eq!((&view["name"], &view["region"]), (&json!("prod"), &json!("eu-west-2")));
    assert_eq!(view["endpoint_host"], "osc.example.org:8443");
    assert_eq!(view["access_key_end"], "WX9Z");
    assert_eq!((&view["has_client_certificate"], &view["last_used_at"]), (&json!(false), &Value::Null));

    let (id, sealed): (uuid::Uuid, Vec<u8>) =
        sqlx::query_as("SELECT id, sealed FROM credential_sets").fetch_one(&api.state.store).await.unwrap();
    assert!(!String::from_utf8_lossy(&sealed).contains("hunter2"));
    let secrets: SetSecrets = api.state.vault.open_json(SECRETS_COLUMN, id, &sealed).unwrap();
    assert_eq!(secrets.access_key, "ABCDEFGHIJKLMNOPWX9Z");

    // The same name again is the set anew.
    let other = json!({ "access_key": "ZZZZZZZZZZZZZZZZ1234", "secret_key": "other" });
    let replaced = put(&api, "prod", other.to_string()).await;
    assert_eq!((replaced.status, &replaced.json()["access_key_end"]), (StatusCode::OK, &json!("1234")));
    assert_eq!(replaced.json()["region"], Value::Null);
    assert_eq!(replaced.json()["created_at"], view["created_at"]);
    let mut db = api.db().await;
    let opened = credential_sets::open(&mut db, &api.state.vault, "prod", chrono::Utc::now()).await.unwrap();
    assert_eq!(opened.unwrap().secrets.access_key, "ZZZZZZZZZZZZZZZZ1234");
    assert!(api.get("/credentials").await.json()["credentials"][0]["last_used_at"].is_string());
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn what_is_wrong_is_told_by_its_field_and_not_repeated(pool: PgPool) {
    let api = TestApi::start(pool);
    for (field, value) in [
        ("access_key", json!("")),
        ("access_key", json!("a b")),
        ("secret_key", json!("")),
        ("secret_key", json!("hunter2\nhunter2")),
        ("region", json!("evil.example/")),
        ("endpoint", json!("https://me:hunter2@x.example")),
        ("x509_client_cert", json!("hunter2")),
    ] {
        let mut set = set();
        set[field] = value;
        let answer = put(&api, "prod", set.to_string()).await;
        let problem = answer.is_problem(422, "invalid_credentials");
        let pointer = problem["errors"][0]["pointer"].as_str().unwrap();
        assert!(pointer.starts_with(&format!("/{}", &field[..4])), "{problem}");
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    }
    for (body, status, code) in [
        ("{".to_owned(), 400, "invalid_json"),
        ("[]".to_owned(), 422, "invalid_credentials"),
        (json!({ "access_key": "A" }).to_string(), 422, "invalid_credentials"),
        (
            json!({ "access_key": "A", "secret_key": 5, "hunter2": "hunter2" }).to_string(),
            422,
            "invalid_credentials",
        ),
        (json!({ "access_key": "A", "secret_key": "x".repeat(2 << 20) }).to_string(), 413, "body_too_large"),
    ] {
        let answer = put(&api, "prod", body).await;
        answer.is_problem(status, code);
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    }
    for name in ["-x", "a%20b", "..%2F..", "%00", &"x".repeat(65)] {
        put(&api, name, set().to_string()).await.is_problem(422, "invalid_credentials");
        delete(&api, &format!("/credentials/{name}")).await.is_problem(404, "credentials_not_found");
    }
    let answer = api.send(request(Method::PUT, "/credentials/prod", &[], Body::from("x"))).await;
    answer.is_problem(415, "unsupported_media_type");
    assert_eq!(api.get("/credentials").await.json(), json!({ "credentials": [] }));
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_build_names_a_set_and_stores_no_key_of_it(pool: PgPool) {
    let api = TestApi::start(pool);
    let body = json!({ "template": keyless(), "credentials": "prod" });
    let problem = api.post_json("/builds", &[], &body).await.is_problem(422, "credentials_not_found");
    assert_eq!(problem["errors"][0]["pointer"], "/credentials");
    api.post_json("/validate", &[], &body).await.is_problem(422, "credentials_not_found");
    put(&api, "prod", set().to_string()).await;
    let build = api.post_build(&body).await;
    assert_eq!(api.get(&format!("/builds/{build}")).await.json()["credentials"], "prod");
    let (run, plan): (uuid::Uuid, Vec<u8>) =
        sqlx::query_as("SELECT id, plan_sealed FROM runs").fetch_one(&api.state.store).await.unwrap();
    let plan = api.state.vault.open(crate::store::builds::PLAN_COLUMN, run, &plan).unwrap();
    let plan = String::from_utf8(plan.to_vec()).unwrap();
    assert!(plan.contains(r#""set":"prod""#) && !plan.contains("hunter2"), "{plan}");

    // Keys in the template and a set: which of them?
    for (option, value) in [("profile", "p"), ("access_key", "K")] {
        let mut both = keyless();
        both["builders"][0][option] = value.into();
        both["builders"][0]["secret_key"] = if option == "access_key" { "x".into() } else { Value::Null };
        let body = json!({ "template": both, "credentials": "prod" });
        let problem = api.post_json("/builds", &[], &body).await.is_problem(422, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains("give one of them"), "{problem}");
    }
    // By query too.
    let text = "source \"osc-bsu\" \"x\" {\n}";
    let answer = api.post_bytes("/builds?credentials=a%2Fb", "application/hcl", text).await;
    assert!(
        answer.is_problem(422, "invalid_request")["detail"].as_str().unwrap().contains("set of credentials")
    );
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_set_in_use_is_removed_only_by_force(pool: PgPool) {
    let api = TestApi::start(pool);
    put(&api, "prod", set().to_string()).await;
    let build = api.post_build(&json!({ "template": keyless(), "credentials": "prod" })).await;
    sqlx::query("UPDATE runs SET state = 'failed', cleanup = 'pending' WHERE build_id = $1")
        .bind(build.0)
        .execute(&api.state.store)
        .await
        .unwrap();
    delete(&api, "/credentials/prod").await.is_problem(409, "credentials_in_use");
    delete(&api, "/credentials/prod?force=maybe").await.is_problem(400, "invalid_parameter");
    let removed = delete(&api, "/credentials/prod?force=true").await;
    assert_eq!((removed.status, &removed.json()["name"]), (StatusCode::OK, &json!("prod")));
    delete(&api, "/credentials/prod").await.is_problem(404, "credentials_not_found");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_wrong_clock_is_a_warning_of_readyz(pool: PgPool) {
    let api = TestApi::start(pool);
    assert_eq!(api.get("/readyz").await.json(), json!({ "status": "ready" }));
    let now = api.state.clock.now();
    api.state.skew.saw(Some(now + chrono::TimeDelta::seconds(200)), now);
    let answer = api.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        answer.json()["warnings"][0].as_str().unwrap().contains("200 s behind OUTSCALE's"),
        "{}",
        answer.text()
    );
}

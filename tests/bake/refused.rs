//! What is refused before anything is asked of the cloud: each with a problem that says what is wrong and where.

use reqwest::{Method, Response};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::TestApp,
    template::{builder, shell, template, with},
};

async fn problem(answer: Response, status: u16) -> Value {
    let found = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status);
    for member in ["type", "title", "detail", "code", "instance", "request_id"] {
        assert!(
            problem[member].as_str().is_some_and(|text| !text.is_empty()),
            "no `{member}` in {problem:#}"
        );
    }
    problem
}

/// The finding at this place of the template.
fn finding<'a>(problem: &'a Value, pointer: &str) -> &'a str {
    let errors = problem["errors"].as_array().unwrap();
    let found =
        errors.iter().find(|error| error["pointer"].as_str().is_some_and(|place| place.ends_with(pointer)));
    found.unwrap_or_else(|| panic!("nothing at {pointer} in {problem:#}"))["detail"].as_str().unwrap()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_wrong_template_is_refused_with_every_place_that_is_wrong(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    let mut unknown = builder("image-x");
    unknown["type"] = "osc-bsuu".into();
    let answer = problem(app.post("/builds", &template(unknown, json!([]))).await, 422).await;
    assert!(
        finding(&answer, "/builders/0/type").contains("`osc-bsuu`")
            && finding(&answer, "/type").contains("`osc-bsu`")
    );

    let mut several = with(
        builder("image-x"),
        json!({ "associate_public_ip_address": "perhaps", "vm_typ": "a", "ssh_timeout": "soon" }),
    );
    several.as_object_mut().unwrap().remove("omi_name");
    let answer = problem(
        app.post("/builds", &template(several, json!([{ "type": "shel", "inline": ["true"] }]))).await,
        422,
    )
    .await;
    assert!(answer.to_string().contains("omi_name"), "{answer:#}");
    assert!(finding(&answer, "/associate_public_ip_address").contains("perhaps"));
    assert!(finding(&answer, "/vm_typ").contains("vm_type"), "{answer:#}");
    finding(&answer, "/ssh_timeout");
    assert!(finding(&answer, "/provisioners/0/type").contains("shell"), "{answer:#}");

    let answer = problem(
        app.post("/builds", &template(builder("image-x"), json!([{ "type": "shell", "script": "no.sh" }])))
            .await,
        422,
    )
    .await;
    assert!(answer.to_string().contains("no.sh"), "{answer:#}");
    assert!(app.sandbox.calls("CreateVms").await.is_empty());
    assert_eq!(app.get("/builds").await["builds"], json!([]));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_body_that_is_no_request_is_refused(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let post = |media_type: &'static str, body: Vec<u8>| {
        app.request(Method::POST, "/builds").header("content-type", media_type).body(body).send()
    };
    let answer = problem(post("application/json", b"{\"builders\": [".to_vec()).await.unwrap(), 400).await;
    assert!(
        answer["errors"][0]["line"].is_number() || answer["detail"].as_str().unwrap().contains("line"),
        "{answer:#}"
    );
    problem(post("text/yaml", b"a: b".to_vec()).await.unwrap(), 415).await;
    problem(post("application/gzip", b"no archive".to_vec()).await.unwrap(), 422).await;
    let large = template(builder("image-x"), json!([shell(&[&"x".repeat(300 << 10)])]));
    let answer = problem(app.post("/builds", &large).await, 413).await;
    assert!(
        answer["detail"].as_str().unwrap().contains("256")
            || answer["detail"].as_str().unwrap().contains("262144"),
        "{answer:#}"
    );
}

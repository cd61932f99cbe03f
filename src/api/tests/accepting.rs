//! `POST /builds` and `POST /validate` with every kind of body.

use super::*;
use crate::store::builds::{PLAN_COLUMN, REQUEST_COLUMN};

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn an_envelope_is_accepted_and_shown(pool: PgPool) {
    let api = TestApi::start(pool);
    let body = json!({
        "template": template(), "labels": { "team": "web" }, "name": "nginx", "priority": 3, "timeout": "2h",
    });
    let answer = api.post_json("/builds", &[], &body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let build = answer.json();
    let id = build["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/builds/{id}"));
    assert_eq!(build["state"], "queued");
    assert_eq!(build["labels"], json!({ "team": "web" }));
    assert_eq!(
        (&build["name"], &build["priority"], &build["timeout"]),
        (&json!("nginx"), &json!(3), &json!("2h"))
    );
    assert_eq!(build["runs"][0]["name"], "osc-bsu");
    assert_eq!(build["runs"][0]["builder"], "osc-bsu");
    assert_eq!(build["runs"][0]["state"], "queued");
    assert_eq!(build["runs"][0]["cleanup"], "none");
    assert_eq!(build["artifacts"], json!([]));
    assert_eq!(api.get(answer.header("location")).await.json(), build);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_bare_template_and_the_short_form_are_accepted(pool: PgPool) {
    let api = TestApi::start(pool);
    api.post_build(&template()).await;
    let short = json!({ "builder": template()["builders"][0], "labels": { "form": "short" } });
    let build = api.post_build(&short).await;
    assert_eq!(api.get(&format!("/builds/{build}")).await.json()["labels"]["form"], "short");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_folder_is_accepted_and_stored(pool: PgPool) {
    let api = TestApi::start(pool);
    let archive = tar(&[("web.json", template().to_string().as_bytes()), ("setup.sh", b"#!/bin/sh\ntrue\n")]);
    let answer = api
        .post_bytes(
            "/builds?template=web.json&label.team=web&name=folder",
            "application/x-tar",
            archive.clone(),
        )
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    assert_eq!(answer.json()["labels"]["team"], "web");
    let mut db = api.db().await;
    let id = sqlx::query_scalar("SELECT id FROM contexts").fetch_one(&mut *db).await.unwrap();
    let stored = crate::store::contexts::load(&mut db, &api.state.vault, id).await.unwrap().unwrap();
    let folder = crate::template::ContextFolder::from_archive(&stored, &Default::default()).unwrap();
    assert_eq!(folder.get("setup.sh"), Some(b"#!/bin/sh\ntrue\n".as_slice()));

    let unknown = api.post_bytes("/builds?colour=red", "application/x-tar", archive.clone()).await;
    unknown.is_problem(422, "invalid_request");
    let missing = api.post_bytes("/builds?template=no.json", "application/x-tar", archive).await;
    missing.is_problem(422, "template_not_found");
    api.post_bytes("/builds", "application/gzip", "no archive").await.is_problem(422, "invalid_archive");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_multipart_form_holds_request_and_folder(pool: PgPool) {
    let api = TestApi::start(pool);
    let archive = tar(&[("setup.sh", b"true")]);
    let form = |boundary: &str, parts: &[(&str, &[u8])]| {
        let mut body = Vec::new();
        for (name, data) in parts {
            body.extend(
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n").bytes(),
            );
            body.extend_from_slice(data);
            body.extend(b"\r\n");
        }
        body.extend(format!("--{boundary}--\r\n").bytes());
        (format!("multipart/form-data; boundary={boundary}"), body)
    };
    let json = json!({ "template": template() }).to_string();
    let (media_type, body) = form("x1", &[("request", json.as_bytes()), ("context", &archive)]);
    let answer = api.post_bytes("/builds", &media_type, body).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());

    for parts in [
        vec![("context", archive.as_slice())],
        vec![("request", json.as_bytes()), ("other", b"x".as_slice())],
        vec![("request", json.as_bytes()), ("request", json.as_bytes())],
    ] {
        let (media_type, body) = form("x1", &parts);
        api.post_bytes("/builds", &media_type, body).await.is_problem(400, "body_unreadable");
    }
    api.post_bytes("/builds", "multipart/form-data", "x").await.is_problem(400, "body_unreadable");
    api.post_bytes("/builds", "multipart/form-data; boundary=x1", "--x1\r\ncut")
        .await
        .is_problem(400, "body_unreadable");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_body_of_another_media_type_is_refused(pool: PgPool) {
    let api = TestApi::start(pool);
    let body = template().to_string();
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/yaml"] {
        let answer = api.post_bytes("/builds", media_type, body.clone()).await;
        let problem = answer.is_problem(415, "unsupported_media_type");
        assert!(problem["detail"].as_str().unwrap().contains(media_type), "{problem}");
    }
    api.post("/builds").await.is_problem(415, "unsupported_media_type");
    api.post_bytes("/builds?only=x", "application/json", body).await.is_problem(400, "invalid_parameter");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn hcl2_is_taken_as_text_with_options_in_the_query(pool: PgPool) {
    let api = TestApi::start(pool);
    for media_type in ["application/hcl", "text/x-hcl; charset=utf-8", "text/hcl"] {
        let answer = api.post_bytes("/builds?var.a=b&env.PKR_VAR_c=d", media_type, "build {").await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.text());
        assert_eq!(answer.json()["errors"][0]["line"], 1);
    }
    let with_path = api.post_bytes("/builds?template=x", "application/hcl", "build {}").await;
    with_path.is_problem(422, "invalid_request");
    api.post_bytes("/builds", "application/hcl", b"\xff".as_slice()).await.is_problem(400, "body_unreadable");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn environment_and_variable_files_reach_the_template(pool: PgPool) {
    let limits =
        ApiLimits { env_allowed: [("TEAM".to_owned(), "web".to_owned())].into(), ..ApiLimits::default() };
    let api = TestApi::with_limits(pool, limits);
    let mut template = template();
    template["variables"] = json!({ "team": "{{env `TEAM`}}", "user": "{{env `USER`}}", "n": "" });
    template["builders"][0]["omi_name"] = json!("{{user `team`}} {{user `user`}} {{user `n`}}");
    let archive = tar(&[("web.json", template.to_string().as_bytes()), ("vars.json", br#"{"n": "5"}"#)]);
    let name = |answer: Answer| answer.json()["runs"][0]["omi_name"].as_str().unwrap().to_owned();
    let path = "/validate?template=web.json&env.USER=me&var_file=vars.json";
    assert_eq!(name(api.post_bytes(path, "application/x-tar", archive.clone()).await), "web me 5");
    let path = "/validate?template=web.json&env.TEAM=ops&env.USER=me&var_file=no.json";
    let problem =
        api.post_bytes(path, "application/x-tar", archive).await.is_problem(422, "invalid_template");
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("`no.json`"), "{problem}");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_wrong_template_is_refused_with_the_place(pool: PgPool) {
    let api = TestApi::start(pool);
    let mut wrong = template();
    wrong["builders"][0].as_object_mut().unwrap().remove("omi_name");
    let problem = api
        .post_json("/builds", &[], &json!({ "template": wrong }))
        .await
        .is_problem(422, "invalid_template");
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("omi_name"), "{problem}");
    api.post_bytes("/builds", "application/json", "{\"template\": ").await.is_problem(400, "invalid_json");
    api.post_bytes("/builds", "application/json", "[]").await.is_problem(422, "invalid_request");
    api.post_bytes("/builds", "application/json", "").await.is_problem(400, "invalid_json");
    let builds: i64 =
        sqlx::query_scalar("SELECT count(*) FROM builds").fetch_one(&mut *api.db().await).await.unwrap();
    assert_eq!(builds, 0);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_body_that_is_too_large_is_refused(pool: PgPool) {
    let limits = ApiLimits { json_bytes: 1000, archive_bytes: 5000, ..ApiLimits::default() };
    let api = TestApi::with_limits(pool, limits);
    let large = "x".repeat(5001);
    api.post_bytes("/builds", "application/json", large.clone()).await.is_problem(413, "body_too_large");
    api.post_bytes("/builds", "application/x-tar", large.clone()).await.is_problem(413, "body_too_large");
    // Without a length the bytes are counted as they come.
    let chunks =
        futures::stream::iter((0..10).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 600]))));
    api.post_bytes("/builds", "application/x-tar", Body::from_stream(chunks))
        .await
        .is_problem(413, "body_too_large");
    let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("reset"))]);
    api.post_bytes("/builds", "application/x-tar", Body::from_stream(broken))
        .await
        .is_problem(400, "body_unreadable");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_body_that_never_ends_is_given_up(pool: PgPool) {
    let api = TestApi::with_limits(
        pool,
        ApiLimits { body_timeout: Duration::from_millis(50), ..ApiLimits::default() },
    );
    let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    api.post_bytes("/builds", "application/json", never).await.is_problem(408, "body_too_slow");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn secrets_are_sealed_and_never_shown(pool: PgPool) {
    let api = TestApi::start(pool);
    let build = api.post_build(&json!({ "template": template() })).await;
    let mut db = api.db().await;
    let (request, plan, run): (Vec<u8>, Vec<u8>, crate::domain::RunId) = sqlx::query_as(
        "SELECT request_sealed, plan_sealed, runs.id FROM builds JOIN runs ON runs.build_id = builds.id",
    )
    .fetch_one(&mut *db)
    .await
    .unwrap();
    for sealed in [&request, &plan] {
        assert!(!String::from_utf8_lossy(sealed).contains("the-very-secret-key"));
    }
    let opened = api.state.vault.open(PLAN_COLUMN, run.0, &plan).unwrap();
    assert!(String::from_utf8_lossy(&opened).contains("the-very-secret-key"), "the worker needs it");
    assert!(api.state.vault.open(REQUEST_COLUMN, build.0, &request).is_ok());
    for path in ["", "/template", "/steps", "/artifacts", "/resources", "/manifest", "/files"] {
        let answer = api.get(&format!("/builds/{build}{path}")).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(!answer.text().contains("the-very-secret-key"), "{path}");
    }
    assert_eq!(
        api.get(&format!("/builds/{build}/template")).await.json()["builders"][0]["secret_key"],
        "<sensitive>"
    );
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn runs_of_the_same_omi_share_a_key(pool: PgPool) {
    let api = TestApi::start(pool);
    let mut other = template();
    other["builders"][0]["omi_name"] = json!("apache");
    for body in [template(), template(), other] {
        api.post_build(&body).await;
    }
    let keys: Vec<String> = sqlx::query_scalar("SELECT omi_key FROM runs ORDER BY created_at")
        .fetch_all(&mut *api.db().await)
        .await
        .unwrap();
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
    assert_eq!(keys[0].len(), 64);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn workers_are_woken_by_an_accepted_build(pool: PgPool) {
    let api = TestApi::start(pool.clone());
    let mut listener = sqlx::postgres::PgListener::connect_with(&pool).await.unwrap();
    listener.listen(crate::queue::QUEUE_CHANNEL).await.unwrap();
    api.post_build(&template()).await;
    let woken = tokio::time::timeout(PATIENCE, listener.recv()).await.unwrap().unwrap();
    assert_eq!(woken.channel(), crate::queue::QUEUE_CHANNEL);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn validating_stores_nothing(pool: PgPool) {
    let api = TestApi::start(pool);
    let answer = api.post_json("/validate", &[], &json!({ "template": template() })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let valid = answer.json();
    assert_eq!(valid["valid"], true);
    assert_eq!(valid["runs"][0]["name"], "osc-bsu");
    assert_eq!(valid["runs"][0]["omi_name"], "nginx");
    api.post_json("/validate", &[], &json!({ "template": { "builders": [{ "type": "osc-bsu" }] } }))
        .await
        .is_problem(422, "invalid_template");
    let builds: i64 =
        sqlx::query_scalar("SELECT count(*) FROM builds").fetch_one(&mut *api.db().await).await.unwrap();
    assert_eq!(builds, 0);
}

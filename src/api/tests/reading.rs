//! The list, one build, and what hangs below it.

use super::*;
use crate::store::{
    builds::tests::{insert_build_at, insert_resource, set_run_state},
    files,
};
use chrono::{TimeDelta, Utc};

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn pages_follow_one_another_by_their_link(pool: PgPool) {
    let api = TestApi::start(pool);
    let mut ids = Vec::new();
    for number in 0..7 {
        let at = Utc::now() + TimeDelta::seconds(number);
        ids.push(
            insert_build_at(&mut *api.db().await, &["a"], at, &json!({ "team": "a b" })).await.to_string(),
        );
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut path = "/builds?limit=3&label=team%3Da%20b".to_owned();
    loop {
        let page = api.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        let json = page.json();
        seen.extend(
            json["builds"].as_array().unwrap().iter().map(|build| build["id"].as_str().unwrap().to_owned()),
        );
        if json["next"].is_null() {
            assert_eq!(page.header("link"), "");
            break;
        }
        // A new build between two pages moves nothing.
        insert_build_at(
            &mut *api.db().await,
            &["a"],
            Utc::now() + TimeDelta::days(1),
            &json!({ "team": "a b" }),
        )
        .await;
        let link = page.header("link");
        path =
            link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap().to_owned();
        assert!(
            path.contains(json["next"].as_str().unwrap()) && path.contains("label=team%3Da%20b"),
            "{path}"
        );
    }
    assert_eq!(seen, ids);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn the_list_is_filtered(pool: PgPool) {
    let api = TestApi::start(pool);
    let build =
        insert_build_at(&mut *api.db().await, &["a"], Utc::now(), &json!({ "team": "web", "env": "x" }))
            .await;
    set_run_state(&mut *api.db().await, build, "a", "running").await;
    insert_build_at(&mut *api.db().await, &["a"], Utc::now(), &json!({})).await;
    for (query, count) in [
        ("", 2),
        ("state=running", 1),
        ("state=running,queued", 2),
        ("state=queued&state=running", 2),
        ("state=failed", 0),
        ("builder=osc-bsu", 2),
        ("builder=osc-chroot", 0),
        ("label=team=web", 1),
        ("label=team=web&label=env=x", 1),
        ("label=team=web&label=env=y", 0),
        ("name=nginx", 2),
        ("name=apache", 0),
        ("created_after=2020-01-01T00:00:00Z", 2),
        ("created_after=2220-01-01T00:00:00%2B02:00", 0),
    ] {
        let page = api.get(&format!("/builds?{query}")).await.json();
        assert_eq!(page["builds"].as_array().unwrap().len(), count, "{query}");
    }
    for query in [
        "state=done",
        "builder=virtualbox",
        "builder=%00",
        "label=team",
        "label==x",
        "label=a=1&label=a=2",
        "label=a=%00",
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=1&limit=2",
        "cursor=x",
        "cursor=",
        "cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk6eA",
        "created_after=yesterday",
        "created_after=+262000-01-01T00:00:00Z",
        "colour=red",
        "name=%00",
    ] {
        api.get(&format!("/builds?{query}")).await.is_problem(400, "invalid_parameter");
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn an_unchanged_build_is_answered_304(pool: PgPool) {
    let api = TestApi::start(pool);
    let build = api.post_build(&template()).await;
    let path = format!("/builds/{build}");
    let first = api.get(&path).await;
    let tag = first.header("etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", first.json()["version"]));
    for known in [tag.clone(), format!("\"0\", {tag}"), "*".to_owned(), format!("W/{tag}")] {
        let answer = api.get_with(&path, &[("if-none-match", &known)]).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
        assert_eq!(answer.header("etag"), tag);
    }
    set_run_state(&mut *api.db().await, build, "osc-bsu", "running").await;
    let changed = api.get_with(&path, &[("if-none-match", &tag)]).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.header("etag"), tag);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn waiting_ends_when_the_build_changes(pool: PgPool) {
    let api = Arc::new(TestApi::start(pool));
    let build = api.post_build(&template()).await;
    let path = format!("/builds/{build}");
    let version = api.get(&path).await.json()["version"].as_i64().unwrap();

    let waiting = {
        let (api, path) = (Arc::clone(&api), format!("{path}?wait=20s&version={version}"));
        tokio::spawn(async move { api.get(&path).await })
    };
    set_run_state(&mut *api.db().await, build, "osc-bsu", "running").await;
    assert_eq!(waiting.await.unwrap().json()["state"], "running");

    // What is known is old: no waiting.
    assert_eq!(api.get(&format!("{path}?wait=20s&version={version}")).await.json()["state"], "running");
    // Nothing changes: the time is up.
    let tag = api.get(&path).await.header("etag").to_owned();
    let answer = api.get_with(&format!("{path}?wait=100ms"), &[("if-none-match", &tag)]).await;
    assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
    // It has ended, and nothing is known: no waiting.
    set_run_state(&mut *api.db().await, build, "osc-bsu", "succeeded").await;
    assert_eq!(api.get(&format!("{path}?wait=20s")).await.json()["state"], "succeeded");

    for query in ["wait=61s", "wait=x", "wait=-1s", "version=x", "wait=1s&wait=1s", "weight=1"] {
        api.get(&format!("{path}?{query}")).await.is_problem(400, "invalid_parameter");
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn waiting_ends_when_the_server_does(pool: PgPool) {
    let api = Arc::new(TestApi::start(pool));
    let build = api.post_build(&template()).await;
    let waiting = {
        let (api, path) = (Arc::clone(&api), format!("/builds/{build}?wait=60s"));
        tokio::spawn(async move { api.get(&path).await })
    };
    api.state.draining.cancel();
    assert_eq!(waiting.await.unwrap().status, StatusCode::OK);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_finished_build_shows_all_it_made(pool: PgPool) {
    let api = TestApi::start(pool);
    let mut template = template();
    template["builders"][0]["name"] = json!("ubuntu");
    let build = api.post_build(&template).await;
    let mut db = api.db().await;
    sqlx::query(
        "INSERT INTO artifacts (run_id, ordinal, build_id, artifact)
         SELECT id, 0, build_id, $2 FROM runs WHERE build_id = $1",
    )
    .bind(build)
    .bind(json!({ "type": "omi", "region": "eu-west-2", "id": "ami-1", "name": "nginx", "snapshots": ["snap-1"] }))
    .execute(&mut *db)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO steps (run_id, attempt, name, ordinal, state, started_at, finished_at)
         SELECT id, 1, 'launch_vm', 0, 'succeeded', '2026-11-22T10:00:00Z', '2026-11-22T10:00:02.5Z' FROM runs WHERE build_id = $1",
    )
    .bind(build)
    .execute(&mut *db)
    .await
    .unwrap();
    let name: String = sqlx::query_scalar("SELECT name FROM runs").fetch_one(&mut *db).await.unwrap();
    insert_resource(&mut db, build, "created", "i-1").await;
    files::put(&mut db, build, &name, "out/report.txt", b"all well", Utc::now()).await.unwrap();
    set_run_state(&mut db, build, &name, "succeeded").await;
    drop(db);

    let path = format!("/builds/{build}");
    let shown = api.get(&path).await.json();
    assert_eq!(shown["artifacts"][0]["id"], "ami-1");
    assert_eq!(shown["runs"][0]["artifacts"], shown["artifacts"]);
    assert_eq!(shown["leftovers"][0]["id"], "i-1");
    let artifacts = api.get(&format!("{path}/artifacts")).await.json();
    assert_eq!(artifacts["artifacts"][0]["run"], name);
    let steps = api.get(&format!("{path}/steps")).await.json();
    assert_eq!(
        (&steps["steps"][0]["name"], &steps["steps"][0]["seconds"]),
        (&json!("launch_vm"), &json!(2.5))
    );
    let resources = api.get(&format!("{path}/resources")).await.json();
    assert_eq!(resources["resources"][0]["cloud_id"], "i-1");
    assert_eq!(resources["resources"][0]["state"], "created");

    let manifest = api.get(&format!("{path}/manifest")).await.json();
    assert_eq!(manifest["last_run_uuid"], build.to_string());
    assert_eq!(manifest["builds"][0]["artifact_id"], "eu-west-2:ami-1");
    assert_eq!(manifest["builds"][0]["builder_type"], "outscale-bsu");
    assert_eq!(manifest["builds"][0]["files"], Value::Null);

    let files = api.get(&format!("{path}/files")).await.json();
    assert_eq!(files["files"][0]["size"], 8);
    let file = api.get(&format!("{path}/files/{name}/out/report.txt")).await;
    assert_eq!((file.text(), file.header("content-disposition")), ("all well", "attachment"));
    for missing in ["files/x/out/report.txt", "files/ubuntu/%00", "files/ubuntu/../../x"] {
        api.get(&format!("{path}/{missing}")).await.is_problem(404, "file_not_found");
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn an_unknown_build_is_not_found_anywhere(pool: PgPool) {
    let api = TestApi::start(pool);
    for id in [BuildId::generate().to_string(), "nginx".to_owned(), "%00".to_owned(), "%FF".to_owned()] {
        for path in [
            "",
            "/logs",
            "/steps",
            "/artifacts",
            "/resources",
            "/template",
            "/manifest",
            "/files",
            "/files/a/b",
        ] {
            let answer = api.get(&format!("/builds/{id}{path}")).await;
            let code = answer.json()["code"].as_str().unwrap().to_owned();
            assert!(["build_not_found", "route_not_found"].contains(&code.as_str()), "{id}{path}: {code}");
            answer.is_problem(404, &code);
        }
        for path in ["cancel", "retry"] {
            assert_eq!(api.post(&format!("/builds/{id}/{path}")).await.status, StatusCode::NOT_FOUND);
        }
    }
}

//! Logs and events.

use std::io::Read;

use super::*;
use crate::store::builds::tests::{insert_build, set_run_state};

const SSE: (&str, &str) = ("accept", "text/event-stream");

fn seqs(events: &[Event]) -> Vec<&str> {
    events.iter().filter(|event| event.kind == "log").map(|event| event.id.as_deref().unwrap()).collect()
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_reader_follows_a_build_to_its_end(pool: PgPool) {
    let api = TestApi::start(pool);
    let mut db = api.db().await;
    let build = insert_build(&mut db, &["a"]).await;
    let mut stream = api.open(&format!("/builds/{build}/logs"), &[SSE]).await;
    let first = stream.next().await.unwrap();
    assert_eq!((first.kind.as_str(), &first.data["state"], first.id), ("state", &json!("queued"), None));

    set_run_state(&mut db, build, "a", "running").await;
    assert_eq!(stream.next().await.unwrap().data["run_state"], "running");
    write_lines(&mut db, build, "a", &["one", "two"]).await;
    let line = stream.next().await.unwrap();
    assert_eq!((line.kind.as_str(), line.id.as_deref()), ("log", Some("1")));
    assert_eq!(
        (&line.data["seq"], &line.data["run"], &line.data["stream"], &line.data["line"]),
        (&json!(1), &json!("a"), &json!("stdout"), &json!("one"))
    );
    assert_eq!(stream.next().await.unwrap().id.as_deref(), Some("2"));
    set_run_state(&mut db, build, "a", "succeeded").await;
    drop(db);
    let rest = stream.all().await;
    assert_eq!(rest.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["state", "end"]);
    assert_eq!((&rest[1].data, rest[1].id.as_deref()), (&json!({ "state": "succeeded" }), Some("2")));
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_reader_resumes_behind_any_line(pool: PgPool) {
    let api = TestApi::start(pool);
    let mut db = api.db().await;
    let build = insert_build(&mut db, &["a"]).await;
    write_lines(&mut db, build, "a", &["1", "2", "3", "4"]).await;
    set_run_state(&mut db, build, "a", "succeeded").await;
    drop(db);
    let path = format!("/builds/{build}/logs");
    let all = api.open(&path, &[SSE]).await.all().await;
    assert_eq!(seqs(&all), ["1", "2", "3", "4"]);
    for seen in 1..4 {
        let rest = api.open(&path, &[SSE, ("last-event-id", &seen.to_string())]).await.all().await;
        assert_eq!(seqs(&rest), seqs(&all)[seen..]);
    }
    assert_eq!(seqs(&api.open(&format!("{path}?after=3"), &[SSE]).await.all().await), ["4"]);
    // The header wins.
    assert_eq!(
        seqs(&api.open(&format!("{path}?after=3"), &[SSE, ("last-event-id", "1")]).await.all().await),
        ["2", "3", "4"]
    );

    // Nothing is left: an EventSource stops at 204.
    let over = api.get_with(&path, &[SSE, ("last-event-id", "4")]).await;
    assert_eq!((over.status, over.body.len()), (StatusCode::NO_CONTENT, 0));
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn an_event_source_stops_though_the_log_is_empty(pool: PgPool) {
    let api = TestApi::start(pool);
    let mut db = api.db().await;
    let build = insert_build(&mut db, &["a"]).await;
    set_run_state(&mut db, build, "a", "cancelled").await;
    drop(db);
    let path = format!("/builds/{build}/logs");
    let events = api.open(&path, &[SSE]).await.all().await;
    let end = events.last().unwrap();
    assert_eq!((end.kind.as_str(), end.id.as_deref()), ("end", Some("0")));
    assert_eq!(api.get_with(&path, &[SSE, ("last-event-id", "0")]).await.status, StatusCode::NO_CONTENT);
    // An empty id is what a client sends that has seen none.
    assert_eq!(api.open(&path, &[SSE, ("last-event-id", "")]).await.all().await.len(), events.len());
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_bad_place_in_the_log_is_refused(pool: PgPool) {
    let api = TestApi::start(pool);
    let build = insert_build(&mut *api.db().await, &["a"]).await;
    write_lines(&mut *api.db().await, build, "a", &["1", "2"]).await;
    let path = format!("/builds/{build}/logs");
    for id in ["x", "-1", "1.5", "99999999999999999999", "3", "+1", "1 2"] {
        api.get_with(&path, &[SSE, ("last-event-id", id)]).await.is_problem(400, "invalid_header");
    }
    // Text has no use for it, but a wrong one is none there either.
    api.get_with(&path, &[("last-event-id", "x")]).await.is_problem(400, "invalid_header");
    for query in [
        "after=x",
        "after=-1",
        "after=3",
        "tail=-1",
        "tail=x",
        "tail=1000001",
        "run=b",
        "follow=maybe",
        "lines=3",
    ] {
        api.get(&format!("{path}?{query}")).await.is_problem(400, "invalid_parameter");
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_log_is_whole_when_it_is_compressed(pool: PgPool) {
    let api = TestApi::start(pool);
    let mut db = api.db().await;
    let build = insert_build(&mut db, &["a"]).await;
    let lines: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
    write_lines(&mut db, build, "a", &lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    set_run_state(&mut db, build, "a", "succeeded").await;
    drop(db);
    let path = format!("/builds/{build}/logs");
    let plain = api.get(&path).await;
    assert_eq!(plain.text().lines().count(), 100);
    for (query, expected) in [("", plain.text()), ("?tail=0", "")] {
        let packed = api.get_with(&format!("{path}{query}"), &[("accept-encoding", "gzip")]).await;
        assert_eq!(packed.header("content-encoding"), "gzip");
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed.body.as_ref()).read_to_string(&mut text).unwrap();
        assert_eq!(text, expected);
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn the_log_can_be_had_as_text_and_as_json_lines(pool: PgPool) {
    let api = TestApi::start(pool);
    let mut db = api.db().await;
    let build = insert_build(&mut db, &["a", "b"]).await;
    write_lines(&mut db, build, "a", &["one", "two"]).await;
    write_lines(&mut db, build, "b", &["three"]).await;
    sqlx::query("UPDATE log_lines SET stream = 'ui' WHERE seq = 1").execute(&mut *db).await.unwrap();
    drop(db);
    let path = format!("/builds/{build}/logs");
    for accept in ["*/*", "text/plain", "text/html,*/*;q=0.8", "application/json"] {
        let text = api.get_with(&path, &[("accept", accept)]).await;
        assert_eq!(text.text(), "==> a: one\n    a: two\n    b: three\n", "{accept}");
        assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
    }
    let lines = api.get_with(&path, &[("accept", "application/x-ndjson")]).await;
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|line| line["line"].as_str().unwrap()).collect::<Vec<_>>(),
        ["one", "two", "three"]
    );

    for (query, expected) in [
        ("tail=1", "    b: three\n"),
        ("tail=0", ""),
        ("tail=9", "==> a: one\n    a: two\n    b: three\n"),
        ("tail=1&run=a", "    a: two\n"),
        ("after=1", "    a: two\n    b: three\n"),
        ("run=b", "    b: three\n"),
    ] {
        assert_eq!(api.get(&format!("{path}?{query}")).await.text(), expected, "{query}");
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn text_can_be_followed_to_the_end(pool: PgPool) {
    let api = Arc::new(TestApi::start(pool));
    let mut db = api.db().await;
    let build = insert_build(&mut db, &["a"]).await;
    write_lines(&mut db, build, "a", &["one"]).await;
    let following = {
        let (api, path) = (Arc::clone(&api), format!("/builds/{build}/logs?follow"));
        tokio::spawn(async move { api.get(&path).await })
    };
    write_lines(&mut db, build, "a", &["two"]).await;
    set_run_state(&mut db, build, "a", "succeeded").await;
    drop(db);
    assert_eq!(following.await.unwrap().text(), "    a: one\n    a: two\n");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn streams_end_with_the_server(pool: PgPool) {
    let api = TestApi::start(pool);
    let build = insert_build(&mut *api.db().await, &["a"]).await;
    let logs = api.open(&format!("/builds/{build}/logs"), &[SSE]).await;
    let events = api.open("/events", &[SSE]).await;
    api.state.draining.cancel();
    assert!(logs.all().await.iter().all(|event| event.kind != "end"));
    events.all().await;
    api.get("/readyz").await.is_problem(503, "not_ready");
    assert_eq!(api.get("/healthz").await.status, StatusCode::OK);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn every_change_of_every_build_is_told(pool: PgPool) {
    let api = TestApi::start(pool);
    let mut db = api.db().await;
    insert_build(&mut db, &["a"]).await;
    let mut stream = api.open("/events", &[]).await;
    let ready = stream.next().await.unwrap();
    assert_eq!(ready.kind, "ready");

    let first = insert_build(&mut db, &["a"]).await;
    let second = insert_build(&mut db, &["a"]).await;
    set_run_state(&mut db, first, "a", "running").await;
    // Changes from shortly before `ready` may come once more while a transaction elsewhere in the cluster is open.
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let event = stream.next().await.unwrap();
        if [json!(first), json!(second)].contains(&event.data["build"]) {
            seen.push(event);
        }
    }
    let told: Vec<_> =
        seen.iter().map(|event| (event.data["build"].clone(), event.data["state"].clone())).collect();
    assert_eq!(
        told,
        [(json!(first), json!("queued")), (json!(second), json!("queued")), (json!(first), json!("running")),]
    );
    drop(stream);

    // Resumed behind the first: the rest comes, and nothing twice.
    let mut resumed = api.open("/events", &[("last-event-id", seen[0].id.as_deref().unwrap())]).await;
    assert_eq!(resumed.next().await.unwrap().kind, "ready");
    assert_eq!(resumed.next().await.unwrap(), seen[1]);
    assert_eq!(resumed.next().await.unwrap(), seen[2]);
    let mut from_ready = api.open("/events", &[("last-event-id", ready.id.as_deref().unwrap())]).await;
    while from_ready.next().await.unwrap() != seen[0] {}

    for id in ["x", "1", "1-2", "-1-2-3"] {
        api.get_with("/events", &[("last-event-id", id)]).await.is_problem(400, "invalid_header");
    }
}

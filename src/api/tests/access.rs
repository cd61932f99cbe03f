//! Who may do what: every role on every route, tokens and their limits, revocation, the audit.

use std::{net::SocketAddr, time::Instant};

use axum::extract::ConnectInfo;
use chrono::TimeDelta;

use super::*;
use crate::{
    auth::{
        AuthSettings,
        policy::{self, Access},
    },
    store::builds::tests::{insert_build, set_run_state},
};

pub(super) const SSE: (&str, &str) = ("accept", "text/event-stream");

impl TestApi {
    pub(super) fn with_auth(pool: PgPool, settings: AuthSettings) -> Self {
        let Self { state, _end, .. } = Self::start(pool);
        let state = state.with_auth(settings);
        Self { router: router(state.clone()), state, _end }
    }

    /// Makes a token with the authority of another, or without any while there is none.
    pub(super) async fn token(&self, by: Option<&str>, spec: Value) -> String {
        let bearer = by.map(|token| ("authorization", token)).into_iter().collect::<Vec<_>>();
        let answer = self.post_json("/tokens", &bearer, &spec).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), "no-store");
        format!("Bearer {}", answer.json()["token"].as_str().unwrap())
    }

    pub(super) async fn admin(&self) -> String {
        self.token(None, json!({ "name": "root", "role": "admin" })).await
    }

    pub(super) async fn as_(&self, token: &str, method: Method, path: &str) -> Answer {
        self.send(request(method, path, &[("authorization", token)], Body::empty())).await
    }

    pub(super) async fn get_as(&self, token: &str, path: &str) -> Answer {
        self.as_(token, Method::GET, path).await
    }

    pub(super) async fn build_as(&self, token: &str, body: &Value) -> Answer {
        self.post_json("/builds", &[("authorization", token)], body).await
    }

    /// A request over a connection from this address.
    async fn from(&self, peer: &str, headers: &[(&str, &str)], path: &str) -> Answer {
        let mut request = request(Method::GET, path, headers, Body::empty());
        let peer: SocketAddr = format!("{peer}:1234").parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        self.send(request).await
    }

    async fn audit(&self, token: &str, query: &str) -> Vec<Value> {
        let answer = self.get_as(token, &format!("/audit?{query}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["entries"].as_array().unwrap().clone()
    }
}

fn enveloped(extra: Value) -> Value {
    let mut body = json!({ "template": template() });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn every_role_may_do_what_the_table_says(pool: PgPool) {
    let api = TestApi::start(pool);
    let admin = api.admin().await;
    let viewer = api.token(Some(&admin), json!({ "name": "viewer", "role": "viewer" })).await;
    let builder = api.token(Some(&admin), json!({ "name": "builder", "role": "builder" })).await;
    let roles = [(Role::Viewer, viewer), (Role::Builder, builder), (Role::Admin, admin)];
    let unknown = BuildId::generate().to_string();
    for (method, pattern, access, _) in policy::ROUTES {
        let is_served = crate::api::openapi_yaml().contains(pattern.split("/{*").next().unwrap());
        if pattern.starts_with("/credentials") && !is_served {
            continue;
        }
        let path = pattern.replace("{id}", &unknown).replace("{run}", "a").replace("{*path}", "b");
        let path = path.replace("{name}", "nobody");
        let method: Method = method.parse().unwrap();
        let bare =
            api.router.clone().oneshot(request(method.clone(), &path, &[], Body::empty())).await.unwrap();
        let Access::From(needed) = access else {
            assert!(bare.status().is_success(), "{method} {path} is open");
            continue;
        };
        assert_eq!(bare.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
        assert!(
            bare.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"),
            "{method} {path}"
        );
        for (role, token) in &roles {
            // The body of an answer without end is not read.
            let asked = request(method.clone(), &path, &[("authorization", token)], Body::empty());
            let status = api.router.clone().oneshot(asked).await.unwrap().status();
            let is_allowed = ![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
            assert_eq!(is_allowed, role >= needed, "{role} {method} {path}: {status}");
        }
    }
    // What nobody knows is told to those who may come in.
    api.get("/nowhere").await.is_problem(401, "token_missing");
    api.get_as(&roles[0].1, "/nowhere").await.is_problem(404, "route_not_found");
}

/// The table and the document tell of the same routes.
#[test]
fn every_described_route_is_in_the_table() {
    let (_, document) = crate::api::described().split_for_parts();
    for (path, item) in &document.paths.paths {
        for (method, operation) in
            [("GET", &item.get), ("POST", &item.post), ("DELETE", &item.delete), ("PUT", &item.put)]
        {
            let is_listed =
                policy::ROUTES.iter().any(|(other, pattern, ..)| (*other, *pattern) == (method, path));
            assert!(operation.is_none() || is_listed, "{method} {path}");
        }
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn without_tokens_this_machine_is_let_in_and_with_the_first_one_nobody(pool: PgPool) {
    let api = TestApi::start(pool);
    let who = api.get("/whoami").await.json();
    assert_eq!(
        (&who["name"], &who["role"], &who["kind"]),
        (&json!("local"), &json!("admin"), &json!("local"))
    );
    // A token that a client sends by habit does no harm.
    assert_eq!(api.get_as("Bearer whatever", "/builds").await.status, StatusCode::OK);
    let events = api.open("/events", &[SSE]).await;
    let admin = api.admin().await;
    // Streams of before end too.
    events.all().await;
    let missing = api.get("/builds").await;
    missing.is_problem(401, "token_missing");
    assert_eq!(missing.header("www-authenticate"), "Bearer realm=\"fournil\"");
    assert_eq!(api.get_as(&admin, "/whoami").await.json()["name"], "root");
    // That the last token is gone does not open the door again.
    assert_eq!(api.as_(&admin, Method::DELETE, "/tokens/root").await.status, StatusCode::OK);
    api.get("/builds").await.is_problem(401, "token_missing");
    api.get_as(&admin, "/builds").await.is_problem(401, "token_unknown");
    // Nor does a restart.
    let again = TestApi::start(api.state.store.clone());
    again.get("/builds").await.is_problem(401, "token_missing");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn where_strangers_are_a_token_is_needed_from_the_start(pool: PgPool) {
    let settings = AuthSettings { required: true, metrics_open: true, ..AuthSettings::default() };
    let api = TestApi::with_auth(pool, settings);
    api.get("/builds").await.is_problem(401, "token_missing");
    api.post_json("/tokens", &[], &json!({ "name": "a", "role": "admin" }))
        .await
        .is_problem(401, "token_missing");
    assert_eq!(api.get("/metrics").await.status, StatusCode::OK, "the operator has opened it");
    // Pages of other sites have no token, so any name of the server will do.
    assert_eq!(api.get_with("/healthz", &[("host", "bakery.example.com")]).await.status, StatusCode::OK);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn only_the_hash_of_a_token_is_stored(pool: PgPool) {
    let api = TestApi::start(pool);
    let admin = api.admin().await;
    let secret = admin.strip_prefix("Bearer ").unwrap();
    assert!(secret.starts_with("fournil_") && secret.len() == 51);
    api.get_as(&admin, "/builds").await;
    let random = secret.strip_prefix("fournil_").unwrap();
    let raw = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, random).unwrap();
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")
            .fetch_all(&api.state.store)
            .await
            .unwrap();
    assert!(tables.iter().any(|table| table == "tokens"));
    for table in tables {
        let statement =
            format!("SELECT count(*) FROM {table} AS dumped WHERE dumped::text LIKE '%' || $1 || '%'");
        for needle in [random.to_owned(), hex::encode(&raw)] {
            let found: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement.clone()))
                .bind(needle)
                .fetch_one(&api.state.store)
                .await
                .unwrap();
            assert_eq!(found, 0, "{table}");
        }
    }
    let listed = api.get_as(&admin, "/tokens").await;
    assert!(!listed.text().contains(random));
    let token = &listed.json()["tokens"][0];
    assert_eq!(
        (&token["name"], &token["role"], &token["created_by"]),
        (&json!("root"), &json!("admin"), &json!("local"))
    );
    assert!(token["last_used_at"].is_string() && token["revoked_at"].is_null());
    assert!(token.get("hash").is_none());
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_revoked_token_ends_what_is_under_way_on_every_replica(pool: PgPool) {
    let api = TestApi::start(pool.clone());
    let replica = Arc::new(TestApi::start(pool));
    let admin = api.admin().await;
    let token = api.token(Some(&admin), json!({ "name": "tv", "role": "viewer" })).await;
    let build = insert_build(&mut *api.db().await, &["a"]).await;
    write_lines(&mut *api.db().await, build, "a", &["one"]).await;
    let bearer = ("authorization", token.as_str());
    let events = replica.open("/events", &[SSE, bearer]).await;
    let mut logs = replica.open(&format!("/builds/{build}/logs"), &[SSE, bearer]).await;
    while logs.next().await.unwrap().kind != "log" {}
    let waiting = {
        let (replica, token) = (Arc::clone(&replica), token.clone());
        let path = format!("/builds/{build}?wait=60s");
        tokio::spawn(async move { replica.get_as(&token, &path).await })
    };
    let following = {
        let path = format!("/builds/{build}/logs?follow=true");
        let response =
            replica.router.clone().oneshot(request(Method::GET, &path, &[bearer], Body::empty())).await;
        response.unwrap().into_body()
    };
    // Others are not concerned.
    let mut other = replica.open("/events", &[SSE, ("authorization", &admin)]).await;
    assert_eq!(other.next().await.unwrap().kind, "ready");

    assert_eq!(api.as_(&admin, Method::DELETE, "/tokens/tv").await.status, StatusCode::OK);
    replica.get_as(&token, "/builds").await.is_problem(401, "token_unknown");
    assert!(logs.all().await.iter().all(|event| event.kind != "end"));
    events.all().await;
    waiting.await.unwrap().is_problem(401, "token_ended");
    // A text that is cut off is seen to be.
    assert!(tokio::time::timeout(PATIENCE, to_bytes(following, usize::MAX)).await.unwrap().is_err());
    set_run_state(&mut *api.db().await, build, "a", "running").await;
    while other.next().await.unwrap().data["state"] != "running" {}
    api.as_(&admin, Method::DELETE, "/tokens/tv").await.is_problem(404, "token_not_found");
    assert_eq!(api.get_as(&admin, "/tokens").await.json()["tokens"].as_array().unwrap().len(), 1);
    let all = api.get_as(&admin, "/tokens?all").await.json();
    assert!(all["tokens"][1]["revoked_at"].is_string());
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_token_ends_at_its_time(pool: PgPool) {
    let api = TestApi::start(pool);
    let admin = api.admin().await;
    let soon = chrono::Utc::now() + TimeDelta::seconds(2);
    let spec = json!({ "name": "brief", "role": "viewer", "expires_at": soon });
    let token = api.token(Some(&admin), spec).await;
    let stream = api.router.clone();
    let asked = request(Method::GET, "/events", &[SSE, ("authorization", &token)], Body::empty());
    let response = stream.oneshot(asked).await.unwrap();
    // On a very busy machine its time may be over before it was used.
    if response.status() == StatusCode::OK {
        tokio::time::timeout(PATIENCE, to_bytes(response.into_body(), usize::MAX)).await.unwrap().unwrap();
    }
    let problem = api.get_as(&token, "/builds").await;
    problem.is_problem(401, "token_expired");
    assert!(problem.text().contains("brief"));
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_limited_token_builds_and_sees_only_its_own(pool: PgPool) {
    let api = TestApi::start(pool);
    let admin = api.admin().await;
    let spec =
        json!({ "name": "web", "role": "builder", "builders": ["osc-bsu"], "labels": { "team": "web" } });
    let web = api.token(Some(&admin), spec).await;
    let others = api.build_as(&admin, &enveloped(json!({ "labels": { "team": "db" } }))).await.json();
    let mine = api.build_as(&web, &enveloped(json!({ "labels": { "app": "nginx" } }))).await;
    assert_eq!(mine.status, StatusCode::ACCEPTED, "{}", mine.text());
    let mine = mine.json();
    assert_eq!(mine["labels"], json!({ "app": "nginx", "team": "web" }));
    assert_eq!((&mine["created_by"], &others["created_by"]), (&json!("web"), &json!("root")));

    let listed = api.get_as(&web, "/builds").await.json();
    assert_eq!(listed["builds"].as_array().unwrap().len(), 1);
    assert_eq!(listed["builds"][0]["id"], mine["id"]);
    assert_eq!(api.get_as(&web, "/builds?label=team=db").await.json()["builds"], json!([]));
    let (id, foreign) = (mine["id"].as_str().unwrap(), others["id"].as_str().unwrap());
    for path in
        ["", "/logs", "/steps", "/template", "/resources", "/artifacts", "/manifest", "/files", "/files/a/b"]
    {
        api.get_as(&web, &format!("/builds/{foreign}{path}")).await.is_problem(404, "build_not_found");
    }
    // An id can be spelt in more than one way.
    let spelt = format!("%7B{foreign}%7D");
    api.get_as(&web, &format!("/builds/{spelt}")).await.is_problem(404, "build_not_found");
    assert_eq!(api.get_as(&admin, &format!("/builds/{spelt}")).await.status, StatusCode::OK);
    for action in ["cancel", "retry", "release", "cleanup"] {
        let path = format!("/builds/{foreign}/{action}");
        api.as_(&web, Method::POST, &path).await.is_problem(404, "build_not_found");
    }
    let path = format!("/builds/{foreign}/artifacts");
    api.as_(&web, Method::DELETE, &path).await.is_problem(404, "build_not_found");
    assert_eq!(api.get_as(&web, &format!("/builds/{id}/logs")).await.status, StatusCode::OK);
    let path = format!("/builds/{id}/cancel");
    assert_eq!(api.as_(&web, Method::POST, &path).await.status, StatusCode::ACCEPTED);

    // What the limits forbid.
    let refused = api.build_as(&web, &enveloped(json!({ "labels": { "team": "db" } }))).await;
    refused.is_problem(403, "token_limit");
    let mut volume = template();
    volume["builders"][0]["type"] = json!("osc-bsusurrogate");
    volume["builders"][0]["launch_block_device_mappings"] =
        json!([{ "device_name": "/dev/xvdf", "volume_size": 10, "delete_on_vm_deletion": true }]);
    volume["builders"][0]["omi_root_device"] = json!({ "source_device_name": "/dev/xvdf", "device_name": "/dev/sda1", "volume_size": 10, "delete_on_vm_deletion": true });
    api.build_as(&web, &volume).await.is_problem(403, "token_limit");
    let denied = api.audit(&admin, "outcome=denied").await;
    assert_eq!(denied.len(), 2);
    assert!(denied.iter().all(|entry| entry["principal"] == "web" && entry["action"] == "build.create"));

    // Events of others are not told.
    let mut events = api.open("/events", &[SSE, ("authorization", &web)]).await;
    assert_eq!(events.next().await.unwrap().kind, "ready");
    let foreign = api.build_as(&admin, &enveloped(json!({}))).await.json();
    let own = api.build_as(&web, &template()).await.json();
    loop {
        let event = events.next().await.unwrap();
        assert_ne!(event.data["build"], foreign["id"]);
        if event.data["build"] == own["id"] {
            break;
        }
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn keys_are_limited_by_name(pool: PgPool) {
    let api = TestApi::start(pool);
    let admin = api.admin().await;
    let spec = json!({ "name": "dev", "role": "builder", "credentials": ["dev"] });
    let token = api.token(Some(&admin), spec).await;
    api.build_as(&token, &template()).await.is_problem(403, "token_limit");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn keys_of_idempotency_are_the_tokens_own(pool: PgPool) {
    let api = TestApi::start(pool);
    let admin = api.admin().await;
    let ci = api.token(Some(&admin), json!({ "name": "ci", "role": "builder" })).await;
    let post = async |token: &str| {
        let headers = [("authorization", token), ("idempotency-key", "k")];
        api.post_json("/builds", &headers, &template()).await
    };
    let first = post(&ci).await;
    assert_eq!(post(&ci).await.json()["id"], first.json()["id"]);
    let other = post(&admin).await;
    assert_eq!(other.status, StatusCode::ACCEPTED);
    assert_ne!(other.json()["id"], first.json()["id"]);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn who_tries_wrong_tokens_has_to_wait(pool: PgPool) {
    let trusted = vec!["10.0.0.0/8".parse().unwrap()];
    let api = TestApi::with_auth(pool, AuthSettings { trusted_proxies: trusted, ..AuthSettings::default() });
    let admin = api.admin().await;
    let good = ("authorization", admin.as_str());
    assert_eq!(api.from("192.0.2.1", &[good], "/builds").await.status, StatusCode::OK);
    let start = Instant::now();
    let mut tries = 0;
    let refused = loop {
        let token = format!("Bearer fournil_{tries}");
        let answer = api.from("192.0.2.1", &[("authorization", &token)], "/builds").await;
        if answer.status != StatusCode::UNAUTHORIZED {
            break answer;
        }
        answer.is_problem(401, "token_unknown");
        tries += 1;
        assert!(start.elapsed() < PATIENCE);
    };
    refused.is_problem(429, "too_many_failures");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    assert!(tries >= 20);
    // Who has a good one behind the same address goes on, and so does everybody elsewhere.
    assert_eq!(api.from("192.0.2.1", &[good], "/builds").await.status, StatusCode::OK);
    api.from("192.0.2.2", &[("authorization", "Bearer x")], "/builds").await.is_problem(401, "token_unknown");
    // A proxy that is trusted tells who it is.
    let forwarded = [("authorization", "Bearer y"), ("x-forwarded-for", "192.0.2.1")];
    assert_eq!(api.from("10.0.0.1", &forwarded, "/builds").await.status, StatusCode::TOO_MANY_REQUESTS);
    api.from("192.0.2.3", &forwarded, "/builds").await.is_problem(401, "token_unknown");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn the_audit_tells_who_did_what(pool: PgPool) {
    let api = TestApi::start(pool);
    let admin = api.admin().await;
    let ci = api.token(Some(&admin), json!({ "name": "ci", "role": "builder" })).await;
    let build = api.build_as(&ci, &enveloped(json!({ "name": "nginx" }))).await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    // A replay is no deed.
    let headers = [("authorization", ci.as_str()), ("idempotency-key", "k")];
    for _ in 0..2 {
        api.post_json("/builds", &headers, &template()).await;
    }
    let headers = [("authorization", ci.as_str()), ("x-request-id", "my-request")];
    let cancelled =
        api.send(request(Method::POST, &format!("/builds/{build}/cancel"), &headers, Body::empty())).await;
    assert_eq!(cancelled.status, StatusCode::ACCEPTED);
    assert_eq!(api.as_(&ci, Method::POST, &format!("/builds/{build}/cleanup")).await.status, StatusCode::OK);
    let retried = api.as_(&ci, Method::POST, &format!("/builds/{build}/retry")).await.json();
    assert_eq!(
        api.as_(&ci, Method::DELETE, &format!("/builds/{build}/artifacts")).await.status,
        StatusCode::OK
    );
    api.post_json("/tokens", &headers[..1], &json!({ "name": "x", "role": "admin" }))
        .await
        .is_problem(403, "role_too_low");
    api.as_(&ci, Method::DELETE, "/tokens/root").await.is_problem(403, "role_too_low");
    assert_eq!(api.as_(&admin, Method::DELETE, "/tokens/ci").await.status, StatusCode::OK);

    let all = api.audit(&admin, "").await;
    let told: Vec<_> = all
        .iter()
        .rev()
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            (text("principal"), text("action"), text("outcome"), text("target"))
        })
        .collect();
    let expected = [
        ("local", "token.create", "done", "root"),
        ("root", "token.create", "done", "ci"),
        ("ci", "build.create", "done", ""),
        ("ci", "build.create", "done", ""),
        ("ci", "build.cancel", "done", ""),
        ("ci", "build.cleanup", "done", ""),
        ("ci", "build.retry", "done", ""),
        ("ci", "artifacts.destroy", "done", ""),
        ("ci", "token.create", "denied", ""),
        ("ci", "token.revoke", "denied", "root"),
        ("root", "token.revoke", "done", "ci"),
    ];
    let expected = expected.map(|(a, b, c, d)| (a.to_owned(), b.to_owned(), c.to_owned(), d.to_owned()));
    assert_eq!(told, expected);
    let of_build = api.audit(&admin, &format!("build={build}&action=build.cancel")).await;
    assert_eq!((of_build.len(), &of_build[0]["request_id"]), (1, &json!("my-request")));
    assert_eq!(api.audit(&admin, "action=build.retry").await[0]["build"], retried["id"]);
    assert_eq!(api.audit(&admin, "principal=local").await.len(), 1);
    assert_eq!(api.audit(&admin, "outcome=denied").await.len(), 2);
    assert_eq!(api.audit(&admin, "before=2020-01-01T00:00:00Z").await.len(), 0);
    assert_eq!(api.audit(&admin, "after=2020-01-01T00:00:00Z").await.len(), expected.len());

    // Page by page it is the same.
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get_as(&admin, &format!("/audit?limit=3{cursor}")).await.json();
        paged.extend(page["entries"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, all);
    for query in
        ["limit=0", "limit=501", "cursor=x", "outcome=maybe", "build=x", "after=x", "who=x", "principal=%00"]
    {
        api.get_as(&admin, &format!("/audit?{query}")).await.is_problem(400, "invalid_parameter");
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn the_audit_knows_the_address(pool: PgPool) {
    let api = TestApi::start(pool);
    let admin = api.admin().await;
    let viewer = api.token(Some(&admin), json!({ "name": "tv", "role": "viewer" })).await;
    let headers = [("authorization", viewer.as_str()), ("x-forwarded-for", "198.51.100.1")];
    api.from("192.0.2.1", &headers, "/audit").await.is_problem(403, "role_too_low");
    let denied = &api.audit(&admin, "outcome=denied").await[0];
    assert_eq!((&denied["address"], &denied["action"]), (&json!("192.0.2.1"), &json!("GET /audit")));
    // Somebody who tries over and over does not fill it.
    for _ in 0..100 {
        api.get_as(&viewer, "/tokens").await.is_problem(403, "role_too_low");
    }
    assert!(api.audit(&admin, "outcome=denied&limit=500").await.len() < 100);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_token_is_made_of_what_is_right(pool: PgPool) {
    let api = TestApi::start(pool);
    for (body, pointer) in [
        (json!({ "name": "a b", "role": "viewer" }), "/name"),
        (json!({ "role": "viewer" }), "/name"),
        (json!({ "name": 7, "role": "viewer" }), "/name"),
        (json!({ "name": "local", "role": "viewer" }), "/name"),
        (json!({ "name": "a", "role": "root" }), "/role"),
        (json!({ "name": "a" }), "/role"),
        (json!({ "name": "a", "role": "viewer", "builders": "osc-bsu" }), "/builders"),
        (json!({ "name": "a", "role": "viewer", "builders": ["docker"] }), "/builders"),
        (json!({ "name": "a", "role": "viewer", "credentials": ["a\0"] }), "/credentials"),
        (json!({ "name": "a", "role": "viewer", "labels": { "a": 1 } }), "/labels"),
        (json!({ "name": "a", "role": "viewer", "labels": { "a\0": "" } }), "/labels"),
        (json!({ "name": "a", "role": "viewer", "max_builds": -1 }), "/max_builds"),
        (json!({ "name": "a", "role": "viewer", "max_builds": 0 }), "/max_builds"),
        (json!({ "name": "a", "role": "viewer", "expires_at": "tomorrow" }), "/expires_at"),
        (json!({ "name": "a", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z" }), "/expires_at"),
        (json!({ "name": "a", "role": "admin", "max_builds": 1 }), "/role"),
        (json!({ "name": "a", "role": "viewer", "scope": "x" }), "/scope"),
        (json!([]), ""),
    ] {
        let problem = api.post_json("/tokens", &[], &body).await.is_problem(422, "invalid_request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    api.post_bytes("/tokens", "application/json", "{").await.is_problem(400, "invalid_request");
    api.post_bytes("/tokens", "text/plain", "{}").await.is_problem(415, "unsupported_media_type");
    api.post_bytes("/tokens", "application/json", vec![b' '; 70 << 10])
        .await
        .is_problem(413, "body_too_large");
    let admin = api.admin().await;
    let twice = json!({ "name": "root", "role": "viewer" });
    api.post_json("/tokens", &[("authorization", &admin)], &twice).await.is_problem(409, "token_name_taken");
    api.as_(&admin, Method::DELETE, "/tokens/%00").await.is_problem(404, "token_not_found");
    api.get_as(&admin, "/tokens?all=maybe").await.is_problem(400, "invalid_parameter");
    for value in ["Basic abc", "Bearer", ""] {
        api.get_as(value, "/builds").await.is_problem(401, "token_malformed");
    }
}

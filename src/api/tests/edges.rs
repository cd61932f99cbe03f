//! What every request passes: ids, problems, the guard, health, and the pages.

use super::*;

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn every_answer_has_a_request_id(pool: PgPool) {
    let api = TestApi::start(pool);
    assert_eq!(
        api.get_with("/healthz", &[("x-request-id", "abc-1.2_3")]).await.header("x-request-id"),
        "abc-1.2_3"
    );
    for bad in ["", "with space", "quote\"", &"x".repeat(129)] {
        let id = api.get_with("/healthz", &[("x-request-id", bad)]).await.header("x-request-id").to_owned();
        assert!(id.parse::<uuid::Uuid>().is_ok(), "{id}");
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn what_axum_refuses_is_a_problem_too(pool: PgPool) {
    let api = TestApi::start(pool);
    api.get("/bakes").await.is_problem(404, "route_not_found");
    let answer = api.send(request(Method::DELETE, "/builds", &[], Body::empty())).await;
    answer.is_problem(405, "method_not_allowed");
    assert!(
        answer.header("allow").contains("POST") && answer.header("allow").contains("GET"),
        "{}",
        answer.header("allow")
    );
    api.post("/healthz").await.is_problem(405, "method_not_allowed");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn pages_of_other_sites_are_refused(pool: PgPool) {
    let api = TestApi::start(pool);
    let build = api.post_build(&template()).await;
    let path = format!("/builds/{build}/cancel");
    let cancel =
        async |headers: &[(&str, &str)]| api.send(request(Method::POST, &path, headers, Body::empty())).await;
    let host = ("host", "127.0.0.1:8080");
    cancel(&[host, ("origin", "http://evil.example")]).await.is_problem(403, "foreign_origin");
    cancel(&[host, ("origin", "null")]).await.is_problem(403, "foreign_origin");
    cancel(&[host, ("sec-fetch-site", "cross-site")]).await.is_problem(403, "foreign_origin");
    cancel(&[("host", "evil.example:8080"), ("origin", "http://evil.example:8080")])
        .await
        .is_problem(403, "foreign_host");
    api.get_with("/builds", &[("host", "evil.example")]).await.is_problem(403, "foreign_host");
    assert_eq!(api.get_with("/builds", &[host]).await.status, StatusCode::OK);
    assert_eq!(cancel(&[host, ("origin", "http://127.0.0.1:8080")]).await.status, StatusCode::ACCEPTED);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_database_that_is_away_is_a_503_that_can_be_retried(pool: PgPool) {
    let nobody = crate::testing::Port::take();
    let options = sqlx::postgres::PgConnectOptions::new().host("127.0.0.1").port(nobody.number());
    let away = sqlx::postgres::PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(300))
        .connect_lazy_with(options);
    let api = TestApi::start(away);
    for answer in [api.get("/builds").await, api.post_json("/builds", &[], &template()).await] {
        let problem = answer.is_problem(503, "database_away");
        assert_eq!(problem["retryable"], true);
        assert_eq!(answer.header("retry-after"), "2");
        assert!(!answer.text().contains("127.0.0.1"), "nothing of the source is told");
    }
    api.get("/readyz").await.is_problem(503, "not_ready");
    assert_eq!(api.get("/healthz").await.status, StatusCode::OK);
    drop(api);
    assert_eq!(TestApi::start(pool).get("/readyz").await.status, StatusCode::OK);
}

#[sqlx::test(migrations = false)]
async fn a_server_without_its_schema_is_not_ready(pool: PgPool) {
    TestApi::start(pool).get("/readyz").await.is_problem(503, "not_ready");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_panic_is_answered_and_hidden(pool: PgPool) {
    let api = TestApi::start(pool);
    let panicking = Router::new()
        .route("/panic", axum::routing::get(async || -> &'static str { panic!("the-secret-cause") }))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(crate::api::edge::panicked))
        .layer(axum::middleware::from_fn(crate::api::edge::finish));
    let api =
        TestApi { router: panicking, state: api.state.clone(), _end: CancellationToken::new().drop_guard() };
    let answer = api.get("/panic").await;
    answer.is_problem(500, "internal");
    assert!(!answer.text().contains("the-secret-cause"));
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn metrics_count_what_there_is(pool: PgPool) {
    let api = TestApi::start(pool);
    let build = api.post_build(&template()).await;
    crate::store::builds::tests::insert_resource(&mut *api.db().await, build, "created", "i-1").await;
    let answer = api.get("/metrics").await;
    for line in [
        "fournil_builds{state=\"queued\"} 1",
        "fournil_builds{state=\"failed\"} 0",
        "fournil_runs{state=\"queued\"} 1",
        "fournil_resources_live{kind=\"vm\"} 1",
        "fournil_cleanups_open 0",
        "# TYPE fournil_queue_oldest_seconds gauge",
    ] {
        assert!(answer.text().lines().any(|other| other == line), "{line} is not in\n{}", answer.text());
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn workers_and_version_are_shown(pool: PgPool) {
    let api = TestApi::start(pool);
    let now = chrono::Utc::now();
    let worker = crate::store::workers::WorkerRow {
        id: "w1".to_owned(),
        hostname: "oven".to_owned(),
        capabilities: Vec::new(),
        slots: 4,
        busy: 1,
        draining: false,
        version: "0.1.0".to_owned(),
        started_at: now,
        seen_at: now,
    };
    crate::store::workers::seen(&mut *api.db().await, &worker).await.unwrap();
    let workers = api.get("/workers").await.json();
    assert_eq!(
        (&workers["workers"][0]["hostname"], &workers["workers"][0]["busy"]),
        (&json!("oven"), &json!(1))
    );
    assert_eq!(api.get("/version").await.json()["name"], "fournil");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn the_dashboard_runs_no_script_but_its_own(pool: PgPool) {
    let api = TestApi::start(pool);
    let page = api.get("/").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("script-src 'self'"));
    for needle in ["<script>", "<style", "onclick=", "javascript:", "http://", "https://"] {
        assert!(!page.text().contains(needle), "{needle}");
    }
    for path in ["/dashboard.js", "/dashboard.css"] {
        assert!(page.text().contains(path), "{path}");
        let file = api.get(path).await;
        assert_eq!(file.status, StatusCode::OK);
        assert!(!file.text().contains("innerHTML"), "text of others must not become markup");
    }
    assert!(api.get("/docs").await.text().contains("/openapi.yaml"));
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn long_answers_are_compressed_and_streams_are_not(pool: PgPool) {
    let api = TestApi::start(pool);
    let gzip = ("accept-encoding", "gzip");
    assert_eq!(api.get_with("/openapi.yaml", &[gzip]).await.header("content-encoding"), "gzip");
    let build = api.post_build(&template()).await;
    assert_eq!(api.get_with(&format!("/builds/{build}"), &[gzip]).await.header("content-encoding"), "");
    let mut stream = api.open("/events", &[gzip]).await;
    assert_eq!(stream.next().await.unwrap().kind, "ready");
}

//! How much there may be of something: builds, streams, headers.

use super::{access::SSE, *};
use crate::{auth::AuthSettings, store::builds::tests::set_run_state};

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_token_has_only_so_many_builds_at_once(pool: PgPool) {
    let api = Arc::new(TestApi::start(pool));
    let admin = api.admin().await;
    let token = api.token(Some(&admin), json!({ "name": "ci", "role": "builder", "max_builds": 2 })).await;
    // Also when they come at the same moment.
    let asked = (0..6).map(|_| {
        let (api, token) = (Arc::clone(&api), token.clone());
        tokio::spawn(async move { api.build_as(&token, &template()).await })
    });
    let answers = futures::future::join_all(asked).await;
    let (accepted, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().map(Result::unwrap).partition(|answer| answer.status == StatusCode::ACCEPTED);
    assert_eq!((accepted.len(), refused.len()), (2, 4));
    for answer in refused {
        assert_eq!(answer.is_problem(429, "too_many_builds")["retryable"], true);
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    }
    // Others are not concerned, and an end makes room.
    assert_eq!(api.build_as(&admin, &template()).await.status, StatusCode::ACCEPTED);
    let first: BuildId = accepted[0].json()["id"].as_str().unwrap().parse().unwrap();
    set_run_state(&mut *api.db().await, first, "osc-bsu", "failed").await;
    let retry = api.as_(&token, Method::POST, &format!("/builds/{first}/retry")).await;
    assert_eq!(retry.status, StatusCode::ACCEPTED, "{}", retry.text());
    api.build_as(&token, &template()).await.is_problem(429, "too_many_builds");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn builds_are_bounded_also_without_limits_of_a_token(pool: PgPool) {
    let open = AuthSettings { builds: 1, builds_each: 1, ..AuthSettings::default() };
    let api = TestApi::with_auth(pool.clone(), open);
    assert_eq!(api.post_json("/builds", &[], &template()).await.status, StatusCode::ACCEPTED);
    let refused = api.post_json("/builds", &[], &template()).await;
    assert_eq!(refused.is_problem(429, "queue_full")["retryable"], true);

    let settings = AuthSettings { builds: 4, builds_each: 2, ..AuthSettings::default() };
    let api = TestApi::with_auth(pool, settings);
    let admin = api.admin().await;
    let usual = api.token(Some(&admin), json!({ "name": "a", "role": "builder" })).await;
    let more = api.token(Some(&admin), json!({ "name": "b", "role": "builder", "max_builds": 3 })).await;
    for (token, accepted, refused) in
        [(&usual, 2, "too_many_builds"), (&more, 1, "queue_full"), (&admin, 0, "queue_full")]
    {
        for _ in 0..accepted {
            let answer = api.build_as(token, &template()).await;
            assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        }
        let answer = api.build_as(token, &template()).await;
        answer.is_problem(429, refused);
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
    }
    // An end makes room for whoever comes.
    let db = &mut *api.db().await;
    let id: uuid::Uuid =
        sqlx::query_scalar("SELECT id FROM builds WHERE token_id IS NULL").fetch_one(&mut *db).await.unwrap();
    set_run_state(db, BuildId(id), "osc-bsu", "failed").await;
    assert_eq!(api.build_as(&admin, &template()).await.status, StatusCode::ACCEPTED);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn streams_are_bounded(pool: PgPool) {
    let settings = AuthSettings { streams: 3, streams_each: 2, ..AuthSettings::default() };
    let api = TestApi::with_auth(pool, settings);
    let admin = api.admin().await;
    let token = api.token(Some(&admin), json!({ "name": "tv", "role": "viewer" })).await;
    let first = api.open("/events", &[SSE, ("authorization", &token)]).await;
    let second = api.open("/events", &[SSE, ("authorization", &token)]).await;
    let refused = api.get_as(&token, "/events").await;
    refused.is_problem(429, "too_many_streams");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    let third = api.open("/events", &[SSE, ("authorization", &admin)]).await;
    api.get_as(&admin, "/events").await.is_problem(429, "too_many_streams");
    // Other requests are not concerned.
    assert_eq!(api.get_as(&token, "/builds").await.status, StatusCode::OK);
    drop(first);
    let again = api.open("/events", &[SSE, ("authorization", &token)]).await;
    drop((second, third, again));
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn headers_are_bounded_and_that_is_said(pool: PgPool) {
    let api = TestApi::start(pool);
    let names: Vec<_> = (0..70).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    api.get_with("/builds", &many).await.is_problem(431, "headers_too_large");
    let long = "x".repeat(40 << 10);
    api.get_with("/healthz", &[("x-long", &long)]).await.is_problem(431, "headers_too_large");
}

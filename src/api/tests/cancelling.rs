//! Cancelling and retrying.

use super::*;
use crate::store::builds::tests::set_run_state;

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_queued_build_is_cancelled_at_once(pool: PgPool) {
    let api = TestApi::start(pool);
    let build = api.post_build(&template()).await;
    for _ in 0..2 {
        let answer = api.post(&format!("/builds/{build}/cancel")).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        assert_eq!(answer.json()["state"], "cancelled");
        assert_eq!(answer.json()["cancel_requested"], true);
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn the_worker_of_a_running_build_is_told(pool: PgPool) {
    let api = TestApi::start(pool.clone());
    let build = api.post_build(&template()).await;
    set_run_state(&mut *api.db().await, build, "osc-bsu", "running").await;
    let mut listener = sqlx::postgres::PgListener::connect_with(&pool).await.unwrap();
    listener.listen(crate::queue::CANCEL_CHANNEL).await.unwrap();
    let answer = api.post(&format!("/builds/{build}/cancel")).await;
    assert_eq!((answer.status, &answer.json()["state"]), (StatusCode::ACCEPTED, &json!("running")));
    let told = tokio::time::timeout(PATIENCE, listener.recv()).await.unwrap().unwrap();
    assert_eq!(told.payload(), build.to_string());
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_finished_build_cannot_be_cancelled(pool: PgPool) {
    let api = TestApi::start(pool);
    let build = api.post_build(&template()).await;
    set_run_state(&mut *api.db().await, build, "osc-bsu", "failed").await;
    let problem = api.post(&format!("/builds/{build}/cancel")).await.is_problem(409, "build_finished");
    assert!(problem["detail"].as_str().unwrap().contains("failed"), "{problem}");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_retry_is_a_new_build_of_the_same_request(pool: PgPool) {
    let api = TestApi::start(pool);
    let archive = tar(&[("web.json", template().to_string().as_bytes()), ("setup.sh", b"true")]);
    let answer = api.post_bytes("/builds?label.team=web", "application/x-tar", archive).await;
    let first: BuildId = answer.json()["id"].as_str().unwrap().parse().unwrap();
    api.post(&format!("/builds/{first}/retry")).await.is_problem(409, "build_not_finished");
    set_run_state(&mut *api.db().await, first, "osc-bsu", "failed").await;

    let path = format!("/builds/{first}/retry");
    let retried =
        api.send(request(Method::POST, &path, &[("idempotency-key", "again")], Body::empty())).await;
    assert_eq!(retried.status, StatusCode::ACCEPTED, "{}", retried.text());
    let build = retried.json();
    assert_eq!(build["retry_of"], first.to_string());
    assert_ne!(build["id"], first.to_string());
    assert_eq!((&build["state"], &build["labels"]["team"]), (&json!("queued"), &json!("web")));
    let replayed =
        api.send(request(Method::POST, &path, &[("idempotency-key", "again")], Body::empty())).await;
    assert_eq!((replayed.status, &replayed.json()["id"]), (StatusCode::OK, &build["id"]));

    let contexts: Vec<Option<uuid::Uuid>> =
        sqlx::query_scalar("SELECT context_id FROM builds").fetch_all(&mut *api.db().await).await.unwrap();
    assert!(contexts[0].is_some() && contexts[0] == contexts[1], "the folder is stored once: {contexts:?}");
}

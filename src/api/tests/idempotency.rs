//! `Idempotency-Key`.

use super::*;

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn the_same_key_and_body_answer_the_same_build(pool: PgPool) {
    let api = TestApi::start(pool);
    let key = [("idempotency-key", "3b1a6c9e")];
    let first = api.post_json("/builds", &key, &template()).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = api.post_json("/builds", &key, &template()).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.json()["id"], first.json()["id"]);

    let other = api.post_json("/builds", &key, &json!({ "template": template() })).await;
    other.is_problem(422, "idempotency_key_reused");
    // A body that is not even valid is no reason to answer otherwise.
    api.post_json("/builds", &key, &json!({})).await.is_problem(422, "idempotency_key_reused");
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_refused_request_leaves_its_key_free(pool: PgPool) {
    let api = TestApi::start(pool);
    let key = [("idempotency-key", "k")];
    api.post_json("/builds", &key, &json!({})).await.is_problem(422, "invalid_request");
    assert_eq!(api.post_json("/builds", &key, &template()).await.status, StatusCode::ACCEPTED);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn ten_at_once_make_one_build(pool: PgPool) {
    let api = Arc::new(TestApi::start(pool));
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let api = Arc::clone(&api);
            tokio::spawn(async move {
                api.post_json("/builds", &[("idempotency-key", "race")], &template()).await
            })
        })
        .collect();
    let mut accepted = 0;
    for task in tasks {
        let answer = task.await.unwrap();
        match answer.status.as_u16() {
            202 => accepted += 1,
            200 => assert_eq!(answer.header("idempotency-replayed"), "true"),
            _ => {
                answer.is_problem(409, "idempotency_key_in_flight");
                assert_eq!(answer.header("retry-after"), "1");
            }
        }
    }
    assert_eq!(accepted, 1);
    let builds: i64 =
        sqlx::query_scalar("SELECT count(*) FROM builds").fetch_one(&mut *api.db().await).await.unwrap();
    assert_eq!(builds, 1);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_key_in_flight_is_answered_409(pool: PgPool) {
    let api = TestApi::start(pool.clone());
    let mut first = pool.begin().await.unwrap();
    assert!(crate::store::idempotency::try_lock(&mut first, "", "slow").await.unwrap());
    let answer = api.post_json("/builds", &[("idempotency-key", "slow")], &template()).await;
    answer.is_problem(409, "idempotency_key_in_flight");
    first.rollback().await.unwrap();
    let answer = api.post_json("/builds", &[("idempotency-key", "slow")], &template()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_key_is_bounded(pool: PgPool) {
    let api = TestApi::start(pool);
    for key in ["", &"k".repeat(256), "tab\there"] {
        api.post_json("/builds", &[("idempotency-key", key)], &template())
            .await
            .is_problem(400, "invalid_header");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    api.post_json("/builds", &twice, &template()).await.is_problem(400, "invalid_header");
    let longest = "k".repeat(255);
    assert_eq!(
        api.post_json("/builds", &[("idempotency-key", &longest)], &template()).await.status,
        StatusCode::ACCEPTED
    );
}

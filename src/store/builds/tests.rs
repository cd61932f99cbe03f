//! The store of builds against a real database; helpers for the tests of its neighbours and of the API.

use serde_json::json;
use sqlx::PgPool;

use super::{
    read::{BuildFilter, Position, get, list},
    *,
};
use crate::store::log_lines::head;

/// Inserts a queued build with runs of these names.
pub(crate) async fn insert_build(db: &mut PgConnection, runs: &[&str]) -> BuildId {
    insert_build_at(db, runs, Utc::now(), &json!({})).await
}

/// The same with its time and labels.
pub(crate) async fn insert_build_at(
    db: &mut PgConnection,
    runs: &[&str],
    created_at: DateTime<Utc>,
    labels: &Value,
) -> BuildId {
    let id = BuildId::generate();
    let build = NewBuild {
        id,
        name: Some("nginx"),
        labels,
        priority: 0,
        on_error: crate::domain::OnError::Cleanup,
        keep_for: None,
        authorized_keys: &[],
        timeout: Some(Duration::from_secs(7200)),
        credentials: None,
        template: &json!({ "builders": [] }),
        notices: &["a notice".to_owned()],
        request_sealed: b"sealed",
        context: None,
        retry_of: None,
        created_at,
        created_by: None,
        token: None,
    };
    let runs: Vec<_> = runs
        .iter()
        .map(|name| NewRun {
            id: RunId::generate(),
            name: (*name).to_owned(),
            builder: "osc-bsu",
            plan_sealed: b"sealed".to_vec(),
            omi_key: None,
            requires: Vec::new(),
        })
        .collect();
    insert(db, &build, &runs).await.unwrap();
    id
}

/// Moves a run as a worker would and refreshes the build.
pub(crate) async fn set_run_state(
    db: &mut PgConnection,
    build: BuildId,
    run: &str,
    state: &str,
) -> BuildState {
    let id: RunId = sqlx::query_scalar(
        "UPDATE runs SET state = $3, lease_token = lease_token + 1, started_at = coalesce(started_at, now()),
             finished_at = CASE WHEN $3 IN ('succeeded', 'failed', 'cancelled') THEN now() END
         WHERE build_id = $1 AND name = $2 RETURNING id",
    )
    .bind(build)
    .bind(run)
    .bind(state)
    .fetch_one(&mut *db)
    .await
    .unwrap();
    refresh_after(db, build, id).await.unwrap()
}

/// Writes a ledger row of the build's first run.
pub(crate) async fn insert_resource(db: &mut PgConnection, build: BuildId, state: &str, cloud_id: &str) {
    sqlx::query(
        "INSERT INTO resources (id, build_id, run_id, attempt, slot, kind, lookup, cloud_id, region, keep, state, created_at)
         SELECT gen_random_uuid(), build_id, id, 1, $3, 'vm', '{}', $3, 'eu-west-2', 'never', $2, now()
         FROM runs WHERE build_id = $1 ORDER BY ordinal LIMIT 1",
    )
    .bind(build)
    .bind(state)
    .bind(cloud_id)
    .execute(db)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_build_follows_its_runs(pool: PgPool) {
    let mut db = pool.acquire().await.unwrap();
    let build = insert_build(&mut db, &["a", "b"]).await;
    assert_eq!(set_run_state(&mut db, build, "a", "running").await, BuildState::Running);
    assert_eq!(set_run_state(&mut db, build, "a", "succeeded").await, BuildState::Running);
    let row = get(&mut db, build).await.unwrap().unwrap();
    assert!(row.started_at.is_some() && row.finished_at.is_none());

    sqlx::query("UPDATE runs SET error = $2 WHERE build_id = $1 AND name = 'b'")
        .bind(build)
        .bind(json!({ "code": "ssh_refused" }))
        .execute(&mut *db)
        .await
        .unwrap();
    assert_eq!(set_run_state(&mut db, build, "b", "failed").await, BuildState::Failed);
    let row = get(&mut db, build).await.unwrap().unwrap();
    assert_eq!(row.error, Some(json!({ "code": "ssh_refused" })));
    assert_eq!(row.finished_at, row.runs.iter().filter_map(|run| run.finished_at).max());
    assert_eq!(row.version, 5, "one for the insert, one for each change");
    assert_eq!(row.timeout_ms, Some(7_200_000));
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_change_is_told_with_the_run_that_changed(pool: PgPool) {
    let mut db = pool.acquire().await.unwrap();
    let build = insert_build(&mut db, &["a", "b"]).await;
    set_run_state(&mut db, build, "b", "running").await;
    let data: Value =
        sqlx::query_scalar("SELECT data FROM build_events WHERE build_id = $1 ORDER BY version DESC LIMIT 1")
            .bind(build)
            .fetch_one(&mut *db)
            .await
            .unwrap();
    assert_eq!(
        data,
        json!({
            "state": "running", "run": "b", "run_state": "running", "attempt": 1, "cleanup": "none",
            "runs": [
                { "name": "a", "state": "queued", "attempt": 1, "cleanup": "none" },
                { "name": "b", "state": "running", "attempt": 1, "cleanup": "none" },
            ],
        })
    );
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn runs_that_end_at_the_same_moment_end_the_build(pool: PgPool) {
    let mut db = pool.acquire().await.unwrap();
    let names: Vec<String> = (0..8).map(|number| format!("run-{number}")).collect();
    let build = insert_build(&mut db, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let ends = names.into_iter().map(|name| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let mut transaction = pool.begin().await.unwrap();
            set_run_state(&mut transaction, build, &name, "succeeded").await;
            transaction.commit().await.unwrap();
        })
    });
    for end in ends.collect::<Vec<_>>() {
        end.await.unwrap();
    }
    assert_eq!(head(&mut db, build).await.unwrap().unwrap().state, BuildState::Succeeded);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn cancelling_ends_what_nobody_works_on_and_marks_the_rest(pool: PgPool) {
    let mut db = pool.acquire().await.unwrap();
    let queued = insert_build(&mut db, &["a", "b"]).await;
    assert_eq!(request_cancel(&mut db, queued, Utc::now()).await.unwrap(), Some(Cancellation::Accepted));
    assert_eq!(head(&mut db, queued).await.unwrap().unwrap().state, BuildState::Cancelled);
    let version = head(&mut db, queued).await.unwrap().unwrap().version;
    assert_eq!(request_cancel(&mut db, queued, Utc::now()).await.unwrap(), Some(Cancellation::Accepted));
    assert_eq!(
        head(&mut db, queued).await.unwrap().unwrap().version,
        version,
        "the second request changes nothing"
    );

    let running = insert_build(&mut db, &["a", "b"]).await;
    set_run_state(&mut db, running, "a", "running").await;
    request_cancel(&mut db, running, Utc::now()).await.unwrap();
    let row = get(&mut db, running).await.unwrap().unwrap();
    assert_eq!(row.state, BuildState::Running);
    assert!(row.cancel_requested_at.is_some());
    assert_eq!(
        row.runs.iter().map(|run| run.state).collect::<Vec<_>>(),
        [RunState::Running, RunState::Cancelled]
    );

    let made_something = insert_build(&mut db, &["a"]).await;
    insert_resource(&mut db, made_something, "created", "i-1").await;
    request_cancel(&mut db, made_something, Utc::now()).await.unwrap();
    assert_eq!(
        head(&mut db, made_something).await.unwrap().unwrap().state,
        BuildState::Queued,
        "a worker cleans up first"
    );

    let done = insert_build(&mut db, &["a"]).await;
    set_run_state(&mut db, done, "a", "succeeded").await;
    let refused = request_cancel(&mut db, done, Utc::now()).await.unwrap();
    assert_eq!(refused, Some(Cancellation::Finished(BuildState::Succeeded)));
    assert_eq!(request_cancel(&mut db, BuildId::generate(), Utc::now()).await.unwrap(), None);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn cancelling_while_runs_end_never_deadlocks(pool: PgPool) {
    let mut db = pool.acquire().await.unwrap();
    for _ in 0..20 {
        let build = insert_build(&mut db, &["a", "b"]).await;
        let spawned: Vec<_> = ["a", "b"]
            .into_iter()
            .map(|run| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    let mut transaction = pool.begin().await.unwrap();
                    set_run_state(&mut transaction, build, run, "succeeded").await;
                    transaction.commit().await.unwrap();
                })
            })
            .collect();
        let mut transaction = pool.begin().await.unwrap();
        request_cancel(&mut transaction, build, Utc::now()).await.unwrap();
        transaction.commit().await.unwrap();
        for task in spawned {
            task.await.unwrap();
        }
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn leftovers_are_shown_once_the_build_has_ended(pool: PgPool) {
    let mut db = pool.acquire().await.unwrap();
    let build = insert_build(&mut db, &["a"]).await;
    insert_resource(&mut db, build, "created", "i-live").await;
    insert_resource(&mut db, build, "removed", "i-gone").await;
    assert_eq!(get(&mut db, build).await.unwrap().unwrap().leftovers.len(), 0);
    set_run_state(&mut db, build, "a", "failed").await;
    let leftovers = get(&mut db, build).await.unwrap().unwrap().leftovers;
    assert_eq!(leftovers.iter().map(|row| row.id.as_deref()).collect::<Vec<_>>(), [Some("i-live")]);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn pages_hold_every_build_once_though_new_ones_come(pool: PgPool) {
    let mut db = pool.acquire().await.unwrap();
    let start = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let mut ids = Vec::new();
    for number in 0..10 {
        // Every two builds share their moment, so that the id decides.
        let at = start + chrono::TimeDelta::seconds(number / 2);
        ids.push(
            insert_build_at(&mut db, &["a"], at, &json!({ "team": "web", "n": number.to_string() })).await,
        );
    }
    ids.reverse();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = list(&mut db, &BuildFilter::default(), after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(Position { created_at: last.created_at, id: last.id });
        seen.extend(page.iter().map(|row| row.id));
        insert_build_at(&mut db, &["a"], start + chrono::TimeDelta::hours(1), &json!({})).await;
    }
    assert_eq!(seen, ids);

    let mut labels = serde_json::Map::new();
    labels.insert("team".to_owned(), json!("web"));
    labels.insert("n".to_owned(), json!("4"));
    let filter = BuildFilter { labels, ..BuildFilter::default() };
    assert_eq!(list(&mut db, &filter, None, 50).await.unwrap().len(), 1);
    let none = BuildFilter { states: vec![BuildState::Running], ..BuildFilter::default() };
    assert_eq!(list(&mut db, &none, None, 50).await.unwrap().len(), 0);
    let chroot = BuildFilter { builders: vec!["osc-chroot".to_owned()], ..BuildFilter::default() };
    assert_eq!(list(&mut db, &chroot, None, 50).await.unwrap().len(), 0);
    let recent =
        BuildFilter { created_after: Some(start + chrono::TimeDelta::seconds(3)), ..BuildFilter::default() };
    assert_eq!(list(&mut db, &recent, None, 3).await.unwrap().len(), 3);
}

//! Another master key for a whole database, with all kinds of sealed values in it.

use serde_json::json;

use super::*;
use crate::store::{builds, contexts, sealed::JOURNAL_PLACE};

const OLD: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const NEW: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

fn vault(keys: &[&str]) -> Vault {
    Vault::from_text(&keys.join("\n"), "a test").unwrap()
}

struct Stored {
    context: Uuid,
    build: Uuid,
    run: Uuid,
}

/// One value of each kind.
async fn store_all(db: &mut PgConnection, vault: &Vault) -> Stored {
    master_keys::check(db, vault).await.unwrap();
    let context = contexts::insert(db, vault, b"a folder", Utc::now()).await.unwrap();
    let (build, run, set) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    sqlx::query("INSERT INTO builds (id, template, request_sealed, created_at) VALUES ($1, '{}', $2, now())")
        .bind(build)
        .bind(vault.seal(builds::REQUEST_COLUMN, build, b"a request").unwrap())
        .execute(&mut *db)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO runs (id, build_id, ordinal, name, builder, plan_sealed, created_at)
         VALUES ($1, $2, 0, 'r', 'osc-bsu', $3, now())",
    )
    .bind(run)
    .bind(build)
    .bind(vault.seal(builds::PLAN_COLUMN, run, b"a plan").unwrap())
    .execute(&mut *db)
    .await
    .unwrap();
    let private = vault.seal(JOURNAL_PLACE, run, b"a key").unwrap();
    sqlx::query(
        "INSERT INTO steps (run_id, attempt, name, ordinal, state, started_at, output)
         VALUES ($1, 1, 'make_key', 1, 'succeeded', now(), $2)",
    )
    .bind(run)
    .bind(json!({ "keypair_name": "k", "temporary": { "sealed_private": private, "public": "p" } }))
    .execute(&mut *db)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO credential_sets (id, name, access_key_end, has_certificate, sealed, created_at, updated_at)
         VALUES ($1, 'prod', 'ABCD', false, $2, now(), now())",
    )
    .bind(set)
    .bind(vault.seal("credential_sets.sealed", set, b"a set").unwrap())
    .execute(&mut *db)
    .await
    .unwrap();
    Stored { context, build, run }
}

async fn opens_all(db: &mut PgConnection, vault: &Vault, stored: &Stored) {
    master_keys::check(db, vault).await.unwrap();
    let context = contexts::load(db, vault, stored.context).await.unwrap();
    assert_eq!(context.as_deref(), Some(b"a folder".as_slice()));
    let request: Vec<u8> =
        sqlx::query_scalar("SELECT request_sealed FROM builds").fetch_one(&mut *db).await.unwrap();
    assert_eq!(vault.open(builds::REQUEST_COLUMN, stored.build, &request).unwrap().as_slice(), b"a request");
    let plan: Vec<u8> = sqlx::query_scalar("SELECT plan_sealed FROM runs").fetch_one(&mut *db).await.unwrap();
    assert_eq!(vault.open(builds::PLAN_COLUMN, stored.run, &plan).unwrap().as_slice(), b"a plan");
    let output: serde_json::Value =
        sqlx::query_scalar("SELECT output FROM steps").fetch_one(&mut *db).await.unwrap();
    let private: Vec<u8> = serde_json::from_value(output["temporary"]["sealed_private"].clone()).unwrap();
    assert_eq!(vault.open(JOURNAL_PLACE, stored.run, &private).unwrap().as_slice(), b"a key");
    assert_eq!(output["temporary"]["public"], "p");
    let (id, set): (Uuid, Vec<u8>) =
        sqlx::query_as("SELECT id, sealed FROM credential_sets").fetch_one(&mut *db).await.unwrap();
    assert_eq!(vault.open("credential_sets.sealed", id, &set).unwrap().as_slice(), b"a set");
}

fn quiet() -> Terminal {
    Terminal::silent()
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn everything_is_sealed_under_the_new_key(pool: PgPool) {
    let mut db = pool.acquire().await.unwrap();
    let stored = store_all(&mut db, &vault(&[OLD])).await;
    let both = vault(&[NEW, OLD]);
    opens_all(&mut db, &both, &stored).await;
    assert_eq!(rewrap(&mut db, &both, None, &quiet()).await.unwrap(), 0);
    opens_all(&mut db, &vault(&[NEW]), &stored).await;
    let error = master_keys::check(&mut db, &vault(&[OLD])).await.unwrap_err();
    assert!(matches!(error, StoreError::Vault(VaultError::WrongForDatabase { .. })), "{error}");
    // Again there is nothing to do.
    assert_eq!(sealed::rewrap_all(&mut db, &both).await.unwrap(), sealed::Rewrapped::default());
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn no_sealed_column_is_forgotten(pool: PgPool) {
    let mut db = pool.acquire().await.unwrap();
    let stored = store_all(&mut db, &vault(&[OLD])).await;
    let done = sealed::rewrap_all(&mut db, &vault(&[NEW, OLD])).await.unwrap();
    assert_eq!((done.changed, done.lost), (6, Vec::new()));
    opens_all(&mut db, &vault(&[NEW]), &stored).await;
    // A new column of bytes has to be looked at: is it sealed?
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT table_name || '.' || column_name FROM information_schema.columns
         WHERE table_schema = 'public' AND data_type = 'bytea' AND table_name NOT LIKE '\\_%' ORDER BY 1",
    )
    .fetch_all(&mut *db)
    .await
    .unwrap();
    let sealed = [
        "builds.request_sealed",
        "contexts.data",
        "credential_sets.sealed",
        "master_key_check.sealed",
        "runs.plan_sealed",
    ];
    for column in sealed {
        assert!(columns.iter().any(|known| known == column), "{column}");
    }
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn without_the_old_key_nothing_is_changed_and_it_is_told(pool: PgPool) {
    let mut db = pool.acquire().await.unwrap();
    let stored = store_all(&mut db, &vault(&[OLD])).await;
    let done = sealed::rewrap_all(&mut db, &vault(&[NEW])).await.unwrap();
    assert_eq!((done.changed, done.lost.len()), (0, 6));
    assert!(done.lost.iter().all(|lost| lost.contains("another master key")), "{:?}", done.lost);
    opens_all(&mut db, &vault(&[OLD]), &stored).await;
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_running_server_must_have_the_new_key(pool: PgPool) {
    let mut db = pool.acquire().await.unwrap();
    store_all(&mut db, &vault(&[OLD])).await;
    let both = vault(&[NEW, OLD]);
    let mut holder =
        Holder { id: Uuid::new_v4(), hostname: "here".to_owned(), key_ids: vault(&[OLD]).key_ids() };
    let now = Utc::now();
    master_keys::seen(&mut db, &holder, now, now - ALIVE).await.unwrap();
    assert_eq!(rewrap(&mut db, &both, None, &quiet()).await.unwrap(), 3);
    assert_eq!(sealed::rewrap_all(&mut db, &both).await.unwrap().changed, 6, "nothing was changed before");
    // It can open what is sealed with the new key, and still seals with the old one.
    master_keys::left(&mut db, holder.id).await.unwrap();
    holder = Holder { id: Uuid::new_v4(), key_ids: vault(&[OLD, NEW]).key_ids(), ..holder };
    master_keys::seen(&mut db, &holder, now, now - ALIVE).await.unwrap();
    assert_eq!(rewrap(&mut db, &both, None, &quiet()).await.unwrap(), 3);
    master_keys::left(&mut db, holder.id).await.unwrap();
    assert_eq!(rewrap(&mut db, &both, None, &quiet()).await.unwrap(), 0);
}

#[sqlx::test(migrator = "crate::store::MIGRATOR")]
async fn a_database_without_a_check_is_looked_at(pool: PgPool) {
    let mut db = pool.acquire().await.unwrap();
    store_all(&mut db, &vault(&[OLD])).await;
    sqlx::query("DELETE FROM master_key_check").execute(&mut *db).await.unwrap();
    let error = master_keys::check(&mut db, &vault(&[NEW])).await.unwrap_err().to_string();
    assert!(error.contains("another master key") && error.contains("FOURNIL_MASTER_KEY"), "{error}");
    master_keys::check(&mut db, &vault(&[OLD])).await.unwrap();
    let sealed: Vec<u8> =
        sqlx::query_scalar("SELECT sealed FROM master_key_check").fetch_one(&mut *db).await.unwrap();
    assert_eq!(Vault::key_id_of(&sealed), Some(vault(&[OLD]).key_id()));
}

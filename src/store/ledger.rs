//! The ledger: what fournil made in the cloud or was about to make. A row is committed before the cloud is asked, so that
//! whatever happens in between can be found and removed. Rows are never deleted, they end as `removed` or `kept`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;

use super::{StoreError, journal::guard};
use crate::{
    domain::{BuildId, ResourceId, RunId},
    queue::Lease,
};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, sqlx::Type, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        #[sqlx(type_name = "text", rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
    };
}

words! {
    /// Kinds of cloud resource, each with its own way to be found again and removed.
    ResourceKind {
        /// Found again by its name.
        Keypair,
        /// Found again by its name.
        SecurityGroup,
        /// Has neither token nor name: found again as the one that was not there before.
        PublicIp,
        /// Found again by its client token.
        Vm,
        /// One of a VM is known by id from the start; one that was made by itself is found again by its client token.
        Volume,
        /// One behind an image is known by id from the start; one of a volume is found again by its client token.
        Snapshot,
        /// Found again by its name in the own account.
        Image,
    }
}

words! {
    /// When a resource may stay.
    Keep {
        /// It is always removed.
        Never,
        /// It stays if the run succeeds.
        OnSuccess,
    }
}

words! {
    /// Where a row is in its life.
    ResourceState {
        /// About to be made; perhaps made, with the answer lost.
        Intent,
        /// Made; its id is known.
        Created,
        /// Made, and kept as an artifact or part of one.
        Kept,
        /// Gone, or never made.
        Removed,
    }
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct Resource {
    /// Its id in the ledger.
    pub id: ResourceId,
    /// The build.
    pub build_id: BuildId,
    /// The run.
    pub run_id: RunId,
    /// The attempt of the run.
    pub attempt: i32,
    /// What it is for, unique in the attempt.
    pub slot: String,
    /// Its kind.
    pub kind: ResourceKind,
    /// How to find it again when its id is not known.
    pub lookup: Value,
    /// Its id in the cloud.
    pub cloud_id: Option<String>,
    /// Its region.
    pub region: String,
    /// When it may stay.
    pub keep: Keep,
    /// Where it is in its life.
    pub state: ResourceState,
    /// When the intent was written, then when the id was recorded: from there on it may be invisible for a while.
    pub created_at: DateTime<Utc>,
    /// When it was found gone.
    pub removed_at: Option<DateTime<Utc>>,
    /// Failed tries to remove it.
    pub tries: i32,
    /// Why the last one failed.
    pub last_error: Option<String>,
}

/// What is written before the cloud is asked.
#[derive(Debug, Clone)]
pub struct Intent {
    /// What it is for, unique in the attempt.
    pub slot: String,
    /// Its kind.
    pub kind: ResourceKind,
    /// How to find it again.
    pub lookup: Value,
    /// Its id, if it is known already (a volume that came with a VM).
    pub cloud_id: Option<String>,
    /// Its region.
    pub region: String,
    /// When it may stay.
    pub keep: Keep,
}

/// Writes the intent. If an earlier try of the same step wrote it already, that row is answered, and `true`. A row that
/// ended as removed (the call was refused then) becomes an intent again.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn intend(
    db: &mut PgConnection,
    lease: &Lease,
    attempt: i32,
    intent: &Intent,
) -> Result<(Resource, bool), StoreError> {
    guard(db, lease).await?;
    let earlier: Option<Resource> =
        sqlx::query_as("SELECT * FROM resources WHERE run_id = $1 AND attempt = $2 AND slot = $3")
            .bind(lease.run)
            .bind(attempt)
            .bind(&intent.slot)
            .fetch_optional(&mut *db)
            .await?;
    if let Some(earlier) = earlier.filter(|row| row.state != ResourceState::Removed) {
        return Ok((earlier, true));
    }
    let row = sqlx::query_as(
        "INSERT INTO resources (id, build_id, run_id, attempt, slot, kind, lookup, cloud_id, region, keep, state, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, CASE WHEN $8::text IS NULL THEN 'intent' ELSE 'created' END, now())
         ON CONFLICT (run_id, attempt, slot) DO UPDATE
         SET kind = excluded.kind, lookup = excluded.lookup, cloud_id = excluded.cloud_id, keep = excluded.keep,
             state = excluded.state, created_at = excluded.created_at, removed_at = NULL, tries = 0, last_error = NULL
         RETURNING *",
    )
    .bind(ResourceId::generate())
    .bind(lease.build)
    .bind(lease.run)
    .bind(attempt)
    .bind(&intent.slot)
    .bind(intent.kind)
    .bind(&intent.lookup)
    .bind(&intent.cloud_id)
    .bind(&intent.region)
    .bind(intent.keep)
    .fetch_one(&mut *db)
    .await?;
    Ok((row, false))
}

/// Records the id that the cloud gave. The time counts from here: the call may have taken long, and the thing may stay
/// invisible for a while behind it.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn created(
    db: &mut PgConnection,
    lease: &Lease,
    id: ResourceId,
    cloud_id: &str,
) -> Result<(), StoreError> {
    guard(db, lease).await?;
    sqlx::query("UPDATE resources SET state = 'created', cloud_id = $2, created_at = now() WHERE id = $1")
        .bind(id)
        .bind(cloud_id)
        .execute(db)
        .await?;
    Ok(())
}

/// Records that it is gone, or was never made (`why` then holds the refusal).
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn removed(
    db: &mut PgConnection,
    lease: &Lease,
    id: ResourceId,
    why: Option<&str>,
) -> Result<(), StoreError> {
    guard(db, lease).await?;
    sqlx::query("UPDATE resources SET state = 'removed', removed_at = now(), last_error = $2 WHERE id = $1")
        .bind(id)
        .bind(why)
        .execute(db)
        .await?;
    Ok(())
}

/// Records a failed try to remove it.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn removal_failed(
    db: &mut PgConnection,
    lease: &Lease,
    id: ResourceId,
    error: &str,
) -> Result<(), StoreError> {
    guard(db, lease).await?;
    sqlx::query("UPDATE resources SET tries = tries + 1, last_error = $2 WHERE id = $1")
        .bind(id)
        .bind(error)
        .execute(db)
        .await?;
    Ok(())
}

/// Marks as kept what stays when the run succeeds in this attempt.
///
/// # Errors
/// The lease is lost, or the database is away.
pub async fn keep_on_success(db: &mut PgConnection, lease: &Lease, attempt: i32) -> Result<(), StoreError> {
    guard(db, lease).await?;
    sqlx::query(
        "UPDATE resources SET state = 'kept'
         WHERE run_id = $1 AND attempt = $2 AND keep = 'on_success' AND state = 'created'",
    )
    .bind(lease.run)
    .bind(attempt)
    .execute(db)
    .await?;
    Ok(())
}

/// What is still to be removed of a run, oldest first.
///
/// # Errors
/// The database is away.
pub async fn live(db: &mut PgConnection, run: RunId) -> Result<Vec<Resource>, StoreError> {
    Ok(sqlx::query_as("SELECT * FROM resources WHERE run_id = $1 AND state IN ('intent', 'created') ORDER BY created_at, id")
        .bind(run)
        .fetch_all(db)
        .await?)
}

/// The cloud ids of one kind that the run ever had, in one attempt or in all.
///
/// # Errors
/// The database is away.
pub async fn cloud_ids(
    db: &mut PgConnection,
    run: RunId,
    attempt: Option<i32>,
    kind: ResourceKind,
) -> Result<Vec<String>, StoreError> {
    let query = "SELECT cloud_id FROM resources
                 WHERE run_id = $1 AND ($2::integer IS NULL OR attempt = $2) AND kind = $3 AND cloud_id IS NOT NULL";
    Ok(sqlx::query_scalar(query).bind(run).bind(attempt).bind(kind).fetch_all(db).await?)
}

/// All rows of a run, oldest first.
///
/// # Errors
/// The database is away.
pub async fn of_run(db: &mut PgConnection, run: RunId) -> Result<Vec<Resource>, StoreError> {
    Ok(sqlx::query_as("SELECT * FROM resources WHERE run_id = $1 ORDER BY created_at, id")
        .bind(run)
        .fetch_all(db)
        .await?)
}

/// All rows of a build, oldest first.
///
/// # Errors
/// The database is away.
pub async fn of_build(db: &mut PgConnection, build: BuildId) -> Result<Vec<Resource>, StoreError> {
    Ok(sqlx::query_as("SELECT * FROM resources WHERE build_id = $1 ORDER BY created_at, id")
        .bind(build)
        .fetch_all(db)
        .await?)
}

/// Of these cloud ids, the ones that some run's ledger knows.
///
/// # Errors
/// The database is away.
pub async fn known_ids(
    db: &mut PgConnection,
    kind: ResourceKind,
    cloud_ids: &[String],
) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT cloud_id FROM resources WHERE kind = $1 AND cloud_id = ANY($2)")
        .bind(kind)
        .bind(cloud_ids)
        .fetch_all(db)
        .await?)
}

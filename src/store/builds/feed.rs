//! The changes of all builds in one order that hides nothing: by transaction, and only those of transactions
//! before which none is open any more. So a reader who goes on behind the last event it saw misses none.

use std::{collections::BTreeMap, fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::StoreError;
use crate::domain::BuildId;

/// A place in the feed. Written as `transaction-version-build`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    transaction: i64,
    version: i64,
    build: BuildId,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.transaction, self.version, self.build.0.simple())
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let number = |text: &str| text.parse::<i64>().ok().filter(|_| digits(text));
        // An id has several spellings; only this one is ours.
        let is_build = |text: &&str| text.len() == 32 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().ok_or(InvalidPlace);
        Ok(Self {
            transaction: number(part()?).ok_or(InvalidPlace)?,
            version: number(part()?).ok_or(InvalidPlace)?,
            build: part().ok().filter(is_build).and_then(|text| text.parse().ok()).ok_or(InvalidPlace)?,
        })
    }
}

/// The text is not a place in the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no place in the feed of events")]
pub struct InvalidPlace;

/// A change of some build.
#[derive(Debug, Clone, FromRow)]
pub struct FeedRow {
    transaction: i64,
    /// The build.
    pub build_id: BuildId,
    /// Its version after the change.
    pub version: i64,
    /// When the change was made.
    pub at: DateTime<Utc>,
    /// The event's data if its kind is `state`. The others are passed over, but have their place in the feed: a reader
    /// who goes on behind them does not read them again.
    pub data: Option<Value>,
}

impl FeedRow {
    /// Its place in the feed.
    #[must_use]
    pub const fn place(&self) -> Place {
        Place { transaction: self.transaction, version: self.version, build: self.build_id }
    }
}

/// The end of the feed: what is behind it has not happened yet or is not committed yet.
///
/// # Errors
/// The database is away.
pub async fn end(db: &mut PgConnection) -> Result<Place, StoreError> {
    let transaction = sqlx::query_scalar("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        .fetch_one(db)
        .await?;
    Ok(Place { transaction, version: 0, build: BuildId(Uuid::nil()) })
}

/// At most `limit` changes behind `place`. Of builds without all of `labels`, only the places are told.
///
/// # Errors
/// The database is away.
pub async fn after(
    db: &mut PgConnection,
    place: Place,
    labels: &BTreeMap<String, String>,
    limit: i64,
) -> Result<Vec<FeedRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT tx::text::bigint AS transaction, build_id, version, at,
                CASE WHEN kind = 'state'
                      AND ($5 = '{}'::jsonb OR (SELECT builds.labels @> $5 FROM builds WHERE builds.id = build_id))
                     THEN data END AS data
         FROM build_events
         WHERE (tx, build_id, version) > ($1::text::xid8, $2, $3)
           AND tx < pg_snapshot_xmin(pg_current_snapshot())
         ORDER BY tx, build_id, version
         LIMIT $4",
    )
    .bind(place.transaction.to_string())
    .bind(place.build)
    .bind(place.version)
    .bind(limit)
    .bind(serde_json::json!(labels))
    .fetch_all(db)
    .await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::builds::{refresh, tests::insert_build};
    use sqlx::PgPool;

    /// The builds that were refreshed behind `place`, in the feed's order, once there are `count`. Other tests on the
    /// same server hold transactions open, for which the feed waits too.
    async fn refreshed(db: &mut PgConnection, place: Place, count: usize) -> Vec<FeedRow> {
        let refreshed = |row: &FeedRow| row.version == 3;
        for _ in 0..1000 {
            let rows: Vec<_> = after(db, place, &BTreeMap::new(), 100)
                .await
                .unwrap()
                .into_iter()
                .filter(refreshed)
                .collect();
            if rows.len() >= count {
                return rows;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{count} changes do not come")
    }

    fn builds(rows: &[FeedRow]) -> Vec<BuildId> {
        rows.iter().map(|row| row.build_id).collect()
    }

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn a_change_committed_late_is_not_skipped(pool: PgPool) {
        let mut db = pool.acquire().await.unwrap();
        let (early, late) = (insert_build(&mut db, &["a"]).await, insert_build(&mut db, &["a"]).await);
        let start = end(&mut db).await.unwrap();

        // `late` writes first and commits last; what `early` committed meanwhile waits for it.
        let mut slow = pool.begin().await.unwrap();
        refresh(&mut slow, late).await.unwrap();
        refresh(&mut db, early).await.unwrap();
        assert_eq!(builds(&refreshed(&mut db, start, 0).await), []);
        slow.commit().await.unwrap();

        let rows = refreshed(&mut db, start, 2).await;
        assert_eq!(builds(&rows), [late, early]);
        assert_eq!(builds(&refreshed(&mut db, rows[0].place(), 1).await), [early]);
        assert_eq!(builds(&refreshed(&mut db, rows[1].place(), 0).await), []);
    }

    #[test]
    fn a_place_is_read_back() {
        let place = Place { transaction: 7, version: 3, build: BuildId(Uuid::now_v7()) };
        assert_eq!(place.to_string().parse(), Ok(place));
        for text in ["", "1", "1-2", "1-2-x", "-1-2-3", "x-2-00000000000000000000000000000000"] {
            assert_eq!(text.parse::<Place>(), Err(InvalidPlace), "{text}");
        }
    }
}

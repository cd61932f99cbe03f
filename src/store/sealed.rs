//! Everything that is stored sealed, for a change of the master key: each place with the statements that find what is
//! still sealed under another key, and put the new envelope in its place.

use serde_json::Value;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::StoreError;
use crate::credentials::vault::{ENVELOPE_LENGTH, Vault};

/// Rows that are read at a time.
const BATCH: i64 = 100;

/// A column whose values are sealed, of a table with the primary key `id`.
struct Sealed {
    /// `table.column`: the place for which the values are sealed.
    place: &'static str,
    /// What is still sealed otherwise, behind a row.
    find: &'static str,
    /// A whole value.
    read: &'static str,
    /// Puts a new envelope before the same content, unless somebody was quicker.
    set_envelope: &'static str,
    /// Puts a new value in the place of the old one, unless somebody was quicker.
    set: &'static str,
}

macro_rules! sealed {
    ($table:literal, $column:literal) => {
        Sealed {
            place: concat!($table, ".", $column),
            find: concat!(
                "SELECT id, substring(",
                $column,
                " FOR 89) FROM ",
                $table,
                " WHERE substring(",
                $column,
                " FOR 9) <> $1 AND id > $2 ORDER BY id LIMIT $3"
            ),
            read: concat!("SELECT ", $column, " FROM ", $table, " WHERE id = $1"),
            set_envelope: concat!(
                "UPDATE ",
                $table,
                " SET ",
                $column,
                " = overlay(",
                $column,
                " PLACING $2 FROM 1) WHERE id = $1 AND substring(",
                $column,
                " FOR 89) = $3"
            ),
            set: concat!(
                "UPDATE ",
                $table,
                " SET ",
                $column,
                " = $2 WHERE id = $1 AND substring(",
                $column,
                " FOR 89) = $3"
            ),
        }
    };
}

/// All of them. The check comes last: as long as it is sealed under the old key, that key is needed.
const COLUMNS: [Sealed; 5] = [
    sealed!("contexts", "data"),
    sealed!("builds", "request_sealed"),
    sealed!("runs", "plan_sealed"),
    sealed!("credential_sets", "sealed"),
    sealed!("master_key_check", "sealed"),
];

const _: () = assert!(ENVELOPE_LENGTH == 89, "the statements name the length");

/// What a pass over all sealed values did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Values that are now sealed under the key that seals.
    pub changed: u64,
    /// Values that cannot be opened with the keys at hand, with the reason.
    pub lost: Vec<String>,
}

/// Seals everything under the vault's first key that is not yet. What was done is done: a pass that is stopped is taken up
/// by the next one. Runs beside a working server.
///
/// # Errors
/// The database is away.
pub async fn rewrap_all(db: &mut PgConnection, vault: &Vault) -> Result<Rewrapped, StoreError> {
    let mut done = Rewrapped::default();
    journal(db, vault, &mut done).await?;
    for column in &COLUMNS {
        let mut last = Uuid::nil();
        loop {
            let rows = sqlx::query(column.find)
                .bind(vault.prefix())
                .bind(last)
                .bind(BATCH)
                .fetch_all(&mut *db)
                .await?;
            for row in &rows {
                last = row.try_get(0)?;
                rewrap(db, vault, column, last, row.try_get(1)?, &mut done).await?;
            }
            if rows.is_empty() {
                break;
            }
        }
    }
    Ok(done)
}

async fn rewrap(
    db: &mut PgConnection,
    vault: &Vault,
    column: &Sealed,
    row: Uuid,
    head: Vec<u8>,
    done: &mut Rewrapped,
) -> Result<(), StoreError> {
    let is_whole = Vault::is_bound_to_key(&head);
    let sealed = if is_whole {
        let read = sqlx::query_scalar(column.read).bind(row).fetch_optional(&mut *db).await?;
        // Somebody removed it.
        let Some(sealed) = read else { return Ok(()) };
        sealed
    } else {
        head.clone()
    };
    let new = match vault.rewrap(column.place, row, &sealed) {
        Ok(Some(new)) => new,
        Ok(None) => return Ok(()),
        Err(error) => {
            done.lost.push(error.to_string());
            return Ok(());
        }
    };
    let statement = if is_whole { column.set } else { column.set_envelope };
    let set = sqlx::query(statement).bind(row).bind(new).bind(head).execute(db).await?;
    done.changed += set.rows_affected();
    Ok(())
}

/// The keys of runs, which stand in the output of a step.
async fn journal(db: &mut PgConnection, vault: &Vault, done: &mut Rewrapped) -> Result<(), StoreError> {
    let mut last = (Uuid::nil(), 0_i32);
    loop {
        let rows: Vec<(Uuid, i32, Value)> = sqlx::query_as(
            "SELECT run_id, attempt, output #> '{temporary,sealed_private}' FROM steps
             WHERE name = 'make_key' AND output #> '{temporary,sealed_private}' IS NOT NULL AND (run_id, attempt) > ($1, $2)
             ORDER BY run_id, attempt LIMIT $3",
        )
        .bind(last.0)
        .bind(last.1)
        .bind(BATCH)
        .fetch_all(&mut *db)
        .await?;
        for (run, attempt, old) in &rows {
            last = (*run, *attempt);
            let Ok(sealed) = serde_json::from_value::<Vec<u8>>(old.clone()) else { continue };
            match vault.rewrap(JOURNAL_PLACE, *run, &sealed) {
                Ok(None) => {}
                Err(error) => done.lost.push(error.to_string()),
                Ok(Some(envelope)) => {
                    let mut new = envelope;
                    new.extend_from_slice(sealed.get(new.len()..).unwrap_or_default());
                    let set = sqlx::query(
                        "UPDATE steps SET output = jsonb_set(output, '{temporary,sealed_private}', $3)
                         WHERE run_id = $1 AND attempt = $2 AND name = 'make_key'
                           AND output #> '{temporary,sealed_private}' = $4",
                    )
                    .bind(run)
                    .bind(attempt)
                    .bind(serde_json::json!(new))
                    .bind(old)
                    .execute(&mut *db)
                    .await?;
                    done.changed += set.rows_affected();
                }
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}

/// The place for which secrets of the journal are sealed.
pub const JOURNAL_PLACE: &str = "steps.output";

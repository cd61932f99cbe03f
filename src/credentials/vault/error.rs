//! Why something could not be sealed or opened, or the master key not be had.

use std::{io, path::PathBuf};

use uuid::Uuid;

use super::{MASTER_KEY_FILE, MASTER_KEY_VARIABLE};

/// Why a value could not be sealed or opened, or the master key not be had.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The text is not a key.
    #[error("{place} is not a master key: {why}; make one with `openssl rand -base64 32`")]
    NotAKey {
        /// Where the text came from.
        place: String,
        /// What is wrong with it; never the text itself.
        why: &'static str,
    },
    /// No master key is configured, and making one would be wrong.
    #[error(
        "there is no master key: set {MASTER_KEY_VARIABLE} to 32 bytes in base64 or hex (`openssl rand -base64 32`), \
         the same for every replica on this database, or put it into {} with mode 0600",
        .0.display()
    )]
    NoKey(PathBuf),
    /// Others could read the key.
    #[error("{} can be read by others (mode {mode:04o}): run `chmod 600 {}`", path.display(), path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file could not be read or made.
    #[error("the master key could not be {action} {}", path.display())]
    File {
        /// `read from` or `written to`.
        action: &'static str,
        /// The key file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The operating system gave no random bytes.
    #[error("the system gave no random bytes")]
    Randomness,
    /// The value was sealed under a key that this process does not have.
    #[error(
        "{column} of {row} was sealed with another master key (id {sealed_with}, ours is {ours}): \
         start fournil with the key that it was sealed with"
    )]
    OtherMasterKey {
        /// The column it was read from.
        column: String,
        /// The row it was read from.
        row: Uuid,
        /// Id of the key it needs.
        sealed_with: String,
        /// Ids of the keys at hand.
        ours: String,
    },
    /// The whole database was sealed under a key that this process does not have.
    #[error(
        "this database is sealed with another master key (id {sealed_with}; at hand: {ours}). Start fournil with the key \
         that it was sealed with, in {MASTER_KEY_VARIABLE} or {MASTER_KEY_FILE}; without it nothing that is stored sealed can \
         be read: templates, plans, keys of runs, stored credentials"
    )]
    WrongForDatabase {
        /// Id of the key it needs.
        sealed_with: String,
        /// Ids of the keys at hand.
        ours: String,
    },
    /// The value is whole, but belongs to another column or row.
    #[error("{column} of {row} holds a value that was sealed for another place: somebody moved it")]
    OtherPlace {
        /// The column it was read from.
        column: String,
        /// The row it was read from.
        row: Uuid,
    },
    /// The value was written by a newer fournil.
    #[error("{column} of {row} is sealed in format {format}, which this version of fournil does not know")]
    UnknownFormat {
        /// The column it was read from.
        column: String,
        /// The row it was read from.
        row: Uuid,
        /// The first byte of the value.
        format: u8,
    },
    /// The value was changed or cut.
    #[error("{column} of {row} is damaged and cannot be opened")]
    Damaged {
        /// The column it was read from.
        column: String,
        /// The row it was read from.
        row: Uuid,
    },
    /// The value could not be sealed.
    #[error("{column} of {row} could not be sealed")]
    NotSealed {
        /// The column it was meant for.
        column: String,
        /// The row it was meant for.
        row: Uuid,
    },
    /// The content is not the JSON that is expected. The cause tells a place, never the content.
    #[error("{column} of {row} opens, but is not the JSON that is expected there (line {line}, column {at})")]
    Json {
        /// The column.
        column: String,
        /// The row.
        row: Uuid,
        /// Line in the JSON.
        line: usize,
        /// Column in the JSON.
        at: usize,
    },
}

//! Seals secrets before they are stored: each record has a random data key of its own, wrapped by the master key, and
//! is bound to its column and row, so that a sealed value moved elsewhere does not open. Which values are sealed is
//! the store's affair; where the cloud's keys come from is `provider`'s.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, alphabet, engine};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use rand::{TryRngCore, rngs::OsRng};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

/// The environment variable that holds the master key.
pub const MASTER_KEY_VARIABLE: &str = "FOURNIL_MASTER_KEY";

/// The file of the data folder that holds the master key when the environment does not.
pub const MASTER_KEY_FILE: &str = "master.key";

/// First byte of every sealed value; another number means another layout.
const FORMAT: u8 = 1;

const KEY_LENGTH: usize = 32;
const NONCE_LENGTH: usize = 24;
const TAG_LENGTH: usize = 16;
const ID_LENGTH: usize = 8;

/// Format, id of the master key, fingerprint of the place (column and row).
const HEADER_LENGTH: usize = 1 + ID_LENGTH + ID_LENGTH;

/// The data key, wrapped: nonce, key, tag.
const WRAPPED_LENGTH: usize = NONCE_LENGTH + KEY_LENGTH + TAG_LENGTH;

/// What a sealed value is longer than its content.
pub const OVERHEAD: usize = HEADER_LENGTH + WRAPPED_LENGTH + NONCE_LENGTH + TAG_LENGTH;

/// The largest key file that makes sense: 32 bytes as hex with white space around.
const LARGEST_KEY_FILE: u64 = 4096;

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
        /// Id of the key at hand.
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

/// Seals and opens secrets under one master key.
pub struct Vault {
    master: SecretBox<[u8; KEY_LENGTH]>,
    id: [u8; ID_LENGTH],
}

impl Vault {
    /// The master key from the text of `FOURNIL_MASTER_KEY` if there is one, else from `master.key` in the data folder,
    /// which is made when it is absent and `may_create` says so. That is right only for a database which nobody
    /// else uses: replicas with keys of their own could not read each other's secrets.
    ///
    /// # Errors
    /// There is no key, it is malformed, others can read it, or the file cannot be read or made.
    pub fn load(
        from_environment: Option<&SecretString>,
        data_folder: &Path,
        may_create: bool,
    ) -> Result<Self, VaultError> {
        if let Some(text) = from_environment {
            return Self::from_text(text.expose_secret(), MASTER_KEY_VARIABLE);
        }
        let path = data_folder.join(MASTER_KEY_FILE);
        match File::open(&path) {
            Ok(file) => Self::from_file(file, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_create => {
                write_new_key(&path)?;
                let file = File::open(&path).map_err(|source| VaultError::File {
                    action: "read from",
                    path: path.clone(),
                    source,
                })?;
                Self::from_file(file, &path)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(VaultError::NoKey(path)),
            Err(source) => Err(VaultError::File { action: "read from", path, source }),
        }
    }

    /// The master key from 32 bytes in base64 (any flavour) or hex; `place` names the origin in errors.
    ///
    /// # Errors
    /// The text is not such a key.
    pub fn from_text(text: &str, place: &str) -> Result<Self, VaultError> {
        let refused = |why| VaultError::NotAKey { place: place.to_owned(), why };
        let text = text.trim();
        if text.is_empty() {
            return Err(refused("it is empty"));
        }
        let bytes = Zeroizing::new(match hex::decode(text) {
            Ok(bytes) => bytes,
            Err(_) => decode_base64(text).ok_or_else(|| refused("it is neither base64 nor hex"))?,
        });
        let key: [u8; KEY_LENGTH] =
            bytes.as_slice().try_into().map_err(|_| refused("it does not decode to exactly 32 bytes"))?;
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(refused("all its bytes are the same"));
        }
        Ok(Self::from_key(key))
    }

    /// A vault for tests: the same key every time, which is in the source and protects nothing.
    #[must_use]
    pub fn for_tests() -> Self {
        Self::from_key(*b"the key of tests is not a secret")
    }

    /// The id of the master key, in hex: tells keys apart and reveals nothing of them.
    #[must_use]
    pub fn key_id(&self) -> String {
        hex::encode(self.id)
    }

    /// Seals `plaintext` for one row of one column (named `table.column`); the result opens only there.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn seal(&self, column: &str, row: Uuid, plaintext: &[u8]) -> Result<Vec<u8>, VaultError> {
        let not_sealed = |_| VaultError::NotSealed { column: column.to_owned(), row };
        let place = place(column, row);
        let mut sealed = Vec::with_capacity(plaintext.len() + OVERHEAD);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(&fingerprint(b"fournil place", &place));

        let mut data_key = Zeroizing::new([0; KEY_LENGTH]);
        let (mut wrap_nonce, mut nonce) = ([0; NONCE_LENGTH], [0; NONCE_LENGTH]);
        for random in [data_key.as_mut_slice(), &mut wrap_nonce, &mut nonce] {
            OsRng.try_fill_bytes(random).map_err(|_| VaultError::Randomness)?;
        }

        let wrapped = cipher(self.master.expose_secret())
            .encrypt(&XNonce::from(wrap_nonce), Payload { msg: data_key.as_slice(), aad: &sealed })
            .map_err(not_sealed)?;
        let aad = [sealed.as_slice(), &place].concat();
        let content = cipher(&data_key)
            .encrypt(&XNonce::from(nonce), Payload { msg: plaintext, aad: &aad })
            .map_err(not_sealed)?;

        sealed.extend_from_slice(&wrap_nonce);
        sealed.extend_from_slice(&wrapped);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&content);
        Ok(sealed)
    }

    /// Opens what [`Vault::seal`] made for this row of this column.
    ///
    /// # Errors
    /// Told apart: another master key, another place, an unknown format, damage.
    pub fn open(&self, column: &str, row: Uuid, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let damaged = || VaultError::Damaged { column: column.to_owned(), row };
        let (&format, _) = sealed.split_first().ok_or_else(damaged)?;
        if format != FORMAT {
            return Err(VaultError::UnknownFormat { column: column.to_owned(), row, format });
        }
        let (header, rest) = sealed.split_at_checked(HEADER_LENGTH).ok_or_else(damaged)?;
        let (key_id, place_id) = header[1..].split_at(ID_LENGTH);
        if key_id != self.id {
            return Err(VaultError::OtherMasterKey {
                column: column.to_owned(),
                row,
                sealed_with: hex::encode(key_id),
                ours: self.key_id(),
            });
        }
        let (wrap_nonce, rest) = split_nonce(rest).ok_or_else(damaged)?;
        let (wrapped, rest) = rest.split_at_checked(KEY_LENGTH + TAG_LENGTH).ok_or_else(damaged)?;
        let (nonce, content) = split_nonce(rest).ok_or_else(damaged)?;

        let data_key = Zeroizing::new(
            cipher(self.master.expose_secret())
                .decrypt(&wrap_nonce, Payload { msg: wrapped, aad: header })
                .map_err(|_| damaged())?,
        );
        let data_key: &[u8; KEY_LENGTH] = data_key.as_slice().try_into().map_err(|_| damaged())?;
        // The header has just proved to be as it was written, so a foreign fingerprint is no damage.
        let place = place(column, row);
        if place_id != fingerprint(b"fournil place", &place) {
            return Err(VaultError::OtherPlace { column: column.to_owned(), row });
        }
        let aad = [header, &place].concat();
        let plaintext =
            cipher(data_key).decrypt(&nonce, Payload { msg: content, aad: &aad }).map_err(|_| damaged())?;
        Ok(Zeroizing::new(plaintext))
    }

    /// Seals a value as JSON.
    ///
    /// # Errors
    /// The value has no JSON form, or the system has no random bytes.
    pub fn seal_json<T: Serialize>(&self, column: &str, row: Uuid, value: &T) -> Result<Vec<u8>, VaultError> {
        let json =
            Zeroizing::new(serde_json::to_vec(value).map_err(|error| json_error(column, row, &error))?);
        self.seal(column, row, &json)
    }

    /// Opens a value that was sealed as JSON.
    ///
    /// # Errors
    /// Those of [`Vault::open`], or the content is not such a value.
    pub fn open_json<T: DeserializeOwned>(
        &self,
        column: &str,
        row: Uuid,
        sealed: &[u8],
    ) -> Result<T, VaultError> {
        let json = self.open(column, row, sealed)?;
        serde_json::from_slice(&json).map_err(|error| json_error(column, row, &error))
    }

    fn from_key(mut key: [u8; KEY_LENGTH]) -> Self {
        let id = fingerprint(b"fournil master key", &key);
        let master = SecretBox::new(Box::new(key));
        key.zeroize();
        Self { master, id }
    }

    fn from_file(file: File, path: &Path) -> Result<Self, VaultError> {
        let failed = |source| VaultError::File { action: "read from", path: path.to_owned(), source };
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(VaultError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(LARGEST_KEY_FILE).read_to_string(&mut text).map_err(failed)?;
        Self::from_text(&text, &path.display().to_string())
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("key_id", &self.key_id()).finish_non_exhaustive()
    }
}

fn cipher(key: &[u8; KEY_LENGTH]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

fn split_nonce(bytes: &[u8]) -> Option<(XNonce, &[u8])> {
    let (nonce, rest) = bytes.split_first_chunk::<NONCE_LENGTH>()?;
    Some((XNonce::from(*nonce), rest))
}

/// Column and row in a form that no other pair has: the length keeps `a.b` + `c` and `a` + `.bc` apart.
fn place(column: &str, row: Uuid) -> Vec<u8> {
    [&(column.len() as u64).to_be_bytes(), column.as_bytes(), row.as_bytes()].concat()
}

fn fingerprint(purpose: &[u8], bytes: &[u8]) -> [u8; ID_LENGTH] {
    let digest = Sha256::new().chain_update(purpose).chain_update([0]).chain_update(bytes).finalize();
    let mut id = [0; ID_LENGTH];
    id.copy_from_slice(&digest[..ID_LENGTH]);
    id
}

fn json_error(column: &str, row: Uuid, error: &serde_json::Error) -> VaultError {
    VaultError::Json { column: column.to_owned(), row, line: error.line(), at: error.column() }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let lenient =
        engine::GeneralPurposeConfig::new().with_decode_padding_mode(engine::DecodePaddingMode::Indifferent);
    [alphabet::STANDARD, alphabet::URL_SAFE]
        .iter()
        .find_map(|alphabet| engine::GeneralPurpose::new(alphabet, lenient).decode(text).ok())
}

/// Makes a key file that appears whole or not at all: written under another name, then linked. Linking fails where the
/// name is taken, so of two processes that start together both end up with the key of the first.
fn write_new_key(path: &Path) -> Result<(), VaultError> {
    let failed = |source| VaultError::File { action: "written to", path: path.to_owned(), source };
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    OsRng.try_fill_bytes(key.as_mut_slice()).map_err(|_| VaultError::Randomness)?;
    let text = Zeroizing::new(format!("{}\n", engine::general_purpose::STANDARD.encode(*key)));

    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let draft = path.with_file_name(format!(".{MASTER_KEY_FILE}.{}", Uuid::new_v4()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        Ok(()) | Err(_) => removed.map_err(failed)?,
    }
    // A key that a power cut takes away again would take every stored secret with it.
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const COLUMN: &str = "runs.plan_sealed";

    fn other_vault() -> Vault {
        Vault::from_text("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "a test").unwrap()
    }

    #[test]
    fn what_was_sealed_opens_at_its_place() {
        let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
        let sealed = vault.seal(COLUMN, row, b"a secret").unwrap();
        assert_eq!(sealed.len(), b"a secret".len() + OVERHEAD);
        assert!(!sealed.windows(8).any(|window| window == b"a secret"));
        assert_eq!(vault.open(COLUMN, row, &sealed).unwrap().as_slice(), b"a secret");
    }

    #[test]
    fn sealing_the_same_twice_gives_different_bytes() {
        let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
        assert_ne!(vault.seal(COLUMN, row, b"x").unwrap(), vault.seal(COLUMN, row, b"x").unwrap());
    }

    #[test]
    fn another_master_key_is_named() {
        let row = Uuid::now_v7();
        let sealed = Vault::for_tests().seal(COLUMN, row, b"x").unwrap();
        let error = other_vault().open(COLUMN, row, &sealed).unwrap_err();
        let VaultError::OtherMasterKey { sealed_with, ours, .. } = &error else { panic!("{error}") };
        assert_eq!((sealed_with, ours), (&Vault::for_tests().key_id(), &other_vault().key_id()));
        assert!(error.to_string().contains(sealed_with.as_str()));
    }

    #[test]
    fn a_value_moved_to_another_row_or_column_is_told_from_damage() {
        let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
        let sealed = vault.seal(COLUMN, row, b"x").unwrap();
        for (column, row) in [(COLUMN, Uuid::now_v7()), ("builds.request_sealed", row)] {
            let error = vault.open(column, row, &sealed).unwrap_err();
            assert!(matches!(error, VaultError::OtherPlace { .. }), "{error}");
        }
    }

    #[test]
    fn a_newer_format_is_told() {
        let error = Vault::for_tests().open(COLUMN, Uuid::nil(), &[2, 0, 0]).unwrap_err();
        assert!(matches!(error, VaultError::UnknownFormat { format: 2, .. }), "{error}");
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
        let sealed = vault.seal(COLUMN, row, b"a secret").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            let error = vault.open(COLUMN, row, &changed).unwrap_err();
            match at {
                0 => assert!(matches!(error, VaultError::UnknownFormat { .. }), "{error}"),
                1..=8 => assert!(matches!(error, VaultError::OtherMasterKey { .. }), "{error}"),
                _ => assert!(matches!(error, VaultError::Damaged { .. }), "{at}: {error}"),
            }
            vault.open(COLUMN, row, &sealed[..at]).unwrap_err();
        }
    }

    #[test]
    fn parts_of_two_values_of_one_row_cannot_be_mixed() {
        let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
        let (first, second) =
            (vault.seal(COLUMN, row, b"one").unwrap(), vault.seal(COLUMN, row, b"two").unwrap());
        let border = HEADER_LENGTH + WRAPPED_LENGTH;
        let mixed = [&first[..border], &second[border..]].concat();
        assert!(matches!(vault.open(COLUMN, row, &mixed), Err(VaultError::Damaged { .. })));
    }

    #[test]
    fn json_survives_and_wrong_json_reveals_nothing() {
        let (vault, row) = (Vault::for_tests(), Uuid::now_v7());
        let sealed = vault.seal_json(COLUMN, row, &json!({"password": "hunter2"})).unwrap();
        let value: serde_json::Value = vault.open_json(COLUMN, row, &sealed).unwrap();
        assert_eq!(value, json!({"password": "hunter2"}));
        let error = vault.open_json::<Vec<String>>(COLUMN, row, &sealed).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn every_usual_spelling_of_a_key_is_understood() {
        let key: Vec<u8> = (0..32).map(|n| n * 8 + 7).collect();
        let spellings = [
            hex::encode(&key),
            hex::encode_upper(&key),
            engine::general_purpose::STANDARD.encode(&key),
            engine::general_purpose::STANDARD_NO_PAD.encode(&key),
            engine::general_purpose::URL_SAFE.encode(&key),
            format!("  {}\n", engine::general_purpose::URL_SAFE_NO_PAD.encode(&key)),
        ];
        let ids: Vec<_> =
            spellings.iter().map(|text| Vault::from_text(text, "a test").unwrap().key_id()).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn what_is_no_key_is_refused_without_repeating_it() {
        for text in
            ["", "  ", "hunter2", "aGVsbG8=", &"00".repeat(32), &"ab".repeat(31), "äöü", &"A".repeat(100)]
        {
            let error = Vault::from_text(text, MASTER_KEY_VARIABLE).unwrap_err().to_string();
            assert!(error.starts_with("FOURNIL_MASTER_KEY is not a master key"), "{error}");
            assert!(text.trim().is_empty() || !error.contains(text), "{error}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let in_file = Vault::load(None, folder.path(), true).unwrap();
        let text = SecretString::from("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
        let loaded = Vault::load(Some(&text), folder.path(), true).unwrap();
        assert_eq!(loaded.key_id(), other_vault().key_id());
        assert_ne!(loaded.key_id(), in_file.key_id());
    }

    #[test]
    fn a_key_file_is_made_once_for_its_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data");
        let first = Vault::load(None, &folder, true).unwrap();
        assert_eq!(fs::metadata(folder.join(MASTER_KEY_FILE)).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Vault::load(None, &folder, false).unwrap().key_id(), first.key_id());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a draft was left behind");
    }

    #[test]
    fn processes_that_start_together_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let ids: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| Vault::load(None, folder.path(), true).unwrap().key_id()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Vault::load(None, folder.path(), true).unwrap();
        let path = folder.path().join(MASTER_KEY_FILE);
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Vault::load(None, folder.path(), true).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn without_permission_to_make_a_key_its_absence_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let error = Vault::load(None, folder.path(), false).unwrap_err().to_string();
        assert!(error.contains(MASTER_KEY_VARIABLE) && error.contains(MASTER_KEY_FILE), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn debug_output_shows_no_key() {
        let shown = format!("{:?}", Vault::for_tests());
        assert!(shown.contains(&Vault::for_tests().key_id()) && !shown.contains("secret"), "{shown}");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back_and_no_bytes_crash_it(content in prop::collection::vec(any::<u8>(), 0..300)) {
            let vault = Vault::for_tests();
            let sealed = vault.seal(COLUMN, Uuid::nil(), &content).unwrap();
            let opened = vault.open(COLUMN, Uuid::nil(), &sealed).unwrap();
            prop_assert_eq!(opened.as_slice(), content.as_slice());
            prop_assert!(vault.open(COLUMN, Uuid::nil(), &content).is_err());
        }
    }
}

//! Seals secrets before they are stored: each record has a random data key of its own, wrapped by the master key, and
//! is bound to its column and row, so that a sealed value moved elsewhere does not open. A new master key needs only the
//! wrapping anew ([`Vault::rewrap`]), not the content. Which values are sealed is the store's affair; where the cloud's
//! keys come from is `provider`'s.

mod error;
mod master_key;

use std::path::Path;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use rand::{TryRngCore, rngs::OsRng};
use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

pub use error::VaultError;
use master_key::MasterKey;
pub use master_key::{add_new_key, drop_old_keys};

/// The environment variable that holds the master key.
pub const MASTER_KEY_VARIABLE: &str = "FOURNIL_MASTER_KEY";

/// The file of the data folder that holds the master key when the environment does not.
pub const MASTER_KEY_FILE: &str = "master.key";

/// First byte of what is sealed now; another number means another layout.
const FORMAT: u8 = 2;

/// First byte of what older versions sealed: the content is bound to the id of the master key too, so that a new one
/// needs the content sealed anew.
const BOUND_TO_KEY: u8 = 1;

const KEY_LENGTH: usize = 32;
const NONCE_LENGTH: usize = 24;
const TAG_LENGTH: usize = 16;
const ID_LENGTH: usize = 8;

/// Format, id of the master key, fingerprint of the place (column and row).
const HEADER_LENGTH: usize = 1 + ID_LENGTH + ID_LENGTH;

/// The data key, wrapped: nonce, key, tag.
const WRAPPED_LENGTH: usize = NONCE_LENGTH + KEY_LENGTH + TAG_LENGTH;

/// The part of a sealed value that depends on the master key: all that has to be written anew when that changes.
pub const ENVELOPE_LENGTH: usize = HEADER_LENGTH + WRAPPED_LENGTH;

/// What a sealed value is longer than its content.
pub const OVERHEAD: usize = ENVELOPE_LENGTH + NONCE_LENGTH + TAG_LENGTH;

/// Seals secrets under one master key, and opens those that were sealed under it or under one of the others at hand.
#[derive(Debug)]
pub struct Vault {
    keys: Vec<MasterKey>,
}

/// A sealed value, taken apart.
struct Parts<'a> {
    format: u8,
    header: &'a [u8],
    key_id: &'a [u8],
    place_id: &'a [u8],
    wrap_nonce: XNonce,
    wrapped: &'a [u8],
    content: &'a [u8],
}

impl Vault {
    /// The master keys from the text of `FOURNIL_MASTER_KEY` if there is one, else from `master.key` in the data folder,
    /// which is made when it is absent and `may_create` says so. That is right only for a database which nobody
    /// else uses: replicas with keys of their own could not read each other's secrets. Of several keys the first seals.
    ///
    /// # Errors
    /// There is no key, one is malformed, others can read them, or the file cannot be read or made.
    pub fn load(
        from_environment: Option<&SecretString>,
        data_folder: &Path,
        may_create: bool,
    ) -> Result<Self, VaultError> {
        Ok(Self { keys: master_key::load(from_environment, data_folder, may_create)? })
    }

    /// The master keys from texts of 32 bytes in base64 (any flavour) or hex with white space or commas between; `place`
    /// names the origin in errors.
    ///
    /// # Errors
    /// The text holds no such key.
    pub fn from_text(text: &str, place: &str) -> Result<Self, VaultError> {
        Ok(Self { keys: master_key::read(text, place)? })
    }

    /// A vault for tests: the same key every time, which is in the source and protects nothing.
    #[must_use]
    pub fn for_tests() -> Self {
        Self { keys: vec![MasterKey::new(*b"the key of tests is not a secret")] }
    }

    /// The id of the master key that seals, in hex: tells keys apart and reveals nothing of them.
    #[must_use]
    pub fn key_id(&self) -> String {
        hex::encode(self.writer().id)
    }

    /// The ids of all keys at hand, the sealing one first.
    #[must_use]
    pub fn key_ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| hex::encode(key.id)).collect()
    }

    /// The id of the master key that a sealed value needs; `None`: it is no sealed value.
    #[must_use]
    pub fn key_id_of(sealed: &[u8]) -> Option<String> {
        sealed.get(1..=ID_LENGTH).map(hex::encode)
    }

    /// What values begin with that this vault seals now: those that begin otherwise want [`Vault::rewrap`].
    #[must_use]
    pub fn prefix(&self) -> Vec<u8> {
        [&[FORMAT], self.writer().id.as_slice()].concat()
    }

    /// Seals `plaintext` for one row of one column (named `table.column`); the result opens only there.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn seal(&self, column: &str, row: Uuid, plaintext: &[u8]) -> Result<Vec<u8>, VaultError> {
        let place = place(column, row);
        let mut data_key = Zeroizing::new([0; KEY_LENGTH]);
        let mut nonce = [0; NONCE_LENGTH];
        for random in [data_key.as_mut_slice(), &mut nonce] {
            OsRng.try_fill_bytes(random).map_err(|_| VaultError::Randomness)?;
        }
        let content = cipher(&data_key)
            .encrypt(&XNonce::from(nonce), Payload { msg: plaintext, aad: &bound(FORMAT, &[], &place) })
            .map_err(|_| VaultError::NotSealed { column: column.to_owned(), row })?;
        let mut sealed = self.wrap(column, row, &place, &data_key)?;
        sealed.reserve_exact(nonce.len() + content.len());
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
        let parts = parts(column, row, sealed)?;
        let place = place(column, row);
        let data_key = self.unwrap(column, row, &place, &parts)?;
        let (nonce, content) = split_nonce(parts.content).ok_or_else(damaged)?;
        let aad = bound(parts.format, parts.header, &place);
        let plaintext =
            cipher(&data_key).decrypt(&nonce, Payload { msg: content, aad: &aad }).map_err(|_| damaged())?;
        Ok(Zeroizing::new(plaintext))
    }

    /// The envelope with which the same value is sealed under the key that seals now: it replaces the first
    /// [`ENVELOPE_LENGTH`] bytes. Of what an older version sealed it is the whole value. `None`: nothing is to be done.
    /// The envelope alone (the first bytes) is enough unless an older version made the value.
    ///
    /// # Errors
    /// Those of [`Vault::open`], and the system has no random bytes.
    pub fn rewrap(&self, column: &str, row: Uuid, sealed: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        if sealed.starts_with(&self.prefix()) {
            return Ok(None);
        }
        let parts = parts(column, row, sealed)?;
        if parts.format == BOUND_TO_KEY {
            let content = self.open(column, row, sealed)?;
            return self.seal(column, row, &content).map(Some);
        }
        let place = place(column, row);
        let data_key = self.unwrap(column, row, &place, &parts)?;
        self.wrap(column, row, &place, &data_key).map(Some)
    }

    /// Whether a sealed value has to be read as a whole for [`Vault::rewrap`].
    #[must_use]
    pub fn is_bound_to_key(sealed: &[u8]) -> bool {
        sealed.first() == Some(&BOUND_TO_KEY)
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

    fn writer(&self) -> &MasterKey {
        &self.keys[0]
    }

    /// Header and wrapped data key.
    fn wrap(
        &self,
        column: &str,
        row: Uuid,
        place: &[u8],
        data_key: &[u8; KEY_LENGTH],
    ) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_LENGTH];
        OsRng.try_fill_bytes(&mut nonce).map_err(|_| VaultError::Randomness)?;
        let mut envelope = Vec::with_capacity(ENVELOPE_LENGTH);
        envelope.push(FORMAT);
        envelope.extend_from_slice(&self.writer().id);
        envelope.extend_from_slice(&fingerprint(b"fournil place", place));
        let wrapped = cipher(self.writer().expose())
            .encrypt(&XNonce::from(nonce), Payload { msg: data_key, aad: &envelope })
            .map_err(|_| VaultError::NotSealed { column: column.to_owned(), row })?;
        envelope.extend_from_slice(&nonce);
        envelope.extend_from_slice(&wrapped);
        Ok(envelope)
    }

    fn unwrap(
        &self,
        column: &str,
        row: Uuid,
        place: &[u8],
        parts: &Parts<'_>,
    ) -> Result<Zeroizing<[u8; KEY_LENGTH]>, VaultError> {
        let damaged = || VaultError::Damaged { column: column.to_owned(), row };
        let master = self.keys.iter().find(|key| key.id == parts.key_id);
        let master = master.ok_or_else(|| VaultError::OtherMasterKey {
            column: column.to_owned(),
            row,
            sealed_with: hex::encode(parts.key_id),
            ours: self.key_ids().join(", "),
        })?;
        let data_key = Zeroizing::new(
            cipher(master.expose())
                .decrypt(&parts.wrap_nonce, Payload { msg: parts.wrapped, aad: parts.header })
                .map_err(|_| damaged())?,
        );
        // The header has just proved to be as it was written, so a foreign fingerprint is no damage.
        if parts.place_id != fingerprint(b"fournil place", place) {
            return Err(VaultError::OtherPlace { column: column.to_owned(), row });
        }
        Ok(Zeroizing::new(data_key.as_slice().try_into().map_err(|_| damaged())?))
    }
}

fn parts<'a>(column: &str, row: Uuid, sealed: &'a [u8]) -> Result<Parts<'a>, VaultError> {
    let damaged = || VaultError::Damaged { column: column.to_owned(), row };
    let (&format, _) = sealed.split_first().ok_or_else(damaged)?;
    if !matches!(format, FORMAT | BOUND_TO_KEY) {
        return Err(VaultError::UnknownFormat { column: column.to_owned(), row, format });
    }
    let (header, rest) = sealed.split_at_checked(HEADER_LENGTH).ok_or_else(damaged)?;
    let (key_id, place_id) = header[1..].split_at(ID_LENGTH);
    let (wrap_nonce, rest) = split_nonce(rest).ok_or_else(damaged)?;
    let (wrapped, content) = rest.split_at_checked(KEY_LENGTH + TAG_LENGTH).ok_or_else(damaged)?;
    Ok(Parts { format, header, key_id, place_id, wrap_nonce, wrapped, content })
}

/// What the content is bound to: its place, and in the old format also the header.
fn bound(format: u8, header: &[u8], place: &[u8]) -> Vec<u8> {
    if format == BOUND_TO_KEY { [header, place].concat() } else { [&[FORMAT], place].concat() }
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

#[cfg(test)]
mod tests;

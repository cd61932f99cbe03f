//! The master keys: one that seals, and others that only open what was sealed before. From `FOURNIL_MASTER_KEY` or from
//! the file `master.key`, in the same form: one key, or several with white space or commas between, the sealing one first.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use base64::{Engine, alphabet, engine};
use rand::{TryRngCore, rngs::OsRng};
use secrecy::{ExposeSecret, SecretBox, SecretString};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use super::{ID_LENGTH, KEY_LENGTH, MASTER_KEY_FILE, MASTER_KEY_VARIABLE, VaultError, fingerprint};

/// The largest key file that makes sense: some keys of 32 bytes as hex with white space around.
const LARGEST_KEY_FILE: u64 = 4096;

/// More keys at a time have no meaning.
const MOST_KEYS: usize = 16;

/// One master key.
pub(super) struct MasterKey {
    key: SecretBox<[u8; KEY_LENGTH]>,
    pub(super) id: [u8; ID_LENGTH],
}

impl MasterKey {
    pub(super) fn new(mut key: [u8; KEY_LENGTH]) -> Self {
        let id = fingerprint(b"fournil master key", &key);
        let boxed = SecretBox::new(Box::new(key));
        key.zeroize();
        Self { key: boxed, id }
    }

    pub(super) fn expose(&self) -> &[u8; KEY_LENGTH] {
        self.key.expose_secret()
    }

    /// 32 bytes in base64 (any flavour) or hex.
    fn from_text(text: &str, place: &str) -> Result<Self, VaultError> {
        let refused = |why| VaultError::NotAKey { place: place.to_owned(), why };
        let bytes = Zeroizing::new(match hex::decode(text) {
            Ok(bytes) => bytes,
            Err(_) => decode_base64(text).ok_or_else(|| refused("it is neither base64 nor hex"))?,
        });
        let key: [u8; KEY_LENGTH] =
            bytes.as_slice().try_into().map_err(|_| refused("it does not decode to exactly 32 bytes"))?;
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(refused("all its bytes are the same"));
        }
        Ok(Self::new(key))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", hex::encode(self.id))
    }
}

/// The keys in the text, the sealing one first; never none.
pub(super) fn read(text: &str, place: &str) -> Result<Vec<MasterKey>, VaultError> {
    let refused = |why| VaultError::NotAKey { place: place.to_owned(), why };
    let mut keys: Vec<MasterKey> = Vec::new();
    for part in text.split(|char: char| char.is_whitespace() || char == ',').filter(|part| !part.is_empty()) {
        let key = MasterKey::from_text(part, place)?;
        if keys.iter().any(|known| known.id == key.id) {
            return Err(refused("it holds the same key twice"));
        }
        keys.push(key);
    }
    match keys.len() {
        0 => Err(refused("it is empty")),
        1..=MOST_KEYS => Ok(keys),
        _ => Err(refused("it holds more than 16 keys")),
    }
}

/// The keys of the environment if it has any, else those of the file, which is made when it is absent and `may_create`.
pub(super) fn load(
    from_environment: Option<&SecretString>,
    data_folder: &Path,
    may_create: bool,
) -> Result<Vec<MasterKey>, VaultError> {
    if let Some(text) = from_environment {
        return read(text.expose_secret(), MASTER_KEY_VARIABLE);
    }
    let path = data_folder.join(MASTER_KEY_FILE);
    let text = match File::open(&path) {
        Ok(file) => text_of(file, &path),
        Err(error) if error.kind() == io::ErrorKind::NotFound && may_create => {
            write_new_key(&path)?;
            let file = File::open(&path).map_err(|source| VaultError::File {
                action: "read from",
                path: path.clone(),
                source,
            })?;
            text_of(file, &path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(VaultError::NoKey(path.clone())),
        Err(source) => Err(VaultError::File { action: "read from", path: path.clone(), source }),
    }?;
    read(&text, &path.display().to_string())
}

fn text_of(file: File, path: &Path) -> Result<Zeroizing<String>, VaultError> {
    let failed = |source| VaultError::File { action: "read from", path: path.to_owned(), source };
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(VaultError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(LARGEST_KEY_FILE).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Puts a new key before those of the file; from the next start on it seals.
///
/// # Errors
/// The file cannot be read or written, or holds no key.
pub fn add_new_key(data_folder: &Path) -> Result<String, VaultError> {
    let path = data_folder.join(MASTER_KEY_FILE);
    let place = path.display().to_string();
    let file = File::open(&path).map_err(|_| VaultError::NoKey(path.clone()))?;
    let old = text_of(file, &path)?;
    read(&old, &place)?;
    let new = random_key()?;
    let text = Zeroizing::new(format!("{}\n{}\n", new.as_str(), old.trim()));
    let keys = read(&text, &place)?;
    replace(&path, &text)?;
    Ok(hex::encode(keys[0].id))
}

/// Removes all keys but the sealing one from the file. Answers how many those were.
///
/// # Errors
/// The file cannot be read or written, or holds no key.
pub fn drop_old_keys(data_folder: &Path) -> Result<usize, VaultError> {
    let path = data_folder.join(MASTER_KEY_FILE);
    let file = File::open(&path).map_err(|_| VaultError::NoKey(path.clone()))?;
    let old = text_of(file, &path)?;
    let keys = read(&old, &path.display().to_string())?;
    let text = Zeroizing::new(format!("{}\n", engine::general_purpose::STANDARD.encode(keys[0].expose())));
    if keys.len() > 1 {
        replace(&path, &text)?;
    }
    Ok(keys.len() - 1)
}

fn random_key() -> Result<Zeroizing<String>, VaultError> {
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    OsRng.try_fill_bytes(key.as_mut_slice()).map_err(|_| VaultError::Randomness)?;
    Ok(Zeroizing::new(engine::general_purpose::STANDARD.encode(*key)))
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
    let text = Zeroizing::new(format!("{}\n", random_key()?.as_str()));
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let draft = path.with_file_name(format!(".{MASTER_KEY_FILE}.{}", Uuid::new_v4()));
    let written = write(&draft, &text).and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    match written {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        Ok(()) | Err(_) => removed.map_err(failed)?,
    }
    sync_folder(path).map_err(failed)
}

/// Writes the file anew; whoever reads it meanwhile sees the old one or the new one.
fn replace(path: &Path, text: &str) -> Result<(), VaultError> {
    let draft = path.with_file_name(format!(".{MASTER_KEY_FILE}.{}", Uuid::new_v4()));
    let written =
        write(&draft, text).and_then(|()| fs::rename(&draft, path)).and_then(|()| sync_folder(path));
    written.map_err(|source| {
        let _ = fs::remove_file(&draft);
        VaultError::File { action: "written to", path: path.to_owned(), source }
    })
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A key that a power cut takes away again would take every stored secret with it.
fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

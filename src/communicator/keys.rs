//! Private keys: reading those that users bring, and making those that live as long as a run. The key material stays
//! behind these types and is never shown.

use std::{fmt, sync::Arc};

use russh::keys::{
    Algorithm, Certificate, EcdsaCurve, HashAlg, PrivateKey, decode_secret_key,
    key::safe_rng,
    ssh_key::{
        LineEnding,
        private::{KeypairData, RsaKeypair},
    },
};
use secrecy::{ExposeSecret, SecretString};

use crate::domain::plan::KeyType;

/// Large enough for every server, and made in a fraction of a second; 4096 bits would take many.
const RSA_BITS: usize = 2048;

/// Why a text is no usable key or certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A key under a passphrase; there is nobody to ask for it.
    #[error("it is protected by a passphrase")]
    Passphrase,
    /// The public half, where the private one is needed.
    #[error("it is a public key, not a private one")]
    Public,
    /// PuTTY's own format.
    #[error("it is in PuTTY's format")]
    Putty,
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// No key, or one of a kind that is not supported.
    #[error("it cannot be read as a private key: {0}")]
    Unreadable(String),
    /// No certificate.
    #[error("it cannot be read as an OpenSSH certificate: {0}")]
    NoCertificate(String),
    /// The system could not make one.
    #[error("it could not be made: {0}")]
    NotMade(String),
}

impl KeyError {
    /// What a user can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Passphrase => "Take the passphrase off a copy of the key: `ssh-keygen -p -N '' -f COPY`.",
            Self::Public => "Name the file without `.pub`.",
            Self::Putty => "Export it in OpenSSH's format with PuTTYgen.",
            Self::Empty => "Check the path of the key.",
            Self::Unreadable(_) => {
                "ed25519, ECDSA and RSA keys in OpenSSH's, PKCS#1, PKCS#8 and SEC1 PEM form can be read."
            }
            Self::NoCertificate(_) => {
                "A certificate is one line, as `ssh-keygen -s` writes it to `…-cert.pub`."
            }
            Self::NotMade(_) => "Look at fournil's log.",
        }
    }
}

/// A private key that can be logged in with.
#[derive(Clone)]
pub struct LoginKey(Arc<PrivateKey>);

impl LoginKey {
    /// Its kind and fingerprint, as `ssh-keygen -l` shows them.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{} {}", self.0.algorithm(), self.0.fingerprint(HashAlg::Sha256))
    }

    /// The line for `authorized_keys`.
    ///
    /// # Errors
    /// A key that has no such form, which none that could be read is.
    pub fn public_openssh(&self) -> Result<String, KeyError> {
        self.0.public_key().to_openssh().map_err(|error| KeyError::Unreadable(error.to_string()))
    }

    pub(super) fn inner(&self) -> Arc<PrivateKey> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginKey({})", self.describe())
    }
}

/// Reads a private key: OpenSSH, PKCS#1, PKCS#8 or SEC1, without passphrase.
///
/// # Errors
/// [`KeyError`] says what the text is instead.
pub fn parse_private_key(text: &str) -> Result<LoginKey, KeyError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(KeyError::Empty);
    }
    if text.starts_with("PuTTY-User-Key-File") {
        return Err(KeyError::Putty);
    }
    if text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.starts_with("-----BEGIN PUBLIC KEY") {
        return Err(KeyError::Public);
    }
    // Both old forms say it in their header; what is below it would be reported as damaged.
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(KeyError::Passphrase);
    }
    // The decoder wants every line end to be a line feed, and one at the end.
    let text = zeroize::Zeroizing::new(format!("{}\n", text.replace("\r\n", "\n")));
    match decode_secret_key(&text, None) {
        Ok(key) if key.is_encrypted() => Err(KeyError::Passphrase),
        Ok(key) => Ok(LoginKey(Arc::new(key))),
        Err(russh::keys::Error::KeyIsEncrypted) => Err(KeyError::Passphrase),
        Err(error) => Err(KeyError::Unreadable(error.to_string())),
    }
}

/// Reads the certificate that goes with a private key (`ssh_certificate_file`).
///
/// # Errors
/// [`KeyError::NoCertificate`].
pub fn parse_certificate(text: &str) -> Result<Certificate, KeyError> {
    Certificate::from_openssh(text.trim()).map_err(|error| KeyError::NoCertificate(error.to_string()))
}

/// A key pair made for one run.
#[derive(Debug, Clone)]
pub struct TemporaryKey {
    /// The private half in OpenSSH's PEM form.
    pub private: SecretString,
    /// The public half as a line for `authorized_keys`, with the comment.
    pub public_openssh: String,
}

impl TemporaryKey {
    /// Makes a key pair. RSA takes a moment of pure computing: off the async threads, please.
    ///
    /// # Errors
    /// [`KeyError::NotMade`], if the comment has a line end or the system gives no random numbers.
    pub fn generate(key_type: KeyType, comment: &str) -> Result<Self, KeyError> {
        let failed = |error: russh::keys::ssh_key::Error| KeyError::NotMade(error.to_string());
        if comment.contains(['\n', '\r']) {
            return Err(KeyError::NotMade("its comment has a line end".to_owned()));
        }
        let mut random = safe_rng();
        let mut key = match key_type {
            KeyType::Ed25519 => PrivateKey::random(&mut random, Algorithm::Ed25519),
            KeyType::Ecdsa => {
                PrivateKey::random(&mut random, Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 })
            }
            KeyType::Rsa => RsaKeypair::random(&mut random, RSA_BITS)
                .and_then(|pair| PrivateKey::new(KeypairData::from(pair), String::new())),
        }
        .map_err(failed)?;
        key.set_comment(comment);
        let private = key.to_openssh(LineEnding::LF).map_err(failed)?;
        Ok(Self {
            private: SecretString::from(private.as_str()),
            public_openssh: key.public_key().to_openssh().map_err(failed)?,
        })
    }

    /// The key to log in with.
    ///
    /// # Errors
    /// [`KeyError`] for a text that was not made by [`TemporaryKey::generate`].
    pub fn login_key(&self) -> Result<LoginKey, KeyError> {
        parse_private_key(self.private.expose_secret())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_key_can_be_read_back_and_keeps_its_comment() {
        for (key_type, algorithm) in [
            (KeyType::Ed25519, "ssh-ed25519"),
            (KeyType::Ecdsa, "ecdsa-sha2-nistp256"),
            (KeyType::Rsa, "ssh-rsa"),
        ] {
            let key = TemporaryKey::generate(key_type, "fournil_42").unwrap();
            let login = key.login_key().unwrap();
            assert!(key.public_openssh.starts_with(algorithm), "{}", key.public_openssh);
            assert!(key.public_openssh.ends_with(" fournil_42"), "{}", key.public_openssh);
            assert_eq!(login.public_openssh().unwrap(), key.public_openssh);
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = TemporaryKey::generate(KeyType::Ed25519, "c").unwrap();
        let shown = format!("{key:?} {:?}", key.login_key().unwrap());
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
        assert!(shown.contains("SHA256:"), "{shown}");
    }

    #[test]
    fn what_is_no_private_key_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, arguments: &[&str]| {
            let path = folder.path().join(name);
            let made = std::process::Command::new("ssh-keygen")
                .args(["-q", "-f"])
                .arg(&path)
                .args(arguments)
                .status()
                .unwrap();
            assert!(made.success());
            std::fs::read_to_string(path).unwrap()
        };
        let new_form = make("new", &["-t", "ed25519", "-N", "secret"]);
        let old_form = make("old", &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "secret"]);
        let pkcs8 = make("pkcs8", &["-t", "ecdsa", "-m", "PKCS8", "-N", "secret"]);
        for text in [new_form, old_form, pkcs8] {
            assert_eq!(parse_private_key(&text).unwrap_err(), KeyError::Passphrase);
        }
        let public = TemporaryKey::generate(KeyType::Ed25519, "c").unwrap().public_openssh;
        assert_eq!(parse_private_key(&public).unwrap_err(), KeyError::Public);
        assert_eq!(parse_private_key("PuTTY-User-Key-File-3: ssh-ed25519").unwrap_err(), KeyError::Putty);
        assert_eq!(parse_private_key(" \n").unwrap_err(), KeyError::Empty);
        assert!(matches!(parse_private_key("hello").unwrap_err(), KeyError::Unreadable(_)));
    }

    #[test]
    fn every_form_that_ssh_keygen_writes_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        for (kind, form) in
            [("ed25519", "RFC4716"), ("rsa", "PEM"), ("rsa", "PKCS8"), ("ecdsa", "PEM"), ("ecdsa", "PKCS8")]
        {
            let path = folder.path().join(format!("{kind}-{form}"));
            let made = std::process::Command::new("ssh-keygen")
                .args(["-q", "-N", "", "-t", kind, "-m", form, "-f"])
                .arg(&path)
                .status()
                .unwrap();
            assert!(made.success());
            let text = std::fs::read_to_string(&path).unwrap();
            let windows = text.replace('\n', "\r\n");
            for text in [text, windows] {
                let key = parse_private_key(&text).unwrap_or_else(|error| panic!("{kind} {form}: {error}"));
                let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
                let ours = key.public_openssh().unwrap();
                assert_eq!(ours.split(' ').nth(1), public.split(' ').nth(1), "{kind} {form}");
            }
        }
    }
}

//! Tokens: how they are made, and what is kept of them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRngCore, rngs::OsRng};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// What every token begins with, so that people and scanners for leaked secrets know it when they see it.
pub const PREFIX: &str = "fournil_";

/// The longest name of a token.
const NAME_MAX: usize = 63;

/// Names that stand for somebody else in the audit.
const RESERVED: &[&str] = &["local", "database"];

/// SHA-256 of a token: what is stored and looked up. A token is random, so nobody can try them all, and a hash made to be
/// slow would only slow down every request.
pub type Hash = [u8; 32];

/// A new token: 256 random bits.
///
/// # Errors
/// The system has no random numbers.
pub fn generate() -> Result<SecretString, rand::rand_core::OsError> {
    let mut bytes = [0_u8; 32];
    OsRng.try_fill_bytes(&mut bytes)?;
    Ok(SecretString::from(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
}

/// The hash of a token. Looking it up leaks nothing by its time: whoever guesses learns at best how a hash begins.
#[must_use]
pub fn hash(token: &str) -> Hash {
    Sha256::digest(token).into()
}

/// The same of a secret.
#[must_use]
pub fn hash_secret(token: &SecretString) -> Hash {
    hash(token.expose_secret())
}

/// Checks the name of a token: letters, digits, `.`, `_` and `-`.
///
/// # Errors
/// Says what a name is.
pub fn check_name(name: &str) -> Result<(), String> {
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_name = starts_well
        && name.len() <= NAME_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !is_name {
        return Err(format!(
            "a name has 1 to {NAME_MAX} letters, digits, `.`, `_` and `-`, and begins with a letter or digit"
        ));
    }
    if RESERVED.contains(&name) {
        return Err(format!("`{name}` stands for somebody else in the audit; choose another name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_random_and_recognisable() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert!(one.expose_secret().starts_with(PREFIX));
        assert_eq!(one.expose_secret().len(), PREFIX.len() + 43);
        assert_ne!(hash_secret(&one), hash_secret(&other));
        assert!(!format!("{one:?}").contains(PREFIX));
    }

    #[test]
    fn names_are_plain() {
        for name in ["ci", "CI-2", "a", "team.web_1", &"x".repeat(63)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in ["", "-a", ".a", "a b", "é", "a/b", "oidc:x", "local", "database", &"x".repeat(64)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}

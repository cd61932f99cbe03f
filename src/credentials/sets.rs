//! Stored sets of credentials: keys under a name, which requests use without knowing them. What is checked of one, and the
//! form in which its secrets are sealed.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::endpoints::EndpointUrl;
use crate::{domain::secret_text, oapi};

/// Characters of a name.
const NAME_MAX: usize = 64;

/// Characters of a key.
const KEY_MAX: usize = 256;

/// Bytes of a PEM text.
const PEM_MAX: usize = 256 * 1024;

/// The secrets of a set. The serial form is only for the vault.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetSecrets {
    /// Access key.
    pub access_key: String,
    /// Secret key.
    #[serde(with = "secret_text")]
    pub secret_key: SecretString,
    /// Client certificate and its key, as PEM one after the other.
    #[serde(with = "secret_text::option", default)]
    pub client_certificate: Option<SecretString>,
}

/// A set that can be used.
#[derive(Debug, Clone)]
pub struct StoredSet {
    /// What it is called.
    pub name: String,
    /// The Region of builds that name none.
    pub region: Option<String>,
    /// The API's address, if it is not that of the Region.
    pub endpoint: Option<String>,
    /// Keys and certificate.
    pub secrets: SetSecrets,
}

/// A set as somebody sends it.
#[derive(Debug, Default)]
pub struct NewSet {
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: SecretString,
    /// Region.
    pub region: Option<String>,
    /// The API's address.
    pub endpoint: Option<String>,
    /// Client certificate as PEM.
    pub x509_client_cert: Option<SecretString>,
    /// Its private key as PEM.
    pub x509_client_key: Option<SecretString>,
}

/// What is wrong with a name, if it is none.
///
/// # Errors
/// What a name must be.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
    let is_name = (1..=NAME_MAX).contains(&name.len())
        && name.chars().all(is_plain)
        && name.starts_with(|char: char| char.is_ascii_alphanumeric());
    if is_name {
        Ok(())
    } else {
        Err(format!(
            "the name of a set of credentials has 1 to {NAME_MAX} letters, digits, `.`, `_` or `-` and begins with a letter or digit"
        ))
    }
}

impl NewSet {
    /// Checks the set.
    ///
    /// # Errors
    /// Every wrong field with what would be right; never a value of a secret.
    pub fn checked(self, name: &str) -> Result<StoredSet, Vec<(&'static str, String)>> {
        let mut wrong = Vec::new();
        let is_word =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if self.access_key.is_empty() || self.access_key.len() > KEY_MAX || !is_word(&self.access_key) {
            wrong.push(("access_key", "`access_key` must be letters and digits (20 of them)".to_owned()));
        }
        let secret_key = self.secret_key.expose_secret();
        if secret_key.is_empty()
            || secret_key.len() > KEY_MAX
            || !secret_key.bytes().all(|byte| byte.is_ascii_graphic())
        {
            let what = format!("`secret_key` must have 1 to {KEY_MAX} visible ASCII characters");
            wrong.push(("secret_key", what));
        }
        if let Some(region) = &self.region {
            let is_name = (1..=63).contains(&region.len())
                && region
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            if !is_name {
                wrong.push((
                    "region",
                    "`region` must be the name of a Region, such as `eu-west-2`".to_owned(),
                ));
            }
        }
        let endpoint = self.endpoint.as_deref().map(|text| EndpointUrl::parse(text, "https"));
        let endpoint = match endpoint.transpose() {
            Ok(endpoint) => endpoint.map(|endpoint| endpoint.to_string()),
            Err(error) => {
                wrong.push(("endpoint", error.to_string()));
                None
            }
        };
        let client_certificate = match (&self.x509_client_cert, &self.x509_client_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => pair(certificate, key, &mut wrong),
            (Some(_), None) => {
                wrong.push(("x509_client_key", "`x509_client_cert` needs `x509_client_key`".to_owned()));
                None
            }
            (None, Some(_)) => {
                wrong.push(("x509_client_cert", "`x509_client_key` needs `x509_client_cert`".to_owned()));
                None
            }
        };
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(StoredSet {
            name: name.to_owned(),
            region: self.region,
            endpoint,
            secrets: SetSecrets {
                access_key: self.access_key,
                secret_key: self.secret_key,
                client_certificate,
            },
        })
    }
}

fn pair(
    certificate: &SecretString,
    key: &SecretString,
    wrong: &mut Vec<(&'static str, String)>,
) -> Option<SecretString> {
    let (certificate, key) = (certificate.expose_secret(), key.expose_secret());
    if certificate.len() > PEM_MAX || key.len() > PEM_MAX {
        wrong.push(("x509_client_cert", format!("a PEM text has at most {PEM_MAX} bytes")));
        return None;
    }
    let pem = SecretString::from(format!("{certificate}\n{key}"));
    match oapi::check_client_certificate(&pem) {
        Ok(()) => Some(pem),
        Err(error) => {
            wrong.push(("x509_client_cert", error));
            None
        }
    }
}

impl SetSecrets {
    /// What may be shown of the access key: its end, if that is a small part of it.
    #[must_use]
    pub fn access_key_end(&self) -> &str {
        match self.access_key.len() {
            length @ 12.. => &self.access_key[length - 4..],
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> NewSet {
        NewSet {
            access_key: "ABCDEFGHIJ0123456789".to_owned(),
            secret_key: SecretString::from("hunter2hunter2"),
            ..NewSet::default()
        }
    }

    fn wrong(set: NewSet) -> String {
        let wrong = format!("{:?}", set.checked("prod").unwrap_err());
        assert!(!wrong.contains("hunter2"), "{wrong}");
        wrong
    }

    #[test]
    fn a_set_is_checked() {
        let set = NewSet { endpoint: Some("api.example.org".to_owned()), ..new() }.checked("prod").unwrap();
        assert_eq!(set.endpoint.as_deref(), Some("https://api.example.org"));
        assert_eq!(set.secrets.access_key_end(), "6789");
        assert!(!format!("{set:?}").contains("hunter2"));
        assert!(wrong(NewSet { access_key: "a b".to_owned(), ..new() }).contains("letters and digits"));
        assert!(wrong(NewSet { secret_key: SecretString::from(""), ..new() }).contains("`secret_key`"));
        assert!(wrong(NewSet { region: Some("evil.example/".to_owned()), ..new() }).contains("`region`"));
        for endpoint in ["ftp://x", "https://u:hunter2@x.example", "http://", "https://x.example?a=1"] {
            assert!(
                wrong(NewSet { endpoint: Some(endpoint.to_owned()), ..new() }).contains("endpoint"),
                "{endpoint}"
            );
        }
        let half = NewSet { x509_client_key: Some(SecretString::from("hunter2")), ..new() };
        assert!(wrong(half).contains("needs `x509_client_cert`"));
        let odd = NewSet {
            x509_client_cert: Some(SecretString::from("hunter2")),
            x509_client_key: Some(SecretString::from("hunter2")),
            ..new()
        };
        assert!(wrong(odd).contains("x509_client_cert"));
    }

    #[test]
    fn names_are_plain() {
        for name in ["prod", "a", "A.b-c_9", &"x".repeat(64)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "-a", "a/b", "a b", "ä", &"x".repeat(65), "a\0"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_short_access_key_shows_nothing() {
        let secrets = SetSecrets {
            access_key: "SHORT".to_owned(),
            secret_key: SecretString::from("x"),
            client_certificate: None,
        };
        assert_eq!(secrets.access_key_end(), "");
    }
}

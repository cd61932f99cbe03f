//! The client certificate that an account's API access rules may ask for: from the environment, else from the profile of
//! the shared file. A call without one is then refused (code 14).

use std::fs;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};

use super::{environment::EnvironmentSource, error::CredentialsError};

/// No certificate chain or key is this large.
const LARGEST: u64 = 256 * 1024;

/// Variables with the name of a file, today's first.
const CERTIFICATE: &[&str] = &["OSC_X509_CLIENT_CERT", "OUTSCALE_X509CERT"];
const KEY: &[&str] = &["OSC_X509_CLIENT_KEY", "OUTSCALE_X509KEY"];
/// Variables with the PEM itself in base64.
const CERTIFICATE_B64: &str = "OSC_X509_CLIENT_CERT_B64";
const KEY_B64: &str = "OSC_X509_CLIENT_KEY_B64";

/// What a profile of the shared file says of it.
#[derive(Default)]
pub struct InProfile {
    /// `x509_client_cert`: a file's name.
    pub certificate: Option<String>,
    /// `x509_client_key`: a file's name.
    pub key: Option<String>,
    /// `x509_client_cert_b64`.
    pub certificate_b64: Option<String>,
    /// `x509_client_key_b64`.
    pub key_b64: Option<SecretString>,
}

/// A certificate with its key, and where they came from.
pub struct ClientCertificate {
    /// Certificate and key as PEM, one after the other.
    pub pem: SecretString,
    /// The place.
    pub place: String,
}

/// One half: its name for people, and its content or where that is.
enum Half<'a> {
    File(String, &'a str),
    Inline(String, &'a str),
}

impl Half<'_> {
    fn name(&self) -> &str {
        match self {
            Self::File(name, _) | Self::Inline(name, _) => name,
        }
    }

    fn read(&self) -> Result<SecretString, CredentialsError> {
        let unusable = |why: String| CredentialsError::Certificate { what: self.name().to_owned(), why };
        let text = match self {
            Self::File(_, path) => {
                let size = fs::metadata(path).map_err(|error| unusable(format!("{path}: {error}")))?.len();
                if size > LARGEST {
                    return Err(unusable(format!("{path} has more than {LARGEST} bytes")));
                }
                fs::read_to_string(path).map_err(|error| unusable(format!("{path}: {error}")))?
            }
            Self::Inline(_, base64) => {
                let packed: String = base64.split_whitespace().collect();
                // The library's words could quote the text.
                let bytes = STANDARD.decode(packed).map_err(|_| unusable("it is no base64".to_owned()))?;
                String::from_utf8(bytes).map_err(|_| unusable("it is no PEM".to_owned()))?
            }
        };
        if !text.contains("-----BEGIN ") {
            return Err(unusable("it is no PEM".to_owned()));
        }
        Ok(SecretString::from(text))
    }
}

/// Finds the certificate. Both halves come from one place; there, what is inline wins over a file's name.
///
/// # Errors
/// Half a pair, or a half that cannot be read. Whether the PEM is a certificate is seen when the client is made.
pub fn find(
    environment: &EnvironmentSource,
    profile: Option<(&InProfile, String)>,
) -> Result<Option<ClientCertificate>, CredentialsError> {
    let variable = |inline: &str, files: &[&'static str]| {
        let in_file =
            || files.iter().find_map(|name| Some(Half::File((*name).to_owned(), environment.get(name)?)));
        environment.get(inline).map(|text| Half::Inline(inline.to_owned(), text)).or_else(in_file)
    };
    let halves = (variable(CERTIFICATE_B64, CERTIFICATE), variable(KEY_B64, KEY));
    let in_environment = "the environment of fournil".to_owned();
    if let Some(found) = joined(halves, (CERTIFICATE[0], KEY[0]), in_environment)? {
        return Ok(Some(found));
    }
    let Some((profile, place)) = profile else { return Ok(None) };
    let named = |name: &str| format!("`{name}` of {place}");
    let certificate = profile
        .certificate_b64
        .as_deref()
        .map(|text| Half::Inline(named("x509_client_cert_b64"), text))
        .or_else(|| profile.certificate.as_deref().map(|path| Half::File(named("x509_client_cert"), path)));
    let key = profile
        .key_b64
        .as_ref()
        .map(|text| Half::Inline(named("x509_client_key_b64"), text.expose_secret()))
        .or_else(|| profile.key.as_deref().map(|path| Half::File(named("x509_client_key"), path)));
    joined((certificate, key), ("x509_client_cert", "x509_client_key"), place.clone())
}

fn joined(
    halves: (Option<Half<'_>>, Option<Half<'_>>),
    names: (&str, &str),
    place: String,
) -> Result<Option<ClientCertificate>, CredentialsError> {
    let (present, missing) = match halves {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => {
            let (certificate, key) = (certificate.read()?, key.read()?);
            let pem = format!("{}\n{}", certificate.expose_secret(), key.expose_secret());
            return Ok(Some(ClientCertificate { pem: SecretString::from(pem), place }));
        }
        (Some(certificate), None) => (certificate.name().to_owned(), names.1.to_owned()),
        (None, Some(key)) => (key.name().to_owned(), names.0.to_owned()),
    };
    Err(CredentialsError::HalfAPair { place, present, missing })
}

#[cfg(test)]
#[path = "client_certificate_tests.rs"]
mod tests;

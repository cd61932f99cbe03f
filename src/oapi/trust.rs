//! What is said when certificates are not accepted: ours by the TLS library, the server's by us, ours by the server.

use std::error::Error;

use super::client::TlsConfig;
use rustls::{CertificateError, Error as TlsError};
use secrecy::{ExposeSecret, SecretString};

/// Whom all calls trust beside the usual, and their way there: the operator's decision, the same for all accounts.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// More trusted roots, as PEM.
    pub ca_certificates: Option<String>,
    /// The proxy; absent: what the environment says.
    pub proxy: Option<SecretString>,
}

impl Trust {
    /// Puts it into a client's configuration.
    pub fn add_to(&self, tls: &mut TlsConfig) {
        tls.ca_certificates = self.ca_certificates.clone();
        tls.proxy = self.proxy.clone();
    }
}

/// Whether a client certificate with its key can be used, in the words of what would be right.
///
/// # Errors
/// What is wrong with it, without any content.
pub fn check_client_certificate(pem: &SecretString) -> Result<(), String> {
    let refused = |error: &reqwest::Error| {
        let why = explain(error).unwrap_or_else(|| {
            "the certificate (PEM, beginning with -----BEGIN CERTIFICATE-----) and its unencrypted private key cannot be \
             read, or do not belong together"
                .to_owned()
        });
        format!("the client certificate cannot be used: {why}")
    };
    let identity =
        reqwest::Identity::from_pem(pem.expose_secret().as_bytes()).map_err(|error| refused(&error))?;
    let built = reqwest::Client::builder().no_proxy().identity(identity).build();
    built.map(drop).map_err(|error| refused(&error))
}

/// What an error of TLS means and what can be done, if it is one of certificates.
pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let tls = tls_error(error)?;
    Some(match tls {
        TlsError::InvalidCertificate(why) => match why {
            // Another CA of the same name counts as none.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the server's certificate is not signed by a CA that is trusted here; name that CA with `oapi.ca_file` \
                 (FOURNIL_OAPI_CA_FILE)"
                    .to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired, or this machine's clock is wrong".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet, or this machine's clock is wrong".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the server's certificate is for another host name; check the endpoint".to_owned()
            }
            other if is_old_version(other) => old_version("the server's certificate"),
            other => format!("the server's certificate is refused: {other}"),
        },
        TlsError::AlertReceived(alert) => format!(
            "the server ended the TLS handshake ({alert:?}): it does not accept our client certificate, or wants one and got \
             none (x509_cert_path in the template, OSC_X509_CLIENT_CERT, or that of the stored set)"
        ),
        TlsError::InconsistentKeys(_) => "certificate and private key do not belong together".to_owned(),
        other if format!("{other:?}").contains("UnsupportedCertVersion") => old_version("the certificate"),
        other => format!("TLS failed: {other}"),
    })
}

fn is_old_version(error: &CertificateError) -> bool {
    format!("{error:?}").contains("UnsupportedCertVersion")
}

fn old_version(whose: &str) -> String {
    format!(
        "{whose} is of X.509 version 1, which is not taken: make one of version 3 (with openssl: sign with `-extfile`, or \
         `openssl req -x509`)"
    )
}

/// The error of the TLS library below an error; an I/O error does not name what it holds as its source.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<TlsError>() {
            return Some(tls);
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

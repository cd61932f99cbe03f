//! `oapi.ca_file` and `oapi.proxy`.

use std::fs;

use reqwest::Url;
use secrecy::SecretString;

use super::{ConfigError, Settings};
use crate::oapi::Trust;

/// No bundle of CAs is this large.
const LARGEST: u64 = 4 << 20;

impl Settings {
    pub(super) fn oapi_trust(&self) -> Result<Trust, ConfigError> {
        let ca_certificates = self.parsed("oapi.ca_file", |path| {
            let cannot = |why: String| format!("the CA file `{path}` cannot be used: {why}");
            let size = fs::metadata(path).map_err(|error| cannot(error.to_string()))?.len();
            if size > LARGEST {
                return Err(cannot(format!("it has more than {LARGEST} bytes")));
            }
            let text = fs::read_to_string(path).map_err(|error| cannot(error.to_string()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(text.as_bytes());
            match certificates {
                Ok(certificates) if !certificates.is_empty() => Ok(text),
                _ => Err(cannot("it holds no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_owned())),
            }
        })?;
        // The text is not repeated: it may hold a password.
        let proxy = self.parsed("oapi.proxy", |text| match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                Ok(SecretString::from(text))
            }
            _ => Err("this is no URL of a proxy; write for example `http://proxy.example.org:3128`"),
        })?;
        Ok(Trust { ca_certificates, proxy })
    }
}

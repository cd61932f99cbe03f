//! The OSC4-HMAC-SHA256 signature: AWS Signature Version 4 with OUTSCALE's constants.
//! Pure functions of the request, the time and the keys; when to sign (anew for each try) is for the client.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

const ALGORITHM: &str = "OSC4-HMAC-SHA256";
const TERMINATOR: &str = "osc4_request";
/// Service name in the scope.
pub const SERVICE: &str = "api";
/// Header that carries the time of the signature.
pub const DATE_HEADER: &str = "x-osc-date";
/// Header that carries what comes with temporary keys.
pub const TOKEN_HEADER: &str = "x-osc-security-token";

/// What is signed of a request. There is no query: OAPI has none.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// Such as `POST`.
    pub method: &'a str,
    /// As in the `Host` header: with the port if that has one.
    pub host: &'a str,
    /// Percent-encoded path.
    pub path: &'a str,
    /// More headers to sign, names in lower case, beside `host` and the date.
    pub headers: &'a [(&'a str, &'a str)],
    /// The exact bytes that are sent.
    pub body: &'a [u8],
}

/// Who signs, and for where.
#[derive(Debug, Clone, Copy)]
pub struct SigningKeys<'a> {
    /// 20 characters.
    pub access_key: &'a str,
    /// 40 characters.
    pub secret_key: &'a SecretString,
    /// Region in the scope.
    pub region: &'a str,
}

/// The headers that a signature adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Value of `X-Osc-Date`.
    pub timestamp: String,
    /// Value of `Authorization`.
    pub authorization: String,
}

/// Signs a request at a time.
pub fn sign(request: &SignedRequest<'_>, keys: &SigningKeys<'_>, time: DateTime<Utc>) -> Signature {
    let timestamp = time.format("%Y%m%dT%H%M%SZ").to_string();
    let date = time.format("%Y%m%d").to_string();
    let (canonical, header_names) = canonical_request(request, &timestamp);
    let scope = format!("{date}/{}/{SERVICE}/{TERMINATOR}", keys.region);
    let to_sign = string_to_sign(&canonical, &timestamp, &scope);
    let key = signing_key(keys.secret_key, &date, keys.region);
    let signature = hex::encode(hmac_sha256(&key, to_sign.as_bytes()));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={header_names}, Signature={signature}",
        keys.access_key
    );
    Signature { timestamp, authorization }
}

/// The request in the one spelling that both sides hash, and the list of its signed headers.
fn canonical_request(request: &SignedRequest<'_>, timestamp: &str) -> (String, String) {
    let mut headers: Vec<(&str, &str)> = request.headers.to_vec();
    headers.push(("host", request.host));
    headers.push((DATE_HEADER, timestamp));
    headers.sort_unstable();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let path = if request.path.is_empty() { "/" } else { request.path };
    let payload = hex::encode(Sha256::digest(request.body));
    (format!("{}\n{path}\n\n{lines}\n{names}\n{payload}", request.method), names)
}

fn string_to_sign(canonical: &str, timestamp: &str, scope: &str) -> String {
    format!("{ALGORITHM}\n{timestamp}\n{scope}\n{}", hex::encode(Sha256::digest(canonical.as_bytes())))
}

fn signing_key(secret_key: &SecretString, date: &str, region: &str) -> [u8; 32] {
    let first = zeroize::Zeroizing::new(format!("OSC4{}", secret_key.expose_secret()));
    let key = hmac_sha256(first.as_bytes(), date.as_bytes());
    let key = hmac_sha256(&key, region.as_bytes());
    let key = hmac_sha256(&key, SERVICE.as_bytes());
    hmac_sha256(&key, TERMINATOR.as_bytes())
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;

//! Checks the signature of a call: OSC4 and the AWS4 form that OAPI takes as well. Written from the published
//! rules and on its own, so that fournil's signer is not checked against itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::HeaderMap;
use chrono::{DateTime, NaiveDateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::{config::Secret, error::ApiError, quirks::Quirks, role::Role};

/// The keys of the one account.
#[derive(Clone)]
pub struct Keys {
    pub access_key: String,
    pub secret_key: Secret,
    /// Whose keys count too, as long as they live.
    pub role: Option<Arc<Role>>,
}

impl Keys {
    /// The secret of an access key, and the token that a role's key came with.
    fn find(&self, access_key: &str, now: DateTime<Utc>) -> Option<(Secret, Option<Secret>)> {
        if access_key == self.access_key {
            return Some((self.secret_key.clone(), None));
        }
        let key = self.role.as_ref()?.key(access_key, now)?;
        Some((key.secret_key, Some(key.token)))
    }
}

/// What was received, as far as it is signed.
pub struct Received<'a> {
    pub method: &'a str,
    /// As on the wire, percent-encoded.
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// Why a call is refused, and whether it counts as a try to guess the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub error: ApiError,
    pub is_guess: bool,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { error, is_guess: false }
    }
}

/// The guard against guessing: too many wrong signatures in a row lock the key for a minute.
#[derive(Debug, Default)]
pub struct Lock {
    wrong_in_a_row: u32,
    until: Option<Instant>,
}

impl Lock {
    /// How long a locked key stays so.
    const DURATION: Duration = Duration::from_secs(60);

    /// Refuses everything while the key is locked.
    pub fn check(&mut self) -> Result<(), ApiError> {
        if self.until.is_some_and(|until| until <= Instant::now()) {
            *self = Self::default();
        }
        match self.until {
            Some(_) => Err(ApiError::new(
                13,
                "The access key is locked for a while after too many wrong signatures.",
            )),
            None => Ok(()),
        }
    }

    /// Counts a wrong signature; `limit` 0 never locks.
    pub fn note_wrong(&mut self, limit: u32) {
        self.wrong_in_a_row += 1;
        if limit > 0 && self.wrong_in_a_row >= limit {
            self.until = Some(Instant::now() + Self::DURATION);
        }
    }

    /// A right signature, or a new start.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The two schemes differ in constants only.
struct Scheme {
    algorithm: &'static str,
    key_prefix: &'static str,
    terminator: &'static str,
    date_header: &'static str,
}

const SCHEMES: [Scheme; 2] = [
    Scheme {
        algorithm: "OSC4-HMAC-SHA256",
        key_prefix: "OSC4",
        terminator: "osc4_request",
        date_header: "x-osc-date",
    },
    Scheme {
        algorithm: "AWS4-HMAC-SHA256",
        key_prefix: "AWS4",
        terminator: "aws4_request",
        date_header: "x-amz-date",
    },
];

/// Where the token of a role's key is, in the two schemes.
const TOKEN_HEADERS: [&str; 2] = ["x-osc-security-token", "x-amz-security-token"];

/// The parts of an `Authorization` header.
struct Authorization<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    terminator: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

/// Refuses a call that its signature does not prove to be the account's. The cases and their codes are those of
/// the cloud: an unknown key is a bad parameter (4120), everything else is a denied access.
pub fn verify(
    received: &Received<'_>,
    keys: &Keys,
    region: &str,
    now: DateTime<Utc>,
    quirks: &Quirks,
) -> Result<(), Refusal> {
    let denied = |details: &str| ApiError::new(1, details);
    let header =
        header_text(received.headers, "authorization").ok_or_else(|| denied("No credentials were sent."))?;
    let (word, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if word.eq_ignore_ascii_case("basic") {
        return Err(ApiError::new(9, "This call does not take a login and a password.").into());
    }
    let scheme = SCHEMES
        .iter()
        .find(|scheme| scheme.algorithm == word)
        .ok_or_else(|| ApiError::new(12, format!("The authorization type '{word}' is not known.")))?;
    let authorization =
        parse_authorization(rest).ok_or_else(|| denied("The Authorization header cannot be read."))?;
    let Some((secret_key, token)) = keys.find(authorization.access_key, now) else {
        return Err(ApiError::new(
            4120,
            format!("The access key '{}' does not exist in this Region.", authorization.access_key),
        )
        .into());
    };
    check_token(received.headers, token.as_ref(), quirks)?;
    let timestamp = header_text(received.headers, scheme.date_header)
        .ok_or_else(|| denied(&format!("The header {} is missing.", scheme.date_header)))?;
    let time = NaiveDateTime::parse_from_str(timestamp, "%Y%m%dT%H%M%SZ")
        .map_err(|_| denied("The date of the request cannot be read."))?
        .and_utc();
    if (now - time).num_seconds().abs() > quirks.signature_window_seconds {
        return Err(
            ApiError::new(quirks.clock_skew_code, "The date of the request is too far from now.").into()
        );
    }
    let signed = |name: &str| authorization.signed_headers.contains(&name);
    if !signed("host") || !signed(scheme.date_header) {
        return Err(denied("The host and the date must be among the signed headers.").into());
    }
    let scope_fits = authorization.terminator == scheme.terminator
        && timestamp.starts_with(authorization.date)
        && authorization.date.len() == 8;
    if !scope_fits || (quirks.strict_signature_region && authorization.region != region) {
        return Err(denied("The scope of the signature does not fit the request.").into());
    }
    let right = candidates(received)
        .iter()
        .any(|(path, host)| proves(received, scheme, &authorization, timestamp, &secret_key, path, host));
    if right { Ok(()) } else { Err(Refusal { error: denied("The signature is not right."), is_guess: true }) }
}

/// Refuses a token that is not the key's own, and none where one is required.
fn check_token(headers: &HeaderMap, token: Option<&Secret>, quirks: &Quirks) -> Result<(), ApiError> {
    let sent = TOKEN_HEADERS.iter().find_map(|name| header_text(headers, name));
    match (token, sent) {
        (Some(token), Some(sent)) if sent != token.0 => {
            Err(ApiError::new(1, "The security token is not that of the access key."))
        }
        (Some(_), None) if quirks.role_token_required => {
            Err(ApiError::new(1, "The access key needs its security token."))
        }
        _ => Ok(()),
    }
}

/// Path and host in the forms that clients sign: the Python SDK leaves the port away, others collapse a doubled
/// slash that they still send.
fn candidates(received: &Received<'_>) -> Vec<(String, String)> {
    let host = header_text(received.headers, "host").unwrap_or_default();
    let bare = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
    });
    let mut single = String::with_capacity(received.path.len());
    for letter in received.path.chars() {
        if letter != '/' || !single.ends_with('/') {
            single.push(letter);
        }
    }
    let mut all = Vec::new();
    for path in [received.path, single.as_str()] {
        for host in [host, bare] {
            let candidate = (path.to_owned(), host.to_owned());
            if !all.contains(&candidate) {
                all.push(candidate);
            }
        }
    }
    all
}

fn proves(
    received: &Received<'_>,
    scheme: &Scheme,
    authorization: &Authorization<'_>,
    timestamp: &str,
    secret_key: &Secret,
    path: &str,
    host: &str,
) -> bool {
    let mut canonical_headers = String::new();
    for name in &authorization.signed_headers {
        let value = if *name == "host" { Some(host) } else { header_text(received.headers, name) };
        let Some(value) = value else { return false };
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        canonical_headers.push_str(&format!("{name}:{value}\n"));
    }
    let mut query: Vec<&str> = received.query.split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let canonical = [
        received.method,
        path,
        &query.join("&"),
        &canonical_headers,
        &authorization.signed_headers.join(";"),
        &hex_digest(received.body),
    ]
    .join("\n");
    let scope = format!(
        "{}/{}/{}/{}",
        authorization.date, authorization.region, authorization.service, authorization.terminator
    );
    let to_sign = [scheme.algorithm, timestamp, &scope, &hex_digest(canonical.as_bytes())].join("\n");
    let Ok(signature) = hex::decode(authorization.signature) else { return false };
    let mut key = format!("{}{}", scheme.key_prefix, secret_key.0).into_bytes();
    for part in [authorization.date, authorization.region, authorization.service, authorization.terminator] {
        key = hmac(&key, part.as_bytes()).finalize().into_bytes().to_vec();
    }
    hmac(&key, to_sign.as_bytes()).verify_slice(&signature).is_ok()
}

fn parse_authorization(text: &str) -> Option<Authorization<'_>> {
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for part in text.split(',') {
        match part.trim().split_once('=')? {
            ("Credential", value) => credential = Some(value),
            ("SignedHeaders", value) => signed_headers = Some(value.split(';').collect()),
            ("Signature", value) => signature = Some(value),
            _ => return None,
        }
    }
    let mut scope = credential?.split('/');
    let authorization = Authorization {
        access_key: scope.next()?,
        date: scope.next()?,
        region: scope.next()?,
        service: scope.next()?,
        terminator: scope.next()?,
        signed_headers: signed_headers?,
        signature: signature?,
    };
    scope.next().is_none().then_some(authorization)
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

fn hex_digest(data: &[u8]) -> String {
    hex::encode(Sha256::digest(data))
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn hmac(key: &[u8], data: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac
}

#[cfg(test)]
mod tests;

//! People and programs that an OpenID provider vouches for: the JWT they send is checked against the provider's published
//! keys, and their role follows from a claim.

mod keys;

use std::{collections::BTreeMap, time::Duration};

use chrono::DateTime;
use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};
use reqwest::Url;
use serde_json::{Map, Value};

use self::keys::{Ages, Keys, Usable};
use super::{AccessError, Limits, Principal, Role, Who};

/// How far the provider's clock and ours may be apart.
const LEEWAY: Duration = Duration::from_secs(30);

/// The longest subject that is taken over.
const SUBJECT_MAX: usize = 255;

/// The algorithms that are accepted: none with a shared secret, and above all not `none`.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// Which provider, and what its claims mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcSettings {
    /// The provider, exactly as it stands in `iss`.
    pub issuer: String,
    /// What `aud` must hold.
    pub audience: String,
    /// The claim with the roles or groups: a text or a list of texts. Dots lead into objects, as in `realm_access.roles`.
    pub role_claim: String,
    /// What each of them means here.
    pub roles: BTreeMap<String, Role>,
    /// How long to wait before the provider's keys are read again because one is not known.
    pub pause: Duration,
}

/// The longest pause is the usual one: a provider announces a key before it uses it.
pub const PAUSE: Duration = Duration::from_secs(30);

/// Checks JWTs.
#[derive(Debug)]
pub struct Oidc {
    settings: OidcSettings,
    keys: Keys,
}

/// Whether something secret may be fetched or sent here: `https`, or `http` on this machine.
///
/// # Errors
/// Says what is wrong.
pub fn check_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| format!("`{text}` is no URL"))?;
    let host = url.host_str().unwrap_or_default();
    let is_here = host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    match url.scheme() {
        "https" if !host.is_empty() => Ok(url),
        "http" if is_here => Ok(url),
        _ => Err(format!("`{text}` must begin with `https://`")),
    }
}

impl Oidc {
    /// Checks against this provider. Does not ask it yet.
    #[must_use]
    pub fn new(settings: OidcSettings) -> Self {
        Self::with_ages(settings, Ages::default())
    }

    fn with_ages(settings: OidcSettings, ages: Ages) -> Self {
        let keys = Keys::new(settings.issuer.clone(), settings.pause, ages);
        Self { settings, keys }
    }

    /// Who a JWT is about.
    ///
    /// # Errors
    /// It is not accepted, no role follows from it, or the provider's keys cannot be had.
    pub async fn check(&self, jwt: &str) -> Result<Principal, AccessError> {
        let refused = |why: &str| AccessError::Jwt(why.to_owned());
        let header = jsonwebtoken::decode_header(jwt).map_err(|_| refused("it is malformed"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(refused("its algorithm is none of RS256, ES256 and EdDSA"));
        }
        // Extensions that must be understood, and none is (RFC 7515, 4.1.11).
        if header.crit.is_some() {
            return Err(refused("it has critical headers (`crit`)"));
        }
        let key = self.keys.find(header.kid.as_deref(), header.alg).await?;
        let key = match key {
            Usable::Key(key) => key,
            Usable::Unknown => return Err(refused("its key is none of the provider's")),
            Usable::Ambiguous => {
                return Err(refused("it does not say which of the provider's keys signed it"));
            }
        };
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.set_audience(&[&self.settings.audience]);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = jsonwebtoken::decode::<Map<String, Value>>(jwt, &key, &validation)
            .map_err(|error| refused(&reason(error.kind())))?
            .claims;
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        if subject.is_empty() || subject.len() > SUBJECT_MAX || subject.chars().any(char::is_control) {
            return Err(refused("its `sub` is empty, too long or holds control characters"));
        }
        let until = claims.get("exp").and_then(Value::as_f64).map(|seconds| seconds as i64);
        let until = until
            .and_then(|seconds| seconds.checked_add(LEEWAY.as_secs() as i64))
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        Ok(Principal {
            who: Who::Oidc { subject: subject.to_owned() },
            role: self.role(&claims).ok_or(AccessError::NoRole)?,
            limits: Limits::default(),
            until: Some(until.ok_or_else(|| refused("its `exp` is no time"))?),
        })
    }

    /// The highest role that follows from the claims.
    fn role(&self, claims: &Map<String, Value>) -> Option<Role> {
        let names: Vec<&str> = match find_claim(claims, &self.settings.role_claim)? {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            _ => return None,
        };
        names.into_iter().filter_map(|name| self.settings.roles.get(name)).max().copied()
    }
}

/// A claim by its name, or by a path of names; a name with dots in it goes first.
fn find_claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(name) {
        return Some(found);
    }
    let (first, rest) = name.split_once('.')?;
    find_claim(claims.get(first)?.as_object()?, rest)
}

fn reason(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::ExpiredSignature => "it has expired".to_owned(),
        ErrorKind::ImmatureSignature => "it is not valid yet".to_owned(),
        ErrorKind::InvalidIssuer => "it is from another issuer".to_owned(),
        ErrorKind::InvalidAudience => "it is for another audience".to_owned(),
        ErrorKind::InvalidSignature => "its signature is wrong".to_owned(),
        ErrorKind::MissingRequiredClaim(claim) => format!("it has no `{claim}`"),
        _ => "it is malformed".to_owned(),
    }
}

#[cfg(test)]
#[path = "oidc_tests.rs"]
mod tests;

//! The provider's public keys: found by discovery, kept, and read again when a JWT names one that is not known, but not
//! more often than bearable, so that made-up names do not make us hammer the provider.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Mutex, RwLock};
use tracing::warn;

use super::check_url;
use crate::auth::AccessError;

/// The most of a document that is read.
const LARGEST: usize = 256 << 10;

/// The most keys that are kept.
const MOST_KEYS: usize = 64;

/// How long the provider may take for one document.
const PATIENCE: Duration = Duration::from_secs(10);

/// How old keys may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ages {
    /// After this time they are read again, so that one that was withdrawn is forgotten.
    pub fresh: Duration,
    /// So long they are used while the provider is away.
    pub stale: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        Self { fresh: Duration::from_secs(3600), stale: Duration::from_secs(24 * 3600) }
    }
}

/// The longest pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is known about the key of a JWT.
#[derive(Debug)]
pub enum Usable {
    /// This one.
    Key(Arc<DecodingKey>),
    /// None of the provider's.
    Unknown,
    /// Any of several.
    Ambiguous,
}

/// The keys of one provider.
#[derive(Debug)]
pub struct Keys {
    issuer: String,
    pause: Duration,
    ages: Ages,
    known: RwLock<Option<Known>>,
    /// When they may be asked for again; held while they are, so that one request asks for all.
    again: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Known {
    keys: Vec<Key>,
    since: Instant,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: Arc<DecodingKey>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Keys {
    /// None yet.
    pub fn new(issuer: String, pause: Duration, ages: Ages) -> Self {
        Self { issuer, pause, ages, known: RwLock::default(), again: Mutex::default() }
    }

    /// The key of this id for this algorithm. Asks the provider if it is not known.
    pub async fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Usable, AccessError> {
        let (found, age) = self.look(id, algorithm).await;
        let is_fresh = age.is_some_and(|age| age < self.ages.fresh);
        if is_fresh && !matches!(found, Usable::Unknown) {
            return Ok(found);
        }
        let failed = self.refresh().await.err();
        let (found, age) = self.look(id, algorithm).await;
        match (age, failed) {
            (Some(age), _) if age < self.ages.stale => Ok(found),
            (_, Some(error)) => Err(AccessError::ProviderAway(error)),
            (_, None) => Err(AccessError::ProviderAway("the last try is too short ago".into())),
        }
    }

    async fn look(&self, id: Option<&str>, algorithm: Algorithm) -> (Usable, Option<Duration>) {
        let known = self.known.read().await;
        let Some(known) = known.as_ref() else { return (Usable::Unknown, None) };
        let fits = |key: &&Key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id);
        let mut fitting = known.keys.iter().filter(fits);
        let found = match (fitting.next(), fitting.next()) {
            (None, _) => Usable::Unknown,
            (Some(key), None) => Usable::Key(Arc::clone(&key.key)),
            (Some(_), Some(_)) => Usable::Ambiguous,
        };
        (found, Some(known.since.elapsed()))
    }

    /// Reads the keys unless that was done or tried a moment ago.
    async fn refresh(&self) -> Result<(), BoxError> {
        let mut again = self.again.lock().await;
        if again.is_some_and(|moment| Instant::now() < moment) {
            return Ok(());
        }
        match fetch(&self.issuer).await {
            Ok(keys) => {
                *again = Some(Instant::now() + self.pause);
                *self.known.write().await = Some(Known { keys, since: Instant::now() });
                Ok(())
            }
            Err(error) => {
                *again = Some(Instant::now() + self.pause.min(AFTER_FAILURE));
                warn!(error = %error, "the keys of the OpenID provider {} cannot be read", self.issuer);
                Err(error)
            }
        }
    }
}

async fn fetch(issuer: &str) -> Result<Vec<Key>, BoxError> {
    let discovery = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let discovery: Discovery = serde_json::from_slice(&read(&discovery).await?)?;
    if discovery.issuer != issuer {
        return Err(format!("it calls itself `{}`", discovery.issuer.escape_debug()).into());
    }
    let set: KeySet = serde_json::from_slice(&read(&discovery.jwks_uri).await?)?;
    // Keys for other purposes are passed over, also those that we cannot even read.
    let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    Ok(keys.filter_map(|key| usable(&key)).take(MOST_KEYS).collect())
}

fn usable(jwk: &Jwk) -> Option<Key> {
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return None,
    };
    let said = jwk.common.key_algorithm.as_ref().map(ToString::to_string);
    let is_for_it = match (said.as_deref(), algorithm) {
        (None, _) => true,
        (Some(said), Algorithm::RS256) => said == "RS256",
        (Some(said), Algorithm::ES256) => said == "ES256",
        (Some(said), _) => said == "EdDSA",
    };
    let key = is_for_it.then(|| DecodingKey::from_jwk(jwk).ok())??;
    Some(Key { id: jwk.common.key_id.clone(), algorithm, key: Arc::new(key) })
}

/// A document, within bounds. Redirects are not followed: the next place could be any.
async fn read(url: &str) -> Result<Vec<u8>, BoxError> {
    let url = check_url(url)?;
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .user_agent(concat!("fournil/", env!("CARGO_PKG_VERSION")));
    if url.scheme() == "http" {
        // Only this machine's own, which no proxy reaches.
        builder = builder.no_proxy();
    }
    let response = builder.build()?.get(url.clone()).send().await?;
    if !response.status().is_success() {
        return Err(format!("{url} answers {}", response.status()).into());
    }
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk?);
        if body.len() > LARGEST {
            return Err(format!("{url} is larger than {LARGEST} bytes").into());
        }
    }
    Ok(body)
}

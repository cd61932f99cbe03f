//! The client of one account: signs, sends, paces, retries and reads calls.
//! Clients are made by an `OapiPool`, which the application owns and which shares paces and connections between them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::debug;

use super::endpoint::Endpoint;
use super::error::OapiError;
use super::http;
use super::keys::{KeyPair, KeySource};
use super::pacing::{PaceConfig, Pacer};
use super::retry::{RetryPolicy, Tried};
use super::signing::{self, SignedRequest, SigningKeys};
use super::skew::ClockSkew;
use super::types::{PagedRequest, Request, Retry};

/// The media type that is sent and signed.
const JSON: &str = "application/json";
/// Items that one page of a read may hold; OAPI's own upper bound.
const PAGE: u32 = 1000;
/// Pages of one read after which something is wrong with the paging.
const MOST_PAGES: usize = 10_000;

/// Tells the time. Signatures need it, and tests move it.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;
/// Is told of every try of every call.
pub type Observer = Arc<dyn Fn(&CallRecord) + Send + Sync>;

/// One try of a call, as told to the observer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// The call.
    pub action: &'static str,
    /// 1 for the first try.
    pub attempt: u32,
    /// HTTP status, if something answered.
    pub status: Option<u16>,
    /// OAPI's error number, if it told one.
    pub code: Option<u32>,
    /// What OUTSCALE's support asks for.
    pub request_id: Option<String>,
    /// From sending to the end of the answer.
    pub duration: Duration,
    /// How long the pace of the account held the call back before.
    pub paced: Duration,
    /// Whether the answer was a success.
    pub succeeded: bool,
}

/// How to trust and be trusted over TLS.
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// Takes any certificate.
    pub insecure_skip_verify: bool,
    /// More trusted roots, as PEM.
    pub ca_certificates: Option<String>,
    /// Client certificate and its key, as PEM one after the other.
    pub client_certificate: Option<SecretString>,
    /// The proxy for all calls; absent: what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say. May hold a password.
    pub proxy: Option<SecretString>,
}

/// Everything about a client. Start from `ClientConfig::new`.
#[derive(Clone)]
pub struct ClientConfig {
    /// Where to call.
    pub endpoint: Endpoint,
    /// Region that signatures name.
    pub region: String,
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: SecretString,
    /// Where the keys come from, if they change; the two above are then those of the start.
    pub key_source: Option<Arc<dyn KeySource>>,
    /// Stored with every call by OUTSCALE, and searchable there.
    pub user_agent: String,
    /// For TCP and TLS together.
    pub connect_timeout: Duration,
    /// For one try, from connecting to the end of the answer.
    pub request_timeout: Duration,
    /// Trust.
    pub tls: TlsConfig,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Is told of every try.
    pub on_call: Option<Observer>,
    /// Tells the time.
    pub clock: Clock,
}

impl ClientConfig {
    /// The usual client for these keys.
    pub fn new(
        endpoint: Endpoint,
        region: impl Into<String>,
        access_key: impl Into<String>,
        secret_key: SecretString,
    ) -> Self {
        Self {
            endpoint,
            region: region.into(),
            access_key: access_key.into(),
            secret_key,
            key_source: None,
            user_agent: concat!("fournil/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            tls: TlsConfig::default(),
            retry: RetryPolicy::default(),
            on_call: None,
            clock: Arc::new(Utc::now),
        }
    }
}

impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("endpoint", &self.endpoint.to_string())
            .field("region", &self.region)
            .field("access_key", &self.access_key)
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}

/// Why a client cannot be made of its configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The access key would not fit a header.
    #[error("the access key must be letters and digits (20 of them)")]
    AccessKey,
    /// There is no secret key.
    #[error("the secret key is empty")]
    SecretKey,
    /// The user agent would not fit a header.
    #[error("the user agent has characters that a header cannot hold")]
    UserAgent,
    /// The Region would not fit a header.
    #[error("{0:?} is no Region name")]
    Region(String),
    /// The certificates to trust are not PEM.
    #[error("the CA certificates could not be read as PEM")]
    CaCertificates(#[source] reqwest::Error),
    /// The client certificate cannot be used.
    #[error("{0}")]
    ClientCertificate(String),
    /// The proxy has no address.
    #[error("the proxy's address cannot be used")]
    Proxy(#[source] reqwest::Error),
    /// Anything else about HTTP, such as a user agent with line breaks.
    #[error("the HTTP client could not be made")]
    Http(#[source] reqwest::Error),
}

/// Makes clients that share one pace an account and one connection pool an endpoint. The application owns one.
#[derive(Debug, Default)]
pub struct OapiPool {
    pace: PaceConfig,
    skew: Arc<ClockSkew>,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    pacers: HashMap<(String, Endpoint), Arc<Pacer>>,
    connections: HashMap<Identity, reqwest::Client>,
}

/// Accounts that are remembered before those without a client are forgotten.
const REMEMBERED_ACCOUNTS: usize = 256;

impl OapiPool {
    /// A pool whose accounts start at this pace.
    pub fn new(pace: PaceConfig) -> Self {
        Self { pace, ..Self::default() }
    }

    /// What the answers of all clients tell of this machine's clock.
    pub fn skew(&self) -> Arc<ClockSkew> {
        Arc::clone(&self.skew)
    }

    /// A client for an account.
    pub fn client(&self, config: ClientConfig) -> Result<Client, ConfigError> {
        check(&config)?;
        let identity = Identity::of_account(&config);
        let transport = Identity::of_transport(&config);
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.pacers.len() > REMEMBERED_ACCOUNTS {
            shared.pacers.retain(|_, pacer| Arc::strong_count(pacer) > 1);
        }
        if shared.connections.len() > REMEMBERED_ACCOUNTS {
            // Clients keep their own handle, so only the sharing is lost.
            shared.connections.clear();
        }
        let connections = match shared.connections.get(&transport) {
            Some(connections) => connections.clone(),
            None => {
                let connections = http::connections(&config)?;
                shared.connections.insert(transport, connections.clone());
                connections
            }
        };
        let account = (account_of(&config), config.endpoint.clone());
        let pacer =
            shared.pacers.entry(account).or_insert_with(|| Arc::new(Pacer::new(self.pace.clone()))).clone();
        let account_id = tokio::sync::OnceCell::new();
        let skew = self.skew();
        Ok(Client { inner: Arc::new(Inner { config, connections, pacer, identity, account_id, skew }) })
    }
}

/// What stands for the account: the access key, or the source of changing ones.
fn account_of(config: &ClientConfig) -> String {
    config.key_source.as_ref().map_or_else(|| config.access_key.clone(), |source| source.name())
}

fn check(config: &ClientConfig) -> Result<(), ConfigError> {
    let is_word = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if !is_word(&config.access_key) {
        return Err(ConfigError::AccessKey);
    }
    if HeaderValue::from_str(&config.user_agent).is_err() {
        return Err(ConfigError::UserAgent);
    }
    if config.secret_key.expose_secret().is_empty() {
        return Err(ConfigError::SecretKey);
    }
    if !is_word(&config.region) {
        return Err(ConfigError::Region(config.region.clone()));
    }
    Ok(())
}

/// Tells accounts (or transports) apart without holding their secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity([u8; 32]);

impl Identity {
    /// Clients that may share what they read: same endpoint, same keys, same trust.
    fn of_account(config: &ClientConfig) -> Self {
        let transport = Self::of_transport(config);
        let secret = if config.key_source.is_some() { "" } else { config.secret_key.expose_secret() };
        let account = account_of(config);
        Self::of(&[&transport.0, config.region.as_bytes(), account.as_bytes(), secret.as_bytes()])
    }

    /// Clients that may share connections.
    fn of_transport(config: &ClientConfig) -> Self {
        let tls = &config.tls;
        Self::of(&[
            config.endpoint.to_string().as_bytes(),
            &config.connect_timeout.as_nanos().to_be_bytes(),
            &config.request_timeout.as_nanos().to_be_bytes(),
            &[u8::from(tls.insecure_skip_verify)],
            tls.ca_certificates.as_deref().unwrap_or_default().as_bytes(),
            tls.client_certificate.as_ref().map_or("", |pem| pem.expose_secret()).as_bytes(),
            tls.proxy.as_ref().map_or("", |proxy| proxy.expose_secret()).as_bytes(),
        ])
    }

    fn of(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

/// Calls the OUTSCALE API with one pair of keys. Cheap to clone.
///
/// Dropping the future of a call stops waiting for it; a request already sent may still take effect.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: ClientConfig,
    connections: reqwest::Client,
    pacer: Arc<Pacer>,
    identity: Identity,
    account_id: tokio::sync::OnceCell<String>,
    skew: Arc<ClockSkew>,
}

impl Client {
    /// Where it calls.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.config.endpoint
    }

    /// The Region that its signatures name.
    pub fn region(&self) -> &str {
        &self.inner.config.region
    }

    /// Whose keys it uses; of changing ones those of the start.
    pub fn access_key(&self) -> &str {
        &self.inner.config.access_key
    }

    /// The pace of the account at this moment, in calls a second.
    pub fn calls_per_second(&self) -> f64 {
        self.inner.pacer.calls_per_second()
    }

    pub(super) fn identity(&self) -> Identity {
        self.inner.identity
    }

    /// The same client for reads that are repeated anyway: it tries each call once.
    pub(super) fn trying_once(&self) -> Self {
        let inner = &self.inner;
        let config = ClientConfig { retry: RetryPolicy::once(), ..inner.config.clone() };
        Self {
            inner: Arc::new(Inner {
                config,
                connections: inner.connections.clone(),
                pacer: inner.pacer.clone(),
                identity: inner.identity,
                account_id: inner.account_id.clone(),
                skew: inner.skew.clone(),
            }),
        }
    }

    pub(super) fn account_id_cell(&self) -> &tokio::sync::OnceCell<String> {
        &self.inner.account_id
    }

    /// Makes a call, and repeats it as far as its kind and the policy allow.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Answer, OapiError> {
        let body = body_of(request)?;
        let repeatable = match R::RETRY {
            Retry::Always => true,
            Retry::WithToken => request.has_client_token(),
            Retry::OnlyIfNotRun => false,
        };
        let started = Instant::now();
        let mut tried = Tried::default();
        let mut lost = false;
        let mut renewed = false;
        loop {
            let attempt = 1 + tried.failures + tried.throttles;
            let keys = self.keys(R::ACTION).await?;
            let (result, retry_after) = self.attempt::<R>(&body, attempt, &keys).await;
            let error = match result {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Only with other keys: a few bad tries with the same ones lock them.
            if !renewed && error.is_auth() && self.has_other_keys(&keys).await {
                renewed = true;
                tried.failures += 1;
                continue;
            }
            match error {
                OapiError::Throttled { .. } => tried.throttles += 1,
                _ => tried.failures += 1,
            }
            tried.elapsed = started.elapsed();
            let wait = self.inner.config.retry.wait(&error, repeatable, &tried, retry_after);
            lost |= error.may_have_taken_effect();
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None if lost => return Err(error.after_lost_answer()),
                None => return Err(error),
            }
        }
    }

    /// Reads all pages of a list.
    pub async fn read_all<R: PagedRequest>(&self, request: &R) -> Result<Vec<R::Item>, OapiError> {
        let mut page = request.clone();
        page.set_page(PAGE, None);
        let mut all = Vec::new();
        let mut last_token = None;
        for _ in 0..MOST_PAGES {
            let (items, next) = R::split(self.call(&page).await?);
            all.extend(items);
            match next.filter(|token| !token.is_empty()) {
                None => return Ok(all),
                next if next == last_token => break,
                next => {
                    last_token = next.clone();
                    page.set_page(PAGE, next);
                }
            }
        }
        Err(OapiError::BadAnswer {
            action: R::ACTION,
            status: 200,
            excerpt: "the pages of the list have no end".to_owned(),
            maybe_done: false,
        })
    }

    /// One try: paced, signed with the time it is sent, sent, read, and told to log and observer.
    async fn attempt<R: Request>(
        &self,
        body: &[u8],
        attempt: u32,
        keys: &KeyPair,
    ) -> (Result<R::Answer, OapiError>, Option<Duration>) {
        let queued = Instant::now();
        let permit = self.inner.pacer.acquire().await;
        let sent = Instant::now();
        let request = match self.signed(R::ACTION, body, keys) {
            Ok(request) => request,
            Err(error) => return (Err(error), None),
        };
        let reply = http::exchange(&self.inner.connections, R::ACTION, request).await;
        let duration = sent.elapsed();
        let (status, retry_after, result, request_id) = match reply {
            Ok(reply) => {
                self.inner.skew.saw(reply.server_time, (self.inner.config.clock)());
                let (result, request_id) = reply.read::<R::Answer>(R::ACTION, (self.inner.config.clock)());
                (Some(reply.status), reply.retry_after, result, request_id)
            }
            Err(error) => (None, None, Err(error), None),
        };
        if matches!(result, Err(OapiError::Throttled { .. })) || status == Some(503) {
            self.inner.pacer.throttled(permit);
        }
        let paced = sent.duration_since(queued);
        let code = result.as_ref().err().and_then(OapiError::code);
        let succeeded = result.is_ok();
        let record =
            CallRecord { action: R::ACTION, attempt, status, code, request_id, duration, paced, succeeded };
        self.tell(&record);
        (result, retry_after)
    }

    /// The keys to sign with now.
    async fn keys(&self, action: &'static str) -> Result<Arc<KeyPair>, OapiError> {
        match &self.inner.config.key_source {
            Some(source) => source
                .current()
                .await
                .map_err(|error| OapiError::Unsendable { action, reason: error.to_string() }),
            None => Ok(Arc::new(KeyPair {
                access_key: self.inner.config.access_key.clone(),
                secret_key: self.inner.config.secret_key.clone(),
                session_token: None,
            })),
        }
    }

    async fn has_other_keys(&self, used: &KeyPair) -> bool {
        match &self.inner.config.key_source {
            Some(source) => source.refused(&used.access_key).await,
            None => false,
        }
    }

    fn signed(
        &self,
        action: &'static str,
        body: &[u8],
        keys: &KeyPair,
    ) -> Result<reqwest::Request, OapiError> {
        let config = &self.inner.config;
        let url = config.endpoint.url_of(action);
        let token = keys.session_token.as_ref().map(ExposeSecret::expose_secret);
        let mut headers = vec![("content-type", JSON)];
        headers.extend(token.map(|token| (signing::TOKEN_HEADER, token)));
        let signature = signing::sign(
            &SignedRequest {
                method: "POST",
                host: &config.endpoint.host_header(),
                path: url.path(),
                headers: &headers,
                body,
            },
            &SigningKeys {
                access_key: &keys.access_key,
                secret_key: &keys.secret_key,
                region: &config.region,
            },
            (config.clock)(),
        );
        let unsendable =
            |reason: &dyn fmt::Display| OapiError::Unsendable { action, reason: reason.to_string() };
        let mut authorization =
            HeaderValue::try_from(signature.authorization).map_err(|error| unsendable(&error))?;
        authorization.set_sensitive(true);
        let mut request = self
            .inner
            .connections
            .post(url)
            .header(CONTENT_TYPE, JSON)
            // Not the connection pool's: it tells the run, and pools and waits are shared by runs.
            .header(USER_AGENT, &config.user_agent)
            .header(signing::DATE_HEADER, signature.timestamp)
            .header(AUTHORIZATION, authorization)
            .body(body.to_vec());
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(token).map_err(|error| unsendable(&error))?;
            value.set_sensitive(true);
            request = request.header(signing::TOKEN_HEADER, value);
        }
        request.build().map_err(|error| unsendable(&error))
    }

    fn tell(&self, record: &CallRecord) {
        let milliseconds = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX);
        debug!(
            oapi.action = record.action,
            oapi.attempt = record.attempt,
            oapi.code = record.code,
            oapi.request_id = record.request_id.as_deref(),
            http.status = record.status,
            duration_ms = milliseconds,
            "{} {} in {milliseconds} ms",
            record.action,
            match record.status {
                Some(status) => format!("was answered with {status}"),
                None => "got no answer".to_owned(),
            },
        );
        if let Some(on_call) = &self.inner.config.on_call {
            on_call(record);
        }
    }
}

/// The JSON of a request without anything that is not set.
fn body_of<R: Request>(request: &R) -> Result<Vec<u8>, OapiError> {
    let unsendable =
        |error: serde_json::Error| OapiError::Unsendable { action: R::ACTION, reason: error.to_string() };
    let mut value = serde_json::to_value(request).map_err(unsendable)?;
    drop_unset(&mut value);
    serde_json::to_vec(&value).map_err(unsendable)
}

/// What an explicitly empty list means to OAPI is not documented, so none is sent.
fn drop_unset(value: &mut Value) {
    let is_unset = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(drop_unset);
            fields.retain(|_, field| !is_unset(field));
        }
        Value::Array(items) => items.iter_mut().for_each(drop_unset),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

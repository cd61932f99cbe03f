//! The HTTP side of a call: the connection pool, TLS, timeouts, and a bounded body.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use secrecy::ExposeSecret;

use super::answer::Reply;
use super::client::{ClientConfig, ConfigError};
use super::error::OapiError;
use super::trust::check_client_certificate;

/// No answer of OAPI is this large: 389 images are some 300 KiB.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;
/// Connections to an endpoint that are kept open between calls.
const IDLE_CONNECTIONS: usize = 16;

/// A connection pool as the configuration asks for.
pub(super) fn connections(config: &ClientConfig) -> Result<reqwest::Client, ConfigError> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(config.connect_timeout)
        .timeout(config.request_timeout)
        // A signed request is for one host, and a redirect would hand its signature to another.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .tcp_nodelay(true)
        .tls_danger_accept_invalid_certs(config.tls.insecure_skip_verify);
    if let Some(pem) = &config.tls.ca_certificates {
        let certificates =
            reqwest::Certificate::from_pem_bundle(pem.as_bytes()).map_err(ConfigError::CaCertificates)?;
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some(proxy) = &config.tls.proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy.expose_secret()).map_err(ConfigError::Proxy)?);
    }
    if let Some(pem) = &config.tls.client_certificate {
        // A pair that does not fit would only be an unclear error of the whole client.
        check_client_certificate(pem).map_err(ConfigError::ClientCertificate)?;
        let trust_error = || ConfigError::ClientCertificate("the client certificate is no PEM".to_owned());
        let identity = reqwest::Identity::from_pem(pem.expose_secret().as_bytes());
        builder = builder.identity(identity.map_err(|_| trust_error())?);
    }
    builder.build().map_err(ConfigError::Http)
}

/// Sends a request and reads the whole reply.
pub(super) async fn exchange(
    connections: &reqwest::Client,
    action: &'static str,
    request: reqwest::Request,
) -> Result<Reply, OapiError> {
    let mut response = connections.execute(request).await.map_err(|error| failed(action, error))?;
    let status = response.status().as_u16();
    let server_time = server_time(response.headers());
    let retry_after = retry_after(response.headers());
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(action, error))? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            let excerpt = format!("more than {LARGEST_ANSWER} bytes");
            return Err(OapiError::BadAnswer { action, status, excerpt, maybe_done: true });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply { status, server_time, retry_after, body })
}

fn failed(action: &'static str, error: reqwest::Error) -> OapiError {
    // Without a connection nothing was sent; after that, the request may have arrived.
    let maybe_done = !error.is_connect();
    if error.is_builder() {
        return OapiError::Unsendable { action, reason: error.to_string() };
    }
    if error.is_timeout() {
        return OapiError::TimedOut { action, maybe_done };
    }
    OapiError::Unreachable { action, source: Arc::new(error), maybe_done }
}

fn server_time(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let date = headers.get(DATE)?.to_str().ok()?;
    Some(DateTime::parse_from_rfc2822(date).ok()?.to_utc())
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

//! Talks to a server: addresses, tokens, problems, and trying again where that can do no harm.

use std::{net::IpAddr, time::Duration};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::sleep;

use super::ClientError;
use crate::domain::Problem;

/// How long a connection may take to open.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long an answer may be silent; the server sends a sign of life every 15 s while a log is quiet.
const SILENT_FOR: Duration = Duration::from_secs(45);

/// How often a request is sent at most.
const TRIES: u32 = 5;

/// First pause between two tries; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// The longest time that the server may ask to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The most of a strange answer that is shown.
const EXCERPT: usize = 200;

/// A server's address with everything needed to ask it.
#[derive(Debug)]
pub struct Server {
    http: Client,
    base: Url,
    token: Option<SecretString>,
}

impl Server {
    /// Reads the address; does not connect yet.
    ///
    /// # Errors
    /// The address is no URL of http or https.
    pub fn new(address: &str, token: Option<SecretString>) -> Result<Self, ClientError> {
        let wrong = || {
            let example = "http://127.0.0.1:8080";
            ClientError::Usage(format!(
                "`{address}` is no address of a server; write for example `{example}`"
            ))
        };
        let whole = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let mut base = Url::parse(&whole).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(wrong());
        }
        // A server may live below a path; without the final slash joining would replace its last part.
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let host = base.host_str().unwrap_or_default();
        let is_here = host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let mut builder = Client::builder()
            .user_agent(concat!("fournil/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN)
            .read_timeout(SILENT_FOR);
        if is_here {
            // A proxy for the internet would look for 127.0.0.1 on itself.
            builder = builder.no_proxy();
        }
        let server = base.to_string();
        let http = builder.build().map_err(|source| ClientError::Unreachable { server, source })?;
        Ok(Self { http, base, token })
    }

    /// The address, for messages.
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Asks for something.
    pub async fn get(&self, path: &str, query: &[(String, String)]) -> Result<Value, ClientError> {
        self.json(|| self.request(Method::GET, path, query)).await
    }

    /// Asks for a stream. Not tried again: who reads it knows where to go on.
    pub async fn stream(
        &self,
        path: &str,
        query: &[(String, String)],
        accept: &str,
        last_event_id: Option<i64>,
    ) -> Result<Response, ClientError> {
        let mut request = self.request(Method::GET, path, query)?.header(header::ACCEPT, accept);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id.to_string());
        }
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    /// Posts a request with a packed folder. The key makes it safe to send it again when the answer got lost. Nothing of it
    /// stands in the URL, which proxies write into their logs.
    pub async fn post_folder(
        &self,
        path: &str,
        request: &Value,
        archive: &[u8],
        key: &str,
    ) -> Result<Value, ClientError> {
        // The key is new for each request, so no archive holds it by chance.
        let boundary = format!("fournil-{key}");
        let part = |name: &str, kind: &str| {
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
            )
        };
        let json = request.to_string();
        let context = part("context", "application/gzip");
        let end = format!("\r\n--{boundary}--\r\n");
        let head = [part("request", "application/json").as_str(), &json, "\r\n", &context].concat();
        let body = bytes::Bytes::from([head.as_bytes(), archive, end.as_bytes()].concat());
        let media_type = format!("multipart/form-data; boundary={boundary}");
        self.json(|| {
            let request = self.request(Method::POST, path, &[])?;
            let request = request.header(header::CONTENT_TYPE, &media_type).header("Idempotency-Key", key);
            Ok(request.body(body.clone()))
        })
        .await
    }

    /// Posts without a body, to something that is harmless to ask for twice.
    pub async fn post(&self, path: &str, key: &str) -> Result<Value, ClientError> {
        self.json(|| Ok(self.request(Method::POST, path, &[])?.header("Idempotency-Key", key))).await
    }

    /// Posts a small JSON body, to something that is harmless to ask for twice.
    pub async fn post_json(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.json(|| Ok(self.request(Method::POST, path, &[])?.json(body))).await
    }

    /// Posts a small JSON body, to something that must not be asked for twice.
    pub async fn post_json_once(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let request = self.request(Method::POST, path, &[])?.json(body);
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let bytes = response.bytes().await.map_err(|source| self.unreachable(source))?;
        serde_json::from_slice(&bytes).map_err(|_| self.strange("the answer is no JSON".to_owned()))
    }

    /// Puts a small JSON body in the place of what is there.
    pub async fn put_json(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.json(|| Ok(self.request(Method::PUT, path, &[])?.json(body))).await
    }

    /// Deletes something, which is harmless to ask for twice.
    pub async fn delete(&self, path: &str, query: &[(String, String)]) -> Result<Value, ClientError> {
        self.json(|| self.request(Method::DELETE, path, query)).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(String, String)],
    ) -> Result<RequestBuilder, ClientError> {
        let mut url = self.base.join(path).map_err(|error| self.strange(error.to_string()))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        })
    }

    async fn json(
        &self,
        request: impl Fn() -> Result<RequestBuilder, ClientError>,
    ) -> Result<Value, ClientError> {
        let mut pause = FIRST_PAUSE;
        for tries in 1.. {
            let is_last = tries == TRIES;
            let asked_to_wait = match request()?.send().await {
                Ok(response) if response.status().is_success() => match response.bytes().await {
                    Ok(bytes) => {
                        return serde_json::from_slice(&bytes)
                            .map_err(|_| self.strange("the answer is no JSON".to_owned()));
                    }
                    Err(source) if is_last => return Err(self.unreachable(source)),
                    Err(_) => None,
                },
                Ok(response) => {
                    let wait = retry_after(&response);
                    let status = response.status();
                    let refusal = self.refusal(response).await;
                    let is_transient = match &refusal {
                        ClientError::Refused(problem) => problem.retryable,
                        _ => matches!(
                            status,
                            StatusCode::BAD_GATEWAY
                                | StatusCode::SERVICE_UNAVAILABLE
                                | StatusCode::GATEWAY_TIMEOUT
                        ),
                    };
                    if is_last || !is_transient {
                        return Err(refusal);
                    }
                    wait
                }
                // Nobody has been there at all: waiting would only delay the news.
                Err(source) if is_last || (source.is_connect() && tries == 1) => {
                    return Err(self.unreachable(source));
                }
                Err(_) => None,
            };
            sleep(asked_to_wait.unwrap_or(pause).min(LONGEST_PAUSE)).await;
            pause *= 2;
        }
        Err(self.strange("no answer".to_owned()))
    }

    /// Makes an error of an answer that is none of success.
    async fn refusal(&self, response: Response) -> ClientError {
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        if let Ok(problem) = serde_json::from_str::<Problem>(&text) {
            return ClientError::Refused(Box::new(problem));
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let excerpt: String = text.chars().take(EXCERPT).collect();
        self.strange(format!("HTTP {status}: {excerpt}"))
    }

    fn unreachable(&self, source: reqwest::Error) -> ClientError {
        // Without the URL: its query may hold variables, and the address is in the message anyway.
        ClientError::Unreachable { server: self.address().to_owned(), source: source.without_url() }
    }

    pub fn strange(&self, what: String) -> ClientError {
        ClientError::Strange { server: self.address().to_owned(), what }
    }

    /// Reads an answer into a type.
    pub fn read<T: DeserializeOwned>(&self, value: Value) -> Result<T, ClientError> {
        serde_json::from_value(value).map_err(|error| self.strange(error.to_string()))
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

//! Trust over TLS, both ways, against a server with certificates of a CA of its own; and the way there through a proxy.
//! `testdata` holds a certificate of X.509 version 1 with its key, which only `openssl x509 -req` without extensions makes:
//! the key protects nothing.

use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, Issuer, KeyPair as Pair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::oapi::{check_client_certificate, types::ReadVms};

/// A CA.
struct Authority {
    pem: String,
    issuer: Issuer<'static, Pair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = Pair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate with its key, in PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = Pair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn client(&self) -> SecretString {
        let (certificate, key) = self.issue("me");
        SecretString::from(format!("{certificate}\n{key}"))
    }
}

/// Serves an empty answer to each call; with `clients` only to those whose certificate that CA has signed.
async fn serve(certificate: &str, key: &str, clients: Option<&Authority>) -> u16 {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    // Not by `with_single_cert`, which refuses old certificates itself.
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(chain, signing);
    let config = builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut seen = Vec::new();
                let mut chunk = [0; 4096];
                while !seen.ends_with(b"}") {
                    match stream.read(&mut chunk).await {
                        Ok(count) if count > 0 => seen.extend_from_slice(&chunk[..count]),
                        _ => return,
                    }
                }
                let body = r#"{"Vms":[],"ResponseContext":{"RequestId":"r"}}"#;
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

/// A proxy that notes what it is asked for, and leads there.
async fn proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let noted = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let noted = noted.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(from.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap().to_owned();
                noted.lock().unwrap().push(head.lines().next().unwrap().to_owned());
                let mut to = TcpStream::connect(target).await.unwrap();
                from.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    (port, asked)
}

async fn call(port: u16, tls: TlsConfig) -> Result<(), OapiError> {
    let endpoint = Endpoint::parse(&format!("https://localhost:{port}"), "eu-west-2").unwrap();
    let mut config = ClientConfig::new(endpoint, "eu-west-2", "ABCDEFGHIJ0123456789", "secret".into());
    config.tls = tls;
    config.retry = RetryPolicy::once();
    OapiPool::default().client(config).unwrap().call(&ReadVms::default()).await.map(drop)
}

fn hint(result: Result<(), OapiError>) -> String {
    let error = result.unwrap_err();
    error.hint().unwrap_or_else(|| panic!("no hint: {error:?}"))
}

#[tokio::test]
async fn a_ca_of_the_operators_is_trusted_and_a_stranger_is_not() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let (certificate, key) = authority.issue("localhost");
    let port = serve(&certificate, &key, None).await;
    let trusting =
        |ca: &Authority| TlsConfig { ca_certificates: Some(ca.pem.clone()), ..TlsConfig::default() };
    call(port, trusting(&authority)).await.unwrap();
    for tls in [TlsConfig::default(), trusting(&other)] {
        let hint = hint(call(port, tls).await);
        assert!(hint.contains("`oapi.ca_file`"), "{hint}");
    }
    call(port, TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() }).await.unwrap();

    let (certificate, key) = authority.issue("elsewhere.example");
    let port = serve(&certificate, &key, None).await;
    let hint = hint(call(port, trusting(&authority)).await);
    assert!(hint.contains("another host name"), "{hint}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_asks_for_one() {
    let (servers, clients) = (Authority::new("one"), Authority::new("other"));
    let (certificate, key) = servers.issue("localhost");
    let port = serve(&certificate, &key, Some(&clients)).await;
    let tls = |client_certificate| TlsConfig {
        ca_certificates: Some(servers.pem.clone()),
        client_certificate,
        ..TlsConfig::default()
    };
    call(port, tls(Some(clients.client()))).await.unwrap();
    for refused in [None, Some(servers.client())] {
        let hint = hint(call(port, tls(refused)).await);
        assert!(hint.contains("client certificate") && hint.contains("x509_cert_path"), "{hint}");
    }
}

#[tokio::test]
async fn a_server_with_a_certificate_of_version_1_is_refused_by_name() {
    let certificate = include_str!("testdata/version1.pem");
    let port = serve(certificate, include_str!("testdata/version1.key"), None).await;
    let ca_certificates = Some(include_str!("testdata/ca.pem").to_owned());
    let hint = hint(call(port, TlsConfig { ca_certificates, ..TlsConfig::default() }).await);
    assert!(hint.contains("X.509 version 1"), "{hint}");
}

#[test]
fn a_client_certificate_that_cannot_be_used_is_told() {
    let pem = |certificate: &str, key: &str| SecretString::from(format!("{certificate}\n{key}"));
    let authority = Authority::new("one");
    let ((certificate, key), (_, other_key)) = (authority.issue("a"), authority.issue("b"));
    assert_eq!(check_client_certificate(&pem(&certificate, &key)), Ok(()));
    let mixed = check_client_certificate(&pem(&certificate, &other_key)).unwrap_err();
    assert!(mixed.contains("do not belong together"), "{mixed}");
    let old = pem(include_str!("testdata/version1.pem"), include_str!("testdata/version1.key"));
    let old = check_client_certificate(&old).unwrap_err();
    assert!(old.contains("X.509 version 1"), "{old}");
    for odd in [
        "",
        "hunter2",
        "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n",
        &certificate,
        &key,
    ] {
        let error = check_client_certificate(&SecretString::from(odd)).unwrap_err();
        assert!(error.contains("client certificate cannot be used") && !error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn calls_go_through_the_proxy_without_being_read_there() {
    let authority = Authority::new("one");
    let (certificate, key) = authority.issue("localhost");
    let port = serve(&certificate, &key, None).await;
    let (proxy, asked) = proxy().await;
    let tls = TlsConfig {
        ca_certificates: Some(authority.pem.clone()),
        proxy: Some(SecretString::from(format!("http://127.0.0.1:{proxy}"))),
        ..TlsConfig::default()
    };
    call(port, tls).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [format!("CONNECT localhost:{port} HTTP/1.1")]);
}

/// Keys that are others each time they are asked for anew.
#[derive(Debug, Default)]
struct Numbered(std::sync::atomic::AtomicUsize);

impl crate::oapi::KeySource for Numbered {
    fn name(&self) -> String {
        "numbered".to_owned()
    }

    fn current(&self) -> futures::future::BoxFuture<'_, Result<Arc<KeyPair>, crate::oapi::NoKeys>> {
        let number = self.0.load(std::sync::atomic::Ordering::SeqCst);
        let keys = KeyPair {
            access_key: format!("KEY{number}"),
            secret_key: "secret".into(),
            session_token: Some("the-token".into()),
        };
        Box::pin(async move { Ok(Arc::new(keys)) })
    }

    fn refused<'a>(&'a self, _: &'a str) -> futures::future::BoxFuture<'a, bool> {
        Box::pin(async { self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 100 })
    }
}

#[tokio::test]
async fn keys_that_change_are_used_anew_and_a_refusal_is_tried_once_with_others() {
    use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::method};
    let server = MockServer::start().await;
    let refusal = serde_json::json!({ "Errors": [{ "Type": "AccessDenied", "Details": "", "Code": "1" }] });
    Mock::given(method("POST"))
        .respond_with(move |request: &Request| {
            let header = |name: &str| request.headers[name].to_str().unwrap().to_owned();
            assert_eq!(header("x-osc-security-token"), "the-token");
            let authorization = header("authorization");
            assert!(authorization.contains("x-osc-security-token"), "{authorization}");
            match authorization.contains("KEY1/") {
                true => ResponseTemplate::new(200).set_body_json(serde_json::json!({ "Vms": [] })),
                false => ResponseTemplate::new(401).set_body_json(&refusal),
            }
        })
        .mount(&server)
        .await;
    let source = Arc::new(Numbered::default());
    let endpoint = Endpoint::parse(&server.uri(), "eu-west-2").unwrap();
    let mut config = ClientConfig::new(endpoint, "eu-west-2", "KEY0", "secret".into());
    config.key_source = Some(source.clone());
    let client = OapiPool::default().client(config).unwrap();
    client.call(&ReadVms::default()).await.unwrap();
    assert_eq!(server.received_requests().await.unwrap().len(), 2);
    client.call(&ReadVms::default()).await.unwrap();
    assert_eq!(server.received_requests().await.unwrap().len(), 3);
    // Others that are refused too are not tried for ever.
    source.0.store(50, std::sync::atomic::Ordering::SeqCst);
    assert!(client.call(&ReadVms::default()).await.unwrap_err().is_auth());
    assert_eq!(server.received_requests().await.unwrap().len(), 5);
}

//! JWTs of a provider of our own: what is accepted, and all that is not.

use aws_lc_rs::{
    encoding::AsDer,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header, jwk::Jwk};
use serde_json::json;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

use super::*;

/// A key of the provider.
struct Key {
    algorithm: Algorithm,
    secret: EncodingKey,
    id: &'static str,
}

impl Key {
    fn new(algorithm: Algorithm, id: &'static str) -> Self {
        let secret = match algorithm {
            Algorithm::RS256 => {
                let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
                let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().unwrap();
                // The PKCS #1 form is in the PKCS #8 form, behind its head.
                EncodingKey::from_rsa_der(&der.as_ref()[26..])
            }
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref())
            }
            _ => EncodingKey::from_ed_der(Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap().as_ref()),
        };
        Self { algorithm, secret, id }
    }

    fn public(&self) -> Value {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.secret, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.secret).unwrap()
    }
}

async fn provider(keys: &[&Key]) -> MockServer {
    let server = MockServer::start().await;
    publish(&server, keys).await;
    server
}

async fn publish(server: &MockServer, keys: &[&Key]) {
    server.reset().await;
    let discovery = json!({ "issuer": server.uri(), "jwks_uri": format!("{}/keys", server.uri()) });
    serve(server, "/.well-known/openid-configuration", ResponseTemplate::new(200).set_body_json(discovery))
        .await;
    // Keys of other kinds stand beside ours.
    let others = [json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "shared" }), json!({ "kty": "new" })];
    let all: Vec<_> = keys.iter().map(|key| key.public()).chain(others).collect();
    serve(server, "/keys", ResponseTemplate::new(200).set_body_json(json!({ "keys": all }))).await;
}

async fn serve(server: &MockServer, place: &str, answer: ResponseTemplate) {
    Mock::given(method("GET")).and(path(place)).respond_with(answer).mount(server).await;
}

fn settings(issuer: &str) -> OidcSettings {
    let roles = [("ops", Role::Admin), ("dev", Role::Builder), ("all", Role::Viewer)];
    OidcSettings {
        issuer: issuer.to_owned(),
        audience: "fournil".to_owned(),
        role_claim: "realm.roles".to_owned(),
        roles: roles.map(|(name, role)| (name.to_owned(), role)).into(),
        pause: Duration::ZERO,
    }
}

fn claims(server: &MockServer) -> Value {
    json!({
        "iss": server.uri(), "aud": ["other", "fournil"], "sub": "alice", "exp": chrono::Utc::now().timestamp() + 600,
        "realm": { "roles": ["all", "dev", "unheard-of"] },
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

async fn refusal(oidc: &Oidc, jwt: &str) -> String {
    oidc.check(jwt).await.expect_err("this should have been refused").problem().code
}

#[tokio::test]
async fn each_algorithm_is_accepted_with_its_own_key() {
    let keys = [
        Key::new(Algorithm::RS256, "rsa"),
        Key::new(Algorithm::ES256, "ec"),
        Key::new(Algorithm::EdDSA, "ed"),
    ];
    let server = provider(&keys.iter().collect::<Vec<_>>()).await;
    let oidc = Oidc::new(settings(&server.uri()));
    for key in &keys {
        let claims = claims(&server);
        let principal = oidc.check(&key.sign(&claims)).await.unwrap();
        assert_eq!(principal.name(), "oidc:alice");
        assert_eq!(principal.role, Role::Builder, "the highest one");
        assert!(principal.until.unwrap().timestamp() >= claims["exp"].as_i64().unwrap());
        // The key of another algorithm under this key's name.
        for other in keys.iter().filter(|other| other.id != key.id) {
            let forged = Key { id: key.id, algorithm: other.algorithm, secret: other.secret.clone() };
            assert_eq!(refusal(&oidc, &forged.sign(&claims)).await, "jwt_refused");
        }
    }
}

#[tokio::test]
async fn claims_that_are_wrong_or_missing_are_refused() {
    let key = Key::new(Algorithm::EdDSA, "ed");
    let server = provider(&[&key]).await;
    let oidc = Oidc::new(settings(&server.uri()));
    let good = claims(&server);
    let now = chrono::Utc::now().timestamp();
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", Value::Null),
        ("aud", json!("other")),
        ("aud", Value::Null),
        ("exp", json!(now - 3600)),
        ("exp", Value::Null),
        ("exp", json!("tomorrow")),
        ("nbf", json!(now + 3600)),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!("a\nb")),
    ] {
        let mut claims = with(good.clone(), name, value.clone());
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        }
        assert_eq!(refusal(&oidc, &key.sign(&claims)).await, "jwt_refused", "{name} {value}");
    }
    for roles in [json!(["unheard-of"]), json!([]), json!(7), Value::Null] {
        let claims = with(good.clone(), "realm", json!({ "roles": roles }));
        assert_eq!(refusal(&oidc, &key.sign(&claims)).await, "no_role");
    }
    // One role as a text, and a claim with a dot in its name.
    let claims = with(with(good.clone(), "realm", json!({})), "realm.roles", json!("ops"));
    assert_eq!(oidc.check(&key.sign(&claims)).await.unwrap().role, Role::Admin);
    // A clock that is a little behind does no harm.
    assert!(oidc.check(&key.sign(&with(good, "nbf", json!(now + 10)))).await.is_ok());
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let (key, stranger) = (Key::new(Algorithm::ES256, "ec"), Key::new(Algorithm::ES256, "ec"));
    let server = provider(&[&key]).await;
    let oidc = Oidc::new(settings(&server.uri()));
    let claims = claims(&server);
    let good = key.sign(&claims);
    assert!(oidc.check(&good).await.is_ok());
    assert_eq!(refusal(&oidc, &stranger.sign(&claims)).await, "jwt_refused");

    let (head, signature) = (good.split('.').next().unwrap(), good.rsplit('.').next().unwrap());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let other = part(&with(claims.clone(), "sub", json!("root")));
    let body = part(&claims);
    let mut forged = vec![
        format!("{head}.{other}.{signature}"),
        format!("{head}.{body}."),
        format!("{}.{body}.", part(&json!({ "alg": "none" }))),
        format!("{}.{body}.{signature}", part(&json!({ "alg": "ES256", "kid": "ec", "crit": ["exp"] }))),
        "eyJ.eyJ.x".to_owned(),
        "..".to_owned(),
        String::new(),
    ];
    // The public key as a shared secret.
    let public = key.public().to_string();
    let header = Header { kid: Some("ec".to_owned()), ..Header::new(Algorithm::HS256) };
    forged
        .push(jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(public.as_bytes())).unwrap());
    // The shared secret that stands among the provider's keys.
    let header = Header { kid: Some("shared".to_owned()), ..Header::new(Algorithm::HS256) };
    forged.push(jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(b"secret")).unwrap());
    for jwt in forged {
        assert_eq!(refusal(&oidc, &jwt).await, "jwt_refused", "{jwt}");
    }
}

#[tokio::test]
async fn a_new_key_is_fetched_and_an_unknown_one_not_over_and_over() {
    let (old, new) = (Key::new(Algorithm::EdDSA, "old"), Key::new(Algorithm::EdDSA, "new"));
    let server = provider(&[&old]).await;
    let asked = async || server.received_requests().await.unwrap().len();
    let oidc = Oidc::new(settings(&server.uri()));
    assert!(oidc.check(&old.sign(&claims(&server))).await.is_ok());
    assert!(oidc.check(&old.sign(&claims(&server))).await.is_ok());
    assert_eq!(asked().await, 2, "the keys are kept");
    publish(&server, &[&new]).await;
    assert!(oidc.check(&new.sign(&claims(&server))).await.is_ok());
    assert_eq!(refusal(&oidc, &old.sign(&claims(&server))).await, "jwt_refused");

    let oidc = Oidc::new(OidcSettings { pause: Duration::from_secs(3600), ..settings(&server.uri()) });
    server.reset().await;
    publish(&server, &[&new]).await;
    for _ in 0..5 {
        assert_eq!(refusal(&oidc, &old.sign(&claims(&server))).await, "jwt_refused");
    }
    assert_eq!(asked().await, 2);
}

#[tokio::test]
async fn a_key_that_was_withdrawn_is_forgotten_when_the_keys_are_not_fresh() {
    let (old, new) = (Key::new(Algorithm::EdDSA, "old"), Key::new(Algorithm::EdDSA, "new"));
    for fresh in [Duration::ZERO, Duration::from_secs(3600)] {
        let server = provider(&[&old]).await;
        let ages = Ages { fresh, ..Ages::default() };
        let oidc = Oidc::with_ages(settings(&server.uri()), ages);
        let jwt = old.sign(&claims(&server));
        assert!(oidc.check(&jwt).await.is_ok());
        publish(&server, &[&new]).await;
        assert_eq!(oidc.check(&jwt).await.is_ok(), !fresh.is_zero());
    }
}

#[tokio::test]
async fn keys_that_are_too_old_are_not_used_while_the_provider_is_away() {
    let key = Key::new(Algorithm::EdDSA, "ed");
    for stale in [Duration::ZERO, Duration::from_secs(3600)] {
        let server = provider(&[&key]).await;
        let ages = Ages { fresh: Duration::ZERO, stale };
        let oidc = Oidc::with_ages(settings(&server.uri()), ages);
        let jwt = key.sign(&claims(&server));
        // Too old as soon as they are there, these are of no use at all.
        assert_eq!(oidc.check(&jwt).await.is_ok(), !stale.is_zero());
        server.reset().await;
        match oidc.check(&jwt).await {
            Ok(_) => assert!(!stale.is_zero()),
            Err(error) => assert!(stale.is_zero() && error.problem().code == "oidc_provider_away", "{error}"),
        }
    }
}

#[tokio::test]
async fn a_provider_that_misbehaves_lets_nobody_in() {
    let key = Key::new(Algorithm::EdDSA, "ed");
    let server = provider(&[&key]).await;
    let jwt = key.sign(&claims(&server));
    let keys = json!({ "keys": [key.public()] });
    let discovery = |issuer: &str, place: &str| json!({ "issuer": issuer, "jwks_uri": place });
    let (own, place) = (server.uri(), format!("{}/keys", server.uri()));
    let large = format!("{{\"keys\": [], \"x\": \"{}\"}}", "x".repeat(300 << 10));
    let moved = ResponseTemplate::new(302).insert_header("location", format!("{own}/elsewhere"));
    for (what, discovered, answer) in [
        (
            "another issuer",
            discovery("https://evil.example", &place),
            ResponseTemplate::new(200).set_body_json(&keys),
        ),
        ("no TLS", discovery(&own, "http://192.0.2.1/keys"), ResponseTemplate::new(200).set_body_json(&keys)),
        ("a redirect", discovery(&own, &place), moved),
        ("too much", discovery(&own, &place), ResponseTemplate::new(200).set_body_string(large)),
        ("no JSON", discovery(&own, &place), ResponseTemplate::new(200).set_body_string("<html>")),
        ("an error", discovery(&own, &place), ResponseTemplate::new(500)),
    ] {
        server.reset().await;
        serve(
            &server,
            "/.well-known/openid-configuration",
            ResponseTemplate::new(200).set_body_json(discovered),
        )
        .await;
        serve(&server, "/elsewhere", ResponseTemplate::new(200).set_body_json(&keys)).await;
        serve(&server, "/keys", answer).await;
        let oidc = Oidc::new(settings(&own));
        assert_eq!(refusal(&oidc, &jwt).await, "oidc_provider_away", "{what}");
    }
    // Once its keys were read, it may be away for a while.
    let oidc = Oidc::new(settings(&own));
    publish(&server, &[&key]).await;
    assert!(oidc.check(&jwt).await.is_ok());
    server.reset().await;
    assert!(oidc.check(&jwt).await.is_ok());
}

#[test]
fn secrets_go_over_tls_or_stay_here() {
    for good in ["https://id.example.com/a", "http://127.0.0.1:9000", "http://localhost/a", "http://[::1]/"] {
        assert!(check_url(good).is_ok(), "{good}");
    }
    for bad in [
        "http://id.example.com",
        "ftp://id.example.com",
        "id.example.com",
        "",
        "http://127.0.0.1.evil.example",
    ] {
        assert!(check_url(bad).is_err(), "{bad}");
    }
}

//! Keys of a role over time, with a metadata service that does what a test wants.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::path};

use super::*;
use crate::credentials::provider::{CredentialsError, EnvironmentSource, resolve};

/// A metadata service whose role has keys of `life` seconds, numbered from 1, by a clock that is moved.
struct Service {
    server: MockServer,
    fetched: Arc<AtomicUsize>,
    moved: Arc<AtomicI64>,
    is_broken: Arc<std::sync::atomic::AtomicBool>,
}

const START: i64 = 1_700_000_000;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(START + seconds, 0).unwrap()
}

fn keys(number: usize, end: DateTime<Utc>) -> Value {
    json!({ "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": format!("ROLEKEY{number}"),
        "SecretAccessKey": "hunter2hunter2", "Token": "hunter2token", "Expiration": end })
}

impl Service {
    async fn start(life: i64) -> Self {
        let service = Self {
            server: MockServer::start().await,
            fetched: Arc::default(),
            moved: Arc::default(),
            is_broken: Arc::default(),
        };
        let list = ResponseTemplate::new(200).set_body_string("baker\n");
        Mock::given(path(format!("/latest/{ROLES}"))).respond_with(list).mount(&service.server).await;
        let (fetched, moved, is_broken) =
            (service.fetched.clone(), service.moved.clone(), service.is_broken.clone());
        Mock::given(path(format!("/latest/{ROLES}baker")))
            .respond_with(move |_: &Request| {
                let number = 1 + fetched.fetch_add(1, Ordering::SeqCst);
                if is_broken.load(Ordering::SeqCst) {
                    return ResponseTemplate::new(500);
                }
                let end = at(moved.load(Ordering::SeqCst) + life);
                ResponseTemplate::new(200).set_body_json(keys(number, end))
            })
            .mount(&service.server)
            .await;
        service
    }

    fn roles(&self) -> Roles {
        let moved = self.moved.clone();
        Roles {
            clock: Arc::new(move || at(moved.load(Ordering::SeqCst))),
            ..Roles::new(MetadataService::new(&self.server.uri()).unwrap())
        }
    }

    fn pass(&self, seconds: i64) {
        self.moved.fetch_add(seconds, Ordering::SeqCst);
    }

    fn fetched(&self) -> usize {
        self.fetched.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn keys_are_kept_and_renewed_before_their_end() {
    let service = Service::start(3600).await;
    let role = service.roles().current().await.unwrap();
    let source = role.source;
    assert_eq!((role.keys.access_key.as_str(), source.role()), ("ROLEKEY1", "baker"));
    assert_eq!(role.keys.secret_key.expose_secret(), "hunter2hunter2");
    assert!(!format!("{:?} {:?}", role.keys, source).contains("hunter2"));
    service.pass(2699);
    assert_eq!(source.get().await.unwrap().access_key, "ROLEKEY1");
    assert_eq!(service.fetched(), 1);
    // A quarter of their life is left.
    service.pass(1);
    assert_eq!(source.get().await.unwrap().access_key, "ROLEKEY2");
    assert_eq!(source.get().await.unwrap().access_key, "ROLEKEY2");
    assert_eq!(service.fetched(), 2);
}

#[tokio::test]
async fn short_lives_are_halved_and_not_fetched_each_time() {
    let service = Service::start(20).await;
    let source = service.roles().current().await.unwrap().source;
    service.pass(9);
    assert_eq!(source.get().await.unwrap().access_key, "ROLEKEY1");
    service.pass(1);
    assert_eq!(source.get().await.unwrap().access_key, "ROLEKEY2");
    assert_eq!(service.fetched(), 2);
}

#[tokio::test]
async fn the_old_keys_are_used_while_new_ones_cannot_be_had() {
    let service = Service::start(3600).await;
    let source = service.roles().current().await.unwrap().source;
    service.is_broken.store(true, Ordering::SeqCst);
    service.pass(3000);
    assert_eq!(source.get().await.unwrap().access_key, "ROLEKEY1");
    assert_eq!(source.get().await.unwrap().access_key, "ROLEKEY1");
    assert_eq!(service.fetched(), 2, "not asked again at once");
    service.pass(61);
    assert_eq!(source.get().await.unwrap().access_key, "ROLEKEY1");
    assert_eq!(service.fetched(), 3);
    service.is_broken.store(false, Ordering::SeqCst);
    service.pass(61);
    assert_eq!(source.get().await.unwrap().access_key, "ROLEKEY4");
}

#[tokio::test]
async fn many_that_wait_fetch_once() {
    let service = Service::start(3600).await;
    let source = service.roles().current().await.unwrap().source;
    service.pass(4000);
    let all = futures::future::join_all((0..50).map(|_| source.get())).await;
    assert!(all.into_iter().all(|keys| keys.unwrap().access_key == "ROLEKEY2"));
    assert_eq!(service.fetched(), 2);
}

#[tokio::test]
async fn refused_keys_are_replaced_if_there_are_others() {
    let service = Service::start(3600).await;
    let source = service.roles().current().await.unwrap().source;
    assert!(source.refused("ROLEKEY1").await);
    assert!(source.refused("ROLEKEY1").await, "others there are already");
    assert_eq!((service.fetched(), source.get().await.unwrap().access_key.as_str()), (2, "ROLEKEY2"));
    service.is_broken.store(true, Ordering::SeqCst);
    assert!(!source.refused("ROLEKEY2").await);
}

#[tokio::test]
async fn odd_answers_are_refused_without_a_word_of_them() {
    for (answer, word) in [
        (json!({ "Code": "Failed", "Message": "hunter2" }), "not understood"),
        (json!("hunter2"), "not understood"),
        (keys(1, at(-1)), "expired"),
        (
            {
                let mut aws = keys(1, at(60));
                aws["AccessKeyId"] = json!("ASIAXXXXXXXXXXXXXXXX");
                aws
            },
            "AWS's",
        ),
        (
            {
                let mut failed = keys(1, at(60));
                failed["Code"] = json!("Failed");
                failed
            },
            "none now",
        ),
    ] {
        let server = MockServer::start().await;
        let list = ResponseTemplate::new(200).set_body_string("baker");
        Mock::given(path(format!("/latest/{ROLES}"))).respond_with(list).mount(&server).await;
        let answer = ResponseTemplate::new(200).set_body_json(answer);
        Mock::given(path(format!("/latest/{ROLES}baker"))).respond_with(answer).mount(&server).await;
        let roles =
            Roles { clock: Arc::new(|| at(0)), ..Roles::new(MetadataService::new(&server.uri()).unwrap()) };
        let error = roles.current().await.map(drop).unwrap_err().to_string();
        assert!(error.contains(word) && !error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn the_role_comes_last_and_without_one_every_source_is_named() {
    let service = Service::start(3600).await;
    let (plan, allowed) = (Default::default(), Default::default());
    let nothing = EnvironmentSource::default();
    let resolved = resolve(&plan, None, &nothing, &allowed, &service.roles()).await.unwrap();
    assert_eq!(resolved.access_key, "ROLEKEY1");
    assert!(resolved.key_source.is_some());
    assert!(resolved.source.starts_with("keys from the role `baker` of this VM"), "{}", resolved.source);

    let variables = [("OSC_ACCESS_KEY", "ENVKEY"), ("OSC_SECRET_KEY", "x")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = EnvironmentSource { variables: variables.into(), home: None };
    let resolved = resolve(&plan, None, &environment, &allowed, &service.roles()).await.unwrap();
    assert_eq!((resolved.access_key.as_str(), resolved.key_source.is_none()), ("ENVKEY", true));

    // Of a service without roles, and of none at all.
    let bare = MockServer::start().await;
    for (url, word) in [(bare.uri(), "has no role"), ("http://127.0.0.1:1".to_owned(), "cannot be reached")] {
        let roles = Roles::new(MetadataService::new(&url).unwrap());
        let error = resolve(&plan, None, &nothing, &allowed, &roles).await.unwrap_err();
        let CredentialsError::NoKeys { tried } = &error else { panic!("{error}") };
        assert_eq!(tried.len(), 6, "{tried:?}");
        assert!(tried[5].contains(word), "{tried:?}");
        for word in [
            "the template",
            "stored set",
            "the environment",
            ".osc/config.json",
            "OSC_SHARED_CREDENTIALS_FILE",
        ] {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}

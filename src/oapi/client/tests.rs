//! The client against a real HTTP server: what it sends, what it repeats, and what it says when it gives up.

use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;
use wiremock::matchers::{body_json, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::oapi::types::{
    CreateImage, CreateVms, DeleteImage, FiltersVm, ReadImages, ReadKeypairs, ReadVms, ResourceTag, StopVms,
    UpdateImage,
};
use crate::testing::PATIENCE;

const SECRET_KEY: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123";

fn quick() -> RetryPolicy {
    RetryPolicy {
        tries: 4,
        base: Duration::from_millis(2),
        longest: Duration::from_millis(10),
        total: PATIENCE,
        total_throttled: PATIENCE,
    }
}

fn config(uri: &str) -> ClientConfig {
    let endpoint = Endpoint::parse(uri, "eu-west-2").unwrap();
    let mut config = ClientConfig::new(endpoint, "eu-west-2", "ABCDEFGHIJ0123456789", SECRET_KEY.into());
    config.retry = quick();
    config
}

fn pool() -> OapiPool {
    OapiPool::new(PaceConfig {
        calls_per_second: 1000.0,
        burst: 1000.0,
        slowest: 200.0,
        ..PaceConfig::default()
    })
}

fn client(server: &MockServer) -> Client {
    pool().client(config(&server.uri())).unwrap()
}

fn oapi_error(status: u16, code: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({
        "Errors": [{"Type": "SomeType", "Details": "some details", "Code": code}],
        "ResponseContext": {"RequestId": "request-1"},
    }))
}

fn ok() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"ResponseContext": {"RequestId": "request-2"}}))
}

/// A server that gives these answers one after the other, and the last one for ever.
async fn answering(answers: Vec<ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    let last = answers.len() - 1;
    for (number, answer) in answers.into_iter().enumerate() {
        let mock =
            Mock::given(method("POST")).respond_with(answer).with_priority(u8::try_from(number + 1).unwrap());
        let mock = if number < last { mock.up_to_n_times(1) } else { mock };
        mock.mount(&server).await;
    }
    server
}

async fn calls(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

fn image() -> serde_json::Value {
    json!({"Image": {"ImageId": "ami-12345678", "State": "pending"}})
}

fn launch(client_token: Option<&str>) -> CreateVms {
    CreateVms {
        image_id: "ami-12345678".to_owned(),
        client_token: client_token.map(str::to_owned),
        ..CreateVms::default()
    }
}

#[tokio::test]
async fn a_call_is_signed_for_its_host_and_holds_only_what_is_set() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/ReadVms"))
        .and(body_json(json!({"Filters": {"VmIds": ["i-12345678"]}})))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({
            "Vms": [{"VmId": "i-12345678", "State": "running", "Nics": null, "Brandnew": {"a": 1}}],
            "NextPageToken": null, "ResponseContext": {"RequestId": "r"},
        })))
        .mount(&server)
        .await;
    let filters = FiltersVm { vm_ids: vec!["i-12345678".to_owned()], ..FiltersVm::default() };
    let answer = client(&server).call(&ReadVms::filtered(filters)).await.unwrap();
    assert_eq!(answer.vms[0].state.as_str(), "running");

    let request = &server.received_requests().await.unwrap()[0];
    let header = |name: &str| request.headers[name].to_str().unwrap().to_owned();
    let timestamp = header("x-osc-date");
    let time = chrono::NaiveDateTime::parse_from_str(&timestamp, "%Y%m%dT%H%M%SZ").unwrap().and_utc();
    let expected = signing::sign(
        &SignedRequest {
            method: "POST",
            host: &server.address().to_string(),
            path: "/api/v1/ReadVms",
            headers: &[("content-type", "application/json")],
            body: &request.body,
        },
        &SigningKeys {
            access_key: "ABCDEFGHIJ0123456789",
            secret_key: &SECRET_KEY.into(),
            region: "eu-west-2",
        },
        time,
    );
    assert_eq!(header("authorization"), expected.authorization);
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("host"), server.address().to_string());
    assert!(header("user-agent").starts_with("fournil/"));
}

#[tokio::test]
async fn every_try_is_signed_anew() {
    let server = answering(vec![oapi_error(500, "0"), ok()]).await;
    let seconds = Arc::new(AtomicI64::new(1_770_000_000));
    let ticking = seconds.clone();
    let mut config = config(&server.uri());
    config.clock =
        Arc::new(move || DateTime::from_timestamp(ticking.fetch_add(60, Ordering::SeqCst), 0).unwrap());
    pool().client(config).unwrap().call(&ReadVms::default()).await.unwrap();
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 2);
    assert_ne!(requests[0].headers["x-osc-date"], requests[1].headers["x-osc-date"]);
    assert_ne!(requests[0].headers["authorization"], requests[1].headers["authorization"]);
}

#[tokio::test]
async fn what_does_no_harm_is_repeated_after_an_internal_error() {
    for failure in [oapi_error(500, "0"), ResponseTemplate::new(502).set_body_string("<h1>Bad Gateway</h1>")]
    {
        let server = answering(vec![failure.clone(), failure, ok()]).await;
        client(&server).call(&StopVms { vm_ids: vec!["i-1".to_owned()], force_stop: None }).await.unwrap();
        assert_eq!(calls(&server).await, 3);
    }
}

#[tokio::test]
async fn a_creating_call_is_repeated_after_an_internal_error_only_with_a_token() {
    let vms = ResponseTemplate::new(200)
        .set_body_json(json!({"Vms": [{"VmId": "i-12345678", "State": "pending"}]}));
    let server = answering(vec![oapi_error(500, "0"), vms]).await;
    let error = client(&server).call(&launch(None)).await.unwrap_err();
    assert!(error.may_have_taken_effect());
    assert_eq!(calls(&server).await, 1);
    assert_eq!(client(&server).call(&launch(Some("token"))).await.unwrap().vms.len(), 1);

    for answer in [oapi_error(500, "0"), ResponseTemplate::new(503), ResponseTemplate::new(504)] {
        let server = answering(vec![answer]).await;
        let error = client(&server).call(&CreateImage::default()).await.unwrap_err();
        assert!(error.may_have_taken_effect(), "{error}");
        assert_eq!(calls(&server).await, 1);
    }
}

#[tokio::test]
async fn a_throttled_call_was_not_run_and_is_always_repeated() {
    for throttled in [oapi_error(429, "24"), oapi_error(503, "6"), ResponseTemplate::new(429)] {
        let image = ResponseTemplate::new(200).set_body_json(image());
        let mut answers = vec![throttled; 6];
        answers.push(image);
        let server = answering(answers).await;
        client(&server).call(&CreateImage::default()).await.unwrap();
        assert_eq!(calls(&server).await, 7);
    }
}

#[tokio::test]
async fn throttling_without_end_is_told() {
    let server = answering(vec![oapi_error(429, "25")]).await;
    let mut config = config(&server.uri());
    config.retry.total_throttled = Duration::from_millis(50);
    let error = pool().client(config).unwrap().call(&CreateImage::default()).await.unwrap_err();
    assert!(matches!(error, OapiError::Throttled { code: Some(25), maybe_done: false, .. }), "{error}");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn refused_keys_are_tried_once() {
    for answer in [oapi_error(401, "1"), oapi_error(400, "4120"), oapi_error(401, "14")] {
        let server = answering(vec![answer]).await;
        let error = client(&server).call(&ReadVms::default()).await.unwrap_err();
        assert!(error.is_auth() && error.hint().is_some(), "{error}");
        assert_eq!(calls(&server).await, 1);
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_named_in_seconds() {
    let server =
        answering(vec![oapi_error(401, "1").insert_header("Date", "Sun, 22 Nov 2026 10:00:00 GMT")]).await;
    let mut config = config(&server.uri());
    let ours = DateTime::parse_from_rfc3339("2026-11-22T10:07:30Z").unwrap().to_utc();
    config.clock = Arc::new(move || ours);
    let error = pool().client(config).unwrap().call(&ReadVms::default()).await.unwrap_err();
    assert!(
        error.to_string().ends_with("; this machine's clock is 450 s ahead of OUTSCALE's, set it"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("NTP"));
}

#[tokio::test]
async fn a_refusal_is_final_and_tells_number_and_request() {
    let server = answering(vec![oapi_error(400, "5023")]).await;
    let client = client(&server);
    let error = client.call(&UpdateImage::default()).await.unwrap_err();
    assert!(error.is_not_found() && !error.may_have_taken_effect());
    assert_eq!((error.code(), error.request_id()), (Some(5023), Some("request-1")));
    assert_eq!(calls(&server).await, 1);
    client.delete(&DeleteImage { image_id: "ami-12345678".to_owned() }).await.unwrap();
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_says_that_the_call_may_have_taken_effect() {
    let server = answering(vec![oapi_error(500, "0"), oapi_error(409, "9001")]).await;
    let error = client(&server).call(&launch(Some("token"))).await.unwrap_err();
    assert!(error.is_conflict() && error.may_have_taken_effect());
}

#[tokio::test]
async fn a_call_without_an_answer_in_time_may_have_taken_effect() {
    let server = answering(vec![ok().set_delay(Duration::from_secs(30))]).await;
    let mut config = config(&server.uri());
    config.request_timeout = Duration::from_millis(100);
    let error = pool().client(config).unwrap().call(&CreateImage::default()).await.unwrap_err();
    assert!(matches!(error, OapiError::TimedOut { maybe_done: true, .. }), "{error}");
}

#[tokio::test]
async fn a_call_without_a_connection_was_not_run_and_is_repeated() {
    let port = crate::testing::Port::take();
    let nobody = format!("http://{}", port.address());
    let records = Arc::new(Mutex::new(Vec::new()));
    let seen = records.clone();
    let mut config = config(&nobody);
    config.on_call = Some(Arc::new(move |record| seen.lock().unwrap().push(record.clone())));
    let error = pool().client(config).unwrap().call(&CreateImage::default()).await.unwrap_err();
    assert!(matches!(error, OapiError::Unreachable { maybe_done: false, .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("endpoint"));
    assert_eq!(records.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_may_have_carried_the_call() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut connections = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            connections += 1;
            let mut request = [0; 64];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            drop(stream);
            if connections == 5 {
                break;
            }
        }
        connections
    });
    let client = pool().client(config(&address)).unwrap();
    let error = client.call(&CreateImage::default()).await.unwrap_err();
    assert!(matches!(error, OapiError::Unreachable { maybe_done: true, .. }), "{error:?}");
    let error = client.call(&ReadVms::default()).await.unwrap_err();
    assert!(matches!(error, OapiError::Unreachable { .. }), "{error:?}");
    assert_eq!(server.await.unwrap(), 5, "one connection for CreateImage, four for ReadVms");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = MockServer::start().await;
    let answer =
        ResponseTemplate::new(307).insert_header("Location", format!("{}/api/v1/ReadVms", elsewhere.uri()));
    let server = answering(vec![answer]).await;
    let error = client(&server).call(&ReadVms::default()).await.unwrap_err();
    assert!(matches!(error, OapiError::BadAnswer { status: 307, .. }), "{error}");
    assert!(error.hint().unwrap().contains("endpoint"));
    assert_eq!(calls(&elsewhere).await, 0);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let answer = ResponseTemplate::new(200).set_body_bytes(vec![b' '; 17 * 1024 * 1024]);
    let server = answering(vec![answer]).await;
    let error = client(&server).call(&CreateImage::default()).await.unwrap_err();
    assert!(matches!(error, OapiError::BadAnswer { status: 200, .. }), "{error}");
    assert!(error.to_string().contains("more than 16777216 bytes"));
}

#[tokio::test]
async fn all_pages_are_read() {
    let server = MockServer::start().await;
    let page = |name: &str, next: Option<&str>| {
        ResponseTemplate::new(200)
            .set_body_json(json!({"Keypairs": [{"KeypairName": name}], "NextPageToken": next}))
    };
    let asked = |body| Mock::given(path("/api/v1/ReadKeypairs")).and(body_json(body));
    asked(json!({"ResultsPerPage": 1000})).respond_with(page("a", Some("t1"))).mount(&server).await;
    asked(json!({"ResultsPerPage": 1000, "NextPageToken": "t1"}))
        .respond_with(page("b", Some("t2")))
        .mount(&server)
        .await;
    asked(json!({"ResultsPerPage": 1000, "NextPageToken": "t2"}))
        .respond_with(page("c", None))
        .mount(&server)
        .await;
    let pairs = client(&server).read_all(&ReadKeypairs::default()).await.unwrap();
    let names: Vec<_> = pairs.iter().map(|pair| pair.keypair_name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn pages_that_repeat_themselves_are_an_error_and_not_a_loop() {
    let server = answering(vec![
        ResponseTemplate::new(200).set_body_json(json!({"Images": [], "NextPageToken": "again"})),
    ])
    .await;
    let error = client(&server).read_all(&ReadImages::default()).await.unwrap_err();
    assert!(error.to_string().contains("no end"));
    assert_eq!(calls(&server).await, 2);
}

#[tokio::test]
async fn the_account_is_asked_once() {
    let answer = json!({"Accounts": [{"AccountId": "123456789012", "Email": "someone@example.com"}]});
    let server = answering(vec![ResponseTemplate::new(200).set_body_json(answer)]).await;
    let client = client(&server);
    assert_eq!(client.account_id().await.unwrap(), "123456789012");
    assert_eq!(client.clone().account_id().await.unwrap(), "123456789012");
    assert_eq!(calls(&server).await, 1);
}

#[tokio::test]
async fn the_console_is_decoded() {
    let server = answering(vec![
        ResponseTemplate::new(200).set_body_json(json!({"VmId": "i-1", "ConsoleOutput": "bG9naW46\r\nIP8="})),
        ResponseTemplate::new(200).set_body_json(json!({"VmId": "i-1", "ConsoleOutput": ""})),
        ResponseTemplate::new(200).set_body_json(json!({"VmId": "i-1", "ConsoleOutput": "%"})),
    ])
    .await;
    let client = client(&server);
    assert_eq!(client.console("i-1").await.unwrap(), "login: \u{fffd}");
    assert_eq!(client.console("i-1").await.unwrap(), "");
    assert!(client.console("i-1").await.unwrap_err().to_string().contains("not base64"));
}

#[tokio::test]
async fn looking_for_one_resource_names_only_it() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/ReadSecurityGroups"))
        .and(body_json(json!({"Filters": {"SecurityGroupNames": ["web"]}, "ResultsPerPage": 1000})))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"SecurityGroups": [
            {"SecurityGroupId": "sg-net", "SecurityGroupName": "web", "NetId": "vpc-1"},
            {"SecurityGroupId": "sg-public", "SecurityGroupName": "web"},
        ]})))
        .mount(&server)
        .await;
    Mock::given(path("/api/v1/ReadVolumes"))
        .and(body_json(json!({"Filters": {"VolumeIds": ["vol-1"]}, "ResultsPerPage": 1000})))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"Volumes": []})))
        .mount(&server)
        .await;
    Mock::given(path("/api/v1/CreateTags"))
        .and(body_json(json!({"ResourceIds": ["vol-1", "i-1"], "Tags": [{"Key": "a", "Value": ""}]})))
        .respond_with(ok())
        .mount(&server)
        .await;
    let client = client(&server);
    let group = client.security_group_named("web", None).await.unwrap().unwrap();
    assert_eq!(group.security_group_id, "sg-public");
    assert_eq!(client.volume("vol-1").await.unwrap(), None);
    client.tag(&["vol-1", "i-1"], &[ResourceTag::new("a", "")]).await.unwrap();
    client.tag(&[], &[ResourceTag::new("a", "")]).await.unwrap();
    assert_eq!(calls(&server).await, 3);
}

#[tokio::test]
async fn an_own_image_is_found_by_its_exact_name() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/ReadAccounts"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({"Accounts": [{"AccountId": "123456789012"}]})),
        )
        .mount(&server)
        .await;
    Mock::given(path("/api/v1/ReadImages"))
        .and(body_json(json!({
            "Filters": {"AccountIds": ["123456789012"], "ImageNames": ["web*"]}, "ResultsPerPage": 1000,
        })))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"Images": [
            {"ImageId": "ami-1", "ImageName": "web-1"}, {"ImageId": "ami-2", "ImageName": "web*"},
        ]})))
        .mount(&server)
        .await;
    let images = client(&server).own_images_named("web*").await.unwrap();
    assert_eq!(images.iter().map(|image| image.image_id.as_str()).collect::<Vec<_>>(), ["ami-2"]);
}

#[tokio::test]
async fn the_observer_is_told_of_every_try() {
    let server = answering(vec![oapi_error(500, "0"), ok()]).await;
    let records = Arc::new(Mutex::new(Vec::new()));
    let seen = records.clone();
    let mut config = config(&server.uri());
    config.on_call = Some(Arc::new(move |record| seen.lock().unwrap().push(record.clone())));
    pool().client(config).unwrap().call(&ReadVms::default()).await.unwrap();
    let records = records.lock().unwrap();
    let told: Vec<_> = records.iter().map(|r| (r.action, r.attempt, r.status, r.code, r.succeeded)).collect();
    assert_eq!(told, [("ReadVms", 1, Some(500), Some(0), false), ("ReadVms", 2, Some(200), None, true)]);
    assert_eq!(records[1].request_id.as_deref(), Some("request-2"));
}

#[tokio::test]
async fn clients_of_one_account_share_its_pace() {
    let server = answering(vec![oapi_error(429, "24"), ok()]).await;
    let pool = pool();
    let one = pool.client(config(&server.uri())).unwrap();
    let other = pool.client(config(&server.uri())).unwrap();
    let stranger = pool
        .client(ClientConfig { access_key: "ZZZZZZZZZZ0123456789".to_owned(), ..config(&server.uri()) })
        .unwrap();
    one.call(&ReadVms::default()).await.unwrap();
    assert!(other.calls_per_second() < 900.0);
    assert!(stranger.calls_per_second() > 999.0);
}

#[tokio::test]
async fn keys_that_cannot_be_keys_are_refused_without_being_shown() {
    let pool = pool();
    let config = config("http://127.0.0.1:1");
    assert!(!format!("{config:?}").contains(SECRET_KEY));
    let broken = ClientConfig { access_key: "a\r\nX-Evil: 1".to_owned(), ..config.clone() };
    assert!(matches!(pool.client(broken), Err(ConfigError::AccessKey)));
    let broken = ClientConfig { secret_key: "".into(), ..config.clone() };
    assert!(matches!(pool.client(broken), Err(ConfigError::SecretKey)));
    let broken = ClientConfig { user_agent: "a\nb".to_owned(), ..config.clone() };
    assert!(matches!(pool.client(broken), Err(ConfigError::UserAgent)));
    let tls = TlsConfig { client_certificate: Some("no pem".into()), ..TlsConfig::default() };
    assert!(matches!(
        pool.client(ClientConfig { tls, ..config.clone() }),
        Err(ConfigError::ClientCertificate(_))
    ));
    assert!(!format!("{:?}", pool.client(config).unwrap()).contains(SECRET_KEY));
}

//! Shared waits against a small fake of the read calls, over real HTTP, with its calls counted.

use std::collections::HashMap;
use std::sync::Mutex;

use futures::future::join_all;
use serde_json::{Value, json};
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use super::*;
use crate::oapi::predicates::{image_available, vm_running, vm_stopped};
use crate::oapi::{ClientConfig, Endpoint, OapiPool, PaceConfig, RetryPolicy};

/// VMs and images by id: the states that successive reads show, the last one for ever.
#[derive(Clone, Default)]
struct Cloud(Arc<Mutex<CloudState>>);

#[derive(Default)]
struct CloudState {
    states: HashMap<String, Vec<Option<&'static str>>>,
    /// Answers that are given before any other.
    failures: Vec<ResponseTemplate>,
    reads: Vec<Vec<String>>,
    access_keys: Vec<String>,
}

impl Cloud {
    fn shows(&self, id: &str, states: &[Option<&'static str>]) {
        self.0.lock().unwrap().states.insert(id.to_owned(), states.to_vec());
    }

    fn fails_first(&self, answers: Vec<ResponseTemplate>) {
        self.0.lock().unwrap().failures = answers;
    }

    fn reads(&self) -> Vec<Vec<String>> {
        self.0.lock().unwrap().reads.clone()
    }

    async fn serve(&self) -> MockServer {
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(self.clone()).mount(&server).await;
        server
    }
}

impl Respond for Cloud {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let body: Value = request.body_json().unwrap();
        let (filter, list, id_field) = match request.url.path().rsplit('/').next().unwrap() {
            "ReadVms" => ("VmIds", "Vms", "VmId"),
            "ReadImages" => ("ImageIds", "Images", "ImageId"),
            other => panic!("unexpected call {other}"),
        };
        let ids: Vec<String> = serde_json::from_value(body["Filters"][filter].clone()).unwrap();
        let mut state = self.0.lock().unwrap();
        state.reads.push(ids.clone());
        let authorization = request.headers["authorization"].to_str().unwrap();
        let access_key =
            authorization.split("Credential=").nth(1).unwrap().split('/').next().unwrap().to_owned();
        state.access_keys.push(access_key);
        if !state.failures.is_empty() {
            return state.failures.remove(0);
        }
        if ids.iter().any(|id| !id.starts_with(id_prefix(id_field))) {
            return refusal(400, "4104");
        }
        let mut items = Vec::new();
        for id in ids {
            let Some(states) = state.states.get_mut(&id) else { continue };
            let now = if states.len() > 1 { states.remove(0) } else { states[0] };
            items.extend(now.map(|now| json!({id_field: id, "State": now, "StateReason": "because"})));
        }
        ResponseTemplate::new(200).set_body_json(json!({list: items}))
    }
}

fn id_prefix(id_field: &str) -> &'static str {
    if id_field == "VmId" { "i-" } else { "ami-" }
}

fn refusal(status: u16, code: &str) -> ResponseTemplate {
    ResponseTemplate::new(status)
        .set_body_json(json!({"Errors": [{"Type": "T", "Details": "", "Code": code}]}))
}

fn client_of(server: &MockServer, access_key: &str) -> Client {
    let endpoint = Endpoint::parse(&server.uri(), "eu-west-2").unwrap();
    let mut config = ClientConfig::new(endpoint, "eu-west-2", access_key, "SECRET".into());
    config.retry = RetryPolicy::default();
    let pace =
        PaceConfig { calls_per_second: 1000.0, burst: 1000.0, slowest: 200.0, ..PaceConfig::default() };
    OapiPool::new(pace).client(config).unwrap()
}

fn quick_waits() -> Waits {
    waits_that_settle(Duration::from_millis(200))
}

fn waits_that_settle(settle: Duration) -> Waits {
    let (min_interval, max_interval) = (Duration::from_millis(20), Duration::from_millis(60));
    Waits::new(WaitConfig { min_interval, max_interval, settle })
}

const LONG: Duration = crate::testing::PATIENCE;

/// Waits until no task reads VMs any more.
async fn until_nobody_polls(waits: &Waits) {
    tokio::time::timeout(LONG, async {
        while Arc::strong_count(&waits.vms) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_hundred_waits_cost_one_read_an_interval() {
    let cloud = Cloud::default();
    let ids: Vec<_> = (0..100).map(|number| format!("i-{number:08}")).collect();
    for id in &ids {
        cloud.shows(
            id,
            &[Some("pending"), Some("pending"), Some("pending"), Some("pending"), Some("running")],
        );
    }
    let server = cloud.serve().await;
    let client = client_of(&server, "AAAA");
    let waits = quick_waits();
    let cancel = CancellationToken::new();
    let vms = join_all(ids.iter().map(|id| waits.wait_vm(&client, id, vm_running, LONG, &cancel))).await;
    assert!(vms.iter().zip(&ids).all(|(vm, id)| vm.as_ref().unwrap().vm_id == *id));
    let reads = cloud.reads();
    assert!((5..=7).contains(&reads.len()), "{} reads", reads.len());
    assert!(reads.iter().filter(|ids| ids.len() == 100).count() >= 4);

    until_nobody_polls(&waits).await;
    assert_eq!(cloud.reads().len(), reads.len(), "nobody waits, nobody reads");
}

#[tokio::test]
async fn accounts_are_read_apart_with_their_own_keys() {
    let cloud = Cloud::default();
    cloud.shows("i-a", &[Some("running")]);
    cloud.shows("i-b", &[Some("running")]);
    let server = cloud.serve().await;
    let (one, other) = (client_of(&server, "AAAA"), client_of(&server, "BBBB"));
    let waits = quick_waits();
    let cancel = CancellationToken::new();
    let (a, b) = tokio::join!(
        waits.wait_vm(&one, "i-a", vm_running, LONG, &cancel),
        waits.wait_vm(&other, "i-b", vm_running, LONG, &cancel),
    );
    a.unwrap();
    b.unwrap();
    let state = cloud.0.lock().unwrap();
    for (ids, access_key) in state.reads.iter().zip(&state.access_keys) {
        let expected = if access_key == "AAAA" { "i-a" } else { "i-b" };
        assert_eq!(ids, &[expected]);
    }
}

#[tokio::test]
async fn a_new_resource_may_be_invisible_for_a_while() {
    let cloud = Cloud::default();
    cloud.shows("i-late", &[None, None, Some("pending"), Some("running")]);
    let server = cloud.serve().await;
    let cancel = CancellationToken::new();
    let waits = waits_that_settle(LONG);
    waits.wait_vm(&client_of(&server, "AAAA"), "i-late", vm_running, LONG, &cancel).await.unwrap();
}

#[tokio::test]
async fn a_resource_that_stays_away_is_missing() {
    let cloud = Cloud::default();
    let server = cloud.serve().await;
    let cancel = CancellationToken::new();
    let waits = quick_waits();
    let error = waits
        .wait_image(&client_of(&server, "AAAA"), "ami-none", image_available, LONG, &cancel)
        .await
        .unwrap_err();
    assert!(matches!(&error, WaitError::Missing { kind: "image", id } if id == "ami-none"), "{error}");
    assert!(cloud.reads().len() >= 2);
}

#[tokio::test]
async fn a_vm_that_ends_instead_of_running_fails_with_its_reason() {
    let cloud = Cloud::default();
    cloud.shows("i-bad", &[Some("pending"), Some("terminated")]);
    let server = cloud.serve().await;
    let cancel = CancellationToken::new();
    let error = quick_waits()
        .wait_vm(&client_of(&server, "AAAA"), "i-bad", vm_running, LONG, &cancel)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "VM failed: i-bad is terminated (because)");
}

#[tokio::test]
async fn reads_that_fail_for_a_while_do_not_end_a_wait() {
    let cloud = Cloud::default();
    cloud.shows("i-1", &[Some("pending"), Some("running")]);
    cloud.fails_first(vec![
        refusal(500, "0"),
        ResponseTemplate::new(502).set_body_string("<h1>Bad Gateway</h1>"),
        refusal(503, "6"),
        refusal(429, "24"),
        ResponseTemplate::new(200).set_body_string("{\"Vms\": [{"),
    ]);
    let server = cloud.serve().await;
    let cancel = CancellationToken::new();
    quick_waits().wait_vm(&client_of(&server, "AAAA"), "i-1", vm_running, LONG, &cancel).await.unwrap();
    assert_eq!(cloud.reads().len(), 7);
}

#[tokio::test]
async fn refused_keys_end_a_wait_at_once() {
    let cloud = Cloud::default();
    cloud.shows("i-1", &[Some("pending")]);
    cloud.fails_first(vec![refusal(401, "1")]);
    let server = cloud.serve().await;
    let cancel = CancellationToken::new();
    let waits = quick_waits();
    let error =
        waits.wait_vm(&client_of(&server, "AAAA"), "i-1", vm_running, LONG, &cancel).await.unwrap_err();
    assert!(matches!(&error, WaitError::Oapi(error) if error.is_auth()), "{error}");
    until_nobody_polls(&waits).await;
    assert_eq!(cloud.reads().len(), 1);
}

#[tokio::test]
async fn an_id_that_oapi_refuses_harms_only_its_own_wait() {
    let cloud = Cloud::default();
    let ids: Vec<_> = (0..9).map(|number| format!("i-{number}")).collect();
    for id in &ids {
        cloud.shows(id, &[Some("pending"), Some("running")]);
    }
    let server = cloud.serve().await;
    let client = client_of(&server, "AAAA");
    let waits = quick_waits();
    let cancel = CancellationToken::new();
    let good = join_all(ids.iter().map(|id| waits.wait_vm(&client, id, vm_running, LONG, &cancel)));
    let bad = waits.wait_vm(&client, "vol-wrong", vm_running, LONG, &cancel);
    let (bad, good) = tokio::join!(bad, good);
    assert!(matches!(bad, Err(WaitError::Oapi(OapiError::Refused { code: Some(4104), .. }))));
    assert!(good.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_wait_that_takes_too_long_says_what_it_saw() {
    let cloud = Cloud::default();
    cloud.shows("i-1", &[Some("stopping")]);
    let server = cloud.serve().await;
    let cancel = CancellationToken::new();
    let waits = quick_waits();
    let client = client_of(&server, "AAAA");
    // A busy machine may see nothing within the first of these.
    for seconds in [1, 10, 100] {
        let deadline = Duration::from_secs(seconds);
        let error = waits.wait_vm(&client, "i-1", vm_stopped, deadline, &cancel).await.unwrap_err();
        let WaitError::TimedOut { last, .. } = &error else { panic!("{error}") };
        if last == "i-1 is stopping (because)" {
            return;
        }
    }
    panic!("nothing was seen: {:?}", cloud.reads());
}

#[tokio::test]
async fn a_cancelled_wait_ends_at_once_and_the_reading_with_it() {
    let cloud = Cloud::default();
    cloud.shows("i-1", &[Some("pending")]);
    let server = cloud.serve().await;
    let client = client_of(&server, "AAAA");
    let waits = quick_waits();
    let cancel = CancellationToken::new();
    let waiting = waits.wait_vm(&client, "i-1", vm_running, LONG, &cancel);
    let cancelling = async {
        while cloud.reads().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(waiting, cancelling);
    assert!(matches!(result, Err(WaitError::Cancelled)));
    until_nobody_polls(&waits).await;
}

#[tokio::test]
async fn a_deleted_vm_is_gone_when_terminated_or_no_longer_listed() {
    let cloud = Cloud::default();
    cloud.shows("i-1", &[Some("shutting-down"), Some("terminated")]);
    cloud.shows("i-2", &[Some("shutting-down"), None]);
    let server = cloud.serve().await;
    let client = client_of(&server, "AAAA");
    let waits = quick_waits();
    let cancel = CancellationToken::new();
    for id in ["i-1", "i-2", "i-never"] {
        waits.wait_vm_terminated(&client, id, LONG, &cancel).await.unwrap();
    }
}

#[tokio::test]
async fn an_observer_that_panics_ends_the_waits_and_not_only_the_reading() {
    let cloud = Cloud::default();
    cloud.shows("i-1", &[Some("pending")]);
    let server = cloud.serve().await;
    let endpoint = Endpoint::parse(&server.uri(), "eu-west-2").unwrap();
    let mut config = ClientConfig::new(endpoint, "eu-west-2", "AAAA", "SECRET".into());
    config.on_call = Some(Arc::new(|_| panic!("an observer with a bug")));
    let client = OapiPool::default().client(config).unwrap();
    let cancel = CancellationToken::new();
    let result = quick_waits().wait_vm(&client, "i-1", vm_running, LONG, &cancel).await;
    assert!(matches!(result, Err(WaitError::Cancelled)));
}

//! The sandbox as clients meet it: over HTTP, signed by a program that is not ours (curl).

use serde_json::{Value, json};

mod served;

use served::{KEYS, Served, has_curl};

#[tokio::test(flavor = "multi_thread")]
async fn curl_s_signatures_are_taken_in_all_their_forms() {
    if !has_curl() {
        return;
    }
    let sandbox = Served::start().await;
    for scheme in ["osc:osc:eu-west-2:api", "aws:amz:eu-west-2:oapi", "aws:amz:us-east-2:osc"] {
        for path in ["/api/v1/ReadVms", "/api/latest/ReadVms", "//api/v1/ReadVms"] {
            for body in ["", "{}", r#"{"Filters":{"VmStateNames":["running"]}}"#] {
                let output = sandbox.curl(scheme, KEYS, path, body).await;
                let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(answer["Vms"], json!([]), "{scheme} {path} {body}: {answer}");
            }
        }
    }
    let wrong = sandbox.curl("osc:osc:eu-west-2:api", (KEYS.0, "wrong"), "/api/v1/ReadVms", "{}").await;
    let answer: Value = serde_json::from_slice(&wrong.stdout).unwrap();
    assert_eq!(answer["Errors"][0]["Code"], "1");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_credentials_are_the_open_ones() {
    let sandbox = Served::start().await;
    let client = reqwest::Client::new();
    let post = async |action: &str| {
        let answer = client.post(format!("{}/api/v1/{action}", sandbox.url)).send().await.unwrap();
        assert!(answer.headers().contains_key("date"));
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(post("ReadRegions").await.0, 200);
    assert_eq!(post("ReadVmTypes").await.0, 200);
    let (status, body) = post("ReadVms").await;
    assert_eq!((status, &body["Errors"][0]["Type"]), (401, &json!("AccessDenied")));
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_answer_reaches_nobody_and_its_effect_stays() {
    if !has_curl() {
        return;
    }
    let sandbox = Served::start().await;
    let fault = json!({ "action": "CreateVms", "drop": "after" });
    sandbox.control(reqwest::Method::POST, "faults", Some(fault)).await;
    let image = sandbox.call("ReadImages", json!({})).await["Images"][0]["ImageId"].clone();
    let body = json!({ "ImageId": image, "ClientToken": "t" });
    let lost = sandbox.curl("osc:osc:eu-west-2:api", KEYS, "/api/v1/CreateVms", &body.to_string()).await;
    assert!(!lost.status.success() && lost.stdout.is_empty());
    let again = sandbox.call("CreateVms", body).await;
    let vms = sandbox.call("ReadVms", json!({})).await;
    assert_eq!(vms["Vms"].as_array().unwrap().len(), 1);
    assert_eq!(vms["Vms"][0]["VmId"], again["Vms"][0]["VmId"]);
    let resources = sandbox.control(reqwest::Method::GET, "resources?seeds=false", None).await;
    assert_eq!(resources["vms"], json!([again["Vms"][0]["VmId"]]));
    let calls = sandbox.control(reqwest::Method::GET, "calls?action=CreateVms", None).await;
    assert_eq!(calls[0]["dropped"], "after");
    assert_eq!(calls[0]["request"]["ClientToken"], "t");
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_has_its_effect_when_the_faults_are_cleared_and_keeps_nobody_else_waiting() {
    if !has_curl() {
        return;
    }
    let sandbox = Served::start().await;
    let image = sandbox.call("ReadImages", json!({})).await["Images"][0]["ImageId"].clone();
    let fault = json!({ "action": "CreateVms", "hold": true, "drop": "after" });
    sandbox.control(reqwest::Method::POST, "faults", Some(fault)).await;
    let body = json!({ "ImageId": image }).to_string();
    let held = sandbox.curl("osc:osc:eu-west-2:api", KEYS, "/api/v1/CreateVms", &body);
    let look_around = async {
        while sandbox.control(reqwest::Method::GET, "faults", None).await != json!([]) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(sandbox.call("ReadVms", json!({})).await["Vms"], json!([]));
        assert_eq!(sandbox.control(reqwest::Method::GET, "calls?action=CreateVms", None).await, json!([]));
        sandbox.control(reqwest::Method::DELETE, "faults", None).await;
    };
    // After the release it goes on as its fault says.
    let (lost, ()) = tokio::join!(held, look_around);
    assert!(!lost.status.success() && lost.stdout.is_empty());
    assert_eq!(sandbox.call("ReadVms", json!({})).await["Vms"].as_array().unwrap().len(), 1);
    sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controls_refuse_what_they_do_not_know() {
    let sandbox = Served::start().await;
    let client = reqwest::Client::new();
    for (path, body) in [
        ("faults", json!({ "action": "MakeCoffee", "code": 1 })),
        ("faults", json!({ "action": "ReadVms", "colour": "red" })),
        ("clock", json!({ "skew": 1 })),
        ("limits", json!({ "quotas": { "coffee": 1 } })),
        ("quirks", json!({ "no_such_switch": 1 })),
    ] {
        let answer = client.post(format!("{}/sandbox/{path}", sandbox.url)).json(&body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 400, "{path} {body}");
    }
    sandbox.stop().await;
}

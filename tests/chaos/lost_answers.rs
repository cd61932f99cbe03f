//! Calls whose answer is lost, late or a refusal, while the server lives on: the bake has to succeed as if nothing were,
//! with one VM and nothing left behind.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    is_long,
    processes::Process,
    world::{Server, World, template},
};

/// Worlds at a time, each with one bake after the other.
const LANES: usize = 6;

/// Calls that make something, and how often a bake makes them, as far as that matters.
const CREATING: &[(&str, u64)] = &[
    ("CreatePublicIp", 1),
    ("CreateKeypair", 1),
    ("CreateSecurityGroup", 1),
    ("CreateSecurityGroupRule", 1),
    ("CreateVms", 1),
    ("CreateTags", 4),
    ("CreateTags", 8),
    ("LinkPublicIp", 1),
    ("CreateImage", 1),
];

/// Calls that change or remove something.
const CHANGING: &[(&str, u64)] = &[
    ("StopVms", 1),
    ("DeleteVms", 1),
    ("DeleteKeypair", 1),
    ("DeleteSecurityGroup", 1),
    ("DeletePublicIp", 1),
    ("DeleteVolume", 1),
];

/// What can happen to a call. A `delay_ms` of 31 s is longer than fournil waits for an answer.
fn misfortunes() -> Vec<Value> {
    let mut misfortunes = vec![
        json!({ "drop": "before" }),
        json!({ "drop": "after" }),
        json!({ "status": 500, "after_effect": true }),
        json!({ "status": 503 }),
        json!({ "status": 429 }),
    ];
    if is_long() {
        misfortunes.extend([
            json!({ "drop": "after", "invisible_ms": 1200 }),
            json!({ "status": 502, "body": "<html>Bad gateway</html>" }),
            json!({ "status": 500 }),
            json!({ "drop": "before", "times": 3 }),
            json!({ "delay_ms": 1500 }),
            json!({ "delay_ms": 31_000 }),
        ]);
    }
    misfortunes
}

fn faults() -> Vec<Value> {
    let mut faults = Vec::new();
    for (index, misfortune) in misfortunes().iter().enumerate() {
        // Removing twice is the same as removing once, so two kinds of misfortune tell enough about it.
        let changing = if is_long() || index == 1 || index == 2 { CHANGING } else { &[] };
        // A call that was throttled was not run: one tells enough about that.
        let is_throttled = misfortune["status"] == 429;
        let creating = if is_throttled && !is_long() { &CREATING[4..5] } else { CREATING };
        for (action, nth) in creating.iter().chain(changing) {
            let mut fault = misfortune.clone();
            fault["action"] = json!(action);
            fault["nth"] = json!(nth);
            faults.push(fault);
        }
    }
    faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_never_costs_the_build_nor_leaves_anything_behind() {
    let faults = faults();
    let lanes: Vec<Vec<Value>> =
        (0..LANES).map(|lane| faults.iter().skip(lane).step_by(LANES).cloned().collect()).collect();
    let failures: Vec<String> = stream::iter(lanes)
        .map(bake_through)
        .buffer_unordered(LANES)
        .map(stream::iter)
        .flatten()
        .collect()
        .await;
    println!("lost answers tried: {}, leaks or failures: {}", faults.len(), failures.len());
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), faults.len(), failures.join("\n"));
}

/// One bake for each fault.
async fn bake_through(faults: Vec<Value>) -> Vec<String> {
    let world = World::new().await;
    // Past the gate: it could not break a connection as the sandbox does.
    let direct = [("DATABASE_URL", world.database.url.as_str()), ("OSC_ENDPOINT_API", &world.sandbox_url)];
    let server = world.fournil_with("steadfast", &direct).await;
    let mut failures = Vec::new();
    let mut known = BTreeSet::new();
    for (index, fault) in faults.iter().enumerate() {
        if let Err(why) = bake_with(&world, &server, fault, &format!("omi-{index}"), &mut known).await {
            failures.push(format!("{fault}: {why}"));
        }
    }
    if !failures.is_empty() {
        failures.push(server.process.output());
    }
    end(server.process, &mut failures).await;
    world.close().await;
    failures
}

async fn end(process: Process, failures: &mut Vec<String>) {
    let (code, output) = process.end().await;
    if code != Some(0) {
        failures.push(format!("the server ended with {code:?}: {output}"));
    }
}

async fn bake_with(
    world: &World,
    server: &Server,
    fault: &Value,
    omi_name: &str,
    known: &mut BTreeSet<String>,
) -> Result<(), String> {
    world.add_fault(fault).await;
    let vms_before = tokens(world).await;
    let build = world.build(server, &template(omi_name, &["echo baking"])).await;
    let ended = world.ended(server, &build).await?;
    if world.clear_faults().await != 0 {
        return Err("the fault did not strike".to_owned());
    }
    if ended.state != "succeeded" {
        return Err(format!("it {}: {}", ended.state, ended.build["error"]));
    }
    let vms = tokens(world).await.difference(&vms_before).count();
    if vms != 1 {
        return Err(format!("{vms} VMs were asked for"));
    }
    known.extend(ended.artifacts());
    let there = world.resources().await;
    if there == *known { Ok(()) } else { Err(leftovers(&there, known)) }
}

/// Says what is wrong and takes it as given, so that the next bake is judged by itself.
fn leftovers(there: &BTreeSet<String>, known: &mut BTreeSet<String>) -> String {
    let leaked: Vec<_> = there.difference(known).cloned().collect();
    let lost: Vec<_> = known.difference(there).cloned().collect();
    known.clone_from(there);
    format!("leaked {leaked:?}, announced but not there {lost:?}")
}

/// The client tokens with which VMs were asked for: calls with the same one make one VM.
async fn tokens(world: &World) -> BTreeSet<String> {
    let requests = world.requests("CreateVms").await;
    requests.iter().filter_map(|request| request["ClientToken"].as_str().map(str::to_owned)).collect()
}

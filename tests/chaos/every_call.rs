//! Every call that a bake makes, in turn, is dropped, delayed, throttled or refused by a broken gateway. The calls are those
//! that an undisturbed bake was seen to make. The bake has to succeed, with its artifacts and nothing else in the region.
//! No VM is entered here, so that it is cheap to try them all; what happens to real VMs is in `lost_answers`.

use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    is_long,
    world::{Server, World, template},
};

/// Worlds at a time, each with one bake after the other.
const LANES: usize = 6;

/// Of a poll one call is like another.
const POLLS: u64 = 2;

/// What can happen to a call. A `delay_ms` of 31 s is longer than fournil waits for an answer.
fn misfortunes(action: &str) -> Vec<Value> {
    let mut misfortunes =
        vec![json!({ "drop": "before" }), json!({ "delay_ms": 400 }), json!({ "status": 429 })];
    let is_read = action.starts_with("Read");
    if !is_read {
        misfortunes.push(json!({ "drop": "after" }));
    }
    if is_long() {
        misfortunes.extend([
            json!({ "status": 503, "times": 2 }),
            json!({ "status": 502, "body": "<html>Bad gateway</html>" }),
            json!({ "status": 500 }),
            json!({ "drop": "before", "times": 3 }),
            json!({ "delay_ms": 31_000 }),
        ]);
        if !is_read {
            misfortunes.extend([
                json!({ "status": 500, "after_effect": true }),
                json!({ "drop": "after", "invisible_ms": 1200 }),
            ]);
        }
    }
    misfortunes
}

/// A bake that replaces the OMI of the bake before, tells another account, and enters no VM.
fn bake() -> Value {
    let mut template = template("every-call", &[]);
    let more = json!({
        "communicator": "none", "omi_account_ids": ["123456789012"], "force_deregister": true,
        "force_delete_snapshot": true, "vm_types": ["tinav5.c1r1p2", "tinav5.c2r4p1"],
    });
    let builder = template["builders"][0].as_object_mut().expect("an object");
    builder.extend(more.as_object().expect("an object").clone());
    for name in ["ssh_username", "vm_type"] {
        builder.remove(name);
    }
    template["provisioners"] = json!([]);
    template
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_any_call_the_bake_succeeds_and_leaves_nothing() {
    let calls = calls_of_a_bake().await;
    let faults: Vec<Value> = calls
        .iter()
        .flat_map(|(action, nth)| {
            misfortunes(action).into_iter().map(move |mut fault| {
                fault["action"] = json!(action);
                fault["nth"] = json!(nth);
                fault
            })
        })
        .collect();
    let tried = faults.len();
    let lanes: Vec<Vec<Value>> =
        (0..LANES).map(|lane| faults.iter().skip(lane).step_by(LANES).cloned().collect()).collect();
    let (mut missed, mut failures) = (0, Vec::new());
    let mut ended = stream::iter(lanes).map(bake_through).buffer_unordered(LANES);
    while let Some((not_struck, failed)) = ended.next().await {
        missed += not_struck;
        failures.extend(failed);
    }
    println!(
        "calls: {}, faults tried: {tried}, not struck: {missed}, leaks or failures: {}",
        calls.len(),
        failures.len()
    );
    assert!(failures.is_empty(), "{} of {tried}:\n{}", failures.len(), failures.join("\n"));
    assert!(missed * 10 <= tried, "{missed} of {tried} faults did not strike");
}

/// The distinct calls of a bake that nothing happens to, each with its number among those of its action.
async fn calls_of_a_bake() -> Vec<(String, u64)> {
    let world = World::without_machines().await;
    let server = world.fournil("undisturbed").await;
    let mut seen = 0;
    // The second one has something to replace.
    for _ in 0..2 {
        seen = world.gate.calls().len();
        let build = world.build(&server, &bake()).await;
        let ended = world.ended(&server, &build).await.expect("it ends");
        assert_eq!(ended.state, "succeeded", "{}", ended.build);
    }
    let calls = world.gate.calls().split_off(seen);
    server.process.end().await;
    world.close().await;
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut distinct = Vec::new();
    for action in calls {
        let nth = counts.entry(action.clone()).or_default();
        *nth += 1;
        if *nth <= POLLS || action == "CreateTags" {
            distinct.push((action, *nth));
        }
    }
    distinct
}

/// One bake for each fault; answers how many did not strike, and what went wrong.
async fn bake_through(faults: Vec<Value>) -> (usize, Vec<String>) {
    let world = World::without_machines().await;
    // Past the gate: it could not break a connection as the sandbox does.
    let direct = [("DATABASE_URL", world.database.url.as_str()), ("OSC_ENDPOINT_API", &world.sandbox_url)];
    let server = world.fournil_with("steadfast", &direct).await;
    let (mut missed, mut failures) = (0, Vec::new());
    // Something to replace.
    let first = world.build(&server, &bake()).await;
    if let Err(why) = world.succeeds(&server, &first).await {
        failures.push(format!("the first bake: {why}"));
    }
    for fault in &faults {
        world.add_fault(fault).await;
        if let Err(why) = bake_once(&world, &server).await {
            failures.push(format!("{fault}: {why}"));
        }
        missed += world.clear_faults().await;
    }
    if !failures.is_empty() {
        failures.push(server.process.output());
    }
    let (code, output) = server.process.end().await;
    if code != Some(0) {
        failures.push(format!("the server ended with {code:?}: {output}"));
    }
    world.close().await;
    (missed, failures)
}

/// The OMI of the bake before is replaced, so that what this one announced is all there is.
async fn bake_once(world: &World, server: &Server) -> Result<(), String> {
    let build = world.build(server, &bake()).await;
    let ended = world.ended(server, &build).await?;
    if ended.state != "succeeded" {
        return Err(format!("it {}: {}", ended.state, ended.build["error"]));
    }
    let announced: BTreeSet<String> = ended.artifacts().into_iter().collect();
    let there = world.resources().await;
    if there == announced {
        return Ok(());
    }
    let (leaked, lost): (Vec<_>, Vec<_>) =
        (there.difference(&announced).collect(), announced.difference(&there).collect());
    Err(format!("leaked {leaked:?}, announced but not there {lost:?}"))
}

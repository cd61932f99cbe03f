//! The log of a real bake: live, resumed at every line, in every form; nothing lost, nothing twice.

use futures::StreamExt;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{PATIENCE, TestApp},
    template::{builder, machineless, shell, template},
};

/// An event of the stream.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: Option<i64>,
    kind: String,
    data: Value,
}

/// Reads events up to the end of the answer, or until `enough` says so.
async fn events(answer: Response, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    assert_eq!(answer.status(), StatusCode::OK);
    let (mut chunks, mut text, mut events) = (answer.bytes_stream(), String::new(), Vec::new());
    while !enough(&events) {
        let chunk = tokio::time::timeout(PATIENCE, chunks.next()).await.expect("an event comes in time");
        let Some(chunk) = chunk else { break };
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        while let Some((frame, rest)) = text.split_once("\n\n") {
            let field =
                |name: &str| frame.lines().find_map(|line| line.strip_prefix(name).map(str::trim_start));
            if let Some(kind) = field("event:") {
                events.push(Event {
                    id: field("id:").map(|id| id.parse().unwrap()),
                    kind: kind.to_owned(),
                    data: serde_json::from_str(field("data:").unwrap()).unwrap(),
                });
            }
            text = rest.to_owned();
        }
    }
    events
}

async fn open(app: &TestApp, id: &str, last_event: Option<i64>) -> Response {
    let mut request =
        app.request(Method::GET, &format!("/builds/{id}/logs")).header("accept", "text/event-stream");
    if let Some(last_event) = last_event {
        request = request.header("last-event-id", last_event);
    }
    request.send().await.unwrap()
}

fn lines(events: &[Event]) -> Vec<(i64, String)> {
    let logs = events.iter().filter(|event| event.kind == "log");
    logs.map(|event| (event.data["seq"].as_i64().unwrap(), event.data["line"].as_str().unwrap().to_owned()))
        .collect()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn lines_come_while_the_script_still_runs(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    // The script never ends by itself, so a line that is read came while it ran.
    let script = ["echo waiting", "while [ ! -e /tmp/go ]; do sleep 0.05; done", "echo gone on"];
    let id = app.post_build(&template(builder("live"), json!([shell(&script)]))).await;
    let is_waiting = |events: &[Event]| lines(events).iter().any(|(_, line)| line == "waiting");
    let seen = events(open(&app, &id, None).await, is_waiting).await;
    assert!(is_waiting(&seen));
    let build = app.get(&format!("/builds/{id}")).await;
    assert_eq!((&build["state"], &build["runs"][0]["step"]), (&"running".into(), &"provision".into()));
    assert_eq!(app.cancel(&id).await.status(), StatusCode::ACCEPTED);
    assert_eq!(app.wait_build(&id).await["state"], "cancelled");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_reader_who_reconnects_at_any_line_misses_none_and_sees_none_twice(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let script =
        ["for i in $(seq 1 40); do echo line $i; echo error $i >&2; sleep 0.01; done", "printf 'no end'"];
    let id = app.post_build(&template(builder("lines"), json!([shell(&script)]))).await;
    // Three readers while it runs: one that stays, one that comes back after each piece, one of JSON lines.
    let stays = async { events(open(&app, &id, None).await, |_| false).await };
    let comes_back = async {
        let (mut seen, mut last): (Vec<Event>, i64) = (Vec::new(), 0);
        loop {
            let answer = open(&app, &id, Some(last)).await;
            if answer.status() == StatusCode::NO_CONTENT {
                break seen;
            }
            let piece = events(answer, |events| lines(events).len() > 2).await;
            last = piece.iter().filter_map(|event| event.id).next_back().unwrap_or(last);
            seen.extend(piece);
            if seen.iter().any(|event| event.kind == "end") {
                break seen;
            }
        }
    };
    let json_lines = async {
        let request = app
            .request(Method::GET, &format!("/builds/{id}/logs?follow=true"))
            .header("accept", "application/x-ndjson");
        request.send().await.unwrap().text().await.unwrap()
    };
    let (stayed, came_back, json_lines) = tokio::join!(stays, comes_back, json_lines);

    let whole = lines(&stayed);
    let numbers: Vec<i64> = whole.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(numbers, (1..=whole.len() as i64).collect::<Vec<_>>(), "numbered without gaps");
    for i in 1..=40 {
        for line in [format!("line {i}"), format!("error {i}")] {
            assert_eq!(whole.iter().filter(|(_, text)| *text == line).count(), 1, "{line}");
        }
    }
    assert!(whole.iter().any(|(_, line)| line == "no end"));
    assert_eq!(lines(&came_back), whole);
    let json_lines: Vec<Value> = json_lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let json_lines: Vec<_> = json_lines
        .iter()
        .map(|line| (line["seq"].as_i64().unwrap(), line["line"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(json_lines, whole);
    let text = app.log(&id).await;
    assert_eq!(text.lines().count(), whole.len());
    assert!(text.contains("    osc-bsu: line 40\n") && text.contains("==> osc-bsu: "), "{text}");

    let end = stayed.last().unwrap();
    assert_eq!((end.kind.as_str(), &end.data), ("end", &json!({ "state": "succeeded" })));
    // Afterwards, at every line there is.
    for (index, (seq, _)) in whole.iter().enumerate() {
        let answer = open(&app, &id, Some(*seq)).await;
        if index + 1 == whole.len() {
            assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        } else {
            assert_eq!(lines(&events(answer, |_| false).await), whole[index + 1..], "behind line {seq}");
        }
    }
    app.succeeded(&app.get(&format!("/builds/{id}")).await).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn events_tell_each_step_the_artifact_and_the_state(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let id = app.post_build(&template(machineless("told"), json!([]))).await;
    let all = tokio::time::timeout(PATIENCE, events(open(&app, &id, None).await, |_| false)).await.unwrap();
    let of = |kind: &str| {
        all.iter().filter(|event| event.kind == kind).map(|event| event.data.clone()).collect::<Vec<_>>()
    };
    let steps = app.steps(&id).await;
    for step in steps.keys() {
        let states: Vec<_> = of("step")
            .into_iter()
            .filter(|data| data["step"] == **step)
            .map(|data| data["state"].clone())
            .collect();
        assert_eq!(states, ["running", "succeeded"], "{step}");
    }
    assert_eq!(of("artifact").len(), 1, "{all:#?}");
    assert_eq!(of("state").last().unwrap()["state"], "succeeded", "{all:#?}");
    assert_eq!(all.last().unwrap().kind, "end");
}

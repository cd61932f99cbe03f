//! The commands against a server that does what a test wants: drops connections, repeats lines, refuses, comes late.

mod destroying;
mod fake;

use std::io::{self, Write};

use axum::{
    body::{Body, Bytes},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use clap::Parser;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc};

use super::*;
use crate::cli::{Cli, Command};
use fake::{CANCEL, Fake, GET, LOGS, POST, ran, start};

const ID: &str = "0198f0c2-0000-7000-8000-00000000000a";

fn template() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.json");
    std::fs::write(&path, "{}").unwrap();
    (folder, path.display().to_string())
}

fn build(state: &str) -> Value {
    let artifacts = match state {
        "succeeded" => {
            json!([{"type": "omi", "region": "eu-west-2", "id": "ami-12345678", "name": "web", "snapshots": ["snap-1"]}])
        }
        _ => json!([]),
    };
    json!({
        "id": ID, "state": state, "name": null, "labels": {}, "version": 3, "created_at": "2026-11-22T10:00:00Z",
        "started_at": "2026-11-22T10:00:01Z", "finished_at": "2026-11-22T10:01:06.5Z", "error": null, "artifacts": artifacts,
        "notices": ["an option has no effect"],
        "runs": [{"id": ID, "name": "osc-bsu", "builder": "osc-bsu", "state": state, "attempt": 1, "worker": "w",
                  "step": "provision", "steps_done": 3, "steps_total": 9, "cleanup": "done", "error": null, "artifacts": artifacts}],
    })
}

fn log(seq: i64) -> String {
    let stream = if seq == 1 { "ui" } else { "stdout" };
    let data = json!({"seq": seq, "at": "2026-11-22T10:00:02Z", "run": "osc-bsu", "step": "x", "stream": stream, "line": format!("line {seq}")});
    format!("id: {seq}\nevent: log\ndata: {data}\n\n")
}

fn end(state: &str) -> String {
    format!("event: end\ndata: {{\"state\":\"{state}\"}}\n\n")
}

fn logs(range: std::ops::RangeInclusive<i64>) -> Vec<String> {
    range.map(log).collect()
}

fn accepted() -> Fake {
    Fake::default().json(POST, 202, build("queued"))
}

fn printed(range: std::ops::RangeInclusive<i64>) -> String {
    let line = |seq| format!("{} osc-bsu: line {seq}\n", if seq == 1 { "==>" } else { "   " });
    range.map(line).collect()
}

/// The two parts of a multipart body.
fn parts(seen: &fake::Seen) -> (Value, Vec<u8>) {
    let boundary = seen.headers["content-type"].to_str().unwrap().split_once("boundary=").unwrap().1;
    let find = |from: usize, what: &[u8]| {
        from + seen.body[from..].windows(what.len()).position(|window| window == what).unwrap()
    };
    let (separator, blank) = (format!("\r\n--{boundary}"), b"\r\n\r\n");
    let json = find(0, blank) + 4;
    let json_end = find(json, separator.as_bytes());
    let archive = find(json_end, blank) + 4;
    let archive_end = find(archive, separator.as_bytes());
    (serde_json::from_slice(&seen.body[json..json_end]).unwrap(), seen.body[archive..archive_end].to_vec())
}

#[tokio::test]
async fn what_the_template_reads_of_the_environment_is_sent_and_said() {
    let (folder, path) = template();
    std::fs::write(&path, r#"{"variables": {"p": "{{env `PATH`}}", "x": "{{env `FOURNIL_NOT_SET`}}"}}"#)
        .unwrap();
    let answer = json!({"valid": true, "notices": [], "runs": []});
    let fake = (0..3).fold(Fake::default(), |fake, _| fake.json("POST /validate", 200, answer.clone()));
    let server = fake.start().await;
    let said = ran(&["validate", &path, "--server", &server]).await;
    assert_eq!(said.err, "fournil: sends from the environment: PATH\n");
    let path_value = std::env::var("PATH").unwrap();
    assert_eq!(parts(&fake.seen("POST /validate")[0]).0["env"], json!({ "PATH": path_value }));
    assert_eq!(ran(&["validate", &path, "--json", "--server", &server]).await.err, "");

    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    std::fs::write(images.join("a.pkr.hcl"), "build {}").unwrap();
    let outside = folder.path().join("outside.json");
    std::fs::write(&outside, "{}").unwrap();
    let (images, outside) = (images.display().to_string(), outside.display().to_string());
    let arguments = ["validate", &images, "--var-file", &outside, "--server", &server];
    assert_eq!(ran(&arguments).await.outcome, Outcome::Success);
    let request = parts(&fake.seen("POST /validate")[2]).0;
    assert_eq!(request["template_path"], ".");
    assert_eq!(request["var_files"], json!([".fournil/var-files/1-outside.json"]));
}

#[tokio::test]
async fn a_build_is_sent_followed_and_ends_with_its_artifacts() {
    let fake =
        accepted().whole([logs(1..=3), vec![end("succeeded")]].concat()).json(GET, 200, build("succeeded"));
    let (_folder, path) = template();
    let server = fake.start().await;
    let file = format!("{path}.vars");
    std::fs::write(&file, r#"{"size": 10, "name": "file", "only": "here"}"#).unwrap();
    let ran = ran(&[
        "build",
        &path,
        "--server",
        &server,
        "--token",
        "secret-token",
        "--var-file",
        &file,
        "--var",
        "name=a b&c",
        "--only",
        "x,y",
        "--label",
        "team=web",
        "--name",
        "nightly",
        "--on-error",
        "cleanup",
        "--priority",
        "-1",
    ])
    .await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.err);
    let expected = format!(
        "{}\n==> Build {ID} was successful after 1m5s.\n--> osc-bsu: OMI `web` with snap-1\neu-west-2: ami-12345678\n",
        printed(1..=3)
    );
    assert_eq!(ran.out, expected);
    assert!(ran.err.contains("notice: an option has no effect"), "{}", ran.err);

    let seen = &fake.seen(POST)[0];
    assert_eq!(seen.uri, "/builds", "nothing stands in the URL, which may end up in logs");
    let (request, archive) = parts(seen);
    assert_eq!(
        request,
        json!({
            "variables": {"name": "a b&c"}, "env": {}, "template_path": "web.json", "var_files": ["web.json.vars"],
            "only": ["x", "y"], "on_error": "cleanup", "name": "nightly", "priority": -1, "labels": {"team": "web"},
        })
    );
    assert_eq!(seen.headers["authorization"], "Bearer secret-token");
    assert!(seen.headers.contains_key("idempotency-key"));
    assert!(archive.starts_with(&[0x1f, 0x8b]));
    assert!(fake.seen(LOGS)[0].headers.get("last-event-id").is_none());
}

#[tokio::test]
async fn lost_connections_lose_and_repeat_no_line() {
    let fake = accepted()
        .torn(logs(1..=3))
        .torn(vec![log(4), "id: 5\nevent: lo".to_owned()])
        .json(LOGS, 503, json!("a proxy speaks"))
        .torn(logs(3..=6))
        .whole(logs(7..=7))
        .whole([logs(8..=9), vec![end("succeeded")]].concat())
        .json(GET, 200, build("succeeded"));
    let (_folder, path) = template();
    let server = fake.start().await;
    let ran = ran(&["build", &path, "--server", &server]).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.err);
    assert!(ran.out.starts_with(&format!("{}\n==> Build", printed(1..=9))), "{}", ran.out);
    let ids: Vec<_> = fake
        .seen(LOGS)
        .iter()
        .map(|seen| {
            seen.headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned()).unwrap_or_default()
        })
        .collect();
    assert_eq!(ids, ["", "3", "4", "4", "6", "7"]);
}

#[tokio::test]
async fn a_hole_is_asked_for_once_more_and_then_told() {
    let fake = accepted()
        .whole([logs(1..=2), logs(5..=5)].concat())
        .whole(logs(3..=3))
        .whole(logs(6..=6))
        .whole([logs(6..=6), vec![end("succeeded")]].concat())
        .json(GET, 200, build("succeeded"));
    let (_folder, path) = template();
    let ran = ran(&["build", &path, "--server", &fake.start().await]).await;
    assert!(ran.out.starts_with(&format!("{}{}\n", printed(1..=3), printed(6..=6))), "{}", ran.out);
    assert!(ran.err.contains("the server has no lines 4 to 5"), "{}", ran.err);
}

#[tokio::test]
async fn a_reconnect_after_the_end_is_the_end() {
    let fake = accepted().torn(logs(1..=2)).answer(LOGS, || StatusCode::NO_CONTENT.into_response()).json(
        GET,
        200,
        build("succeeded"),
    );
    let (_folder, path) = template();
    let ran = ran(&["build", &path, "--server", &fake.start().await]).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.err);
}

#[tokio::test]
async fn a_failed_build_shows_why_and_exits_with_failure() {
    let mut failed = build("failed");
    failed["leftovers"] = json!([{"kind": "vm"}]);
    failed["runs"][0]["error"] = json!({
        "type": "x", "title": "The VM could not be launched", "status": 502, "code": "oapi_refused", "retryable": false,
        "detail": "CreateVms was refused.", "hint": "choose another vm_type", "step": "launch_vm",
        "oapi": {"action": "CreateVms", "code": "10001", "type": "InsufficientCapacity", "details": "no room", "request_id": "r-1"},
    });
    let fake = accepted().whole(vec![log(1), end("failed")]).json(GET, 200, failed);
    let (_folder, path) = template();
    let ran = ran(&["build", &path, "--server", &fake.start().await]).await;
    assert_eq!(ran.outcome, Outcome::Failure);
    for part in [
        "failed after 1m5s",
        "--> osc-bsu: The VM could not be launched (oapi_refused)",
        "What to do: choose another vm_type",
        "OUTSCALE answered CreateVms: code 10001 InsufficientCapacity “no room” (their request r-1)",
        "1 resources are still to be removed",
    ] {
        assert!(ran.out.contains(part), "{part} is missing in: {}", ran.out);
    }
}

#[tokio::test]
async fn a_refused_template_shows_every_place() {
    let problem = json!({
        "type": "x", "title": "The template is not valid", "status": 422, "code": "invalid_template", "retryable": false,
        "detail": "2 places are wrong", "request_id": "q-7", "errors": [
            {"file": "web.json", "line": 2, "column": 3, "pointer": "/builders/0/vm_typ", "detail": "did you mean `vm_type`?"},
            {"pointer": "/only/0", "detail": "there is no such build"},
        ],
    });
    let refusals = (0..3).fold(Fake::default(), |fake, _| fake.json(POST, 422, problem.clone()));
    let (_folder, path) = template();
    std::fs::write(&path, "{\n  \"vm_typ\": 1\n}\n").unwrap();
    let server = refusals.start().await;
    let refused = ran(&["build", &path, "--server", &server]).await;
    assert_eq!(refused.outcome, Outcome::Failure);
    assert_eq!(
        refused.err,
        format!(
            "error: {path}:2:3: did you mean `vm_type`?\n    2 |   \"vm_typ\": 1\n      |   ^\n\
             error: /only/0: there is no such build\n\
             Error: The template is not valid (invalid_template)\n  2 places are wrong\n  Request q-7\n"
        )
    );
    let for_machines = ran(&["build", &path, "--server", &server, "--machine-readable"]).await;
    assert!(
        for_machines.out.contains(",,error,The template is not valid (invalid_template)\\n"),
        "{}",
        for_machines.out
    );
    let as_json = ran(&["build", &path, "--server", &server, "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&as_json.err).unwrap()["errors"], problem["errors"]);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_key() {
    let away = json!({"type": "x", "title": "Away", "status": 503, "code": "database_away", "retryable": true, "detail": "d"});
    let fake = Fake::default()
        .answer(POST, || {
            let torn = stream::once(async { Err::<Bytes, _>(io::Error::other("torn")) });
            (StatusCode::ACCEPTED, Body::from_stream(torn)).into_response()
        })
        .json(POST, 503, away)
        .json(POST, 202, build("queued"));
    let (_folder, path) = template();
    let ran = ran(&["build", &path, "--detach", "--server", &fake.start().await]).await;
    assert_eq!((ran.outcome, ran.out), (Outcome::Success, format!("{ID}\n")), "{}", ran.err);
    let keys: Vec<_> = fake.seen(POST).iter().map(|seen| seen.headers["idempotency-key"].clone()).collect();
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn the_first_interrupt_cancels_and_goes_on_following() {
    // The log stays open until the cancel has arrived.
    let (cancelled, mut waits) = mpsc::channel::<()>(1);
    let fake = accepted()
        .answer(LOGS, move || {
            let rest = stream::once(async move {
                waits.recv().await;
                Ok::<_, io::Error>(Bytes::from([log(2), end("cancelled")].concat()))
            });
            let first = stream::once(async { Ok(Bytes::from(log(1))) });
            ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(first.chain(rest)))
                .into_response()
        })
        .answer(CANCEL, move || {
            cancelled.try_send(()).unwrap();
            (StatusCode::ACCEPTED, build("running").to_string()).into_response()
        })
        .json(GET, 200, build("cancelled"));
    let (_folder, path) = template();
    let running = start(&["build", &path, "--server", &fake.start().await]);
    running.has_printed("line 1").await;
    running.interrupt.send(()).await.unwrap();
    let ran = running.ended().await;
    assert_eq!(ran.outcome, Outcome::Failure);
    assert_eq!(fake.seen(CANCEL).len(), 1);
    assert!(ran.out.contains("line 2") && ran.out.contains("was cancelled"), "{}", ran.out);
}

#[tokio::test]
async fn the_second_interrupt_leaves_at_once() {
    let endless = || {
        let quiet = stream::once(async { Ok::<_, io::Error>(Bytes::from(log(1))) }).chain(stream::pending());
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(quiet)).into_response()
    };
    let fake = accepted().answer(LOGS, endless).json(CANCEL, 202, build("running"));
    let (_folder, path) = template();
    let running = start(&["build", &path, "--server", &fake.start().await]);
    running.has_printed("line 1").await;
    running.interrupt.send(()).await.unwrap();
    running.interrupt.send(()).await.unwrap();
    assert_eq!(running.ended().await.outcome, Outcome::Interrupted);
}

#[tokio::test]
async fn the_machine_readable_form_is_packers() {
    let fake = accepted().whole(vec![log(1), end("succeeded")]).json(GET, 200, build("succeeded"));
    let (_folder, path) = template();
    let ran = ran(&["build", &path, "--machine-readable", "--server", &fake.start().await]).await;
    assert!(ran.out.starts_with("1795341602,,ui,say,==> osc-bsu: line 1\n"), "{}", ran.out);
    assert!(ran.out.contains(",osc-bsu,artifact,0,id,eu-west-2:ami-12345678\n"), "{}", ran.out);
    assert!(ran.out.lines().all(|line| line.split(',').count() >= 4), "{}", ran.out);
}

#[tokio::test]
async fn json_leaves_standard_output_to_the_build() {
    let fake = accepted().whole(vec![log(1), end("succeeded")]).json(GET, 200, build("succeeded"));
    let (_folder, path) = template();
    let ran = ran(&["build", &path, "--json", "--server", &fake.start().await]).await;
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), build("succeeded"));
    assert!(ran.err.contains("==> osc-bsu: line 1"), "{}", ran.err);
}

#[tokio::test]
async fn what_cannot_be_done_as_typed_is_a_usage_error() {
    let (folder, path) = template();
    let file = folder.path().display().to_string();
    for arguments in [
        &["build", "/nowhere/web.json"][..],
        &["build", &path, "--var", "hunter2"],
        &["build", &path, "--var-file", "/nowhere/vars.json"],
        &["build", &path, "--var-file", &file],
        &["build", &path, "--label", "x"],
        &["build", &path, "--force"],
        &["build", &path, "--context", "/proc/self/fd"],
        &["list", "--server", "ftp://x"],
    ] {
        let ran = ran(arguments).await;
        assert_eq!(ran.outcome, Outcome::Usage, "{arguments:?}: {}", ran.err);
        assert!(ran.err.starts_with("Error: ") && !ran.err.contains("hunter2"), "{}", ran.err);
    }
}

#[tokio::test]
async fn nobody_there_and_a_stranger_there_are_told_apart() {
    let nobody = crate::testing::Port::take();
    let ran_alone = ran(&["list", "--server", &format!("http://{}", nobody.address())]).await;
    assert_eq!(ran_alone.outcome, Outcome::Failure);
    assert!(ran_alone.err.contains("is `fournil serve` running?"), "{}", ran_alone.err);

    let stranger = Fake::default().answer("GET /builds", || "<html>hello</html>".into_response());
    let ran = ran(&["list", "--server", &stranger.start().await]).await;
    assert!(ran.err.contains("does not answer as fournil does"), "{}", ran.err);
}

#[tokio::test]
async fn a_valid_template_is_described() {
    let answer = json!({"valid": true, "notices": ["n"], "runs": [
        {"name": "web", "builder": "osc-bsu", "omi_name": "web-1", "provisioners": ["shell", "file"]},
    ]});
    let fake = Fake::default().json("POST /validate", 200, answer);
    let (_folder, path) = template();
    let ran = ran(&["validate", &path, "--server", &fake.start().await]).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.err);
    assert_eq!(
        ran.out,
        "The template is valid.\n--> web: osc-bsu, makes OMI `web-1`, provisions with shell, file\nNotice: n\n"
    );
}

#[tokio::test]
async fn builds_are_listed_in_columns() {
    let mut named = build("running");
    named["name"] = json!("nightly");
    let list = json!({"builds": [build("succeeded"), named], "next": "cursor"});
    let fake = Fake::default().json("GET /builds", 200, list);
    let arguments =
        ["list", "--state", "running,succeeded", "--label", "a=b", "--server", &fake.start().await];
    let ran = ran(&arguments).await;
    assert_eq!(
        ran.out,
        format!(
            "ID                                    STATE      CREATED (UTC)        NAME     RESULT\n\
             {ID}  succeeded  2026-11-22 10:00:00  osc-bsu  eu-west-2: ami-12345678\n\
             {ID}  running    2026-11-22 10:00:00  nightly  provision\n"
        )
    );
    assert!(ran.err.contains("--limit"), "{}", ran.err);
    assert_eq!(fake.seen("GET /builds")[0].uri, "/builds?limit=20&state=running&state=succeeded&label=a%3Db");
}

#[tokio::test]
async fn a_build_is_shown_with_its_runs() {
    let fake = Fake::default().json(GET, 200, build("running")).json(GET, 200, build("running"));
    let server = fake.start().await;
    let shown = ran(&["show", ID, "--server", &server]).await;
    assert!(
        shown.out.contains("RUN      BUILDER  STATE    ATTEMPT  STEP           CLEANUP"),
        "{}",
        shown.out
    );
    assert!(shown.out.contains("osc-bsu  osc-bsu  running  1        3/9 provision  done"), "{}", shown.out);
    let as_json = ran(&["show", ID, "--json", "--server", &server]).await;
    assert_eq!(serde_json::from_str::<Value>(&as_json.out).unwrap(), build("running"));
}

fn stored(range: std::ops::RangeInclusive<i64>) -> Response {
    let line = |seq| {
        format!(
            "{}\n",
            json!({"seq": seq, "at": null, "run": "osc-bsu", "step": null, "stream": "stdout", "line": format!("line {seq}")})
        )
    };
    ([(header::CONTENT_TYPE, "application/x-ndjson")], range.map(line).collect::<String>()).into_response()
}

#[tokio::test]
async fn stored_logs_are_printed_and_followed_from_their_end() {
    let fake = Fake::default()
        .answer(LOGS, || stored(6..=7))
        .whole([logs(8..=9), vec![end("failed")]].concat())
        .json(GET, 200, build("failed"));
    let ran = ran(&["logs", ID, "-f", "--tail", "2", "--server", &fake.start().await]).await;
    assert_eq!((ran.outcome, ran.out), (Outcome::Failure, printed(6..=9)), "{}", ran.err);
    let seen = fake.seen(LOGS);
    assert!(seen[0].uri.ends_with("?tail=2") && seen[0].headers["accept"] == "application/x-ndjson");
    assert_eq!(seen[1].headers["last-event-id"], "7");
}

#[tokio::test]
async fn waiting_for_a_silent_server_can_be_left() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    let (_folder, path) = template();
    for arguments in [&["list"][..], &["logs", ID], &["logs", ID, "-f"], &["build", &path]] {
        let running = start(&[arguments, &["--server", &server]].concat());
        // Somebody has taken the request, so that it is the answer that is waited for.
        let (_connection, _) = silent.accept().await.unwrap();
        running.interrupt.send(()).await.unwrap();
        assert_eq!(running.ended().await.outcome, Outcome::Interrupted, "{arguments:?}");
    }
}

#[tokio::test]
async fn looking_on_is_left_without_cancelling() {
    let quiet = || {
        (
            [(header::CONTENT_TYPE, "text/event-stream")],
            Body::from_stream(stream::pending::<io::Result<Bytes>>()),
        )
            .into_response()
    };
    let fake = Fake::default().answer(LOGS, quiet);
    let running = start(&["logs", ID, "-f", "--server", &fake.start().await]);
    running.interrupt.send(()).await.unwrap();
    assert_eq!(running.ended().await.outcome, Outcome::Interrupted);
    assert!(fake.seen(CANCEL).is_empty());
}

#[tokio::test]
async fn cancel_retry_and_resources_say_what_came_of_them() {
    let mut again = build("queued");
    again["id"] = json!("0198f0c2-0000-7000-8000-00000000000b");
    let resources = json!({"resources": [
        {"kind": "vm", "cloud_id": "i-1", "region": "eu-west-2", "state": "removed", "created_at": "2026-11-22T10:00:00Z", "last_error": null},
        {"kind": "volume", "cloud_id": null, "region": "eu-west-2", "state": "intent", "created_at": "2026-11-22T10:00:00Z", "last_error": "no"},
    ]});
    let fake = Fake::default()
        .json(CANCEL, 202, build("running"))
        .json(&format!("POST /builds/{ID}/retry"), 202, again)
        .json(&format!("{GET}/resources"), 200, resources);
    let server = fake.start().await;
    assert!(ran(&["cancel", ID, "--server", &server]).await.out.contains("is being cancelled"));
    assert_eq!(ran(&["retry", ID, "--server", &server]).await.out, "0198f0c2-0000-7000-8000-00000000000b\n");
    assert_eq!(
        ran(&["resources", ID, "--server", &server]).await.out,
        "KIND    ID   REGION     STATE    CREATED (UTC)        LAST ERROR\n\
         vm      i-1  eu-west-2  removed  2026-11-22 10:00:00\n\
         volume  ?    eu-west-2  intent   2026-11-22 10:00:00  no\n"
    );
}

#[tokio::test]
async fn a_server_below_a_path_is_reached() {
    let fake = Fake::default().json("GET /bakery/builds", 200, json!({"builds": []}));
    let ran = ran(&["list", "--server", &format!("{}/bakery", fake.start().await)]).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.err);
}

#[tokio::test]
async fn a_closed_pager_is_no_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let fake = Fake::default().json(GET, 200, build("running"));
    let server = fake.start().await;
    let Command::Client(command) =
        Cli::try_parse_from(["fournil", "show", ID, "--server", &server]).unwrap().command
    else {
        panic!("no command of a client")
    };
    let outcome = run(command, &Terminal::new(Closed, io::sink()), mpsc::channel(1).1).await;
    assert_eq!(outcome, Outcome::Success);
}

//! `fournil destroy`.

use super::*;

const DESTROY: &str = "DELETE /builds/0198f0c2-0000-7000-8000-00000000000a/artifacts";

/// A build whose artifact has come to this.
fn destroyed(state: Option<&str>, end: Value) -> Value {
    let mut build = build("succeeded");
    let run = &mut build["runs"][0];
    run["destroy"] = json!(state);
    for (name, value) in end.as_object().unwrap() {
        run["artifacts"][0][name] = value.clone();
    }
    build
}

#[tokio::test]
async fn destroy_waits_until_workers_have_done_it() {
    let gone = destroyed(Some("done"), json!({ "removed_at": "2026-11-22T11:00:00.5Z" }));
    let fake = Fake::default()
        .json(GET, 200, destroyed(None, json!({})))
        .json(DESTROY, 202, destroyed(Some("pending"), json!({})))
        .json(GET, 200, destroyed(Some("pending"), json!({})))
        .json(GET, 200, gone);
    let ran = ran(&["destroy", ID, "--yes", "--run", "osc-bsu", "--server", &fake.start().await]).await;
    assert_eq!(ran.outcome, Outcome::Success, "{}", ran.err);
    assert_eq!(ran.out, "eu-west-2: ami-12345678: OMI `web` with snap-1, destroyed 2026-11-22 11:00:00\n");
    assert!(fake.seen(DESTROY)[0].uri.ends_with("?run=osc-bsu"));
    assert!(fake.seen(GET)[1].uri.contains("version=3"), "it does not wait for a change");
}

#[tokio::test]
async fn what_stays_is_told_with_the_reason_and_nothing_to_destroy_is_no_failure() {
    let refused =
        destroyed(Some("refused"), json!({ "removal_error": "snapshot snap-1: it is used by ami-2" }));
    let fake = Fake::default().json(GET, 200, destroyed(None, json!({}))).json(DESTROY, 202, refused);
    let told = ran(&["destroy", ID, "--yes", "--server", &fake.start().await]).await;
    assert_eq!(told.outcome, Outcome::Failure);
    assert!(told.out.contains("stays: snapshot snap-1: it is used by ami-2"), "{}", told.out);

    let gone = destroyed(Some("done"), json!({ "removed_at": "2026-11-22T11:00:00Z" }));
    let fake = Fake::default().json(GET, 200, gone);
    let nothing = ran(&["destroy", ID, "--server", &fake.start().await]).await;
    assert_eq!(nothing.outcome, Outcome::Success);
    assert!(nothing.out.contains("nothing of build"), "{}", nothing.out);
    assert!(fake.seen(DESTROY).is_empty());
}

#[tokio::test]
async fn without_a_terminal_it_must_be_meant() {
    use std::io::IsTerminal;
    if io::stdin().is_terminal() {
        return;
    }
    let fake = Fake::default().json(GET, 200, destroyed(None, json!({})));
    let ran = ran(&["destroy", ID, "--server", &fake.start().await]).await;
    assert_eq!(ran.outcome, Outcome::Usage);
    assert!(ran.err.contains("ami-12345678") && ran.err.contains("--yes"), "{}", ran.err);
    assert!(fake.seen(DESTROY).is_empty());
}

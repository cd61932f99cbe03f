//! The JSON bodies of a request.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::template::FolderSource;

fn from(body: &Value) -> Result<BuildRequest, Problem> {
    BuildRequest::from_json(body.to_string().as_bytes(), &RequestLimits::default())
}

#[test]
fn an_envelope_has_all_options() {
    let request = from(&json!({
        "template": {"builders": []},
        "variables": {"a": "x", "n": 22, "b": true},
        "only": ["one"], "except": [], "labels": {"team": "web"}, "priority": -2, "timeout": "2h",
        "on_error": "cleanup", "credentials": null, "name": "nightly", "reuse": null,
    }))
    .unwrap();
    assert_eq!(request.form, RequestForm::Envelope);
    assert_eq!(request.template, TemplateSource::Json(json!({"builders": []})));
    assert_eq!(request.variables.values().collect::<Vec<_>>(), ["x", "true", "22"]);
    assert_eq!((request.only.as_slice(), request.priority), (&["one".to_owned()][..], -2));
    assert_eq!(request.timeout, Some(Duration::from_secs(7200)));
    assert_eq!(request.name.as_deref(), Some("nightly"));
}

#[test]
fn a_bare_template_and_the_short_form_are_recognised() {
    let bare = from(&json!({"builders": [{}]})).unwrap();
    assert_eq!(bare.form, RequestForm::Bare);
    let short = from(&json!({
        "builder": {"type": "osc-bsu"}, "provisioners": [{"type": "shell"}], "name": "n", "variables": {"v": "{{x}}"},
    }))
    .unwrap();
    assert_eq!(short.form, RequestForm::Short);
    assert_eq!(short.name.as_deref(), Some("n"));
    assert_eq!(
        short.template,
        TemplateSource::Json(json!({
            "builders": [{"type": "osc-bsu"}],
            "variables": {"v": "{{`{{`}}x}}"},
            "provisioners": [{"type": "shell"}],
        }))
    );
    let text = from(&json!({"template": "source \"osc-bsu\" \"a\" {}"})).unwrap();
    assert!(matches!(text.template, TemplateSource::Text(_)));
}

#[test]
fn every_wrong_field_is_listed() {
    let problem = from(&json!({
        "template": {}, "variabels": {}, "variables": {"l": []}, "only": ["a", 1], "labels": {"bad name": "x", "k": 1},
        "priority": 1.5, "timeout": "soon", "on_error": "explode", "name": "", "credentials": "../prod",
    }))
    .unwrap_err();
    assert_eq!((problem.status, problem.code.as_str()), (422, "invalid_request"));
    let found: Vec<(&str, &str)> = problem
        .errors
        .iter()
        .map(|error| (error.pointer.as_deref().unwrap(), error.detail.as_str()))
        .collect();
    for (pointer, part) in [
        ("/variabels", "did you mean `variables`?"),
        ("/variables/l", "not a list"),
        ("/only/1", "must be a name"),
        ("/labels/bad name", "letters, digits"),
        ("/labels/k", "must be a text"),
        ("/priority", "whole number"),
        ("/timeout", "`soon` is no duration"),
        ("/on_error", "must be `cleanup`"),
        ("/name", "1 to 128 characters"),
        ("/credentials", "the name of a set of credentials"),
    ] {
        assert!(
            found.iter().any(|(at, detail)| *at == pointer && detail.contains(part)),
            "{pointer}: {found:#?}"
        );
    }
    assert_eq!(found.len(), 10);
}

#[test]
fn what_is_not_done_yet_is_refused_by_name() {
    let problem = from(&json!({"template": {}, "reuse": "identical"})).unwrap_err();
    assert_eq!((problem.status, problem.code.as_str()), (422, "not_supported_yet"));
    assert_eq!(problem.errors[0].pointer.as_deref(), Some("/reuse"));
    assert!(problem.errors[0].detail.contains("reuse"));
}

#[test]
fn what_happens_after_an_error_can_be_said() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJXRfRwB1eHkgjnqYYyn8o5nUO6Vx0bFNFfJTQrfZ1nX me@host";
    let request = from(&json!({
        "template": {}, "on_error": "ask", "keep_for": "90m", "authorized_keys": [key],
    }))
    .unwrap();
    assert_eq!((request.on_error, request.keep_for), (OnError::Hold, Some(Duration::from_secs(5400))));
    assert_eq!(request.authorized_keys, [key]);
    for (options, pointer, part) in [
        (json!({"keep_for": "1h"}), "/keep_for", "needs `on_error`"),
        (json!({"on_error": "abort", "keep_for": "9000h"}), "/keep_for", "must lie between"),
        (json!({"on_error": "abort", "keep_for": 5}), "/keep_for", "must be a text"),
        (json!({"authorized_keys": ["rubbish"]}), "/authorized_keys/0", "is no public key"),
        (
            json!({"authorized_keys": [format!("command=\"x\" {key}")]}),
            "/authorized_keys/0",
            "is no public key",
        ),
        (json!({"authorized_keys": [format!("{key}\nssh-rsa A")]}), "/authorized_keys/0", "is no public key"),
        (json!({"authorized_keys": vec![key; 17]}), "/authorized_keys", "at most 16 keys"),
    ] {
        let mut body = options.clone();
        body["template"] = json!({});
        let problem = from(&body).unwrap_err();
        let found = problem
            .errors
            .iter()
            .any(|error| error.pointer.as_deref() == Some(pointer) && error.detail.contains(part));
        assert!(found, "{options}: {problem:#?}");
    }
}

#[test]
fn a_request_is_bounded() {
    let many: serde_json::Map<String, Value> = (0..300).map(|n| (format!("k{n}"), json!("v"))).collect();
    let long = "x".repeat(70_000);
    for (field, value) in [
        ("labels", json!(many)),
        ("labels", json!({"k": long})),
        ("labels", json!({long.clone(): "v"})),
        ("variables", json!(many)),
        ("variables", json!({"v": long})),
        ("only", json!(vec!["a"; 200])),
        ("name", json!("n".repeat(129))),
        ("name", json!("a\u{7}b")),
        ("timeout", json!("0s")),
        ("timeout", json!("10000h")),
        ("priority", json!(100_000)),
        ("priority", json!(i64::MIN)),
    ] {
        let problem = from(&json!({"template": {}, field: value})).unwrap_err();
        assert_eq!(problem.code, "invalid_request", "{field}");
        assert!(problem.errors.iter().all(|error| error.detail.len() < 300), "{field}");
    }
}

#[test]
fn broken_json_is_named_with_line_and_column() {
    let problem =
        BuildRequest::from_json(b"{\n  \"template\": {},\n  \"template\": {}\n}", &RequestLimits::default())
            .unwrap_err();
    assert_eq!((problem.status, problem.code.as_str()), (400, "invalid_json"));
    assert_eq!((problem.errors[0].line, problem.errors[0].column), (Some(3), Some(3)));
    let problem = BuildRequest::from_json(b"{\"a\": \"\xff\"}", &RequestLimits::default()).unwrap_err();
    assert_eq!((problem.code.as_str(), problem.errors[0].column), ("invalid_json", Some(8)));
    for body in ["[]", "1", "{}", "{\"template\": 5}", "{\"tempalte\": {}}"] {
        assert_eq!(
            BuildRequest::from_json(body.as_bytes(), &RequestLimits::default()).unwrap_err().status,
            422,
            "{body}"
        );
    }
}

#[test]
fn an_envelope_may_leave_the_template_to_the_folder() {
    let folder = ContextFolder::from_files([("web.json", &br#"{"builders": []}"#[..], false)]);
    let request =
        BuildRequest::from_json_and_folder(br#"{"name": "n"}"#, &folder, &RequestLimits::default()).unwrap();
    assert_eq!((request.name.as_deref(), request.template_path.as_deref()), (Some("n"), Some("web.json")));
}

#[test]
fn an_envelope_may_say_where_in_the_folder_the_template_is() {
    let template = &br#"{"builders": []}"#[..];
    let folder = ContextFolder::from_files([("a.json", template, false), ("b.json", template, false)]);
    let from = |body: Value, folder: Option<&ContextFolder>| {
        let body = body.to_string();
        let limits = RequestLimits::default();
        match folder {
            Some(folder) => BuildRequest::from_json_and_folder(body.as_bytes(), folder, &limits),
            None => BuildRequest::from_json(body.as_bytes(), &limits),
        }
    };
    let request = from(json!({"template_path": "./b.json", "name": "n"}), Some(&folder)).unwrap();
    assert_eq!((request.name.as_deref(), request.template_path.as_deref()), (Some("n"), Some("b.json")));
    for (body, folder, code) in [
        (json!({"template_path": "c.json"}), Some(&folder), "template_not_found"),
        (json!({"template_path": null}), Some(&folder), "template_ambiguous"),
        (json!({"template_path": 5}), Some(&folder), "invalid_request"),
        (json!({"template_path": "a.json", "template": {}}), Some(&folder), "invalid_request"),
        (json!({"template_path": "a.json"}), None, "invalid_request"),
    ] {
        assert_eq!(from(body.clone(), folder).unwrap_err().code, code, "{body}");
    }
}

#[test]
fn environment_and_variable_files_are_taken_within_bounds() {
    let request =
        from(&json!({"template": {}, "env": {"A": "x", "N": 5}, "var_files": ["b.json", "sub/../a.json"]}))
            .unwrap();
    assert_eq!(request.env.values().collect::<Vec<_>>(), ["x", "5"]);
    assert_eq!(request.var_files, ["b.json", "sub/../a.json"]);
    let many: BTreeMap<String, String> = (0..300).map(|n| (format!("K{n}"), String::new())).collect();
    for (field, value, pointer) in [
        ("env", json!({"A=B": "x"}), "/env/A=B"),
        ("env", json!({"": "x"}), "/env/"),
        ("env", json!({"A": "x".repeat(70_000)}), "/env/A"),
        ("env", json!({"A": []}), "/env/A"),
        ("env", json!(many), "/env"),
        ("var_files", json!("a.json"), "/var_files"),
        ("var_files", json!(["a.json", "/etc/passwd"]), "/var_files/1"),
        ("var_files", json!(["../a.json"]), "/var_files/0"),
        ("var_files", json!(["."]), "/var_files/0"),
        ("var_files", json!(vec!["a"; 33]), "/var_files"),
    ] {
        let problem = from(&json!({"template": {}, field: value})).unwrap_err();
        assert_eq!(problem.errors[0].pointer.as_deref(), Some(pointer), "{field}");
    }
}

#[test]
fn requests_stored_by_earlier_versions_are_still_read() {
    let stored = json!({"template": {"builders": []}, "form": "envelope", "variables": {"a": "b"}});
    let request: BuildRequest = serde_json::from_value(stored).unwrap();
    assert!(request.env.is_empty() && request.var_files.is_empty());
    let folder = TemplateSource::Folder(FolderSource { hcl2_folder: "images".to_owned() });
    let stored = serde_json::to_string(&BuildRequest::new(folder.clone())).unwrap();
    assert_eq!(serde_json::from_str::<BuildRequest>(&stored).unwrap().template, folder);
}

#[test]
fn a_request_survives_storage_and_shows_no_secret() {
    let request =
        from(&json!({"template": {"builders": []}, "variables": {"pw": "hunter2"}, "timeout": "5m"}))
            .unwrap();
    let stored = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<BuildRequest>(&stored).unwrap(), request);
    assert!(!format!("{request:?}").contains("hunter2"));
    let text = from(&json!({"template": "{}"})).unwrap();
    let stored = serde_json::to_string(&text).unwrap();
    assert_eq!(serde_json::from_str::<BuildRequest>(&stored).unwrap(), text);
}

proptest! {
    #[test]
    fn no_body_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[{}\":,a-z\\[\\]0-9 ]{0,60}") {
        let limits = RequestLimits::default();
        let _ = BuildRequest::from_json(&bytes, &limits);
        let _ = BuildRequest::from_json(text.as_bytes(), &limits);
        let _ = BuildRequest::from_json(format!("{{\"template\": {{}}, {text}}}").as_bytes(), &limits);
    }
}

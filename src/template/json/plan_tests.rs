//! Whole templates: the corpus in `tests/templates`, the choice of runs, variables, secrets, and that nothing panics.

use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::*;
use crate::{domain::post_processor::PostProcessor, template::RequestLimits};

const LINUX: &str = include_str!("../../../tests/templates/linux.json");
const TWO: &str = include_str!("../../../tests/templates/two-builds.json");
const WINDOWS: &str = include_str!("../../../tests/templates/windows.json");
const WRONG: &str = include_str!("../../../tests/templates/wrong.json");

fn cx() -> ParseContext {
    let mut cx = ParseContext::at(chrono::DateTime::from_timestamp(1_770_000_000, 0).unwrap());
    for (name, value) in [("OSC_ACCESS_KEY", "AK0000000000000000AK"), ("OSC_SECRET_KEY", "SK-very-secret")] {
        cx.env_allowed.insert(name.to_owned(), value.to_owned());
    }
    cx
}

fn folder() -> ContextFolder {
    ContextFolder::from_files([
        ("files/nginx.conf", &b"x"[..], false),
        ("scripts/install.sh", b"#!/bin/sh", true),
        ("scripts/harden.sh", b"#!/bin/sh", true),
    ])
}

fn request(template: &str) -> BuildRequest {
    BuildRequest::from_template_text(template, Default::default(), &RequestLimits::default()).unwrap()
}

fn parsed(request: &BuildRequest) -> Result<Parsed, Problem> {
    plan(request, Some(&folder()), &cx())
}

/// Compares with the file in `tests/templates`; with `UPDATE_TEMPLATES` set, writes it anew.
fn assert_like(found: &Value, expected: &str, file: &str) {
    if std::env::var_os("UPDATE_TEMPLATES").is_some() {
        let path = format!(
            "{}/../../../tests/templates/{file}",
            std::path::Path::new(file!()).parent().unwrap().display()
        );
        std::fs::write(path, serde_json::to_string_pretty(found).unwrap() + "\n").unwrap();
        return;
    }
    let expected: Value = serde_json::from_str(expected).unwrap();
    assert_eq!(found, &expected, "{file}: {found:#}");
}

#[test]
fn a_whole_linux_template_becomes_its_plan() {
    let mut request = request(LINUX);
    request.variables.insert("team".to_owned(), "web".to_owned());
    let parsed = parsed(&request).unwrap();
    let plan = serde_json::to_value(&parsed.plan).unwrap();
    assert_like(&plan, include_str!("../../../tests/templates/linux.plan.json"), "linux.plan.json");
    let secrets: Vec<&str> = parsed.plan.runs[0].secrets.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(secrets, ["SK-very-secret"]);
    assert_eq!(parsed.redacted_template["variables"]["secret_key"], "<sensitive>");
    assert_eq!(parsed.redacted_template["builders"][0]["secret_key"], "<sensitive>");
    assert_eq!(parsed.redacted_template["builders"][0]["region"], "{{user `region`}}");
    let error = plan_error(&BuildRequest { variables: BTreeMap::new(), ..request });
    assert!(error.errors[0].detail.contains("the variable `team` has no default"), "{error:?}");
    assert_eq!((error.errors[0].line, error.errors[0].column), (Some(9), Some(5)));
}

fn plan_error(request: &BuildRequest) -> Problem {
    parsed(request).unwrap_err()
}

#[test]
fn provisioners_are_chosen_and_overridden_for_each_build() {
    let parsed = parsed(&request(TWO)).unwrap();
    let plan = serde_json::to_value(&parsed.plan).unwrap();
    assert_like(&plan, include_str!("../../../tests/templates/two-builds.plan.json"), "two-builds.plan.json");
    let commands = |run: usize| -> Vec<Value> {
        let provisioners = plan["runs"][run]["provisioners"].as_array().unwrap();
        provisioners.iter().map(|p| p["action"]["source"]["inline"]["commands"][0].clone()).collect()
    };
    assert_eq!(commands(0), ["echo both", "echo small", "echo small"]);
    assert_eq!(commands(1), ["echo both", "echo not small", "echo overridden in large"]);
}

#[test]
fn a_windows_template_is_refused_by_name() {
    let problem = plan_error(&request(WINDOWS));
    assert_eq!((problem.status, problem.code.as_str()), (422, "not_supported_yet"));
    let errors = serde_json::to_value(&problem.errors).unwrap();
    assert_like(&errors, include_str!("../../../tests/templates/windows.errors.json"), "windows.errors.json");
}

#[test]
fn all_that_is_wrong_is_listed_with_its_place() {
    let problem = plan_error(&request(WRONG));
    assert_eq!((problem.status, problem.code.as_str()), (422, "invalid_template"));
    let errors = serde_json::to_value(&problem.errors).unwrap();
    assert_like(&errors, include_str!("../../../tests/templates/wrong.errors.json"), "wrong.errors.json");
}

fn builder(name: &str) -> Value {
    json!({
        "type": "osc-bsu", "name": name, "omi_name": format!("image {name}"), "vm_type": "tinav5.c1r1p1",
        "source_omi": "ami-12345678", "ssh_username": "outscale",
    })
}

fn names(only: &[&str], except: &[&str]) -> Result<Vec<String>, Problem> {
    let template = json!({"builders": [builder("web-1"), builder("web-2"), builder("db")]});
    let mut request = BuildRequest::new(TemplateSource::Json(template));
    request.only = only.iter().map(ToString::to_string).collect();
    request.except = except.iter().map(ToString::to_string).collect();
    Ok(parsed(&request)?.plan.runs.into_iter().map(|run| run.name).collect())
}

#[test]
fn only_and_except_choose_runs() {
    assert_eq!(names(&[], &[]).unwrap(), ["web-1", "web-2", "db"]);
    assert_eq!(names(&["db", "web-1"], &[]).unwrap(), ["web-1", "db"]);
    assert_eq!(names(&["web-*"], &["*-2"]).unwrap(), ["web-1"]);
    assert_eq!(names(&[], &["we?-1"]).unwrap(), ["web-2", "db"]);
    let problem = names(&["wbe-2"], &[]).unwrap_err();
    assert_eq!(problem.errors[0].pointer.as_deref(), Some("/only/0"));
    assert!(problem.errors[0].detail.contains("did you mean `web-2`?"));
    assert!(names(&["db"], &["db"]).unwrap_err().errors[0].detail.contains("leave no build"));
}

#[test]
fn a_builder_that_is_left_out_may_have_options_that_are_not_done_yet() {
    let mut other = builder("b");
    other["ssh_proxy_host"] = json!("x");
    let template = json!({"builders": [builder("a"), other]});
    let mut request = BuildRequest::new(TemplateSource::Json(template));
    request.only = vec!["a".to_owned()];
    assert_eq!(parsed(&request).unwrap().plan.runs.len(), 1);
    request.only.clear();
    assert_eq!(plan_error(&request).code, "not_supported_yet");
}

#[test]
fn variables_are_given_or_declared() {
    let template = json!({
        "variables": {"base": "x", "name": "{{user `base`}}-{{user `more`}}", "more": "{{upper (user `base`)}}"},
        "builders": [{
            "type": "osc-bsu", "omi_name": "{{user `name`}}", "vm_type": "t", "source_omi": "ami-1", "ssh_username": "o",
        }],
    });
    let mut request = BuildRequest::new(TemplateSource::Json(template));
    let name =
        |request: &BuildRequest| parsed(request).unwrap().plan.runs[0].builder.omi_name().unwrap().to_owned();
    assert_eq!(name(&request), "x-X");
    request.variables.insert("base".to_owned(), "yy".to_owned());
    assert_eq!(name(&request), "yy-YY");
    // As in Packer, a given value is a template like a default, and may be one that nobody declared.
    request.variables.insert("name".to_owned(), "{{user `base`}}-{{user `bse`}}".to_owned());
    let problem = plan_error(&request);
    assert_eq!(problem.errors[0].pointer.as_deref(), Some("/variables/name"));
    assert!(problem.errors[0].detail.contains("did you mean `base`?"), "{problem:?}");
    request.variables.insert("bse".to_owned(), "z".to_owned());
    let parsed = parsed(&request).unwrap();
    assert_eq!(parsed.plan.runs[0].builder.omi_name(), Some("yy-z"));
    assert!(parsed.plan.notices[0].contains("did you mean `base`?"), "{:?}", parsed.plan.notices);
}

#[test]
fn variable_files_are_read_in_order_below_the_variables() {
    let template = json!({
        "variables": {"a": "default", "b": "default", "c": "default", "d": "default", "e": null},
        "builders": [{
            "type": "osc-bsu", "omi_name": "{{user `a`}} {{user `b`}} {{user `c`}} {{user `d`}} {{user `e`}}",
            "vm_type": "t", "source_omi": "ami-1", "ssh_username": "o",
        }],
    });
    let folder = ContextFolder::from_files([
        ("one.json", &br#"{"b": "one", "c": "one", "d": "one", "e": null}"#[..], false),
        ("vars/two.json", br#"{"c": "{{upper `two`}}", "d": "two", "e": 5, "unknown": true}"#, false),
        ("bad.json", b"{\n  \"b\": [],\n  \"c\": {}\n}", false),
        ("worse.json", b"{\n  \"b\" 5}", false),
        ("x.pkrvars.hcl", b"b = 5", false),
    ]);
    let mut request = BuildRequest::new(TemplateSource::Json(template));
    let files = |request: &mut BuildRequest, files: &[&str]| {
        request.var_files = files.iter().map(ToString::to_string).collect();
        plan(request, Some(&folder), &cx())
    };
    request.variables.insert("d".to_owned(), "given".to_owned());
    let parsed = files(&mut request, &["one.json", "./vars/two.json"]).unwrap();
    assert_eq!(parsed.plan.runs[0].builder.omi_name(), Some("default one TWO given 5"));
    assert_eq!(
        parsed.plan.notices,
        ["the template declares no variable `unknown` of `vars/two.json`; declare it under `variables`"]
    );
    let places = |problem: Problem| -> Vec<(Option<String>, Option<String>, Option<u32>)> {
        problem.errors.into_iter().map(|error| (error.pointer, error.file, error.line)).collect()
    };
    let text = |text: &str| Some(text.to_owned());
    request.variables.insert("e".to_owned(), "given".to_owned());
    for (names, expected) in [
        (
            &["one.json", "bad.json"][..],
            vec![
                (text("/var_files/1"), text("bad.json"), Some(2)),
                (text("/var_files/1"), text("bad.json"), Some(3)),
            ],
        ),
        (&["worse.json"], vec![(text("/var_files/0"), text("worse.json"), Some(2))]),
        (&["x.pkrvars.hcl"], vec![(text("/var_files/0"), text("x.pkrvars.hcl"), Some(1))]),
        (&["two.json"], vec![(text("/var_files/0"), None, None)]),
        (&["vars"], vec![(text("/var_files/0"), None, None)]),
    ] {
        assert_eq!(places(files(&mut request, names).unwrap_err()), expected, "{names:?}");
    }
    let problem = plan(&request, None, &cx()).unwrap_err();
    assert!(problem.errors[0].detail.contains("came without files"), "{problem:?}");
}

#[test]
fn the_clients_environment_goes_before_the_servers() {
    let template = json!({
        "variables": {"a": "{{env `OSC_ACCESS_KEY`}}", "b": "{{env `USER`}}", "c": "x{{env `HOME`}}", "PKR": "p"},
        "builders": [{
            "type": "osc-bsu", "omi_name": "{{user `a`}} {{user `b`}} {{user `c`}} {{user `PKR`}}", "vm_type": "t",
            "source_omi": "ami-1", "ssh_username": "o",
        }],
    });
    let mut request = BuildRequest::new(TemplateSource::Json(template));
    for (name, value) in [("OSC_ACCESS_KEY", "mine"), ("USER", "{{me}}"), ("PKR_VAR_PKR", "q")] {
        request.env.insert(name.to_owned(), value.to_owned());
    }
    request.env.insert("USER".to_owned(), "me".to_owned());
    let parsed = parsed(&request).unwrap();
    assert_eq!(parsed.plan.runs[0].builder.omi_name(), Some("mine me x p"));
    assert!(parsed.plan.notices[0].contains("`HOME` is not set"), "{:?}", parsed.plan.notices);
    assert_eq!(parsed.plan.notices.len(), 1);
}

#[test]
fn a_long_chain_of_variables_is_refused_and_does_not_overflow() {
    let chain = |length: usize| {
        let mut variables: BTreeMap<String, String> = (1..length)
            .map(|n| (format!("v{:03}", 999 - n), format!("{{{{user `v{:03}`}}}}", 1000 - n)))
            .collect();
        variables.insert("v999".to_owned(), "x".to_owned());
        BuildRequest::new(TemplateSource::Json(json!({"variables": variables, "builders": [builder("a")]})))
    };
    assert!(parsed(&chain(100)).is_ok());
    assert!(plan_error(&chain(256)).errors[0].detail.contains("in a row"));
}

#[test]
fn secrets_are_collected_and_hidden() {
    let template = json!({
        "variables": {"pw": "hunter2", "pem": "first line\nsecond line", "plain": "abc", "other": "prefix-hunter2"},
        "sensitive-variables": ["pem"],
        "builders": [{
            "type": "osc-bsu", "omi_name": "{{user `plain`}}", "vm_type": "t", "source_omi": "ami-1", "ssh_username": "o",
            "ssh_password": "{{user `pw`}}", "access_key": "AKIA", "secret_key": "literal secret", "tags": {"t": "literal secret"},
        }],
    });
    let parsed = parsed(&BuildRequest::new(TemplateSource::Json(template))).unwrap();
    let secrets: Vec<&str> = parsed.plan.runs[0].secrets.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(
        secrets,
        ["first line\nsecond line", "first line", "second line", "literal secret", "hunter2"]
    );
    let shown = parsed.redacted_template.to_string();
    for secret in secrets {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("\"prefix-<sensitive>\"") && shown.contains("AKIA") && shown.contains("\"abc\""));
}

#[test]
fn no_message_repeats_a_secret() {
    let template = json!({
        "builders": [{
            "type": "osc-bsu", "omi_name": "abc", "vm_type": "t", "source_omi": "ami-1", "ssh_username": "o",
            "secret_key": {"a": "hunter2"}, "ssh_password": ["hunter2"], "ssh_bastion_password": "hunter2",
        }],
        "provisioners": [{"type": "shell", "inline": ["x"], "environment_vars": ["hunter2"]}],
    });
    let problem = plan_error(&BuildRequest::new(TemplateSource::Json(template)));
    assert!(
        problem.errors.len() >= 3 && !serde_json::to_string(&problem).unwrap().contains("hunter2"),
        "{problem:?}"
    );
}

#[test]
fn the_root_is_checked() {
    let with = |name: &str, value: Value| {
        let mut template = json!({"builders": [builder("a")]});
        template[name] = value;
        parsed(&BuildRequest::new(TemplateSource::Json(template)))
    };
    for (name, value) in [
        ("_comment", json!("x")),
        ("description", json!("x")),
        ("min_packer_version", json!("1.16")),
        ("post-processors", json!([])),
        ("push", json!({})),
        ("provisioners", json!(null)),
    ] {
        assert!(with(name, value).is_ok(), "{name}");
    }
    for (name, value, expected) in [
        ("provisoners", json!([]), "did you mean `provisioners`?"),
        ("vm_type", json!("x"), "a template has no `vm_type` at its top"),
        ("description", json!(5), "must be a text"),
        ("min_packer_version", json!("2.0.0"), "needs Packer 2.0.0"),
        ("min_packer_version", json!("new"), "is no version"),
        ("post-processors", json!({}), "must be a list"),
        ("push", json!({"name": "x"}), "removed from Packer"),
        ("provisioners", json!({}), "must be a list"),
        ("builders", json!([]), "is empty"),
        ("builders", json!([1]), "must be an object, not a number"),
        ("builders", json!([{"type": "amazon-ebs"}]), "bakes for OUTSCALE"),
        ("variables", json!([]), "must be an object"),
        ("sensitive-variables", json!(5), "a list of names"),
    ] {
        let problem = with(name, value).unwrap_err();
        assert!(problem.errors[0].detail.contains(expected), "{name}: {:?}", problem.errors);
    }
    assert!(
        plan_error(&BuildRequest::new(TemplateSource::Json(json!({})))).errors[0]
            .detail
            .contains("no `builders`")
    );
}

#[test]
fn post_processors_form_chains_and_are_chosen_for_each_build() {
    let chains = |post_processors: Value, except: &[&str]| {
        let template = json!({
            "builders": [builder("a"), builder("b")], "post-processors": post_processors,
        });
        let mut request = BuildRequest::new(TemplateSource::Json(template));
        request.except = except.iter().map(|name| (*name).to_owned()).collect();
        parsed(&request).map(|parsed| -> Vec<Vec<String>> {
            let chain = |chain: &Vec<PostProcessor>| {
                chain.iter().map(|each| format!("{}:{}", each.name, each.action.kind())).collect()
            };
            let runs = parsed.plan.runs.iter();
            runs.flat_map(|run| {
                let mut all = vec![vec![run.name.clone()]];
                all.extend(run.post_processors.iter().map(chain));
                all
            })
            .collect()
        })
    };
    let template = json!([
        "manifest",
        {"type": "checksum", "only": ["a"]},
        [
            {"type": "artifice", "files": ["out/*"], "name": "take"},
            {"type": "checksum", "except": ["a"], "name": "sum"},
            {"type": "manifest", "output": "of-{{build_name}}.json"},
        ],
    ]);
    let all: &[&[&str]] = &[
        &["a"],
        &["manifest:manifest"],
        &["checksum:checksum"],
        &["take:artifice", "manifest:manifest"],
        &["b"],
        &["manifest:manifest"],
        &["take:artifice", "sum:checksum", "manifest:manifest"],
    ];
    assert_eq!(chains(template.clone(), &[]).unwrap(), all);
    // An excepted name ends its chain there.
    let without: &[&[&str]] = &[&["b"], &["manifest:manifest"], &["take:artifice"]];
    assert_eq!(chains(template.clone(), &["a", "sum"]).unwrap(), without);
    let error = chains(template, &["tak"]).unwrap_err();
    assert_eq!(error.errors[0].pointer.as_deref(), Some("/except/0"));
    assert!(error.errors[0].detail.contains("`tak`"), "{error:?}");

    for (post_processors, pointer, expected) in [
        (json!([5]), "/post-processors/0", "a name or an object, not a number"),
        (json!([{}]), "/post-processors/0", "has no `type`"),
        (json!([["manifest", ["manifest"]]]), "/post-processors/0/1", "cannot hold another sequence"),
        (json!(["manifst"]), "/post-processors/0", "did you mean `manifest`?"),
        (json!([[{"type": "manifest", "only": ["c"]}]]), "/post-processors/0/0/only/0", "does not exist"),
        (json!([{"type": "manifest", "only": ["a"], "except": ["b"]}]), "/post-processors/0", "both given"),
    ] {
        let problem = chains(post_processors.clone(), &[]).unwrap_err();
        let error = &problem.errors[0];
        assert_eq!(error.pointer.as_deref(), Some(&*format!("/template{pointer}")), "{post_processors}");
        assert!(error.detail.contains(expected), "{post_processors}: {}", error.detail);
    }
}

#[test]
fn pointers_lead_into_the_body_that_was_sent() {
    let limits = RequestLimits::default();
    for (body, expected) in [
        (json!({"builder": {"type": "osc-bsu"}}), "/builder"),
        (json!({"template": {"builders": [{"type": "osc-bsu"}]}}), "/template/builders/0"),
        (json!({"builders": [{"type": "osc-bsu"}]}), "/builders/0"),
        (json!({"template": "{\"builders\": [{\"type\": \"osc-bsu\"}]}"}), "/builders/0"),
    ] {
        let text = body.to_string();
        let request = BuildRequest::from_json(text.as_bytes(), &limits).unwrap();
        let problem = plan_error(&request);
        let error = &problem.errors[0];
        assert_eq!(error.pointer.as_deref(), Some(expected), "{body}");
        assert_eq!(error.line.is_some(), matches!(request.template, TemplateSource::Text(_)), "{body}");
    }
    let short = json!({"builder": builder("a"), "provisioners": [{"type": "shell", "inline": ["echo {{user `v`}}"]}], "variables": {"v": "{{1"}});
    let request = BuildRequest::from_json(short.to_string().as_bytes(), &limits).unwrap();
    let plan = serde_json::to_value(parsed(&request).unwrap().plan).unwrap();
    let command =
        plan["runs"][0]["provisioners"][0]["action"]["source"]["inline"]["commands"][0].as_str().unwrap();
    assert_eq!(
        crate::template::render_late(command, &Default::default(), &mut |_| {}).as_deref(),
        Ok("echo {{1")
    );
}

#[test]
fn other_languages_and_broken_text_are_told_apart() {
    for (text, code) in [
        ("{\"builders\": [}", "invalid_json"),
        ("hello", "invalid_json"),
        ("", "invalid_json"),
        ("5", "invalid_template"),
        ("[]", "invalid_template"),
    ] {
        let problem = plan_error(&request(text));
        assert_eq!((problem.status, problem.code.as_str()), (422, code), "{text}");
    }
    let problem = plan_error(&request("{\n  \"builders\": [\n  }\n"));
    assert_eq!((problem.errors[0].line, problem.errors[0].column), (Some(3), Some(3)));
    assert_eq!(problem.errors[0].file, None);
    let in_an_envelope = plan_error(&BuildRequest::new(TemplateSource::Text("{".to_owned())));
    assert_eq!(in_an_envelope.errors[0].pointer.as_deref(), Some("/template"));
}

#[test]
fn the_language_is_told_by_the_files_name_or_the_text() {
    for (path, text, is_hcl2) in [
        (None, "source \"osc-bsu\" \"a\" {}", true),
        (None, "\u{feff}\n # comment\nbuild {}", true),
        (None, "\u{feff} {\"builders\": []}", false),
        (None, "", false),
        (Some("a.pkr.hcl"), "{", true),
        (Some("a.pkr.json"), "{}", true),
        (Some("a.json"), "hello", false),
        (Some("template"), "hello", true),
        (Some("template"), "{}", false),
    ] {
        let mut request = request(text);
        request.template_path = path.map(str::to_owned);
        assert_eq!(request.is_hcl2(), is_hcl2, "{path:?} {text}");
    }
    assert!(!BuildRequest::new(TemplateSource::Json(json!({}))).is_hcl2());
}

#[test]
fn errors_in_a_file_name_it() {
    for (text, line) in [("{\"builders\": [}", 1), ("{\n\"builders\": [{}]}", 2)] {
        let mut request = request(text);
        request.template_path = Some("sub/web.json".to_owned());
        let error = &plan_error(&request).errors[0];
        assert_eq!((error.file.as_deref(), error.line), (Some("sub/web.json"), Some(line)));
    }
}

#[test]
fn no_provisioner_runs_without_a_communicator() {
    let mut template =
        json!({"builders": [builder("a")], "provisioners": [{"type": "sleep", "duration": "1s"}]});
    template["builders"][0]["communicator"] = json!("none");
    let problem = plan_error(&BuildRequest::new(TemplateSource::Json(template.clone())));
    assert_eq!(problem.errors[0].pointer.as_deref(), Some("/template/builders/0/communicator"));
    template["provisioners"] = json!([]);
    assert!(parsed(&BuildRequest::new(TemplateSource::Json(template))).is_ok());
}

#[test]
fn a_large_template_is_planned_whole() {
    let builders: Vec<Value> = (0..20).map(|n| builder(&format!("b{n}"))).collect();
    let provisioner = |n: usize| json!({"type": "shell", "inline": [format!("echo {n} {{{{user `v`}}}}"), "b"], "environment_vars": ["A={{user `v`}}"]});
    let provisioners: Vec<Value> = (0..100).map(provisioner).collect();
    let template = json!({"variables": {"v": "x"}, "builders": builders, "provisioners": provisioners});
    let request = request(&template.to_string());
    // How long that takes is the bench's business.
    let runs = parsed(&request).unwrap().plan.runs;
    assert_eq!(runs.len(), 20);
    assert!(runs.iter().all(|run| run.provisioners.len() == 100));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_a_template_makes_the_parser_panic(which in 0_usize..3, at in any::<prop::sample::Index>(), cut in 0_usize..40, put in "[\\[\\]{}\",:a-z0-9`.|()_ \\\\-]{0,12}") {
        let text = [LINUX, TWO, WRONG][which];
        let start = text.char_indices().map(|(at, _)| at).nth(at.index(text.chars().count())).unwrap();
        let end = (start + cut).min(text.len());
        let damaged = format!("{}{put}{}", &text[..start], &text[end..]);
        let mut request = request(&damaged);
        request.variables.insert("team".to_owned(), "web".to_owned());
        match parsed(&request) {
            Ok(parsed) => prop_assert!(!parsed.plan.runs.is_empty()),
            Err(problem) => {
                prop_assert!(matches!(problem.status, 400 | 422));
                prop_assert!(!problem.errors.is_empty() && problem.errors.len() <= 100);
                prop_assert!(problem.errors.iter().all(|error| error.line.is_some() || error.detail.contains("declares no variable") || error.detail.contains("leave")), "{:?}", problem);
            }
        }
    }

    #[test]
    fn no_value_of_any_option_makes_the_parser_panic(option in 0_usize..200, kind in 0_u8..8, text in "\\PC{0,12}") {
        let source = include_str!("../options/tests.rs");
        let words: Vec<&str> = source.split('"').filter(|word| word.len() > 2 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).collect();
        let value = match kind {
            0 => json!(text),
            1 => json!(text.len()),
            2 => json!([text]),
            3 => json!({text: "x"}),
            4 => json!(true),
            5 => json!(-1.5e300),
            6 => json!([{text.clone(): [text]}]),
            _ => json!(format!("{{{{{text}}}}}")),
        };
        let word = words[option % words.len()];
        let mut template = json!({"builders": [builder("a")], "provisioners": [{"type": "shell", "inline": ["x"]}, {"type": "file", "content": "x", "destination": "y"}]});
        template["builders"][0][word] = value.clone();
        template["provisioners"][0][word] = value.clone();
        template["provisioners"][1][word] = value;
        let _ = parsed(&BuildRequest::new(TemplateSource::Json(template)));
    }
}

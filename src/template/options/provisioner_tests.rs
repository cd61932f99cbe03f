//! Every option of the provisioners.

use serde_json::{Value, json};

use super::{
    table,
    tests::{read, template},
};
use crate::{
    domain::provisioner::{FileSource, Provisioner, ProvisionerAction, ShellSource},
    template::{BuildRequest, ParseContext, TemplateSource, parse},
};

fn provisioner(provisioner: Value) -> Provisioner {
    read(json!({}), json!([provisioner])).unwrap().runs.remove(0).provisioners.remove(0)
}

fn provisioner_error(provisioner: Value) -> String {
    let problem = read(json!({}), json!([provisioner])).expect_err(&provisioner.to_string());
    assert_eq!(problem.errors.len(), 1, "{provisioner}: {:#?}", problem.errors);
    problem.errors[0].detail.clone()
}

#[test]
fn shell_options_reach_the_plan() {
    let shell = |options: Value| match provisioner(options).action {
        ProvisionerAction::Shell(plan) => *plan,
        other => panic!("{other:?}"),
    };
    let plan = shell(json!({
        "type": "shell", "inline": ["echo {{build `ID`}}", "echo {{build_name}}"],
        "environment_vars": ["A=1", "B=2=3"], "env": {"A": "{{timestamp}}"}, "env_var_format": "%s=%s ",
        "use_env_var_file": true, "execute_command": "{{.Vars}} sudo {{.Path}}", "remote_folder": "/var/tmp",
        "remote_file": "f", "remote_path": "/p", "binary": true, "valid_exit_codes": [0, "3"],
        "expect_disconnect": true, "start_retry_timeout": "1m", "skip_clean": true, "pause_after": "2s",
    }));
    let ShellSource::Inline { shebang, commands } = &plan.source else { panic!() };
    assert_eq!((shebang.as_deref(), commands.len()), (Some("/bin/sh -e"), 2));
    assert_eq!(commands[..], ["echo {{build `ID`}}", "echo osc-bsu"]);
    let value = serde_json::to_value(&plan).unwrap();
    assert_eq!(value["environment"], json!({"A": "1770000000", "B": "2=3"}));
    assert_eq!(value["valid_exit_codes"], json!([0, 3]));
    assert_eq!((&value["start_retry_timeout"], &value["pause_after"]), (&json!("1m"), &json!("2s")));
    for flag in ["use_env_var_file", "binary", "expect_disconnect", "skip_clean"] {
        assert_eq!(value[flag], true, "{flag}");
    }
    for (name, expected) in [
        ("env_var_format", "%s=%s "),
        ("execute_command", "{{.Vars}} sudo {{.Path}}"),
        ("remote_folder", "/var/tmp"),
        ("remote_file", "f"),
        ("remote_path", "/p"),
    ] {
        assert_eq!(value[name], expected, "{name}");
    }
    let shebang = |options: Value| match shell(options).source {
        ShellSource::Inline { shebang, .. } => shebang,
        ShellSource::Scripts(_) => panic!(),
    };
    assert_eq!(shebang(json!({"type": "shell", "inline": ["#!/bin/bash", "x"]})), None);
    assert_eq!(
        shebang(json!({"type": "shell", "inline": ["#!/bin/bash"], "inline_shebang": "/bin/zsh"})).as_deref(),
        Some("/bin/zsh")
    );
    let ShellSource::Scripts(scripts) =
        shell(json!({"type": "shell", "scripts": ["a.sh", "{{template_dir}}/b.sh"]})).source
    else {
        panic!()
    };
    assert_eq!(scripts, ["a.sh", "b.sh"]);
    let common = provisioner(
        json!({"type": "shell", "script": "a.sh", "pause_before": "10s", "timeout": "1h", "max_retries": "3"}),
    );
    assert_eq!(
        (common.pause_before.as_secs(), common.timeout.unwrap().as_secs(), common.max_retries),
        (10, 3600, 3)
    );
    assert!(!common.continue_on_error);
    assert!(
        provisioner(json!({"type": "shell", "inline": ["x"], "continue_on_error": true})).continue_on_error
    );
    let plan = shell(json!({
        "type": "shell", "script": "a.sh", "remote_folder": "/home/{{build `User`}}", "remote_file": "{{.ID}}.sh",
        "env_var_format": "{{build_name}} %s=%s ",
    }));
    assert_eq!(
        (plan.remote_folder.as_str(), plan.remote_file.as_deref()),
        ("/home/{{build `User`}}", Some("{{.ID}}.sh"))
    );
    assert_eq!(plan.env_var_format.as_deref(), Some("osc-bsu %s=%s "));
}

#[test]
fn file_options_reach_the_plan() {
    let file = |options: Value| match provisioner(options).action {
        ProvisionerAction::File(plan) => plan,
        other => panic!("{other:?}"),
    };
    for (options, expected) in [
        (json!({"source": "files"}), json!({"upload": ["files"]})),
        (json!({"source": "./files/"}), json!({"upload": ["files/"]})),
        (json!({"sources": ["a.sh", "files/x"], "generated": true}), json!({"upload": ["a.sh", "files/x"]})),
        (json!({"source": "./"}), json!({"upload": ["./"]})),
        (json!({"content": "{{timestamp}}"}), json!({"content": "1770000000"})),
        (json!({"source": "/tmp/*", "direction": "download"}), json!({"download": ["/tmp/*"]})),
    ] {
        let mut options = options;
        options["type"] = json!("file");
        options["destination"] = json!("out/");
        let plan = file(options);
        assert_eq!(serde_json::to_value(&plan.source).unwrap(), expected);
        assert_eq!(plan.destination, "out/");
        assert!(matches!(
            plan.source,
            FileSource::Upload(_) | FileSource::Content(_) | FileSource::Download(_)
        ));
    }
    let late = file(json!({
        "type": "file", "direction": "download", "source": "/tmp/{{build `ID`}}", "destination": "of/{{build `ID`}}",
    }));
    assert_eq!(serde_json::to_value(&late.source).unwrap(), json!({"download": ["/tmp/{{build `ID`}}"]}));
    assert_eq!(late.destination, "of/{{build `ID`}}");
    let late = file(json!({"type": "file", "content": "{{build_name}} {{build `ID`}}", "destination": "/x"}));
    assert_eq!(serde_json::to_value(&late.source).unwrap(), json!({"content": "osc-bsu {{build \"ID\"}}"}));
}

#[test]
fn wrong_provisioners_are_named() {
    for (options, expected) in [
        (json!({"type": "shell"}), "needs `inline`, `script` or `scripts`"),
        (json!({"type": "shell", "inline": []}), "needs `inline`, `script` or `scripts`"),
        (json!({"type": "shell", "inline": ["x"], "script": "a.sh"}), "`inline` and `script` are both given"),
        (
            json!({"type": "shell", "script": "a.sh", "scripts": ["b.sh"]}),
            "`script` and `scripts` are both given",
        ),
        (json!({"type": "shell", "scripts": ["c.sh"]}), "the folder has no `c.sh`"),
        (json!({"type": "shell", "script": "files"}), "is a folder"),
        (json!({"type": "shell", "inline": ["{{nope}}"]}), "no function `nope`"),
        (json!({"type": "shell", "inline": ["x"], "environment_vars": ["=secret"]}), "must be `NAME=value`"),
        (
            json!({"type": "shell", "inline": ["x"], "env": {"A=B": "x"}}),
            "no name for an environment variable",
        ),
        (json!({"type": "shell", "inline": ["x"], "valid_exit_codes": ["ok"]}), "whole numbers, not `ok`"),
        (json!({"type": "shell", "inline": ["x"], "execute_command": "{{.Pth}}"}), "did you mean `Path`?"),
        (json!({"type": "shell", "inline": ["x"], "inlin": 1}), "did you mean `inline`?"),
        (json!({"type": "shell", "inline": ["x"], "max_retries": -1}), "between 0 and 1000"),
        (json!({"type": "shell", "inline": ["x"], "timeout": "fast"}), "is no duration"),
        (
            json!({"type": "shell", "inline": ["x"], "continue_on_error": "perhaps"}),
            "must be true or false, not `perhaps`",
        ),
        (
            json!({"type": "file", "source": "{{build `ID`}}", "destination": "/x"}),
            "`build` has a value only in",
        ),
        (json!({"type": "file", "destination": "/x"}), "needs `source`, `sources` or `content`"),
        (json!({"type": "file", "source": "a.sh"}), "`destination` is missing"),
        (json!({"type": "file", "source": "a.sh", "content": "x", "destination": "/x"}), "both given"),
        (json!({"type": "file", "source": "nope", "destination": "/x"}), "the folder has no `nope`"),
        (json!({"type": "file", "source": "a.sh/", "destination": "/x"}), "cannot end in a slash"),
        (
            json!({"type": "file", "source": "/x", "destination": "/y", "direction": "download"}),
            "must be a relative path",
        ),
        (
            json!({"type": "file", "source": "/x", "destination": "../y", "direction": "download"}),
            "must be a relative path",
        ),
        (
            json!({"type": "file", "content": "x", "destination": "y", "direction": "download"}),
            "only be uploaded",
        ),
        (
            json!({"type": "file", "source": "a.sh", "destination": "y", "direction": "sideways"}),
            "`upload` or `download`",
        ),
        (json!({"type": "sleep"}), "`duration` is missing"),
        (json!({"type": "sleep", "duration": 5}), "such as `30s`"),
        (json!({"type": "breakpoint"}), "no console"),
        (json!({"type": "shel", "inline": ["x"]}), "did you mean `shell`?"),
        (json!({"type": "frobnicate"}), "`shell-local` and `sleep` are supported"),
        (json!({"inline": ["x"]}), "has no `type`"),
        (json!("shell"), "must be an object, not a text"),
    ] {
        let shown = options.to_string();
        let detail = provisioner_error(options);
        assert!(detail.contains(expected), "{shown}: {detail}");
    }
    for (kind, treatment) in table::PROVISIONER_KINDS {
        if treatment == super::Treatment::NotYet {
            let problem = read(json!({}), json!([{"type": kind, "whatever": 1}])).unwrap_err();
            assert_eq!(problem.code, "not_supported_yet", "{kind}");
            assert!(problem.errors[0].detail.contains(&format!("`{kind}` is not supported yet")));
        }
    }
    assert!(
        read(json!({}), json!([{"type": "breakpoint", "disable": true, "note": "x"}])).unwrap().runs[0]
            .provisioners
            .is_empty()
    );
}

#[test]
fn files_need_a_folder() {
    let request = BuildRequest::new(TemplateSource::Json(template(
        &json!({}),
        &json!([{"type": "shell", "script": "a.sh"}]),
    )));
    let problem = parse(&request, None, &ParseContext::at(chrono::DateTime::UNIX_EPOCH)).unwrap_err();
    assert!(problem.errors[0].detail.contains("came without files"), "{problem:?}");
    assert_eq!(problem.errors[0].pointer.as_deref(), Some("/template/provisioners/0/script"));
}

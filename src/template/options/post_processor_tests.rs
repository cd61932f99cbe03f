//! Every option of the post-processors, and `shell-local` in both its places.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{table, tests::folder};
use crate::{
    domain::{BuildPlan, Capability, Problem},
    template::{BuildRequest, ParseContext, TemplateSource, parse},
};

/// Reads a template with these provisioners and post-processors, on a server that allows this.
fn read(provisioners: Value, post_processors: Value, allowed: &[Capability]) -> Result<BuildPlan, Problem> {
    let mut template = super::tests::template(&json!({}), &provisioners);
    template["post-processors"] = post_processors;
    let request = BuildRequest::new(TemplateSource::Json(template));
    let mut cx = ParseContext::at(chrono::DateTime::from_timestamp(1_770_000_000, 0).unwrap());
    cx.allowed = BTreeSet::from_iter(allowed.iter().copied());
    parse(&request, Some(&folder()), &cx).map(|parsed| parsed.plan)
}

fn plan(post_processor: Value) -> (Value, Vec<String>) {
    let mut plan = read(json!([]), json!([post_processor]), &[Capability::ShellLocal]).unwrap();
    (serde_json::to_value(plan.runs.remove(0).post_processors[0].remove(0)).unwrap(), plan.notices)
}

#[test]
fn options_reach_the_plan() {
    let (manifest, _) = plan(json!("manifest"));
    assert_eq!(
        manifest,
        json!({"name": "manifest", "action": {
            "type": "manifest", "output": "packer-manifest.json", "strip_path": false, "strip_time": false, "custom_data": {},
        }})
    );
    let (manifest, notices) = plan(json!({
        "type": "manifest", "name": "m", "output": "./of/{{build_name}}.json", "strip_path": true, "strip_time": "1",
        "custom_data": {"vm": "{{build `ID`}}", "base": "{{.SourceOMI}}"}, "keep_input_artifact": false,
    }));
    assert_eq!(
        manifest,
        json!({"name": "m", "keep_input_artifact": false, "action": {
            "type": "manifest", "output": "of/osc-bsu.json", "strip_path": true, "strip_time": true,
            "custom_data": {"vm": "{{build `ID`}}", "base": "{{.SourceOMI}}"},
        }})
    );
    assert!(notices[0].contains("always keeps its input"), "{notices:?}");
    let (checksum, _) = plan(json!("checksum"));
    assert_eq!(checksum["action"]["types"], json!(["md5"]));
    assert_eq!(
        checksum["action"]["output"],
        "packer_{{.BuildName}}_{{.BuilderType}}_{{.ChecksumType}}.checksum"
    );
    let (checksum, _) =
        plan(json!({"type": "checksum", "checksum_types": ["sha1", "sha512"], "output": "sums"}));
    assert_eq!(
        checksum["action"],
        json!({"type": "checksum", "types": ["sha1", "sha512"], "output": "sums"})
    );
    let (artifice, _) =
        plan(json!({"type": "artifice", "files": "out/*.tgz,./report", "keep_input_artifact": true}));
    assert_eq!(artifice["action"], json!({"type": "artifice", "files": ["out/*.tgz", "report"]}));
    let (local, notices) = plan(json!({
        "type": "shell-local", "command": "echo {{build `ID`}}", "environment_vars": ["A=1"], "env": {"B": "{{.Host}}"},
        "env_var_format": "%s=%s ", "execute_command": "{{.Vars}} {{.Command}}", "valid_exit_codes": [0, 2],
        "only_on": ["windows", "darwin"], "use_linux_pathing": true, "tempfile_extension": ".x",
    }));
    assert_eq!(
        local["action"],
        json!({
            "type": "shell-local", "source": {"inline": {"shebang": "/bin/sh -e", "commands": ["echo {{build `ID`}}"]}},
            "environment": {"A": "1", "B": "{{.Host}}"}, "env_var_format": "%s=%s ",
            "execute_command": ["sh", "-c", "{{.Vars}} {{.Command}}"], "valid_exit_codes": [0, 2], "runs_here": false,
        })
    );
    assert_eq!(notices.len(), 2, "{notices:?}");
}

#[test]
fn what_is_wrong_is_named() {
    for (options, expected) in [
        (json!({"type": "manifest", "output": "/tmp/m.json"}), "must be a relative path of a file"),
        (json!({"type": "manifest", "output": "../m.json"}), "must be a relative path of a file"),
        (json!({"type": "manifest", "output": "out/"}), "must be a relative path of a file"),
        (json!({"type": "manifest", "outputs": "x"}), "did you mean `output`?"),
        (json!({"type": "manifest", "custom_data": {"a": "{{.Nope}}"}}), "`.Nope` has no value here"),
        (json!({"type": "checksum", "checksum_types": ["sha265"]}), "did you mean `sha256`?"),
        (json!({"type": "checksum", "output": "{{.ChecksumTyp}}"}), "did you mean `ChecksumType`?"),
        (json!({"type": "artifice"}), "needs `files`"),
        (json!({"type": "artifice", "files": ["/etc/passwd"]}), "must be a relative path of a file"),
        (json!({"type": "shell-local"}), "`shell-local` needs `inline`, `script` or `scripts`"),
        (json!({"type": "shell-local", "command": "x", "inline": ["x"]}), "both given"),
        (json!({"type": "shell-local", "inline": ["x"], "only_on": ["linus"]}), "did you mean `linux`?"),
        (
            json!({"type": "shell-local", "inline": ["x"], "execute_command": ["{{.Path}}"]}),
            "`.Path` has no value",
        ),
        (json!({"type": "shell-local", "script": "no.sh"}), "the folder has no `no.sh`"),
    ] {
        let problem = read(json!([]), json!([options]), &[Capability::ShellLocal]).unwrap_err();
        assert!(problem.errors[0].detail.contains(expected), "{options}: {:?}", problem.errors);
    }
    for (kind, _) in table::POST_PROCESSOR_KINDS {
        let problem = read(json!([]), json!([{"type": kind, "whatever": 1}]), &[]).unwrap_err();
        assert_eq!(problem.errors.len(), 1, "{kind}: {:?}", problem.errors);
        assert!(problem.errors[0].detail.contains(kind), "{:?}", problem.errors);
    }
}

#[test]
fn shell_local_needs_the_operators_leave_and_a_worker_that_has_it() {
    let local = || json!([{"type": "shell-local", "inline": ["true"]}]);
    for (provisioners, post_processors) in [(local(), json!([])), (json!([]), local())] {
        let problem = read(provisioners.clone(), post_processors.clone(), &[]).unwrap_err();
        assert!(problem.errors[0].detail.contains("--capabilities shell-local"), "{problem:?}");
        let plan = read(provisioners, post_processors, &[Capability::ShellLocal]).unwrap();
        assert_eq!(plan.runs[0].requires(), BTreeSet::from([Capability::ShellLocal]));
    }
    let plan = read(json!([{"type": "sleep", "duration": "1s"}]), json!(["manifest"]), &[]).unwrap();
    assert!(plan.runs[0].requires().is_empty() && plan.runs[0].has_post_processing());
}

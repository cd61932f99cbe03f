use std::collections::BTreeMap;

use chrono::{TimeZone, Utc};
use secrecy::ExposeSecret;
use serde_json::{Value as Json, json};

use super::*;
use crate::{
    domain::{
        plan::Builder,
        provisioner::{ProvisionerAction, ShellSource},
    },
    template::{FolderSource, LateData, TemplateSource, render_late},
};

const SOURCE: &str = r#"
source "outscale-bsu" "debian" {
  omi_name = "debian-{{timestamp}}"
  vm_type = "tinav5.c1r1p2"
  source_omi = "ami-12345678"
  ssh_username = "outscale"
}
"#;

fn cx() -> ParseContext {
    ParseContext::at(Utc.with_ymd_and_hms(2026, 3, 2, 12, 0, 0).unwrap())
}

fn folder(files: &[(&str, &str)]) -> ContextFolder {
    ContextFolder::from_files(files.iter().map(|(path, text)| (*path, text.as_bytes(), false)))
}

fn request() -> BuildRequest {
    BuildRequest::new(TemplateSource::Folder(FolderSource { hcl2_folder: String::new() }))
}

/// The plan of a folder.
fn plan_of(files: &[(&str, &str)], request: &BuildRequest) -> Result<Parsed, Problem> {
    plan(request, Some(&folder(files)), &cx())
}

/// The plan of one file with [`SOURCE`] before it.
fn with_source(text: &str) -> Result<Parsed, Problem> {
    plan_of(&[("a.pkr.hcl", &format!("{SOURCE}{text}"))], &request())
}

/// `FILE:LINE:COLUMN: detail` of all that is wrong.
fn errors(result: Result<Parsed, Problem>) -> Vec<String> {
    let problem = result.expect_err("the template should be refused");
    let shown = problem.errors.iter().map(|error| {
        let place = error.file.as_ref().map(|file| {
            format!("{file}:{}:{}: ", error.line.unwrap_or_default(), error.column.unwrap_or_default())
        });
        format!("{}{}", place.unwrap_or_default(), error.detail)
    });
    shown.collect()
}

fn names(parsed: &Parsed) -> Vec<&str> {
    parsed.plan.runs.iter().map(|run| run.name.as_str()).collect()
}

fn bsu(run: &RunPlan) -> &crate::domain::plan::BsuPlan {
    match &run.builder {
        Builder::OscBsu(plan) => plan,
        other => panic!("{other:?}"),
    }
}

/// The lines of all inline scripts of a run.
fn commands(run: &RunPlan) -> Vec<String> {
    let shells = run.provisioners.iter().filter_map(|provisioner| match &provisioner.action {
        ProvisionerAction::Shell(shell) => Some(&shell.source),
        _ => None,
    });
    let inline = shells.filter_map(|source| match source {
        ShellSource::Inline { commands, .. } => Some(commands.clone()),
        _ => None,
    });
    inline.flatten().collect()
}

#[test]
fn a_build_makes_a_run_of_each_source() {
    let parsed = with_source(
        r#"
        source "osc-bsu" "other" {
          omi_name = "x-1"
          vm_type = "t"
          source_omi = "ami-1"
          ssh_username = "u"
        }
        build {
          sources = ["source.outscale-bsu.debian", "osc-bsu.other"]
          source "outscale-bsu.debian" {
            name = "small"
            subregion_name = "eu-west-2a"
          }
          provisioner "shell" {
            inline = ["echo ${source.name} ${source.type}", "echo {{build_name}}"]
          }
          provisioner "shell" {
            only = ["osc-bsu.other"]
            inline = ["echo only other"]
          }
          provisioner "shell" {
            except = ["osc-bsu.other"]
            inline = ["echo not other"]
            override = { small = { inline = ["echo overridden"] } }
          }
        }
        build {
          name = "second"
          sources = ["source.osc-bsu.other"]
        }
        "#,
    )
    .unwrap();
    let expected = ["outscale-bsu.debian", "osc-bsu.other", "outscale-bsu.small", "second.osc-bsu.other"];
    assert_eq!(names(&parsed), expected);
    let runs = &parsed.plan.runs;
    assert_eq!(bsu(&runs[0]).omi.name, "debian-1772452800");
    assert_eq!(bsu(&runs[2]).vm.subregion.as_deref(), Some("eu-west-2a"));
    assert_eq!(commands(&runs[0]), ["echo debian outscale-bsu", "echo debian", "echo not other"]);
    assert_eq!(commands(&runs[1]), ["echo other osc-bsu", "echo other", "echo only other"]);
    assert_eq!(commands(&runs[2]), ["echo small outscale-bsu", "echo small", "echo overridden"]);
    assert_eq!(runs[2].packer_name(), "small");
}

#[test]
fn variables_come_from_five_places_in_order() {
    let template = format!(
        "{}{}",
        SOURCE.replace("debian-{{timestamp}}", "n-${var.a}${var.b}${var.c}${var.d}${var.e}"),
        r#"
        variable "a" { default = "1" }
        variable "b" { default = "1" }
        variable "c" {
          type = string
          default = "1"
        }
        variable "d" { default = "1" }
        variable "e" { default = "1" }
        variable "list" {
          type = list(string)
          default = []
        }
        variable "count" {
          type = number
          default = 1
        }
        build {
          sources = ["outscale-bsu.debian"]
          provisioner "shell" { inline = [for x in var.list : "echo ${x} ${var.count + 1}"] }
        }
        "#
    );
    let mut request = request();
    for name in ["b", "c", "d", "e"] {
        request.env.insert(format!("PKR_VAR_{name}"), "2".to_owned());
    }
    request.env.insert("PKR_VAR_unknown".to_owned(), "2".to_owned());
    request.var_files = vec!["prod.pkrvars.hcl".to_owned(), "more.json".to_owned()];
    request.variables.insert("e".to_owned(), "5".to_owned());
    request.variables.insert("list".to_owned(), r#"["x", "y"]"#.to_owned());
    request.variables.insert("count".to_owned(), "41".to_owned());
    let files = [
        ("t.pkr.hcl", template.as_str()),
        ("z.auto.pkrvars.hcl", "c = \"3\"\nd = \"3\"\ne = \"3\"\n"),
        ("prod.pkrvars.hcl", "d = \"4\"\nnobody = 1\n"),
        ("more.json", r#"{"e": "4"}"#),
    ];
    let parsed = plan_of(&files, &request).unwrap();
    assert_eq!(bsu(&parsed.plan.runs[0]).omi.name, "n-12345");
    assert_eq!(commands(&parsed.plan.runs[0]), ["echo x 42", "echo y 42"]);
    assert!(parsed.plan.notices.iter().any(|notice| notice.contains("nobody")), "{:?}", parsed.plan.notices);

    request.variables.insert("cuont".to_owned(), "1".to_owned());
    request.variables.insert("list".to_owned(), "x,y".to_owned());
    let errors = errors(plan_of(&files, &request));
    assert!(
        errors.iter().any(|error| error.contains("no variable `cuont`; did you mean `count`?")),
        "{errors:?}"
    );
    assert!(errors.iter().any(|error| error.contains("must be written as an expression")), "{errors:?}");
}

#[test]
fn variables_are_validated_and_must_have_a_value() {
    let errors = errors(with_source(
        r#"
        variable "missing" {}
        variable "short" {
          default = "ab"
          validation {
            condition = length(var.short) > 2
            error_message = "Short must be longer."
          }
        }
        variable "number" {
          type = number
          default = "many"
        }
        variable "typo" { typ = string }
        variable "nothing" { type = strng }
        build { sources = ["outscale-bsu.debian"] }
        "#,
    ));
    for expected in [
        "a.pkr.hcl:9:18: the variable `missing` has no default",
        "a.pkr.hcl:10:18: the variable `short`: Short must be longer.",
        "a.pkr.hcl:19:21: the variable `number`: a number is needed, and this text is none",
        "a.pkr.hcl:21:27: a block `variable` has no `typ`; did you mean `type`?",
        "there is no type `strng`",
    ] {
        assert!(
            errors.iter().any(|error| error.starts_with(expected) || error.contains(expected)),
            "{expected}: {errors:#?}"
        );
    }
}

#[test]
fn locals_come_in_any_order_and_circles_are_named() {
    let parsed = with_source(
        r#"
        locals {
          c = "${local.b}!"
          a = "1"
        }
        local "b" { expression = "${local.a}2" }
        build {
          sources = ["outscale-bsu.debian"]
          provisioner "shell" { inline = ["echo ${local.c}"] }
        }
        "#,
    )
    .unwrap();
    assert_eq!(commands(&parsed.plan.runs[0]), ["echo 12!"]);
    let errors = errors(with_source(
        r#"
        locals {
          a = local.b
          b = local.c
          c = local.a
          lonely = local.nobody
        }
        build { sources = ["outscale-bsu.debian"] }
        "#,
    ));
    assert!(errors[0].contains("in a circle: local.a → local.b → local.c → local.a"), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("there is no local `nobody`")), "{errors:?}");
    // A long chain is no circle and needs no deep stack.
    let chain: String = (0..900).map(|n| format!("l{n} = local.l{}\n", n + 1)).collect();
    let text = format!(
        "locals {{\n{chain}l900 = \"end\"\n}}\nbuild {{\n sources = [\"outscale-bsu.debian\"]\n provisioner \"shell\" {{ inline = [local.l0] }}\n}}"
    );
    assert_eq!(commands(&with_source(&text).unwrap().plan.runs[0]), ["end"]);
}

#[test]
fn blocks_can_be_dynamic() {
    let parsed = plan_of(
        &[(
            "a.pkr.hcl",
            r#"
            variable "disks" { default = { "/dev/xvdb" = 10, "/dev/xvdc" = 20 } }
            source "outscale-bsu" "x" {
              omi_name = "name"
              vm_type = "t"
              ssh_username = "u"
              source_omi_filter {
                owners = ["Outscale"]
                dynamic "filter" {
                  for_each = { "image-name" = "Debian*" }
                  content {
                    name = filter.key
                    value = filter.value
                  }
                }
              }
              launch_block_device_mappings {
                device_name = "/dev/sda1"
                delete_on_vm_deletion = true
              }
              dynamic "launch_block_device_mappings" {
                for_each = var.disks
                iterator = disk
                content {
                  device_name = disk.key
                  volume_size = disk.value
                  delete_on_vm_deletion = true
                }
              }
            }
            build {
              sources = ["source.outscale-bsu.x"]
              dynamic "provisioner" {
                for_each = ["one", "two"]
                labels = ["shell"]
                content { inline = ["echo ${provisioner.value} ${provisioner.key}"] }
              }
            }
            "#,
        )],
        &request(),
    )
    .unwrap();
    let run = &parsed.plan.runs[0];
    let devices: Vec<_> = bsu(run)
        .vm
        .block_devices
        .iter()
        .map(|device| (device.device_name.as_str(), device.volume_size))
        .collect();
    assert_eq!(devices, [("/dev/sda1", None), ("/dev/xvdb", Some(10)), ("/dev/xvdc", Some(20))]);
    assert_eq!(bsu(run).vm.source.filters["ImageNames"], ["Debian*"]);
    assert_eq!(commands(run), ["echo one 0", "echo two 1"]);
}

#[test]
fn what_waits_for_the_vm_is_rendered_when_it_runs() {
    let parsed = with_source(
        r#"
        variable "password" {
          default = "hunter2!"
          sensitive = true
        }
        build {
          name = "b"
          sources = ["outscale-bsu.debian"]
          provisioner "shell" {
            environment_vars = ["VM=${build.ID}", "WHO=${upper(build.User)}"]
            inline = [
              "echo ${build.name} ${source.name} %{if build.Host == "h"}yes%{else}no%{endif}",
              "echo ${var.password} ${build.Port}",
              "echo {{.SourceOMI}}"
            ]
          }
        }
        "#,
    )
    .unwrap();
    let run = &parsed.plan.runs[0];
    let ProvisionerAction::Shell(shell) = &run.provisioners[0].action else { panic!() };
    let environment: BTreeMap<&str, &str> =
        shell.environment.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
    // What a worker does: the plan comes out of the database, and the VM runs.
    let stored: RunPlan = serde_json::from_value(serde_json::to_value(run).unwrap()).unwrap();
    let generated = [("ID", "i-1"), ("User", "outscale"), ("Host", "h"), ("Port", "22")];
    let data = LateData {
        source_omi: "ami-9".to_owned(),
        generated: generated.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        deferred: stored.deferred.clone().into(),
        ..LateData::default()
    };
    let render = |text: &str| render_late(text, &data, &mut |_| {}).unwrap();
    assert_eq!(render(environment["VM"]), "i-1");
    assert_eq!(render(environment["WHO"]), "OUTSCALE");
    let lines: Vec<String> = commands(&stored).iter().map(|line| render(line)).collect();
    assert_eq!(lines, ["echo b debian yes", "echo hunter2! 22", "echo ami-9"]);

    let errors = errors(with_source(
        r#"build {
          sources = ["outscale-bsu.debian"]
          provisioner "sleep" { duration = build.ID }
          provisioner "shell" { inline = ["echo ${build.Hots}"] }
        }"#,
    ));
    assert!(errors.iter().any(|error| error.contains("known once the VM runs")), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("no `build.Hots`; did you mean `Host`?")), "{errors:?}");
}

#[test]
fn secrets_are_known_and_not_shown() {
    let template = r#"
        variable "password" {
          type = string
          default = "default-secret"
          sensitive = true
        }
        local "token" {
          expression = "token-${var.password}"
          sensitive = true
        }
        source "outscale-bsu" "x" {
          omi_name = "name"
          vm_type = "t"
          source_omi = "ami-1"
          ssh_username = "u"
          access_key = "AK"
          secret_key = "literal-secret"
        }
        build {
          sources = ["outscale-bsu.x"]
          provisioner "shell" {
            env = { HASH = base64encode(var.password), PLAIN = "visible" }
            inline = ["login default-secret ${local.token}"]
          }
        }
        "#;
    let parsed = plan_of(&[("a.pkr.hcl", template)], &request()).unwrap();
    let secrets: Vec<&str> =
        parsed.plan.runs[0].secrets.iter().map(|secret| secret.expose_secret()).collect();
    for expected in ["default-secret", "token-default-secret", "literal-secret", "ZGVmYXVsdC1zZWNyZXQ="] {
        assert!(secrets.contains(&expected), "{expected}: {secrets:?}");
    }
    assert!(!secrets.contains(&"visible"));
    let shown = parsed.redacted_template["files"]["a.pkr.hcl"].as_str().unwrap();
    assert!(!shown.contains("default-secret") && !shown.contains("literal-secret"), "{shown}");
    assert!(shown.contains("secret_key = \"<sensitive>\"") && shown.contains("env = { HASH"), "{shown}");

    let json = json!({
        "variable": {"p": {"default": "json-secret", "sensitive": true}},
        "source": {"osc-bsu": {"x": {
            "omi_name": "name", "vm_type": "t", "source_omi": "ami-1", "ssh_username": "${var.p}",
            "access_key": "AK", "secret_key": "a\"quoted-secret"
        }}},
        "build": {"sources": ["osc-bsu.x"]}
    });
    let parsed = plan_of(&[("a.pkr.json", &json.to_string())], &request()).unwrap();
    let shown = parsed.redacted_template.to_string();
    assert!(!shown.contains("json-secret") && !shown.contains("quoted-secret"), "{shown}");
}

#[test]
fn the_json_form_says_the_same() {
    let text = json!({
        "//": "a comment",
        "packer": {"required_plugins": {"outscale": {"source": "github.com/outscale/outscale", "version": ">= 1.0.0"}}},
        "variable": {"region": {"type": "string", "default": "eu-west-2"}, "ids": {"type": "list(string)", "default": ["a"]}},
        "locals": {"name": "n-${var.region}"},
        "source": {"outscale-bsu": {"x": {
            "omi_name": "${local.name}", "vm_type": "t", "source_omi": "ami-1", "ssh_username": "u", "region": "${var.region}",
            "launch_block_device_mappings": [{"device_name": "/dev/sda1", "volume_size": 10, "delete_on_vm_deletion": true}]
        }}},
        "build": {
            "sources": ["source.outscale-bsu.x"],
            "provisioner": [
                {"shell": {"inline": ["echo ${length(var.ids)} ${build.ID}"]}},
                {"file": {"content": "${join(\",\", var.ids)}", "destination": "/tmp/x"}}
            ]
        }
    });
    let parsed = plan_of(&[("a.pkr.json", &text.to_string())], &request()).unwrap();
    let run = &parsed.plan.runs[0];
    assert_eq!((run.name.as_str(), bsu(run).omi.name.as_str()), ("outscale-bsu.x", "n-eu-west-2"));
    assert_eq!(bsu(run).vm.block_devices[0].volume_size, Some(10));
    assert_eq!(run.provisioners.len(), 2);
    let broken = text.to_string().replace("\"vm_type\":\"t\"", "\"vm_typ\":\"t\"");
    let errors = errors(plan_of(&[("a.pkr.json", &broken)], &request()));
    let column = broken.find("\"vm_typ\"").unwrap() + 1;
    assert!(
        errors.iter().any(|error| error.starts_with(&format!(
            "a.pkr.json:1:{column}: `osc-bsu` has no option `vm_typ`; did you mean `vm_type`?"
        ))),
        "{errors:?}"
    );
}

#[test]
fn everything_wrong_is_said_at_once_with_its_place() {
    let found = errors(plan_of(
        &[
            (
                "a.pkr.hcl",
                "source \"outscale-bsu\" \"x\" {\n  omi_nam = \"n\"\n  vm_type = var.nope\n  source_omi = \"ami-1\"\n}\nbuid {}\nbuild {\n  sources = [\"source.outscale-bsu.y\", \"outscale-bsu.x\"]\n  provisioner \"shel\" { inline = [] }\n}\n",
            ),
            ("b.pkr.hcl", "variable \"x\" {\n  default = uper(\"a\")\n}\n"),
        ],
        &request(),
    ));
    for expected in [
        "a.pkr.hcl:2:3: `osc-bsu` has no option `omi_nam`; did you mean `omi_name`?",
        "a.pkr.hcl:3:17: there is no variable `nope`; ",
        "a.pkr.hcl:6:1: there is no block `buid` at the top of a template; did you mean `build`?",
        "a.pkr.hcl:8:14: there is no source `outscale-bsu.y`; did you mean `outscale-bsu.x`?",
        "a.pkr.hcl:9:15: there is no provisioner `shel`; did you mean `shell`?",
        "b.pkr.hcl:2:13: there is no function `uper`; did you mean `upper`?",
    ] {
        assert!(found.iter().any(|error| error.starts_with(expected)), "{expected}: {found:#?}");
    }
    let syntax = errors(plan_of(
        &[
            ("a.pkr.hcl", "build {\n  sources = [\"a\"\n}\n"),
            ("b.pkr.hcl", "variable {\n"),
            ("c.pkr.hcl", "x = {{}}"),
        ],
        &request(),
    ));
    for file in ["a.pkr.hcl:3:1: ", "b.pkr.hcl:1:11: ", "c.pkr.hcl:1:"] {
        assert!(syntax.iter().any(|error| error.starts_with(file)), "{file}: {syntax:#?}");
    }
}

const WITH_DATA: &str = r#"
data "outscale-omi" "base" {
  filters = { image-name = "Debian-12-*" }
  owners = ["Outscale"]
  most_recent = true
}
data "outscale-omi" "child" {
  filters = { image-name = "${data.outscale-omi.base.name}-child" }
  owners = ["self"]
}
locals { name = "from-${data.outscale-omi.base.name}" }
source "outscale-bsu" "x" {
  omi_name = local.name
  vm_type = "t"
  source_omi = data.outscale-omi.child.id
  ssh_username = "u"
  dynamic "launch_block_device_mappings" {
    for_each = data.outscale-omi.base.tags
    content {
      device_name = launch_block_device_mappings.value
      delete_on_vm_deletion = true
    }
  }
}
build { sources = ["outscale-bsu.x"] }
"#;

#[test]
fn data_sources_are_asked_in_order_and_the_plan_is_made_again() {
    let request = request();
    let files = folder(&[("a.pkr.hcl", WITH_DATA)]);
    let mut cx = cx();
    let first = plan(&request, Some(&files), &cx).unwrap();
    assert!(first.plan.runs[0].needs_data);
    let asked = |cx: &ParseContext| -> Vec<String> {
        let queries = data_queries(&request, Some(&files), cx).unwrap();
        queries.into_iter().map(|query| format!("{} {:?}", query.name, query.source.filters)).collect()
    };
    assert_eq!(asked(&cx), [r#"base {"AccountAliases": ["Outscale"], "ImageNames": ["Debian-12-*"]}"#]);
    let facts = |id: &str, name: &str| OmiFacts {
        id: id.to_owned(),
        name: name.to_owned(),
        tags: [("disk".to_owned(), "/dev/xvdb".to_owned())].into(),
        ..OmiFacts::default()
    };
    let key = |name: &str| ("outscale-omi".to_owned(), name.to_owned());
    cx.data.insert(key("base"), facts("ami-1", "Debian-12-1").into_value());
    assert_eq!(asked(&cx), [r#"child {"ImageNames": ["Debian-12-1-child"]}"#]);
    cx.data.insert(key("child"), facts("ami-2", "c").into_value());
    assert!(asked(&cx).is_empty());
    let last = plan(&request, Some(&files), &cx).unwrap();
    let run = &last.plan.runs[0];
    assert!(!run.needs_data);
    assert_eq!(bsu(run).omi.name, "from-Debian-12-1");
    assert_eq!(bsu(run).vm.source.id.as_deref(), Some("ami-2"));
    assert_eq!(bsu(run).vm.block_devices[0].device_name, "/dev/xvdb");
    // What is wrong whatever the cloud answers is said at once.
    let broken = WITH_DATA.replace("vm_type", "vm_typ").replace("most_recent", "most_recnet");
    let errors = errors(plan_of(&[("a.pkr.hcl", &broken)], &request));
    assert!(errors.iter().any(|error| error.contains("did you mean `vm_type`?")), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("did you mean `most_recent`?")), "{errors:?}");
}

#[test]
fn files_and_the_environment_are_seen_as_far_as_they_were_sent() {
    let template = format!(
        "{SOURCE}{}",
        r#"
        variable "who" { default = env("WHO") }
        variable "path" { default = env("PATH") }
        build {
          sources = ["outscale-bsu.debian"]
          provisioner "shell" {
            inline = ["echo ${trimspace(file("sub/hello.txt"))} ${var.who}${var.path} ${path.root}", templatefile("${path.root}/t.tpl", { x = 1 })]
          }
        }"#
    );
    let files = [("a.pkr.hcl", template.as_str()), ("sub/hello.txt", "hello\n"), ("t.tpl", "x=${x}")];
    let mut request = request();
    request.env.insert("WHO".to_owned(), "me".to_owned());
    let parsed = plan_of(&files, &request).unwrap();
    assert_eq!(commands(&parsed.plan.runs[0]), ["echo hello me .", "x=1"]);
    assert!(parsed.plan.notices.iter().any(|notice| notice.contains("`PATH`")), "{:?}", parsed.plan.notices);
    let errors = errors(with_source(
        r#"
        locals {
          a = file("nope.txt")
          b = file("../../etc/passwd")
          c = env("WHO")
        }
        build { sources = ["outscale-bsu.debian"] }"#,
    ));
    assert!(errors[0].contains("the folder has no `nope.txt`"), "{errors:?}");
    assert!(errors[1].contains("outside of the template's folder"), "{errors:?}");
    assert!(errors[2].contains("only in the default of a variable"), "{errors:?}");
}

#[test]
fn the_plan_is_the_same_for_a_text_and_a_folder() {
    let text = format!("{SOURCE}build {{\n sources = [\"outscale-bsu.debian\"]\n}}\n");
    let mut request = request();
    let whole = plan_of(&[("a.pkr.hcl", &text)], &request).unwrap();
    request.template = TemplateSource::Text(text);
    let alone = plan(&request, None, &cx()).unwrap();
    let json = |parsed: &Parsed| serde_json::to_value(&parsed.plan).unwrap();
    assert_eq!(json(&whole), json(&alone));
    assert!(matches!(json(&alone), Json::Object(_)));
}

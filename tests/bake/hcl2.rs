//! HCL2 templates, from the folder to the OMI.

use reqwest::Method;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, accepted, id_of},
    template::tar_gz,
};

const TEMPLATE: &str = r#"
packer {
  required_plugins {
    outscale = {
      source  = "github.com/outscale/outscale"
      version = ">= 1.0.0"
    }
  }
}

variable "name" { type = string }
variable "packages" {
  type    = list(string)
  default = []
}
variable "password" {
  type      = string
  sensitive = true
}

data "outscale-omi" "any" {
  filters     = { image-name = "tiny-*" }
  owners      = ["Outscale"]
  most_recent = true
}
// Names what the other found.
data "outscale-omi" "same" {
  filters = { image-name = data.outscale-omi.any.name }
  owners  = [data.outscale-omi.any.owner]
}

locals {
  omi_name = "${var.name}-of-${data.outscale-omi.any.name}"
}

source "outscale-bsu" "tiny" {
  omi_name     = local.omi_name
  source_omi   = data.outscale-omi.same.id
  vm_type      = "tinav5.c1r1p2"
  ssh_username = "outscale"
  ssh_timeout  = "3m"
  tags         = { from = "{{.SourceOMI}}" }
}

build {
  sources = ["source.outscale-bsu.tiny"]

  provisioner "shell" {
    environment_vars = ["VM=${build.ID}", "PASSWORD=${var.password}"]
    inline = [
      "echo \"in $VM as ${upper(build.User)} on $PACKER_BUILD_NAME/$PACKER_BUILDER_TYPE\"",
      "echo \"password $PASSWORD, hashed ${base64encode("${var.password}/${build.User}")}\"",
    ]
  }
  dynamic "provisioner" {
    for_each = var.packages
    labels   = ["shell"]
    content { script = "scripts/${provisioner.value}.sh" }
  }
  provisioner "file" {
    content     = templatefile("motd.tpl", { names = var.packages })
    destination = "/home/${build.User}/motd"
  }
  provisioner "file" {
    direction   = "download"
    source      = "/home/outscale/motd"
    destination = "motd"
  }
  post-processors {
    post-processor "artifice" { files = ["motd"] }
    post-processor "manifest" { custom_data = { vm = build.ID, source = source.name } }
  }
}
"#;

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_folder_with_data_sources_bakes_unchanged(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let body = tar_gz(&[
        ("tiny.pkr.hcl", TEMPLATE),
        ("prod.auto.pkrvars.hcl", "name = \"prod\"\npackages = [\"one\", \"two\"]\n"),
        ("motd.tpl", "%{ for name in names ~}\nwith ${name}\n%{ endfor ~}\n"),
        ("scripts/one.sh", "#!/bin/sh\necho script one\n"),
        ("scripts/two.sh", "#!/bin/sh\necho script two\n"),
    ]);
    let path = "/builds?var.password=hunter2-canary";
    let sent = app.request(Method::POST, path).header("content-type", "application/gzip").body(body).send();
    let id = accepted(sent.await.unwrap()).await;
    let build = app.wait_build(&id).await;
    app.succeeded(&build).await;

    let omi = &build["artifacts"][0];
    let name = omi["name"].as_str().unwrap();
    assert!(name.starts_with("prod-of-tiny-"), "{name}");
    let run = &build["runs"][0];
    assert_eq!((&run["name"], &run["builder"]), (&json!("outscale-bsu.tiny"), &json!("osc-bsu")));
    let log = app.log(&id).await;
    for expected in
        ["data.outscale-omi.any is ami-", "data.outscale-omi.same is ami-", "script one", "script two"]
    {
        assert!(log.contains(expected), "{expected}:\n{log}");
    }
    assert!(log.contains("as OUTSCALE on tiny/outscale-bsu"), "{log}");
    // What only the VM made known is kept out of the log too.
    assert!(!log.contains("hunter2") && !log.contains("aHVudGVyMi1jYW5hcnkvb3V0c2NhbGU="), "{log}");
    assert_eq!(app.file(&id, "outscale-bsu.tiny/motd").await, "with one\nwith two\n");
    let manifest: serde_json::Value =
        serde_json::from_str(&app.file(&id, "outscale-bsu.tiny/packer-manifest.json").await).unwrap();
    assert_eq!(manifest["builds"][0]["files"][0]["name"], "motd");
    assert_eq!(manifest["builds"][0]["custom_data"]["source"], "tiny");
    assert!(manifest["builds"][0]["custom_data"]["vm"].as_str().unwrap().starts_with("i-"));
    let shown = app.get(&format!("/builds/{id}/template")).await;
    assert_eq!(shown["format"], "hcl2");
    assert!(!shown.to_string().contains("hunter2"));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_data_source_that_finds_nothing_fails_the_run_and_names_itself(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    let template = r#"
        data "outscale-omi" "lost" {
          filters = { image-name = "nobody-has-this" }
          owners  = ["Outscale"]
        }
        source "outscale-bsu" "x" {
          omi_name     = "lost"
          source_omi   = data.outscale-omi.lost.id
          vm_type      = "tinav5.c1r1p2"
          communicator = "none"
        }
        build { sources = ["outscale-bsu.x"] }
    "#;
    let validated = app.post("/validate", &json!({ "template": template })).await;
    assert_eq!(validated.status(), 200, "{}", validated.text().await.unwrap());
    let id = app.post_build(&json!({ "template": template })).await;
    let build = app.wait_build(&id).await;
    assert_eq!(
        (&build["state"], &build["error"]["code"]),
        (&json!("failed"), &json!("source_omi_not_found"))
    );
    assert_eq!(build["error"]["step"], "read_data_sources");
    assert!(build["error"]["hint"].as_str().unwrap().contains("data.outscale-omi.lost"), "{build:#}");
    assert_eq!(id_of(&build), id);
}

//! The story of a good bake: what goes in comes out in the OMI, and nothing else stays.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use fournil::oapi::{
    Client,
    types::{FiltersImage, FiltersSnapshot, ReadImages, ReadSnapshots, ResourceTag},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, accepted, id_of},
    machine::launch,
    template::{builder, tar_gz, template, with},
};

/// The folder of the bake.
fn folder() -> Vec<u8> {
    let builder = with(
        builder("whole-bake"),
        json!({
            "omi_description": "Made of {{.SourceOMIName}}",
            "tags": { "Base": "{{.SourceOMI}}", "Purpose": "story" },
            "snapshot_tags": { "Disk": "root" },
        }),
    );
    let provisioners = json!([
        { "type": "file", "source": "files/motd", "destination": "/tmp/motd" },
        { "type": "file", "source": "site", "destination": "/tmp/" },
        { "type": "file", "content": "run by outscale\n", "destination": "/tmp/content" },
        { "type": "shell", "inline": ["sudo cp /tmp/motd /etc/motd", "sudo mkdir -p /srv", "sudo cp -r /tmp/site /srv/", "sudo cp /tmp/content /srv/content"] },
        { "type": "shell", "script": "scripts/one.sh", "environment_vars": ["GREETING={{user `greeting`}}"] },
        { "type": "shell", "scripts": ["scripts/two.sh", "scripts/three.sh"], "env": { "PLACE": "/srv" } },
        { "type": "file", "direction": "download", "source": "/srv/report", "destination": "reports/report" },
    ]);
    let mut template = template(builder, provisioners);
    template["variables"] = json!({ "greeting": "nobody" });
    tar_gz(&[
        ("template.json", &template.to_string()),
        ("files/motd", "Welcome.\n"),
        ("site/index.html", "<h1>hello</h1>\n"),
        ("site/deep/er.txt", "deep\n"),
        (
            "scripts/one.sh",
            "#!/bin/sh\nset -e\necho \"greeting $GREETING\"\nprintf %s \"$GREETING\" | sudo tee /srv/greeting\n",
        ),
        ("scripts/two.sh", "#!/bin/sh\nset -e\ncat /srv/greeting | sudo tee $PLACE/report\n"),
        ("scripts/three.sh", "#!/bin/sh\nset -e\necho and more | sudo tee -a $PLACE/report\n"),
    ])
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_vm_launched_from_the_baked_omi_holds_what_was_provisioned(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let request = app
        .request(Method::POST, "/builds?var.greeting=it's%20%22me%22")
        .header("content-type", "application/gzip");
    let id = accepted(request.body(folder()).send().await.unwrap()).await;
    let build = app.wait_build(&id).await;
    app.succeeded(&build).await;

    let artifact = &build["artifacts"][0];
    assert_eq!(
        (&artifact["type"], &artifact["region"], &artifact["name"]),
        (&"omi".into(), &"eu-west-2".into(), &"whole-bake".into())
    );
    let cloud = app.cloud();
    let omi = artifact["id"].as_str().unwrap();
    check_tags(&cloud, omi, artifact["snapshots"][0].as_str().unwrap()).await;
    check_downloads(&app, &build).await;
    let living = app.sandbox.resources().await;
    assert_eq!((&living["images"], &living["snapshots"]), (&json!([omi]), &artifact["snapshots"]));
    for kind in ["vms", "volumes", "keypairs", "security_groups", "public_ips"] {
        assert_eq!(living[kind], json!([]), "{kind}");
    }
    let ledger = app.get(&format!("/builds/{id}/resources")).await;
    for resource in ledger["resources"].as_array().unwrap() {
        let is_artifact = matches!(resource["kind"].as_str(), Some("image" | "snapshot"));
        assert_eq!(resource["state"], if is_artifact { "kept" } else { "removed" }, "{resource:#}");
    }

    let public_key = temporary_public_key(&app).await;
    let vm = launch(&cloud, omi).await;
    assert_eq!(
        vm.run("cat /etc/motd /srv/site/index.html /srv/site/deep/er.txt").await,
        "Welcome.\n<h1>hello</h1>\ndeep"
    );
    assert_eq!(vm.run("cat /srv/greeting /srv/content").await, "it's \"me\"run by outscale");
    let keys = vm.run("sudo cat /root/.ssh/authorized_keys ~/.ssh/authorized_keys 2>/dev/null; true").await;
    assert!(keys.contains(&vm.public_key), "{keys}");
    assert!(!keys.contains(&public_key), "the temporary key is in the OMI: {keys}");
    assert_eq!(
        vm.run("ls /tmp/*.sh /tmp/script* 2>/dev/null; true").await,
        "",
        "scripts are left in the OMI"
    );
    vm.remove(&cloud).await;
}

async fn check_tags(cloud: &Client, omi: &str, snapshot: &str) {
    let filters = FiltersImage { image_ids: vec![omi.to_owned()], ..FiltersImage::default() };
    let image = cloud.read_all(&ReadImages::filtered(filters)).await.unwrap().remove(0);
    assert_eq!(image.description.as_deref(), Some("Made of tiny-1.0"));
    let tags = by_key(&image.tags);
    assert!(tags["Base"].starts_with("ami-") && tags["Base"] != omi, "{tags:?}");
    assert_eq!(tags["Purpose"], "story");
    assert!(!tags.contains_key("Disk"));
    let filters = FiltersSnapshot { snapshot_ids: vec![snapshot.to_owned()], ..FiltersSnapshot::default() };
    let snapshot = cloud.read_all(&ReadSnapshots::filtered(filters)).await.unwrap().remove(0);
    let tags = by_key(&snapshot.tags);
    assert_eq!((tags["Purpose"].as_str(), tags["Disk"].as_str()), ("story", "root"));
}

fn by_key(tags: &[ResourceTag]) -> BTreeMap<String, String> {
    tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect()
}

async fn check_downloads(app: &TestApp, build: &Value) {
    let files = app.get(&format!("/builds/{}/files", id_of(build))).await;
    assert_eq!(files["files"][0]["path"], "reports/report", "{files:#}");
    let path = format!("/builds/{}/files/osc-bsu/reports/report", id_of(build));
    let answer = app.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.text().await.unwrap(), "it's \"me\"and more\n");
}

/// The part of the temporary public key that is its own.
async fn temporary_public_key(app: &TestApp) -> String {
    let calls = app.sandbox.calls("CreateKeypair").await;
    let encoded = calls[0]["request"]["PublicKey"].as_str().unwrap().to_owned();
    let text = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
    text.split_whitespace().nth(1).unwrap().to_owned()
}

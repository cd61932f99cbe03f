//! What was baked boots: a PC under QEMU runs the boot loader and the kernel that are on the disk. Behind a variable, since a
//! Debian is made and booted, all of it emulated: `make test-boot`.

use std::{fs, path::Path};

use fournil::{
    config::Capability,
    oapi::types::{FiltersImage, ReadImages},
};
use reqwest::Method;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, accepted, id_of},
    sandbox::Machines,
    template::{builder, chroot, shell, tar_gz, template, with},
};

/// Set by scripts/test-boot, which installs what these stories need.
const WANTED: &str = "BOOT_TESTS";

async fn app(database: PgConnectOptions) -> Option<TestApp> {
    if std::env::var_os(WANTED).is_none() {
        println!("skipped: run `make test-boot`");
        return None;
    }
    Some(TestApp::start_with(database, Machines::NamespacesAndPcs, &[], &[Capability::Chroot]).await)
}

/// Launches a PC from an OMI by a bake that makes no OMI, and answers what these commands say in it.
async fn in_a_pc(app: &TestApp, omi: &str, commands: &[&str]) -> String {
    app.sandbox.post("backend", json!({ "name": "qemu" })).await;
    let look = with(
        builder("looked-into"),
        // The PC is emulated, on a machine that may be busy.
        json!({ "source_omi": omi, "source_omi_filter": null, "skip_create_omi": true, "ssh_timeout": "20m" }),
    );
    let build = app.bake(&template(look, json!([shell(commands)]))).await;
    app.sandbox.post("backend", json!({ "name": "ns" })).await;
    app.succeeded(&build).await;
    app.log(id_of(&build)).await
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn an_omi_of_a_vm_boots(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = app(database).await else { return };
    let bake = template(builder("bootable"), json!([shell(&["echo baked | sudo tee /etc/baked"])]));
    let build = app.bake_well(&bake).await;
    let omi = build["artifacts"][0]["id"].as_str().unwrap();

    let said = in_a_pc(&app, omi, &["cat /etc/baked", "cat /proc/cmdline"]).await;
    assert!(said.contains("baked\n") && said.contains("BOOT_IMAGE="), "{said}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn an_omi_of_a_chroot_boots(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = app(database).await else { return };
    let source =
        json!({ "filters": { "image-name": "tiny-*" }, "owners": ["Outscale"], "most_recent": true });
    let bake = with(chroot("bootable"), json!({ "source_omi_filter": source }));
    let build =
        app.bake_well(&template(bake, json!([shell(&["echo baked without a VM > /etc/baked"])]))).await;
    let omi = build["artifacts"][0]["id"].as_str().unwrap();

    let said = in_a_pc(&app, omi, &["cat /etc/baked", "cat /proc/cmdline"]).await;
    assert!(said.contains("baked without a VM\n") && said.contains("BOOT_IMAGE="), "{said}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_debian_from_scratch_boots(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = app(database).await else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/debian-from-scratch");
    let files = files_of(&folder, &folder);
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let path = "/builds?var.source_image=Debian-*";
    let body =
        app.request(Method::POST, path).header("content-type", "application/gzip").body(tar_gz(&files));
    let id = accepted(body.send().await.unwrap()).await;
    let build = app.wait_build(&id).await;
    app.succeeded(&build).await;
    let omi = build["artifacts"][0]["id"].as_str().unwrap();
    let filters = FiltersImage { image_ids: vec![omi.to_owned()], ..FiltersImage::default() };
    let image = app.cloud().read_all(&ReadImages::filtered(filters)).await.unwrap().remove(0);
    assert_eq!(image.root_device_name.as_deref(), Some("/dev/sda1"));

    let commands = [
        "cat /etc/motd",
        // Waits until everything has started, and says whether anything failed.
        "systemctl is-system-running --wait || systemctl --failed",
        "cat /proc/cmdline",
        "ps -o comm= 1",
    ];
    let said = in_a_pc(&app, omi, &commands).await;
    for expected in ["Built by fournil on VM i-", "running\n", "BOOT_IMAGE=", "systemd\n"] {
        assert!(said.contains(expected), "{expected}:\n{said}");
    }
}

/// The files below a folder, by path.
fn files_of(root: &Path, folder: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_of(root, &path));
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    files.sort();
    files
}

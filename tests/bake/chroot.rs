//! `osc-chroot`: an OMI of a volume that was filled on the machine where the worker runs. Volumes are block devices of this
//! machine, their file systems are mounted, and commands run in them.

use std::collections::BTreeSet;

use fournil::oapi::types::{
    FiltersImage, FiltersSnapshot, FiltersVolume, Image, ReadImages, ReadSnapshots, ReadVolumes,
};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, id_of},
    machine::launch,
    template::{chroot, shell, tar, template, with},
};

async fn image(app: &TestApp, build: &Value) -> Image {
    let id = build["artifacts"][0]["id"].as_str().unwrap().to_owned();
    let filters = FiltersImage { image_ids: vec![id], ..FiltersImage::default() };
    app.cloud().read_all(&ReadImages::filtered(filters)).await.unwrap().remove(0)
}

/// The same bake, from an OMI of the account itself.
fn from(name: &str, omi: &str) -> Value {
    with(chroot(name), json!({ "source_omi": omi, "source_omi_filter": null }))
}

/// What is mounted on this machine, as everybody sees it.
pub fn mounts() -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let place = |line: &str| line.split(' ').nth(4).unwrap().to_owned();
    // Of tests that run beside this one.
    table
        .lines()
        .map(place)
        .filter(|place| !place.starts_with("/tmp") && !place.starts_with("/var/tmp"))
        .collect()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_vm_launched_from_the_omi_has_what_the_chroot_was_given(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    let builder = with(
        chroot("changed"),
        json!({
            "tags": { "Base": "{{.SourceOMIName}}" }, "root_volume_tags": { "Work": "{{.SourceOMI}}" },
            "omi_account_ids": ["123456789012"], "mount_options": ["noatime"],
            "pre_mount_commands": ["test -b {{.Device}}"],
            "post_mount_commands": ["echo \"in {{.MountPath}} of {{.Device}} as $(id -un)\"; test -d {{.MountPath}}/etc"],
        }),
    );
    let request = template(
        builder,
        json!([
            { "type": "shell", "inline": [
                "echo \"$HOME `id -u` 'quoted'\" > /etc/made",
                "grep -c . /proc/self/mountinfo > /dev/null",
                "test \"$(cat /proc/1/comm)\" != systemd",
                "echo told: {{build `ConnType`}}",
            ] },
            { "type": "file", "content": "from the template", "destination": "/etc/given" },
            { "type": "file", "source": "/etc/made", "destination": "made.txt", "direction": "download" },
        ]),
    );
    let build = app.bake_well(&request).await;
    let log = app.log(id_of(&build)).await;
    let run = &build["runs"][0];
    assert_eq!((&run["builder"], &run["requires"]), (&json!("osc-chroot"), &json!(["chroot"])));
    for line in ["as root", "told: chroot", "is linked as /dev/xvd", "unmounted the volume"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert_eq!(app.file(id_of(&build), "osc-chroot/made.txt").await, "/root 0 'quoted'\n");
    // Nothing is left but the OMI and its snapshot, and that is marked as finished.
    let image = image(&app, &build).await;
    assert_eq!(image.permissions_to_launch.as_ref().unwrap().account_ids, ["123456789012"]);
    let living = app.sandbox.resources().await;
    assert_eq!((&living["images"], &living["volumes"]), (&json!([image.image_id]), &json!([])));
    assert_eq!(living["snapshots"], build["artifacts"][0]["snapshots"]);
    let tags = vec!["fournil:artifact=omi".to_owned(), "Base=tiny-disk-1.0".to_owned()];
    let filters = FiltersSnapshot { tags, ..FiltersSnapshot::default() };
    assert_eq!(app.cloud().read_all(&ReadSnapshots::filtered(filters)).await.unwrap().len(), 1);

    let cloud = app.cloud();
    let vm = launch(&cloud, &image.image_id).await;
    assert_eq!(vm.run("cat /etc/made").await, "/root 0 'quoted'");
    assert_eq!(vm.run("cat /etc/given").await, "from the template");
    vm.remove(&cloud).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn an_omi_of_the_account_is_not_copied_and_its_volume_may_grow(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    let first = app.bake_well(&template(chroot("first"), json!([shell(&["echo one > /etc/one"])]))).await;
    let first_image = image(&app, &first).await;
    let copies = app.sandbox.calls("CreateImage").await.len();
    let root_size = first_image.block_device_mappings[0].bsu.as_ref().unwrap().volume_size.unwrap();
    let larger = i64::from(root_size) + 1;
    let builder = with(
        from("second", &first_image.image_id),
        json!({ "root_volume_size": larger, "root_volume_type": "gp2", "omi_boot_modes": ["legacy"] }),
    );
    let second =
        app.bake_well(&template(builder, json!([shell(&["cat /etc/one; echo two > /etc/two"])]))).await;
    assert_eq!(app.sandbox.calls("CreateImage").await.len(), copies + 1, "the source was copied");
    let image = image(&app, &second).await;
    let bsu = image.block_device_mappings[0].bsu.as_ref().unwrap();
    assert_eq!(bsu.volume_size.map(i64::from), Some(larger));
    let asked = app.sandbox.calls("CreateVolume").await;
    let request = &asked.last().unwrap()["request"];
    assert_eq!((&request["Size"], &request["VolumeType"]), (&json!(larger), &json!("gp2")));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_blank_volume_becomes_a_system(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    let builder = json!({
        "type": "osc-chroot", "omi_name": "blank", "from_scratch": true, "root_volume_size": 1,
        "root_device_name": "/dev/sda1",
        "omi_block_device_mappings": [{ "device_name": "/dev/sda1", "delete_on_vm_deletion": true }],
        "pre_mount_commands": [
            "echo 'type=83, bootable' | sfdisk -q {{.Device}} 2>/dev/null",
            "mkfs.ext4 -q {{.Device}}1",
        ],
        "post_mount_commands": [
            "mkdir -p {{.MountPath}}/bin {{.MountPath}}/etc {{.MountPath}}/tmp && cp $(command -v busybox) {{.MountPath}}/bin/",
            "ln -s busybox {{.MountPath}}/bin/sh",
        ],
    });
    let provisioners = json!([{
        "type": "shell", "execute_command": "/bin/sh {{.Path}}", "remote_folder": "/tmp", "skip_clean": true,
        "inline_shebang": "/bin/sh -e",
        "inline": ["/bin/busybox echo made from nothing > /etc/made", "/bin/busybox cat /etc/made"],
    }]);
    let build = app.bake_well(&template(builder, provisioners)).await;
    let log = app.log(id_of(&build)).await;
    assert!(log.contains("made from nothing"), "{log}");
    let image = image(&app, &build).await;
    assert_eq!(
        (image.architecture.as_deref(), image.root_device_name.as_deref()),
        (Some("x86_64"), Some("/dev/sda1"))
    );
    let steps = app.steps(id_of(&build)).await;
    assert!(!steps.contains_key("resolve_source") && steps["pre_mount"] == "succeeded", "{steps:?}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn several_at_once_have_a_device_each(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    let first = app.bake_well(&template(chroot("base"), json!([]))).await;
    let base = first["artifacts"][0]["id"].as_str().unwrap().to_owned();
    let before = mounts();
    let names: Vec<String> = (0..4).map(|number| format!("beside-{number}")).collect();
    let mut ids = Vec::new();
    for name in &names {
        let script = format!("test ! -e /etc/mine && echo {name} > /etc/mine && sleep 1 && cat /etc/mine");
        ids.push(app.post_build(&template(from(name, &base), json!([shell(&[&script])]))).await);
    }
    let mut devices = BTreeSet::new();
    for (id, name) in ids.iter().zip(&names) {
        let build = app.wait_build(id).await;
        app.succeeded(&build).await;
        let log = app.log(id).await;
        assert!(log.contains(name.as_str()), "{log}");
        devices.extend(log.lines().filter_map(|line| line.split("is linked as ").nth(1)).map(str::to_owned));
    }
    assert!(!devices.is_empty());
    let volumes = app.cloud().read_all(&ReadVolumes::filtered(FiltersVolume::default())).await.unwrap();
    let linked_to = |volume: &fournil::oapi::types::Volume| volume.linked_volumes.clone();
    assert!(volumes.iter().flat_map(linked_to).all(|link| link.device_name.as_deref() == Some("/dev/sda1")));
    assert_eq!(mounts(), before, "a mount was seen outside of its bake, or stayed");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_device_is_found_by_what_the_kernel_shows(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    // A VM without OUTSCALE's udev rules.
    app.sandbox.post("quirks", json!({ "host_vm_links": "none" })).await;
    // No other volume of this machine has this size, whatever runs beside this test.
    let builder = with(chroot("nameless"), json!({ "root_volume_size": 13 }));
    let build = app.bake_well(&template(builder, json!([shell(&["echo found > /etc/found"])]))).await;
    let log = app.log(id_of(&build)).await;
    assert!(log.contains("the kernel shows it at /dev/loop"), "{log}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn commands_pass_through_the_wrapper_unchanged(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    let builder = with(
        chroot("wrapped"),
        json!({
            "command_wrapper": "env WRAPPED=yes {{.Command}}",
            "pre_mount_commands": ["sh -c 'echo host $WRAPPED'"],
            "device_path": "/dev/xvdm", "mount_path": "/mnt/fournil-test/{{.Device}}",
        }),
    );
    let script = "printf '%s|' \"$HOME\" \"a  b\" '$x' \"`echo tick`\" \"it's\"; echo";
    let build = app.bake_well(&template(builder, json!([shell(&[script])]))).await;
    let log = app.log(id_of(&build)).await;
    assert!(log.contains("/root|a  b|$x|tick|it's|"), "{log}");
    assert!(log.contains("host yes") && log.contains("is linked as /dev/xvdm"), "{log}");
    assert!(log.contains("at /mnt/fournil-test/xvdm"), "{log}");
    assert!(!std::path::Path::new("/mnt/fournil-test").exists(), "the folder of the mount stayed");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn an_hcl2_template_with_files_bakes_in_a_chroot(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    let text = r#"
        source "osc-chroot" "disk" {
          omi_name = "by-hcl"
          source_omi_filter {
            filters     = { image-name = "tiny-disk-*" }
            owners      = ["Outscale"]
            most_recent = true
          }
          chroot_mounts = [["proc", "proc", "/proc"], ["bind", "/dev", "/dev"]]
          copy_files    = []
        }
        build {
          sources = ["source.osc-chroot.disk"]
          provisioner "file" {
            source      = "etc/"
            destination = "/etc"
          }
          provisioner "shell" {
            script = "setup.sh"
          }
        }
    "#;
    let folder = tar(&[
        ("t.pkr.hcl", text),
        ("etc/from-folder", "yes\n"),
        ("setup.sh", "#!/bin/sh\ncat /etc/from-folder\n"),
    ]);
    let answer = app
        .request(reqwest::Method::POST, "/builds?template=t.pkr.hcl")
        .header("Content-Type", "application/x-tar")
        .body(folder)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202);
    let accepted: Value = answer.json().await.unwrap();
    let build = app.wait_build(id_of(&accepted)).await;
    app.succeeded(&build).await;
    assert!(app.log(id_of(&build)).await.lines().any(|line| line.ends_with("yes")));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn an_omi_of_another_account_is_copied_first(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    app.sandbox.post("quirks", json!({ "official_snapshots_public": false })).await;
    let build = app
        .bake_well(&template(chroot("copied"), json!([shell(&["echo {{.SourceOMI}} > /etc/from"])])))
        .await;
    let log = app.log(id_of(&build)).await;
    assert!(log.contains("copying it") && log.contains("it is removed at the end"), "{log}");
    // Neither the copy nor its snapshot is left.
    let living = app.sandbox.resources().await;
    assert_eq!(living["images"], json!([build["artifacts"][0]["id"]]));
    assert_eq!(living["snapshots"], build["artifacts"][0]["snapshots"]);
}

/// What a chroot with these options sees as its first line of `/etc/resolv.conf`, and the OMI that comes of it.
async fn resolv_conf(app: &TestApp, name: &str, omi: &str, options: Value, then: &str) -> (String, String) {
    let builder = with(from(name, omi), options);
    let script = format!("echo \"first: $(head -n 1 /etc/resolv.conf)\"; {then}");
    let build = app.bake_well(&template(builder, json!([shell(&[&script])]))).await;
    let log = app.log(id_of(&build)).await;
    let first =
        log.lines().find_map(|line| line.split("first: ").nth(1)).unwrap_or_default().trim().to_owned();
    (first, build["artifacts"][0]["id"].as_str().unwrap().to_owned())
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn what_was_copied_in_does_not_stay_unless_it_was_changed(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::on_a_vm(database).await else { return };
    let of_host = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let of_host = of_host.lines().next().unwrap_or_default().trim();
    let own = "rm -f /etc/resolv.conf; echo of the image > /etc/resolv.conf";
    let base = with(chroot("base"), json!({ "copy_files": [] }));
    let base = app.bake_well(&template(base, json!([shell(&[own])]))).await;
    let base = base["artifacts"][0]["id"].as_str().unwrap().to_owned();
    let nothing = json!({ "copy_files": [] });

    // It is there while provisioners run, and the image's own is back afterwards.
    let (seen, omi) = resolv_conf(&app, "copied", &base, json!({}), "true").await;
    assert_eq!(seen, of_host);
    let (seen, _) = resolv_conf(&app, "after", &omi, nothing.clone(), "true").await;
    assert_eq!(seen, "of the image");
    // What a provisioner makes of it is meant to stay.
    let (_, omi) =
        resolv_conf(&app, "changed", &base, json!({}), "echo of a provisioner > /etc/resolv.conf").await;
    let (seen, _) = resolv_conf(&app, "changed-after", &omi, nothing, "! ls -A /etc | grep fournil").await;
    assert_eq!(seen, "of a provisioner");
}

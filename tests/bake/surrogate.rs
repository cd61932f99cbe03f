//! `osc-bsusurrogate`: an OMI of volumes that were filled in a VM.

use std::collections::BTreeMap;

use fournil::oapi::types::{
    BsuToCreate, CreateSnapshot, CreateVolume, DeleteSnapshot, DeleteVolume, FiltersImage, FiltersSnapshot,
    Image, ReadImages, ReadSnapshots,
};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, eventually, id_of},
    machine::launch,
    template::{blind, copy_system, shell, surrogate, template, with},
};

/// A surrogate in a sandbox without machines.
fn bake_of(options: Value) -> Value {
    template(with(blind(surrogate("made")), options), json!([]))
}

/// Three volumes, of which the first becomes the root.
fn three_volumes() -> Value {
    let volume = |name: &str| json!({ "device_name": name, "volume_size": 1, "delete_on_vm_deletion": true });
    json!({ "launch_block_device_mappings": [volume("/dev/xvdf"), volume("/dev/xvdg"), volume("/dev/xvdh")] })
}

async fn image(app: &TestApp, build: &Value) -> Image {
    let id = build["artifacts"][0]["id"].as_str().unwrap().to_owned();
    let filters = FiltersImage { image_ids: vec![id], ..FiltersImage::default() };
    app.cloud().read_all(&ReadImages::filtered(filters)).await.unwrap().remove(0)
}

/// The devices of an image.
fn devices(image: &Image) -> BTreeMap<&str, &BsuToCreate> {
    let mappings = image.block_device_mappings.iter();
    mappings.map(|mapping| (mapping.device_name.as_deref().unwrap(), mapping.bsu.as_ref().unwrap())).collect()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_vm_launched_from_the_omi_of_a_surrogate_runs_what_was_written_to_its_volume(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let builder = with(
        surrogate("copied"),
        json!({
            "launch_block_device_mappings": [
                { "device_name": "/dev/xvdf", "volume_size": 2, "delete_on_vm_deletion": true },
                { "device_name": "/dev/xvdg", "volume_size": 1, "delete_on_vm_deletion": true },
                { "device_name": "/dev/xvdh", "volume_size": 1, "delete_on_vm_deletion": true, "omit_from_artifact": true },
            ],
            "tags": { "Base": "{{.SourceOMIName}}" },
            "snapshot_tags": { "Disk": "yes" },
            "omi_account_ids": ["123456789012"],
        }),
    );
    let data = shell(&[
        "set -e",
        "sudo mkfs.ext4 -q -F /dev/xvdg",
        "sudo mount /dev/xvdg /mnt",
        "echo data | sudo tee /mnt/data",
        "sudo umount /mnt",
    ]);
    let build = app.bake_well(&template(builder, json!([copy_system(), data]))).await;
    assert_eq!(build["runs"][0]["builder"], "osc-bsusurrogate");
    let image = image(&app, &build).await;
    assert_eq!(
        (image.root_device_name.as_deref(), image.architecture.as_deref()),
        (Some("/dev/sda1"), Some("x86_64"))
    );
    assert_eq!(image.permissions_to_launch.as_ref().unwrap().account_ids, ["123456789012"]);
    let names: Vec<&str> = devices(&image).into_keys().collect();
    assert_eq!(names, ["/dev/sda1", "/dev/xvdg"]);
    // Nothing but the OMI and its snapshots is left, and those are marked as finished.
    let living = app.sandbox.resources().await;
    let mut snapshots: Vec<&str> = build["artifacts"][0]["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap())
        .collect();
    snapshots.sort_unstable();
    assert_eq!((&living["images"], &living["snapshots"]), (&json!([image.image_id]), &json!(snapshots)));
    assert_eq!((&living["volumes"], &living["vms"]), (&json!([]), &json!([])));
    let filters = FiltersSnapshot {
        tags: vec!["fournil:artifact=omi".to_owned(), "Disk=yes".to_owned(), "Base=tiny-1.0".to_owned()],
        ..FiltersSnapshot::default()
    };
    let tagged = app.cloud().read_all(&ReadSnapshots::filtered(filters)).await.unwrap();
    assert_eq!(tagged.len(), 2);
    for snapshot in tagged {
        assert_eq!(snapshot.permissions_to_create_volume.unwrap().account_ids, ["123456789012"]);
    }
    let log = app.log(id_of(&build)).await;
    assert!(log.contains("snapshot of /dev/xvdf: snap-") && log.contains("is complete"), "{log}");

    let cloud = app.cloud();
    let vm = launch(&cloud, &image.image_id).await;
    assert_eq!(vm.run("cat /etc/made").await, "made in a surrogate");
    assert_eq!(vm.run("sudo mount /dev/xvdg /mnt && cat /mnt/data").await, "data");
    let keys = vm.run("sudo cat /root/.ssh/authorized_keys").await;
    assert_eq!(keys, vm.public_key, "the temporary key is in the OMI");
    vm.remove(&cloud).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn the_omi_is_registered_as_the_template_says(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let volume = app
        .cloud()
        .call(&CreateVolume {
            subregion_name: "eu-west-2a".to_owned(),
            size: Some(3),
            ..CreateVolume::default()
        })
        .await
        .unwrap()
        .volume
        .volume_id;
    let request = CreateSnapshot { volume_id: Some(volume.clone()), ..CreateSnapshot::default() };
    eventually("the volume is there", || async { app.cloud().call(&request).await.is_ok() }).await;
    app.cloud().call(&DeleteVolume { volume_id: volume }).await.unwrap();
    let foreign = app.sandbox.resources().await["snapshots"][0].as_str().unwrap().to_owned();

    let options = json!({
        "launch_block_device_mappings": [
            { "device_name": "/dev/xvdf", "volume_size": 4, "volume_type": "gp2", "delete_on_vm_deletion": true },
            { "device_name": "/dev/xvdg", "volume_size": 2, "volume_type": "io1", "iops": 200, "delete_on_vm_deletion": false },
        ],
        "omi_block_device_mappings": [
            { "device_name": "/dev/xvdj", "snapshot_id": foreign, "volume_size": 5, "delete_on_vm_deletion": true },
        ],
        "omi_root_device": {
            "source_device_name": "/dev/xvdf", "device_name": "/dev/sda1", "volume_type": "io1", "iops": 300,
            "volume_size": 6, "delete_on_vm_deletion": false,
        },
        "omi_boot_modes": ["uefi"],
        "product_codes": ["0003"],
        "omi_description": "made of {{.SourceOMIName}}",
        "snapshot_account_ids": ["210987654321"],
    });
    let build = app.bake_well(&bake_of(options.clone())).await;
    let image = image(&app, &build).await;
    let mapped = devices(&image);
    let shown = |name: &str| {
        let bsu = mapped[name];
        let kind = bsu.volume_type.as_ref().map(ToString::to_string).unwrap_or_default();
        (kind, bsu.volume_size.unwrap(), bsu.iops, bsu.delete_on_vm_deletion.unwrap())
    };
    assert_eq!(shown("/dev/sda1"), ("io1".to_owned(), 6, Some(300), false));
    assert_eq!(shown("/dev/xvdg"), ("io1".to_owned(), 2, Some(200), false));
    assert_eq!(shown("/dev/xvdj"), ("standard".to_owned(), 5, None, true));
    assert_eq!(mapped["/dev/xvdj"].snapshot_id.as_deref(), Some(foreign.as_str()));
    assert_eq!(image.description.as_deref(), Some("made of tiny-1.0"));
    assert_eq!(
        (image.product_codes, image.boot_modes.iter().map(ToString::to_string).collect::<Vec<_>>()),
        (vec!["0003".to_owned()], vec!["uefi".to_owned()])
    );
    // A snapshot that was there before is neither announced nor shared.
    let announced = build["artifacts"][0]["snapshots"].as_array().unwrap();
    assert!(announced.len() == 2 && !announced.contains(&foreign.clone().into()), "{announced:?}");
    assert_eq!(app.sandbox.calls("UpdateSnapshot").await.len(), 2);

    // Nor is it removed with an OMI that fails.
    app.sandbox.fault(json!({ "action": "CreateImage", "state": "failed" })).await;
    let error =
        app.bake_badly(&bake_of(with(options, json!({ "omi_name": "other" }))), "resource_failed").await;
    assert_eq!(error["step"], "wait_for_omi");
    let left = app.sandbox.resources().await["snapshots"].clone();
    assert!(left.as_array().unwrap().contains(&foreign.clone().into()), "{left}");
    // Before the test looks for what was left.
    let id = image.image_id.clone();
    app.cloud().call(&fournil::oapi::types::DeleteImage { image_id: id }).await.unwrap();
    app.cloud().call(&DeleteSnapshot { snapshot_id: foreign }).await.unwrap();
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn only_the_processor_is_that_of_the_source(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let build = app.bake_well(&bake_of(json!({}))).await;
    let image = image(&app, &build).await;
    let filters = FiltersImage { image_names: vec!["tiny-*".to_owned()], ..FiltersImage::default() };
    let source = app.cloud().read_all(&ReadImages::filtered(filters)).await.unwrap().remove(0);
    assert_eq!(image.architecture, source.architecture);
    // What the cloud takes where nobody says anything: nothing of the source is on the new disk.
    let modes: Vec<String> = image.boot_modes.iter().map(ToString::to_string).collect();
    assert_eq!((modes, image.product_codes), (vec!["legacy".to_owned()], vec!["0001".to_owned()]));
    let [asked] = app.sandbox.calls("CreateImage").await.try_into().unwrap();
    assert!(asked["request"].get("BootModes").is_none(), "{asked:#}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn several_volumes_are_snapshotted_at_the_same_time(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.fault(json!({ "action": "CreateSnapshot", "times": 3, "hold": true })).await;
    let id = app.post_build(&bake_of(three_volumes())).await;
    // All three are asked for before one is answered.
    app.sandbox.until_held().await;
    app.sandbox.clear_faults().await;
    let build = app.wait_build(&id).await;
    app.succeeded(&build).await;
    assert_eq!(build["artifacts"][0]["snapshots"].as_array().unwrap().len(), 3);
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn snapshots_and_volumes_that_fail_leave_nothing(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.fault(json!({ "action": "CreateSnapshot", "nth": 2, "state": "error" })).await;
    let error = app.bake_badly(&bake_of(three_volumes()), "resource_failed").await;
    assert_eq!(error["step"], "snapshot_volumes");
    assert!(error["detail"].as_str().unwrap().contains("/dev/xvd"), "{error:#}");

    app.sandbox.fault(json!({ "action": "CreateSnapshot", "nth": 2, "code": 10026 })).await;
    let error = app.bake_badly(&bake_of(three_volumes()), "oapi_quota").await;
    assert_eq!(
        (&error["step"], &error["oapi"]["action"]),
        (&"snapshot_volumes".into(), &"CreateSnapshot".into())
    );

    app.sandbox.fault(json!({ "action": "CreateSnapshot", "code": 6007 })).await;
    app.bake_badly(&bake_of(json!({})), "oapi_refused").await;

    app.sandbox.fault(json!({ "action": "CreateImage", "code": 4057 })).await;
    let error = app.bake_badly(&bake_of(three_volumes()), "oapi_refused").await;
    assert_eq!(error["step"], "register_omi");
    let living = app.sandbox.resources().await;
    assert!(living.as_object().unwrap().values().all(|ids| *ids == json!([])), "{living}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn answers_that_are_lost_make_nothing_twice(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    for (action, drop, most) in [
        ("CreateSnapshot", "after", 3),
        ("CreateSnapshot", "before", 3),
        ("CreateImage", "after", 1),
        ("CreateImage", "before", 1),
    ] {
        app.sandbox.fault(json!({ "action": action, "drop": drop })).await;
        let build = app
            .bake_well(&bake_of(with(
                three_volumes(),
                json!({ "force_deregister": true, "force_delete_snapshot": true }),
            )))
            .await;
        let living = app.sandbox.resources().await;
        let count =
            living[if action == "CreateImage" { "images" } else { "snapshots" }].as_array().unwrap().len();
        assert_eq!(count, most, "{action} {drop}: {living}\n{}", app.log(id_of(&build)).await);
    }
    // An OMI whose answer is lost and that then cannot be finished goes, and its snapshots with it.
    app.sandbox.fault(json!({ "action": "CreateImage", "drop": "after" })).await;
    app.sandbox.fault(json!({ "action": "UpdateImage", "code": 4047 })).await;
    let doomed = json!({ "omi_name": "doomed", "omi_account_ids": ["123456789012"] });
    let build = app.bake(&bake_of(doomed)).await;
    assert_eq!(build["state"], "failed", "{build:#}");
    app.sandbox.clear_faults().await;
    let living = app.sandbox.resources().await;
    assert_eq!(living["images"].as_array().unwrap().len(), 1, "{living}");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_surrogate_replaces_an_omi_of_its_name(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let first = app.bake_well(&bake_of(json!({}))).await;
    let error = app.bake_badly(&bake_of(json!({})), "omi_name_taken").await;
    assert!(error["detail"].as_str().unwrap().contains(first["artifacts"][0]["id"].as_str().unwrap()));
    let options = json!({ "force_deregister": true, "force_delete_snapshot": true });
    let second = app.bake_well(&bake_of(options)).await;
    let living = app.sandbox.resources().await;
    assert_eq!(living["images"], json!([second["artifacts"][0]["id"]]));
    assert_eq!(living["snapshots"], second["artifacts"][0]["snapshots"]);
}

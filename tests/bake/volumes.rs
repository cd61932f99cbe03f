//! `osc-bsuvolume`: volumes that were filled in a VM, and snapshots of them.

use fournil::oapi::types::{
    FiltersSnapshot, FiltersVolume, LinkVolume, ReadSnapshots, ReadVolumes, Snapshot, UnlinkVolume, Volume,
};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, eventually, id_of},
    machine::launch,
    template::{blind, builder, shell, template, volumes, with},
};

fn bake_of(entries: Value) -> Value {
    template(blind(volumes(entries)), json!([]))
}

fn entry(device: &str, more: Value) -> Value {
    with(json!({ "device_name": device, "volume_size": 1 }), more)
}

async fn volume(app: &TestApp, id: &str) -> Volume {
    let filters = FiltersVolume { volume_ids: vec![id.to_owned()], ..FiltersVolume::default() };
    app.cloud().read_all(&ReadVolumes::filtered(filters)).await.unwrap().remove(0)
}

async fn snapshot(app: &TestApp, id: &str) -> Snapshot {
    let filters = FiltersSnapshot { snapshot_ids: vec![id.to_owned()], ..FiltersSnapshot::default() };
    app.cloud().read_all(&ReadSnapshots::filtered(filters)).await.unwrap().remove(0)
}

fn tags(tags: &[fournil::oapi::types::ResourceTag]) -> Vec<String> {
    tags.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect()
}

/// The ids of the build's volumes.
fn ids(build: &Value) -> Vec<&str> {
    build["artifacts"].as_array().unwrap().iter().map(|artifact| artifact["id"].as_str().unwrap()).collect()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_volume_that_was_filled_is_free_and_holds_it(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let fill = shell(&[
        "set -e",
        "sudo mkfs.ext4 -q -F /dev/xvdf",
        "sudo mount /dev/xvdf /mnt",
        "echo kept | sudo tee /mnt/data",
        "sudo umount /mnt",
    ]);
    let entries = json!([entry("/dev/xvdf", json!({ "tags": { "Name": "data of {{.SourceOMIName}}" } }))]);
    let build = app.bake_well(&template(volumes(entries), json!([fill]))).await;
    let artifact = build["artifacts"][0].clone();
    let id = artifact["id"].as_str().unwrap();
    assert_eq!(
        artifact,
        json!({ "type": "volume", "region": "eu-west-2", "id": id, "device": "/dev/xvdf", "size": 1 })
    );
    let found = volume(&app, id).await;
    assert_eq!((found.state.to_string().as_str(), found.linked_volumes.len()), ("available", 0));
    let shown = tags(&found.tags);
    for tag in ["Name=data of tiny-1.0", "fournil:artifact=volume"] {
        assert!(shown.contains(&tag.to_owned()), "{tag}: {shown:?}");
    }
    let run = format!("fournil:run={}", build["runs"][0]["id"].as_str().unwrap());
    assert!(shown.contains(&run), "{shown:?}");
    let manifest = app.get(&format!("/builds/{}/manifest", id_of(&build))).await;
    assert_eq!(
        (&manifest["builds"][0]["artifact_id"], &manifest["builds"][0]["builder_type"]),
        (&format!("eu-west-2:{id}").into(), &"outscale-bsuvolume".into())
    );

    // In another VM it has what was written.
    let omi = app.bake_well(&template(builder("reader"), json!([]))).await;
    let cloud = app.cloud();
    let vm = launch(&cloud, omi["artifacts"][0]["id"].as_str().unwrap()).await;
    let link =
        LinkVolume { device_name: "/dev/xvdk".to_owned(), vm_id: vm.id.clone(), volume_id: id.to_owned() };
    cloud.call(&link).await.unwrap();
    eventually("the volume is there", || async {
        let link = volume(&app, id).await.linked_volumes;
        link.first().is_some_and(|link| link.state.to_string() == "attached")
    })
    .await;
    assert_eq!(vm.run("sudo mount /dev/xvdk /mnt && cat /mnt/data && sudo umount /mnt").await, "kept");
    cloud.call(&UnlinkVolume { volume_id: id.to_owned(), force_unlink: None }).await.unwrap();
    vm.remove(&cloud).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn volumes_stay_with_their_snapshots_or_go_with_the_vm(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let snapshotted = json!({
        "snapshot_volume": true,
        "snapshot_description": "of {{.SourceOMIName}}",
        "snapshot_tags": { "Kind": "data" },
        "snapshot_account_ids": ["123456789012"],
    });
    let entries = json!([
        entry("/dev/xvdf", snapshotted),
        entry("/dev/xvdg", json!({ "delete_on_vm_deletion": true })),
        entry("/dev/xvdh", json!({ "snapshot_volume": true, "volume_size": 2, "volume_type": "gp2" })),
    ]);
    let build = app.bake_well(&bake_of(entries)).await;
    let artifacts = build["artifacts"].as_array().unwrap();
    let shown: Vec<_> = artifacts.iter().map(|artifact| (&artifact["device"], &artifact["size"])).collect();
    assert_eq!(shown, [(&json!("/dev/xvdf"), &json!(1)), (&json!("/dev/xvdh"), &json!(2))]);
    let living = app.sandbox.resources().await;
    assert_eq!(
        (living["volumes"].as_array().unwrap().len(), living["snapshots"].as_array().unwrap().len()),
        (2, 2)
    );
    assert_eq!(living["vms"], json!([]));
    let first = snapshot(&app, artifacts[0]["snapshot"].as_str().unwrap()).await;
    assert_eq!(first.volume_id.as_deref(), artifacts[0]["id"].as_str());
    assert_eq!(first.description.as_deref(), Some("of tiny-1.0"));
    assert_eq!(first.permissions_to_create_volume.unwrap().account_ids, ["123456789012"]);
    let shown = tags(&first.tags);
    for tag in ["Kind=data", "fournil:artifact=snapshot"] {
        assert!(shown.contains(&tag.to_owned()), "{tag}: {shown:?}");
    }
    let second = snapshot(&app, artifacts[1]["snapshot"].as_str().unwrap()).await;
    assert!(second.permissions_to_create_volume.unwrap().account_ids.is_empty());
    for id in ids(&build) {
        let shown = tags(&volume(&app, id).await.tags);
        assert!(shown.contains(&"fournil:artifact=volume".to_owned()), "{shown:?}");
    }
    let manifest = app.get(&format!("/builds/{}/manifest", id_of(&build))).await;
    let both: Vec<String> = ids(&build).iter().map(|id| format!("eu-west-2:{id}")).collect();
    assert_eq!(manifest["builds"][0]["artifact_id"], both.join(","));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn volumes_of_a_build_that_fails_go(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let entries =
        json!([entry("/dev/xvdf", json!({})), entry("/dev/xvdg", json!({ "snapshot_volume": true }))]);
    app.sandbox.fault(json!({ "action": "CreateSnapshot", "state": "error" })).await;
    let error = app.bake_badly(&bake_of(entries.clone()), "resource_failed").await;
    assert_eq!(error["step"], "snapshot_volumes");
    app.sandbox.fault(json!({ "action": "StopVms", "code": 6006 })).await;
    app.bake_badly(&bake_of(entries.clone()), "oapi_refused").await;
    app.sandbox.fault(json!({ "action": "CreateVms", "state": "terminated" })).await;
    app.bake_badly(&bake_of(entries.clone()), "resource_failed").await;
    // The answer is lost: the VM and its volumes are found again.
    app.sandbox.fault(json!({ "action": "CreateVms", "drop": "after" })).await;
    app.sandbox.fault(json!({ "action": "StopVms", "code": 6006 })).await;
    app.bake_badly(&bake_of(entries.clone()), "oapi_refused").await;
    let living = app.sandbox.resources().await;
    assert!(living.as_object().unwrap().values().all(|ids| *ids == json!([])), "{living}");

    for (action, drop) in [("CreateVms", "after"), ("CreateSnapshot", "after"), ("CreateSnapshot", "before")]
    {
        app.sandbox.fault(json!({ "action": action, "drop": drop })).await;
        app.bake_well(&bake_of(entries.clone())).await;
    }
    let living = app.sandbox.resources().await;
    assert_eq!(
        (living["volumes"].as_array().unwrap().len(), living["snapshots"].as_array().unwrap().len()),
        (6, 3)
    );
}

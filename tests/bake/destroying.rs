//! Destroying what a build made: it goes, except for what somebody uses.

use fournil::oapi::types::{
    BlockDeviceMappingImage, BsuToCreate, CreateImage, CreateVms, DeleteImage, DeleteVms, FiltersVm,
    LinkVolume, ReadVms, UnlinkVolume,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, eventually, id_of},
    template::{blind, machineless, surrogate, template, volumes},
};

fn bake_of(builder: Value) -> Value {
    template(builder, json!([]))
}

fn two_volumes() -> Value {
    bake_of(blind(volumes(json!([
        { "device_name": "/dev/xvdf", "volume_size": 1 },
        { "device_name": "/dev/xvdg", "volume_size": 1, "snapshot_volume": true },
    ]))))
}

/// Asks for the end of the artifacts; answers the status and, when workers have done what there was to do, the build.
async fn destroyed(app: &TestApp, id: &str, query: &str) -> (StatusCode, Value) {
    let answer = app.request(Method::DELETE, &format!("/builds/{id}/artifacts{query}")).send().await.unwrap();
    let status = answer.status();
    let is_done =
        |build: &Value| build["runs"].as_array().unwrap().iter().all(|run| run["destroy"] != "pending");
    (status, app.wait_until(id, "nothing is to be destroyed", is_done).await)
}

fn text<'a>(artifact: &'a Value, name: &str) -> &'a str {
    artifact[name].as_str().unwrap_or_else(|| panic!("no {name}: {artifact:#}"))
}

/// A VM of the account, running.
async fn vm(app: &TestApp, image: &str) -> String {
    let request = CreateVms { image_id: image.to_owned(), ..CreateVms::default() };
    let id = app.cloud().call(&request).await.unwrap().vms.remove(0).vm_id;
    let filters = FiltersVm { vm_ids: vec![id.clone()], ..FiltersVm::default() };
    eventually("the VM runs", || async {
        let vms = app.cloud().read_all(&ReadVms::filtered(filters.clone())).await.unwrap();
        vms[0].state.to_string() == "running"
    })
    .await;
    id
}

async fn remove_vm(app: &TestApp, id: String) {
    app.cloud().call(&DeleteVms { vm_ids: vec![id] }).await.unwrap();
    eventually("the VM is gone", || async {
        let living = app.sandbox.resources().await;
        living["vms"] == json!([]) && living["volumes"] == json!([])
    })
    .await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn an_omi_goes_with_its_snapshots_and_volumes_with_theirs(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    for request in [bake_of(machineless("gone")), bake_of(blind(surrogate("gone too"))), two_volumes()] {
        let build = app.bake_well(&request).await;
        let (status, build) = destroyed(&app, id_of(&build), "").await;
        let log = app.log(id_of(&build)).await;
        assert_eq!(
            (status, &build["runs"][0]["destroy"]),
            (StatusCode::ACCEPTED, &"done".into()),
            "{build:#}\n{log}"
        );
        assert_eq!(build["state"], "succeeded");
        for artifact in build["artifacts"].as_array().unwrap() {
            assert!(text(artifact, "removed_at").ends_with('Z'), "{artifact:#}");
            assert!(
                log.contains(&format!(
                    "destroyed {}",
                    if artifact["type"] == "omi" { "OMI" } else { "volume" }
                )),
                "{log}"
            );
        }
        let living = app.sandbox.resources().await;
        assert!(living.as_object().unwrap().values().all(|ids| *ids == json!([])), "{living}");
        let ledger = app.get(&format!("/builds/{}/resources", id_of(&build))).await;
        assert!(
            ledger["resources"].as_array().unwrap().iter().all(|row| row["state"] == "removed"),
            "{ledger:#}"
        );
        let manifest = app.get(&format!("/builds/{}/manifest", id_of(&build))).await;
        assert_eq!(manifest["builds"], json!([]));
        let list = app.get(&format!("/builds/{}/artifacts", id_of(&build))).await;
        assert_eq!(list["artifacts"][0]["artifact"]["removed_at"], build["artifacts"][0]["removed_at"]);

        // Asking again finds nothing, and calls nobody.
        let calls = app.sandbox.calls("DeleteSnapshot").await.len();
        let (status, again) = destroyed(&app, id_of(&build), "").await;
        assert_eq!((status, &again["version"]), (StatusCode::OK, &build["version"]));
        assert_eq!(app.sandbox.calls("DeleteSnapshot").await.len(), calls);
    }
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn what_somebody_uses_stays_and_can_be_asked_for_again(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let build = app.bake_well(&two_volumes()).await;
    let omi = app.bake_well(&bake_of(machineless("used"))).await;
    let [used, free] = [0, 1].map(|at| text(&build["artifacts"][at], "id").to_owned());
    let vm = vm(&app, text(&omi["artifacts"][0], "id")).await;
    let link = LinkVolume { device_name: "/dev/xvdk".to_owned(), vm_id: vm.clone(), volume_id: used.clone() };
    app.cloud().call(&link).await.unwrap();

    let (status, refused) = destroyed(&app, id_of(&build), "").await;
    assert_eq!(
        (status, &refused["runs"][0]["destroy"]),
        (StatusCode::ACCEPTED, &"refused".into()),
        "{refused:#}"
    );
    let why = text(&refused["artifacts"][0], "removal_error");
    assert!(why.contains(&used) && why.contains(&format!("linked to VM {vm}")), "{why}");
    assert!(refused["artifacts"][0].get("removed_at").is_none());
    assert!(refused["artifacts"][1]["removed_at"].is_string(), "{free} was free: {refused:#}");
    let living = app.sandbox.resources().await;
    assert!(living["volumes"].as_array().unwrap().contains(&used.clone().into()), "{living}");
    assert!(!living["volumes"].as_array().unwrap().contains(&free.into()), "{living}");

    app.cloud().call(&UnlinkVolume { volume_id: used, force_unlink: None }).await.unwrap();
    let (_, build) = destroyed(&app, id_of(&build), "").await;
    assert_eq!(build["runs"][0]["destroy"], "done", "{build:#}");
    assert!(build["artifacts"][0].get("removal_error").is_none());

    // A VM lives on without its OMI; a snapshot that another OMI is made of does not go.
    let snapshot = omi["artifacts"][0]["snapshots"][0].as_str().unwrap().to_owned();
    let other = CreateImage {
        image_name: Some("other".to_owned()),
        root_device_name: Some("/dev/sda1".to_owned()),
        block_device_mappings: vec![BlockDeviceMappingImage {
            device_name: Some("/dev/sda1".to_owned()),
            bsu: Some(BsuToCreate { snapshot_id: Some(snapshot.clone()), ..BsuToCreate::default() }),
            virtual_device_name: None,
        }],
        ..CreateImage::default()
    };
    let other = app.cloud().call(&other).await.unwrap().image.image_id;
    let (_, refused) = destroyed(&app, id_of(&omi), "").await;
    let why = text(&refused["artifacts"][0], "removal_error");
    assert!(why.contains(&snapshot) && why.contains(&format!("used by {other}")), "{why}");
    let living = app.sandbox.resources().await;
    assert_eq!(
        (&living["images"], &living["snapshots"], &living["vms"]),
        (&json!([other]), &json!([snapshot]), &json!([vm]))
    );
    app.cloud().call(&DeleteImage { image_id: other }).await.unwrap();
    let (_, gone) = destroyed(&app, id_of(&omi), "").await;
    assert_eq!(gone["runs"][0]["destroy"], "done", "{gone:#}");
    remove_vm(&app, vm).await;
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_build_that_has_not_ended_is_not_destroyed_and_one_run_can_be_alone(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    app.sandbox.fault(json!({ "action": "StopVms", "times": 2, "hold": true })).await;
    let (mut one, mut two) = (machineless("one"), machineless("two"));
    (one["name"], two["name"]) = ("first".into(), "second".into());
    let id = app.post_build(&json!({ "builders": [one, two] })).await;
    app.sandbox.until_held().await;
    let answer = app.request(Method::DELETE, &format!("/builds/{id}/artifacts")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "build_not_finished");
    app.sandbox.clear_faults().await;
    let build = app.wait_build(&id).await;
    app.succeeded(&build).await;

    for (query, status) in [("?run=third", 400), ("?what=x", 400)] {
        let answer =
            app.request(Method::DELETE, &format!("/builds/{id}/artifacts{query}")).send().await.unwrap();
        assert_eq!(answer.status(), status, "{query}");
    }
    let nobody = "/builds/0198f0c2-0000-7000-8000-00000000000a/artifacts";
    let answer = app.request(Method::DELETE, nobody).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let (status, build) = destroyed(&app, &id, "?run=second").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let ends: Vec<bool> = build["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|artifact| artifact["removed_at"].is_string())
        .collect();
    assert_eq!(ends, [false, true]);
    assert_eq!(app.sandbox.resources().await["images"], json!([build["artifacts"][0]["id"]]));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_cloud_that_does_not_answer_is_asked_again_and_what_is_gone_already_is_done(
    _: PgPoolOptions,
    database: PgConnectOptions,
) {
    let app = TestApp::without_machines(database).await;
    let build = app.bake_well(&bake_of(machineless("gone"))).await;
    // The answer is lost: the next try finds it gone.
    app.sandbox.fault(json!({ "action": "DeleteImage", "drop": "after" })).await;
    app.sandbox.fault(json!({ "action": "DeleteSnapshot", "status": 503, "times": 2 })).await;
    let (_, build) = destroyed(&app, id_of(&build), "").await;
    assert_eq!(build["runs"][0]["destroy"], "done", "{build:#}\n{}", app.log(id_of(&build)).await);

    let build = app.bake_well(&bake_of(machineless("removed by hand"))).await;
    let image_id = text(&build["artifacts"][0], "id").to_owned();
    app.cloud().call(&DeleteImage { image_id }).await.unwrap();
    let (_, build) = destroyed(&app, id_of(&build), "").await;
    assert_eq!(build["runs"][0]["destroy"], "done", "{build:#}");
    assert_eq!(app.sandbox.resources().await["snapshots"], json!([]));
}

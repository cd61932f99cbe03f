//! Options of the template, as the cloud hears of them and as the VM has them.

use fournil::oapi::types::{
    CreateKeypair, DeleteKeypair, FiltersImage, FiltersSubnet, ReadImages, ReadSubnets,
};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    app::{TestApp, id_of},
    template::{builder, machineless, shell, template, with},
};

/// The request of the last call of an action.
async fn last(app: &TestApp, action: &str) -> Value {
    app.sandbox.calls(action).await.pop().unwrap_or_else(|| panic!("no call of {action}"))["request"].clone()
}

fn bake_of(options: Value) -> Value {
    template(with(machineless("image-x"), options), json!([]))
}

/// Tags that were set on ids that begin like this, as `key=value`.
async fn tags_of(app: &TestApp, prefix: &str) -> Vec<String> {
    let calls = app.sandbox.calls("CreateTags").await;
    let requests = calls.iter().map(|call| &call["request"]).filter(|request| {
        request["ResourceIds"].as_array().unwrap().iter().any(|id| id.as_str().unwrap().starts_with(prefix))
    });
    let tags = requests.flat_map(|request| request["Tags"].as_array().unwrap());
    tags.map(|tag| format!("{}={}", tag["Key"].as_str().unwrap(), tag["Value"].as_str().unwrap())).collect()
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn the_vm_goes_where_the_template_says(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let subnets = app.cloud().read_all(&ReadSubnets::filtered(FiltersSubnet::default())).await.unwrap();
    let (net, subnet) = (subnets[0].net_id.clone(), subnets[0].subnet_id.clone());
    app.bake_well(&bake_of(json!({ "subnet_id": subnet, "force_deregister": true }))).await;
    assert_eq!(last(&app, "CreateVms").await["SubnetId"], subnet);

    let filter = json!({ "filters": { "net-ids": net }, "most_free": true });
    app.bake_well(&bake_of(json!({ "subnet_filter": filter, "force_deregister": true }))).await;
    let chosen = last(&app, "CreateVms").await["SubnetId"].as_str().unwrap().to_owned();
    assert!(subnets.iter().any(|known| known.subnet_id == chosen));

    let ambiguous = json!({ "subnet_filter": { "filters": { "net-ids": net } }, "force_deregister": true });
    let build = app.bake(&bake_of(ambiguous)).await;
    let code = build["error"]["code"].as_str().unwrap_or_default();
    let error = app.failed(&build, code).await;
    assert!(error.to_string().contains("most_free"), "{error:#}");

    let none = json!({ "subnet_id": "subnet-00000000", "force_deregister": true });
    let build = app.bake(&bake_of(none)).await;
    let code = build["error"]["code"].as_str().unwrap_or_default();
    let error = app.failed(&build, code).await;
    assert!(error["detail"].as_str().unwrap().contains("subnet-00000000"), "{error:#}");
    assert_eq!(error["step"], "resolve_network");
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn tags_user_data_and_permissions_reach_the_cloud(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let options = json!({
        "user_data": "#!/bin/sh\necho hello\n",
        "run_tags": { "Name": "the vm", "From": "{{.SourceOMIName}}" },
        "run_volume_tags": { "Disk": "of {{.BuildRegion}}" },
        "omi_account_ids": ["123456789012"],
        "snapshot_account_ids": ["210987654321"],
        "global_permission": true,
        "omi_description": "described",
    });
    let build = app.bake_well(&bake_of(options)).await;
    let artifact = &build["artifacts"][0];
    assert_eq!(last(&app, "CreateVms").await["UserData"], "IyEvYmluL3NoCmVjaG8gaGVsbG8K");
    let vm_tags = tags_of(&app, "i-").await;
    assert!(
        vm_tags.contains(&"Name=the vm".to_owned()) && vm_tags.contains(&"From=tiny-1.0".to_owned()),
        "{vm_tags:?}"
    );
    let run = format!("fournil:run={}", build["runs"][0]["id"].as_str().unwrap());
    assert!(vm_tags.contains(&run), "{vm_tags:?}");
    let volume_tags = tags_of(&app, "vol-").await;
    assert!(
        volume_tags.contains(&"Disk=of eu-west-2".to_owned()) && volume_tags.contains(&run),
        "{volume_tags:?}"
    );

    let filters = FiltersImage {
        image_ids: vec![artifact["id"].as_str().unwrap().to_owned()],
        ..FiltersImage::default()
    };
    let image = app.cloud().read_all(&ReadImages::filtered(filters)).await.unwrap().remove(0);
    let permissions = serde_json::to_value(&image.permissions_to_launch).unwrap();
    assert_eq!(permissions["GlobalPermission"], true, "{permissions}");
    assert_eq!(permissions["AccountIds"], json!(["123456789012"]));
    let shared = last(&app, "UpdateSnapshot").await;
    assert_eq!(
        shared["PermissionsToCreateVolume"]["Additions"]["AccountIds"],
        json!(["123456789012", "210987654321"])
    );
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_build_without_an_omi_leaves_nothing(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let build = app.bake_well(&bake_of(json!({ "skip_create_omi": true }))).await;
    assert_eq!(build["artifacts"], json!([]));
    assert!(app.sandbox.calls("CreateImage").await.is_empty());
    assert_eq!(app.sandbox.resources().await["volumes"], json!([]));
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_key_pair_of_somebody_else_is_not_touched(_: PgPoolOptions, database: PgConnectOptions) {
    let app = TestApp::without_machines(database).await;
    let theirs = CreateKeypair { keypair_name: "theirs".to_owned(), public_key: None };
    app.cloud().call(&theirs).await.unwrap();
    let taken = with(builder("image-x"), json!({ "temporary_key_pair_name": "theirs" }));
    let error = app.bake_badly(&template(taken, json!([])), "keypair_name_taken").await;
    assert!(error["detail"].as_str().unwrap().contains("theirs"), "{error:#}");
    assert_eq!(app.sandbox.resources().await["keypairs"].as_array().unwrap().len(), 1);
    let request = DeleteKeypair { keypair_name: Some("theirs".to_owned()), ..DeleteKeypair::default() };
    app.cloud().call(&request).await.unwrap();
}

#[sqlx::test(migrator = "fournil::store::MIGRATOR")]
async fn a_second_volume_is_there_and_becomes_part_of_the_omi(_: PgPoolOptions, database: PgConnectOptions) {
    let Some(app) = TestApp::with_machines(database).await else { return };
    let mapping = json!([{ "device_name": "/dev/xvdb", "volume_size": 1, "volume_type": "gp2", "delete_on_vm_deletion": false }]);
    let groups = json!({ "filters": { "security_group_names": "ours" } });
    let options = json!({
        "associate_public_ip_address": true,
        "launch_block_device_mappings": mapping,
        "temporary_security_group_source_cidr": "127.0.0.0/8",
        "temporary_key_pair_name": "our-own",
        "ssh_interface": "public_ip",
    });
    let script =
        shell(&["test -b /dev/xvdb", "echo on the second | sudo dd of=/dev/xvdb 2>/dev/null", "sync"]);
    let build = app.bake_well(&template(with(builder("two-disks"), options), json!([script]))).await;
    assert_eq!(build["artifacts"][0]["snapshots"].as_array().unwrap().len(), 2, "{build:#}");
    let living = app.sandbox.resources().await;
    assert_eq!(
        (&living["volumes"], &living["public_ips"], &living["keypairs"]),
        (&json!([]), &json!([]), &json!([]))
    );
    let ledger = app.get(&format!("/builds/{}/resources", id_of(&build))).await;
    let mut kinds: Vec<&str> =
        ledger["resources"].as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        ["image", "keypair", "public_ip", "security_group", "snapshot", "snapshot", "vm", "volume", "volume"]
    );
    let none = with(builder("image-x"), json!({ "security_group_filter": groups }));
    app.bake_badly(&template(none, json!([])), "security_group_not_found").await;
}

//! Options of `osc-bsuvolume`.

use serde_json::{Value, json};

use super::tests::read;
use crate::domain::{
    Problem,
    plan::{Builder, VolumePlan},
};

fn options(volumes: Value, more: Value) -> Value {
    let mut options = json!({ "type": "outscale-bsuvolume", "omi_name": null, "bsu_volumes": volumes });
    for (name, value) in more.as_object().unwrap() {
        options[name] = value.clone();
    }
    options
}

fn plan(volumes: Value) -> (VolumePlan, Vec<String>) {
    let read = read(options(volumes, json!({})), json!([])).unwrap_or_else(|problem| panic!("{problem:#?}"));
    let builder = read.runs.into_iter().next().unwrap().builder;
    assert_eq!((builder.kind(), builder.omi_name()), ("osc-bsuvolume", None));
    match builder {
        Builder::OscBsuvolume(plan) => (*plan, read.notices),
        other => panic!("{other:?}"),
    }
}

fn problem(volumes: Value, more: Value) -> Problem {
    read(options(volumes.clone(), more), json!([])).expect_err(&volumes.to_string())
}

#[test]
fn volumes_stay_unless_they_go_with_the_vm() {
    let (plan, notices) = plan(json!([
        { "device_name": "/dev/xvdf", "volume_size": 10, "tags": { "From": "{{.SourceOMI}}" } },
        { "device_name": "/dev/xvdg", "volume_size": 5, "volume_type": "io1", "iops": 100, "delete_on_vm_deletion": true },
        {
            "device_name": "/dev/xvdh", "snapshot_id": "snap-12345678", "snapshot_volume": true,
            "snapshot_tags": { "A": "b" }, "snapshot_account_ids": ["123456789012"], "snapshot_description": "of {{.BuildRegion}}",
        },
    ]));
    assert!(notices.is_empty(), "{notices:?}");
    let kept: Vec<&str> = plan.kept().map(|volume| volume.device_name.as_str()).collect();
    assert_eq!(kept, ["/dev/xvdf", "/dev/xvdh"]);
    let flags: Vec<bool> = plan.vm.block_devices.iter().map(|device| device.delete_on_vm_deletion).collect();
    // Until they are finished, they go with the VM however it ends.
    assert_eq!(flags, [true, true, true]);
    assert_eq!(plan.volumes[0].tags["From"], "{{.SourceOMI}}");
    let snapshot = plan.volumes[2].snapshot.as_ref().unwrap();
    assert_eq!((snapshot.tags["A"].as_str(), snapshot.account_ids.len()), ("b", 1));
    assert_eq!(snapshot.description.as_deref(), Some("of {{.BuildRegion}}"));
}

#[test]
fn what_cannot_come_to_volumes_is_told_before_anything_starts() {
    let volume = |more: Value| {
        let mut volume = json!({ "device_name": "/dev/xvdf", "volume_size": 10 });
        for (name, value) in more.as_object().unwrap() {
            volume[name] = value.clone();
        }
        json!([volume])
    };
    let cases = [
        (
            json!([{ "device_name": "/dev/xvdf" }]),
            "/bsu_volumes/0",
            "`volume_size` or `snapshot_id` is missing",
        ),
        (json!([{ "volume_size": 1 }]), "/bsu_volumes/0", "`device_name` is missing"),
        (volume(json!({ "no_device": true })), "/bsu_volumes/0/no_device", "here stand the volumes to make"),
        (
            volume(json!({ "delete_on_vm_deletion": true, "snapshot_volume": true })),
            "/bsu_volumes/0/snapshot_volume",
            "is no artifact",
        ),
        (volume(json!({ "volume_type": "io1" })), "/bsu_volumes/0/volume_type", "needs `iops`"),
        (
            volume(json!({ "snapshot_users": ["1"] })),
            "/bsu_volumes/0/snapshot_users",
            "`snapshot_account_ids`",
        ),
        (
            volume(json!({ "snapshot_tag": {} })),
            "/bsu_volumes/0/snapshot_tag",
            "did you mean `snapshot_tags`",
        ),
    ];
    for (volumes, pointer, detail) in cases {
        let errors = problem(volumes.clone(), json!({})).errors;
        assert_eq!(errors.len(), 1, "{volumes}: {errors:#?}");
        assert_eq!(
            errors[0].pointer.as_deref(),
            Some(format!("/template/builders/0{pointer}").as_str()),
            "{volumes}"
        );
        assert!(errors[0].detail.contains(detail), "{volumes}: {}", errors[0].detail);
    }
    let good = volume(json!({}));
    for (more, detail) in [
        (json!({ "omi_name": "image" }), "makes volumes, not an OMI"),
        (json!({ "ebs_volumes": [{}] }), "its name is `bsu_volumes` here"),
        (json!({ "launch_block_device_mappings": [{}] }), "list the volumes in `bsu_volumes`"),
        (json!({ "run_volume_tags": { "a": "b" } }), "tag each volume"),
        (json!({ "bsu_volume": [] }), "did you mean `bsu_volumes`"),
    ] {
        let errors = problem(good.clone(), more.clone()).errors;
        assert_eq!(errors.len(), 1, "{more}: {errors:#?}");
        assert!(errors[0].detail.contains(detail), "{more}: {}", errors[0].detail);
    }
}

#[test]
fn a_build_without_a_volume_that_stays_says_that_it_has_no_artifact() {
    for volumes in
        [json!([]), json!([{ "device_name": "/dev/xvdf", "volume_size": 1, "delete_on_vm_deletion": true }])]
    {
        let (_, notices) = plan(volumes);
        assert!(notices.iter().any(|notice| notice.contains("no artifact")), "{notices:?}");
    }
    let lonely = json!([{ "device_name": "/dev/xvdf", "volume_size": 1, "snapshot_tags": { "a": "b" } }]);
    let (_, notices) = plan(lonely);
    assert!(
        notices.iter().any(|notice| notice.contains("has no effect without `snapshot_volume`")),
        "{notices:?}"
    );
}

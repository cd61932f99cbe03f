//! Options of `osc-bsusurrogate`.

use serde_json::{Value, json};

use super::tests::read;
use crate::domain::{
    Problem,
    plan::{Builder, DeviceSource, OmiDevice, SurrogatePlan},
};

/// A builder that is right, with these options on top.
fn options(more: Value) -> Value {
    let mut options = json!({
        "type": "osc-bsusurrogate",
        "launch_block_device_mappings": [{ "device_name": "/dev/xvdf", "volume_size": 10, "delete_on_vm_deletion": true }],
        "omi_root_device": { "source_device_name": "/dev/xvdf", "device_name": "/dev/sda1" },
    });
    for (name, value) in more.as_object().unwrap() {
        options[name] = value.clone();
    }
    options
}

fn plan(more: Value) -> (SurrogatePlan, Vec<String>) {
    let read =
        read(options(more.clone()), json!([])).unwrap_or_else(|problem| panic!("{more}: {problem:#?}"));
    match read.runs.into_iter().next().unwrap().builder {
        Builder::OscBsusurrogate(plan) => (*plan, read.notices),
        other => panic!("{other:?}"),
    }
}

fn problem(more: Value) -> Problem {
    read(options(more.clone()), json!([])).expect_err(&more.to_string())
}

fn root(root: Value, launched: Value) -> OmiDevice {
    let mut both = json!({ "source_device_name": "/dev/xvdf", "device_name": "/dev/sda1" });
    for (name, value) in root.as_object().unwrap() {
        both[name] = value.clone();
    }
    let mut volume = json!({ "device_name": "/dev/xvdf", "volume_size": 10 });
    for (name, value) in launched.as_object().unwrap() {
        volume[name] = value.clone();
    }
    let (plan, _) = plan(json!({ "omi_root_device": both, "launch_block_device_mappings": [volume] }));
    assert_eq!(plan.root_device_name, "/dev/sda1");
    plan.devices.into_iter().next().unwrap()
}

#[test]
fn every_key_of_the_root_device_has_its_effect() {
    let plain = root(json!({}), json!({}));
    assert_eq!(
        plain,
        OmiDevice {
            device_name: "/dev/sda1".to_owned(),
            source: DeviceSource::Volume("/dev/xvdf".to_owned()),
            volume_type: None,
            volume_size: Some(10),
            iops: None,
            delete_on_vm_deletion: true,
        }
    );
    let all = json!({ "volume_type": "io1", "iops": 500, "volume_size": 20, "delete_on_vm_deletion": false });
    let all = root(all, json!({ "volume_type": "gp2" }));
    assert_eq!(
        (all.volume_type.as_deref(), all.iops, all.volume_size, all.delete_on_vm_deletion),
        (Some("io1"), Some(500), Some(20), false)
    );
    let inherited =
        root(json!({}), json!({ "volume_type": "io1", "iops": 100, "delete_on_vm_deletion": false }));
    assert_eq!(
        (inherited.volume_type.as_deref(), inherited.iops, inherited.delete_on_vm_deletion),
        (Some("io1"), Some(100), false)
    );
    let other_type = root(json!({ "volume_type": "gp2" }), json!({ "volume_type": "io1", "iops": 100 }));
    assert_eq!((other_type.volume_type.as_deref(), other_type.iops), (Some("gp2"), None));
}

#[test]
fn the_omi_has_the_other_volumes_of_the_vm_and_those_of_named_snapshots() {
    let (plan, notices) = plan(json!({
        "launch_block_device_mappings": [
            { "device_name": "/dev/sda1", "volume_size": 20 },
            { "device_name": "/dev/xvdf", "volume_size": 10 },
            { "device_name": "/dev/xvdg", "volume_size": 5, "volume_type": "gp2", "delete_on_vm_deletion": false },
            { "device_name": "/dev/xvdh", "volume_size": 50, "omit_from_artifact": true },
            { "device_name": "/dev/xvdi", "no_device": true },
        ],
        "omi_block_device_mappings": [
            { "device_name": "/dev/xvdg", "volume_size": 6 },
            { "device_name": "/dev/xvdj", "snapshot_id": "snap-12345678" },
        ],
    }));
    let shown: Vec<_> =
        plan.devices.iter().map(|device| (device.device_name.as_str(), &device.source)).collect();
    let volume = |name: &str| DeviceSource::Volume(name.to_owned());
    let snapshot = DeviceSource::Snapshot("snap-12345678".to_owned());
    assert_eq!(
        shown,
        [("/dev/sda1", &volume("/dev/xvdf")), ("/dev/xvdg", &volume("/dev/xvdg")), ("/dev/xvdj", &snapshot)]
    );
    assert_eq!(plan.devices[1].volume_size, Some(5));
    assert!(!plan.devices[1].delete_on_vm_deletion);
    assert_eq!(plan.vm.block_devices.len(), 5);
    for part in ["changes the VM's own root `/dev/sda1`", "has no effect for `/dev/xvdg`"] {
        assert!(notices.iter().any(|notice| notice.contains(part)), "{part}: {notices:?}");
    }
}

#[test]
fn what_cannot_come_to_an_omi_is_told_before_anything_starts() {
    let root = |more: Value| {
        let mut root = json!({ "source_device_name": "/dev/xvdf", "device_name": "/dev/sda1" });
        for (name, value) in more.as_object().unwrap() {
            root[name] = value.clone();
        }
        json!({ "omi_root_device": root })
    };
    let volume = |more: Value| {
        let mut volume =
            json!({ "device_name": "/dev/xvdf", "volume_size": 10, "delete_on_vm_deletion": true });
        for (name, value) in more.as_object().unwrap() {
            volume[name] = value.clone();
        }
        json!({ "launch_block_device_mappings": [volume] })
    };
    let terminates = json!({ "shutdown_behavior": "terminate" });
    let cases = [
        (json!({ "omi_root_device": null }), "", "`omi_root_device` is missing"),
        (
            json!({ "launch_block_device_mappings": [] }),
            "/omi_root_device/source_device_name",
            "list the volume there",
        ),
        (
            root(json!({ "source_device_name": "/dev/xvdg" })),
            "/omi_root_device/source_device_name",
            "did you mean `/dev/xvdf`",
        ),
        (root(json!({ "source_device_name": "" })), "/omi_root_device/source_device_name", "is missing"),
        (root(json!({ "device_name": "" })), "/omi_root_device/device_name", "is missing"),
        (root(json!({ "device_name": "sda1" })), "/omi_root_device/device_name", "must begin with `/dev/`"),
        (
            root(json!({ "volume_type": "gp2", "iops": 100 })),
            "/omi_root_device/iops",
            "only for a `volume_type` of `io1`",
        ),
        (root(json!({ "volume_type": "io1" })), "/omi_root_device/volume_type", "needs `iops`"),
        (
            root(json!({ "volume_type": "io1", "iops": 3001 })),
            "/omi_root_device/iops",
            "at most 300 for each GiB",
        ),
        (root(json!({ "volume_type": "ssd" })), "/omi_root_device/volume_type", "cannot be `ssd`"),
        (
            root(json!({ "volume_size": 9 })),
            "/omi_root_device/volume_size",
            "at least that of the volume `/dev/xvdf`, 10 GiB",
        ),
        (root(json!({ "volume_size": -1 })), "/omi_root_device/volume_size", "between 0"),
        (
            root(json!({ "snapshot_id": "snap-1" })),
            "/omi_root_device/snapshot_id",
            "has no option `snapshot_id`",
        ),
        (volume(json!({ "no_device": true })), "/omi_root_device/source_device_name", "it has `no_device`"),
        (
            volume(json!({ "omit_from_artifact": true })),
            "/omi_root_device/source_device_name",
            "it has `omit_from_artifact`",
        ),
        (terminates, "/omi_root_device/source_device_name", "would be gone before the OMI is made of it"),
        (
            json!({ "omi_block_device_mappings": [{ "device_name": "/dev/xvdj", "volume_size": 1 }] }),
            "/omi_block_device_mappings/0",
            "needs `snapshot_id`",
        ),
        (
            json!({ "omi_block_device_mappings": [{ "device_name": "/dev/sda1", "snapshot_id": "snap-1" }] }),
            "/omi_block_device_mappings/0/device_name",
            "is the root of the OMI",
        ),
        (json!({ "bsu_volumes": [{}] }), "/bsu_volumes", "it belongs to `osc-bsuvolume`"),
        (json!({ "skip_create_omi": true }), "/skip_create_omi", "it belongs to `osc-bsu`"),
        (json!({ "omi_root_devise": {} }), "/omi_root_devise", "did you mean `omi_root_device`"),
        (json!({ "shutdown_behavior": "restart" }), "/shutdown_behavior", "use one of `stop` or `terminate`"),
    ];
    for (more, pointer, detail) in cases {
        let errors = problem(more.clone()).errors;
        assert_eq!(errors.len(), 1, "{more}: {errors:#?}");
        assert_eq!(
            errors[0].pointer.as_deref(),
            Some(format!("/template/builders/0{pointer}").as_str()),
            "{more}"
        );
        assert!(errors[0].detail.contains(detail), "{more}: {}", errors[0].detail);
    }
}

#[test]
fn a_vm_that_would_end_is_stopped() {
    let keeps = json!([{ "device_name": "/dev/xvdf", "volume_size": 10, "delete_on_vm_deletion": false }]);
    let more = json!({ "shutdown_behavior": "terminate", "launch_block_device_mappings": keeps });
    let (_, notices) = plan(more);
    assert!(notices.iter().any(|notice| notice.contains("`terminate` is taken as `stop`")), "{notices:?}");
    // Not written is not true in Packer, so such a template bakes there.
    let silent = json!([{ "device_name": "/dev/xvdf", "volume_size": 10 }]);
    plan(json!({ "shutdown_behavior": "terminate", "launch_block_device_mappings": silent }));
}

//! Options of `osc-chroot`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    fields::{Fields, Findings, Reading},
    table,
    tests::read,
};
use crate::{
    domain::{
        Capability, Problem,
        plan::{Builder, ChrootMount, ChrootPlan, ChrootSource, CopiedFile},
    },
    template::{
        json::reader::Node,
        render::{Renderer, functions::Facts},
    },
};

/// A builder that is right, with these options on top; `null` takes one away.
fn template(more: &Value) -> Value {
    let mut options = json!({ "type": "osc-chroot", "vm_type": null, "ssh_username": null });
    for (name, value) in more.as_object().unwrap() {
        options[name] = value.clone();
    }
    options
}

fn plan(more: Value) -> (ChrootPlan, Vec<String>) {
    let read = read(template(&more), json!([])).unwrap_or_else(|problem| panic!("{more}: {problem:#?}"));
    let run = read.runs.into_iter().next().unwrap();
    assert_eq!(run.requires(), BTreeSet::from([Capability::Chroot]));
    match run.builder {
        Builder::OscChroot(plan) => (*plan, read.notices),
        other => panic!("{other:?}"),
    }
}

fn problem(more: Value) -> Problem {
    read(template(&more), json!([])).expect_err(&more.to_string())
}

/// What a blank volume needs.
fn scratch(more: Value) -> Value {
    let mut options = json!({
        "from_scratch": true, "source_omi": null, "root_volume_size": 10, "root_device_name": "/dev/sda1",
        "pre_mount_commands": ["mkfs.ext4 {{.Device}}"],
        "omi_block_device_mappings": [{ "device_name": "/dev/sda1", "delete_on_vm_deletion": true }],
    });
    for (name, value) in more.as_object().unwrap() {
        options[name] = value.clone();
    }
    options
}

#[test]
fn what_is_not_said_is_as_in_packer() {
    let (plan, notices) = plan(json!({}));
    assert!(notices.is_empty(), "{notices:?}");
    assert_eq!(plan.mount_path, "/mnt/packer-outscale-chroot-volumes/{{.Device}}");
    assert_eq!((plan.mount_partition, plan.device_path, plan.nvme_device_path), (Some(1), None, None));
    let mounts: Vec<_> = plan.chroot_mounts.iter().map(|mount| mount.target.as_str()).collect();
    assert_eq!(mounts, ["/proc", "/sys", "/dev", "/dev/pts", "/proc/sys/fs/binfmt_misc"]);
    assert_eq!(plan.copy_files, [CopiedFile { path: "/etc/resolv.conf".to_owned(), is_optional: true }]);
    assert!(matches!(plan.source, ChrootSource::Omi(source) if source.id.as_deref() == Some("ami-12345678")));
    assert!(plan.command_wrapper.is_none() && plan.pre_mount_commands.is_empty());
}

#[test]
fn every_option_reaches_the_plan() {
    let before = serde_json::to_value(plan(json!({})).0).unwrap();
    for (name, value, place, expected) in [
        ("root_volume_size", json!("20"), "/root_volume_size", json!(20)),
        ("root_volume_type", json!("gp2"), "/root_volume_type", json!("gp2")),
        (
            "root_volume_tags",
            json!({"a": "{{.SourceOMI}}"}),
            "/root_volume_tags",
            json!({"a": "{{.SourceOMI}}"}),
        ),
        ("device_path", json!("/dev/xvdk"), "/device_path", json!("/dev/xvdk")),
        ("device_path", json!("/dev/vdk"), "/device_path", json!("/dev/xvdk")),
        ("nvme_device_path", json!("/dev/nvme1n1"), "/nvme_device_path", json!("/dev/nvme1n1")),
        ("mount_path", json!("/srv/{{.Device}}"), "/mount_path", json!("/srv/{{.Device}}")),
        ("mount_partition", json!(0), "/mount_partition", json!(null)),
        ("mount_partition", json!("p2"), "/mount_partition", json!(2)),
        ("mount_options", json!(["noatime", "discard"]), "/mount_options", json!(["noatime", "discard"])),
        ("copy_files", json!([]), "/copy_files", json!([])),
        ("copy_files", json!(["/etc/hosts"]), "/copy_files", json!([{"path": "/etc/hosts"}])),
        ("command_wrapper", json!("sudo {{.Command}}"), "/command_wrapper", json!("sudo {{.Command}}")),
        ("command_wrapper", json!("{{ .Command }}"), "/command_wrapper", json!(null)),
        (
            "pre_mount_commands",
            json!(["blkid {{.Device}}"]),
            "/pre_mount_commands",
            json!(["blkid {{.Device}}"]),
        ),
        (
            "post_mount_commands",
            json!(["ls {{.MountPath}} $HOME"]),
            "/post_mount_commands",
            json!(["ls {{.MountPath}} $HOME"]),
        ),
        ("omi_description", json!("of {{.SourceOMI}}"), "/omi/description", json!("of {{.SourceOMI}}")),
        ("region", json!("eu-west-2"), "/access/region", json!("eu-west-2")),
    ] {
        let after = serde_json::to_value(plan(json!({ name: value })).0).unwrap();
        assert_eq!(after.pointer(place), Some(&expected), "{name}");
        assert!(after != before || before.pointer(place) == Some(&expected), "{name}");
    }
    let (with_mounts, _) =
        plan(json!({ "chroot_mounts": [["bind", "/run", "/run"], ["tmpfs", "tmpfs", "/tmp"]] }));
    let bind =
        ChrootMount { kind: "bind".into(), source: "/run".into(), target: "/run".into(), is_optional: false };
    assert_eq!((with_mounts.chroot_mounts.len(), &with_mounts.chroot_mounts[0]), (2, &bind));
    assert_eq!(plan(json!({ "chroot_mounts": [] })).0.chroot_mounts.len(), 5);
}

#[test]
fn a_blank_volume_needs_all_that_makes_a_system_of_it() {
    let (plan, _) = plan(scratch(json!({})));
    assert!(plan.copy_files.is_empty());
    let ChrootSource::Scratch(scratch_plan) = plan.source else { panic!("not from scratch") };
    assert_eq!((scratch_plan.root_device_name.as_str(), scratch_plan.devices.len()), ("/dev/sda1", 1));
    for missing in ["root_volume_size", "root_device_name", "pre_mount_commands", "omi_block_device_mappings"]
    {
        let problem = problem(scratch(json!({ missing: null })));
        let named = problem.errors.iter().any(|error| error.detail.contains(missing));
        assert!(named, "{missing}: {problem:#?}");
    }
    for (option, value, word) in [
        ("root_volume_type", json!("io1"), "io1"),
        (
            "omi_block_device_mappings",
            json!([{ "device_name": "/dev/sda1", "snapshot_id": "snap-1" }]),
            "root",
        ),
        ("omi_block_device_mappings", json!([{ "device_name": "/dev/sda1", "volume_size": 9 }]), "at least"),
        (
            "omi_block_device_mappings",
            json!([{ "device_name": "/dev/sda1" }, { "device_name": "/dev/xvdb" }]),
            "snapshot_id",
        ),
    ] {
        let problem = problem(scratch(json!({ option: value })));
        assert!(problem.errors.iter().any(|error| error.detail.contains(word)), "{option}: {problem:#?}");
    }
}

#[test]
fn options_that_would_have_no_effect_are_told() {
    let (_, notices) = plan(json!({ "root_device_name": "/dev/sda1" }));
    assert!(notices.iter().any(|notice| notice.contains("root_device_name")), "{notices:?}");
    let (_, notices) = plan(scratch(json!({ "source_omi": "ami-12345678" })));
    assert!(notices.iter().any(|notice| notice.contains("source_omi")), "{notices:?}");
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (option, value, word) in [
        ("source_omi", json!(null), "source_omi_filter"),
        ("device_path", json!("/dev/../etc/passwd"), "device_path"),
        ("device_path", json!("/dev/nvme1n1"), "nvme_device_path"),
        ("nvme_device_path", json!("/etc/passwd"), "/dev/"),
        ("nvme_device_path", json!("/dev/../etc"), "/dev/"),
        ("mount_path", json!("relative"), "absolute"),
        ("mount_path", json!("/"), "absolute"),
        ("mount_path", json!("/mnt/../etc"), "absolute"),
        ("mount_path", json!("/mnt/{{.SourceOMI}}"), "SourceOMI"),
        ("mount_partition", json!("one"), "number of a partition"),
        ("mount_partition", json!("129"), "number of a partition"),
        ("mount_partition", json!("1/../../x"), "number of a partition"),
        ("mount_options", json!(["-t", "ext4"]), "-t"),
        ("mount_options", json!(["a b"]), "a b"),
        ("chroot_mounts", json!([["proc", "/proc"]]), "three texts"),
        ("chroot_mounts", json!(["proc"]), "must be a list"),
        ("chroot_mounts", json!("proc"), "list of lists"),
        ("chroot_mounts", json!([["bind", "dev", "/dev"]]), "absolute"),
        ("chroot_mounts", json!([["bind", "/dev", "/../dev"]]), "absolute"),
        ("chroot_mounts", json!([["bind", "/dev", "/"]]), "root"),
        ("chroot_mounts", json!([["", "x", "/x"]]), "type of file system"),
        ("copy_files", json!(["etc/hosts"]), "absolute"),
        ("copy_files", json!(["/etc/../x"]), "absolute"),
        ("command_wrapper", json!("sudo"), ".Command"),
        ("command_wrapper", json!("sudo {{.Cmd}}"), "Cmd"),
        ("pre_mount_commands", json!(["x {{.MountPath}}"]), "MountPath"),
        ("vm_type", json!("t2.micro"), "launches no VM"),
        ("ssh_username", json!("outscale"), "launches no VM"),
        ("ami_name", json!("x"), "omi_name"),
    ] {
        let is_missing = value.is_null();
        let problem = problem(json!({ option: value }));
        let detail = &problem.errors[0].detail;
        assert!(detail.contains(word), "{option}: {problem:#?}");
        assert!(
            is_missing || problem.errors[0].pointer.as_deref().is_some_and(|place| place.contains(option)),
            "{problem:#?}"
        );
    }
}

#[test]
fn no_option_of_packers_is_forgotten() {
    let findings = Findings::default();
    let renderer = Renderer::new(Facts::default(), &std::rc::Rc::default());
    let (secrets, allowed) = Default::default();
    let reading = Reading {
        findings: &findings,
        renderer: &renderer,
        folder: None,
        allowed: &allowed,
        secrets: &secrets,
    };
    let node = Node::from_value(&json!({ "from_scratch": true }));
    let fields = Fields::new(&reading, &node, String::new());
    super::builder(super::BuilderKind::Chroot, &fields, true);
    let (asked, table) = (fields.asked(), table::chroot());
    for name in [
        "access_key",
        "secret_key",
        "region",
        "custom_endpoint_oapi",
        "insecure_skip_tls_verify",
        "x509_cert_path",
        "x509_key_path",
        "profile",
        "mfa_code",
        "token",
        "skip_metadata_api_check",
        "omi_name",
        "omi_description",
        "omi_account_ids",
        "snapshot_account_ids",
        "global_permission",
        "product_codes",
        "omi_boot_modes",
        "tags",
        "snapshot_tags",
        "force_deregister",
        "force_delete_snapshot",
        "omi_regions",
        "skip_region_validation",
        "omi_groups",
        "omi_product_codes",
        "source_omi",
        "source_omi_filter",
        "from_scratch",
        "root_volume_size",
        "root_volume_type",
        "root_volume_tags",
        "root_device_name",
        "device_path",
        "nvme_device_path",
        "mount_path",
        "mount_partition",
        "mount_options",
        "chroot_mounts",
        "copy_files",
        "command_wrapper",
        "pre_mount_commands",
        "post_mount_commands",
        "omi_block_device_mappings",
    ] {
        let in_table = table.iter().filter(|(known, _)| *known == name).count();
        assert_eq!(in_table + usize::from(asked.contains(&name)), 1, "{name}");
    }
}

//! Every option of the builder and of the provisioners: used, without effect, not done yet, or impossible.

use std::cell::RefCell;

use serde_json::{Value, json};

use super::{
    fields::{Fields, Findings, Reading},
    table,
};
use crate::domain::{
    Problem,
    plan::{BsuPlan, Builder, Communicator, Lookup, SshPlan, SubnetChoice},
};
use crate::template::{
    BuildRequest, ParseContext, TemplateSource,
    context::ContextFolder,
    json::reader::Node,
    parse,
    render::{Renderer, functions::Facts},
};

/// Every option that the reference lists for the builder, §1.1 to §1.11. Whoever adds one there adds it here.
const REFERENCE: &[&str] = &[
    "access_key",
    "secret_key",
    "region",
    "custom_endpoint_oapi",
    "oapi_custom_endpoint",
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
    "global_permission",
    "snapshot_account_ids",
    "product_codes",
    "omi_boot_modes",
    "root_device_name",
    "tags",
    "snapshot_tags",
    "force_deregister",
    "force_delete_snapshot",
    "omi_regions",
    "skip_region_validation",
    "omi_groups",
    "omi_product_codes",
    "omi_block_device_mappings",
    "launch_block_device_mappings",
    "vm_type",
    "source_omi",
    "source_omi_filter",
    "subregion_name",
    "associate_public_ip_address",
    "subnet_id",
    "subnet_filter",
    "net_id",
    "net_filter",
    "security_group_id",
    "security_group_ids",
    "security_group_filter",
    "temporary_security_group_source_cidr",
    "user_data",
    "user_data_file",
    "shutdown_behavior",
    "disable_stop_vm",
    "boot_mode",
    "run_tags",
    "run_volume_tags",
    "bsu_optimized",
    "windows_password_timeout",
    "ssh_interface",
    "iam_vm_profile",
    "enable_t2_unlimited",
    "block_duration_minutes",
    "skip_create_omi",
    "communicator",
    "pause_before_connecting",
    "ssh_username",
    "ssh_port",
    "ssh_host",
    "ssh_password",
    "ssh_keypair_name",
    "ssh_private_key_file",
    "ssh_certificate_file",
    "ssh_agent_auth",
    "temporary_key_pair_name",
    "temporary_key_pair_type",
    "temporary_key_pair_bits",
    "ssh_clear_authorized_keys",
    "ssh_timeout",
    "ssh_wait_timeout",
    "ssh_handshake_attempts",
    "ssh_pty",
    "ssh_disable_agent_forwarding",
    "ssh_ciphers",
    "ssh_key_exchange_algorithms",
    "ssh_keep_alive_interval",
    "ssh_read_write_timeout",
    "ssh_file_transfer_method",
    "ssh_bastion_host",
    "ssh_bastion_port",
    "ssh_bastion_username",
    "ssh_bastion_password",
    "ssh_bastion_private_key_file",
    "ssh_bastion_certificate_file",
    "ssh_bastion_agent_auth",
    "ssh_bastion_interactive",
    "ssh_proxy_host",
    "ssh_proxy_port",
    "ssh_proxy_username",
    "ssh_proxy_password",
    "ssh_local_tunnels",
    "ssh_remote_tunnels",
    "ssh_public_key",
    "ssh_private_key",
    "winrm_username",
    "winrm_password",
    "winrm_host",
    "winrm_port",
    "winrm_use_ssl",
    "winrm_insecure",
    "winrm_use_ntlm",
    "winrm_no_proxy",
    "winrm_timeout",
];

pub(super) fn folder() -> ContextFolder {
    ContextFolder::from_files([
        ("a.sh", &b"echo a"[..], true),
        ("b.sh", b"echo b", false),
        ("files/x", b"x", false),
        ("key.pem", b"-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n", false),
        (
            "locked.pem",
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nabcd\n-----END ENCRYPTED PRIVATE KEY-----\n",
            false,
        ),
        ("cert.pub", b"ssh-ed25519-cert-v01@openssh.com AAAA", false),
        ("data.txt", b"#!/bin/sh\necho {{not a template}}", false),
        ("binary", b"\xff\xfe", false),
    ])
}

/// A builder that is right, with these options on top; `null` takes one away.
pub(super) fn template(options: &Value, provisioners: &Value) -> Value {
    let mut builder = json!({
        "type": "osc-bsu", "omi_name": "image", "vm_type": "tinav5.c1r1p1", "source_omi": "ami-12345678",
        "ssh_username": "outscale",
    });
    for (name, value) in options.as_object().unwrap() {
        builder[name] = value.clone();
    }
    json!({"builders": [builder], "provisioners": provisioners})
}

pub(super) fn read(options: Value, provisioners: Value) -> Result<crate::domain::BuildPlan, Problem> {
    let request = BuildRequest::new(TemplateSource::Json(template(&options, &provisioners)));
    let cx = ParseContext::at(chrono::DateTime::from_timestamp(1_770_000_000, 0).unwrap());
    parse(&request, Some(&folder()), &cx).map(|parsed| parsed.plan)
}

fn bsu(options: Value) -> BsuPlan {
    let mut plan =
        read(options.clone(), json!([])).unwrap_or_else(|problem| panic!("{options}: {problem:#?}"));
    match plan.runs.remove(0).builder {
        Builder::OscBsu(plan) => *plan,
        other => panic!("{other:?}"),
    }
}

fn ssh(options: Value) -> SshPlan {
    match bsu(options).communicator {
        Communicator::Ssh(ssh) => *ssh,
        Communicator::None => panic!("no ssh"),
    }
}

/// The only error, as its pointer below the builder and its text.
fn error(options: Value) -> (String, String) {
    let problem = read(options.clone(), json!([])).expect_err(&options.to_string());
    let shown = format!("{options}: {:#?}", problem.errors);
    assert_eq!(problem.errors.len(), 1, "{shown}");
    let pointer = problem.errors[0].pointer.clone().unwrap();
    (pointer.replace("/template/builders/0", ""), problem.errors[0].detail.clone())
}

/// Options that Packer does not have; `name` belongs to every builder.
const OURS: [&str; 3] = ["name", "vm_types", "subregions"];

#[test]
fn no_option_of_the_reference_is_forgotten() {
    let findings = Findings::default();
    let renderer = Renderer::new(Facts::default(), &std::rc::Rc::default());
    let secrets = RefCell::default();
    let allowed = Default::default();
    let reading = Reading {
        findings: &findings,
        renderer: &renderer,
        folder: None,
        allowed: &allowed,
        secrets: &secrets,
    };
    let node = Node::from_value(&json!({}));
    for (kind, table, own) in [
        (super::BuilderKind::Bsu, table::bsu(), None),
        (super::BuilderKind::Bsusurrogate, table::bsusurrogate(), Some("omi_root_device")),
        (super::BuilderKind::Bsuvolume, table::bsuvolume(), Some("bsu_volumes")),
    ] {
        let fields = Fields::new(&reading, &node, String::new());
        super::builder(kind, &fields, false);
        let asked = fields.asked();
        for name in REFERENCE.iter().chain(&own) {
            let in_table = table.iter().filter(|(known, _)| known == name).count();
            assert_eq!(in_table + usize::from(asked.contains(name)), 1, "{kind:?}: {name}");
        }
        // And nothing is made up.
        for name in asked.iter().filter(|name| !OURS.contains(name) && Some(**name) != own) {
            assert!(REFERENCE.contains(name), "{kind:?}: {name}");
        }
    }
}

#[test]
fn options_that_are_not_used_are_answered_as_the_table_says() {
    for (name, treatment) in table::bsu() {
        match treatment {
            super::Treatment::Ignored(why) => {
                let plan = read(json!({name: "x"}), json!([])).unwrap();
                assert!(
                    plan.notices.iter().any(|notice| notice.contains(name) && notice.contains(why)),
                    "{name}"
                );
            }
            super::Treatment::NotYet => {
                let problem = read(json!({name: "x"}), json!([])).unwrap_err();
                assert_eq!((problem.status, problem.code.as_str()), (422, "not_supported_yet"), "{name}");
                assert_eq!(problem.errors[0].pointer, Some(format!("/template/builders/0/{name}")));
                assert_eq!(problem.errors[0].detail, format!("`{name}` is not supported yet"));
                // A value that says nothing hurts nobody.
                for neutral in [json!(false), json!(""), json!(0), json!([]), json!({}), json!(null)] {
                    read(json!({name: neutral}), json!([])).unwrap();
                }
            }
            super::Treatment::Never(why) => {
                let (pointer, detail) = error(json!({name: "x"}));
                assert_eq!((pointer, detail.contains(why)), (format!("/{name}"), true), "{name}");
            }
        }
    }
}

#[test]
fn every_used_option_reaches_the_plan() {
    let text = |plan: &BsuPlan| serde_json::to_value(plan).unwrap();
    let before = text(&bsu(json!({})));
    for (name, value, place, expected) in [
        ("region", json!("eu-west-2"), "/access/region", json!("eu-west-2")),
        ("custom_endpoint_oapi", json!("https://x/api/v1"), "/access/endpoint", json!("https://x/api/v1")),
        (
            "oapi_custom_endpoint",
            json!("http://127.0.0.1:8090/api/v1"),
            "/access/endpoint",
            json!("http://127.0.0.1:8090/api/v1"),
        ),
        ("insecure_skip_tls_verify", json!("true"), "/access/insecure_skip_tls_verify", json!(true)),
        ("omi_name", json!("x {{timestamp}}"), "/omi/name", json!("x 1770000000")),
        ("omi_description", json!("from {{.SourceOMI}}"), "/omi/description", json!("from {{.SourceOMI}}")),
        ("omi_account_ids", json!("1,2"), "/omi/account_ids", json!(["1", "2"])),
        ("snapshot_account_ids", json!(["1", 2]), "/omi/snapshot_account_ids", json!(["1", "2"])),
        ("global_permission", json!(1), "/omi/global_permission", json!(true)),
        ("product_codes", json!(["0001"]), "/omi/product_codes", json!(["0001"])),
        ("omi_boot_modes", json!(["uefi"]), "/omi/boot_modes", json!(["uefi"])),
        (
            "tags",
            json!({"a": "{{.BuildRegion}}", "n": 1}),
            "/omi/tags",
            json!({"a": "{{.BuildRegion}}", "n": "1"}),
        ),
        ("snapshot_tags", json!([{"a": "b"}]), "/omi/snapshot_tags", json!({"a": "b"})),
        ("force_deregister", json!(true), "/omi/force_deregister", json!(true)),
        ("force_delete_snapshot", json!(true), "/omi/force_delete_snapshot", json!(true)),
        ("skip_create_omi", json!(true), "/skip_create_omi", json!(true)),
        ("run_volume_tags", json!({"a": "b"}), "/volume_tags", json!({"a": "b"})),
        ("vm_type", json!("t2.micro"), "/vm/vm_type", json!("t2.micro")),
        ("subregions", json!(["eu-west-2a", "eu-west-2b"]), "/vm/other_subregions", json!(["eu-west-2b"])),
        ("subregions", json!(["eu-west-2a", "eu-west-2b"]), "/vm/subregion", json!("eu-west-2a")),
        ("subregion_name", json!("eu-west-2a"), "/vm/subregion", json!("eu-west-2a")),
        ("associate_public_ip_address", json!(true), "/vm/associate_public_ip", json!(true)),
        ("net_id", json!("vpc-1"), "/vm/net", json!({"ids": ["vpc-1"]})),
        ("subnet_id", json!("subnet-1"), "/vm/subnet", json!({"ids": ["subnet-1"]})),
        ("security_group_id", json!("sg-1"), "/vm/security_groups", json!({"ids": ["sg-1"]})),
        (
            "security_group_ids",
            json!(["sg-1", "sg-2"]),
            "/vm/security_groups",
            json!({"ids": ["sg-1", "sg-2"]}),
        ),
        ("temporary_security_group_source_cidr", json!("10.0.0.0/8"), "/vm/source_cidr", json!("10.0.0.0/8")),
        ("user_data", json!("#!/bin/sh\n"), "/vm/user_data", json!("#!/bin/sh\n")),
        ("user_data_file", json!("data.txt"), "/vm/user_data", json!("#!/bin/sh\necho {{not a template}}")),
        ("user_data", json!("IyEvYmluL3NoCg=="), "/vm/user_data", json!("#!/bin/sh\n")),
        ("user_data", json!("abcd"), "/vm/user_data", json!("abcd")),
        ("disable_stop_vm", json!(true), "/vm/disable_stop", json!(true)),
        ("boot_mode", json!("uefi"), "/vm/boot_mode", json!("uefi")),
        ("run_tags", json!({"{{user `x`}}a": "b"}), "/vm/tags", json!({"a": "b"})),
        ("bsu_optimized", json!(true), "/vm/bsu_optimized", json!(true)),
        ("ssh_username", json!("root"), "/communicator/username", json!("root")),
        ("ssh_port", json!("2222"), "/communicator/port", json!(2222)),
        ("ssh_password", json!("hunter2"), "/communicator/password", json!("hunter2")),
        ("temporary_key_pair_name", json!("k"), "/communicator/temporary_key_pair_name", json!("k")),
        ("temporary_key_pair_type", json!("rsa"), "/communicator/temporary_key_pair_type", json!("rsa")),
        ("ssh_clear_authorized_keys", json!(true), "/communicator/clear_authorized_keys", json!(true)),
        ("ssh_timeout", json!("1h5m"), "/communicator/timeout", json!("1h5m")),
        ("ssh_wait_timeout", json!("20m"), "/communicator/timeout", json!("20m")),
        ("ssh_handshake_attempts", json!(7), "/communicator/handshake_attempts", json!(7)),
        ("ssh_interface", json!("private_ip"), "/communicator/interface", json!("private_ip")),
        ("ssh_pty", json!(true), "/communicator/pty", json!(true)),
        ("ssh_keep_alive_interval", json!("-1s"), "/communicator/keep_alive_interval", json!("0s")),
        ("ssh_read_write_timeout", json!("5m"), "/communicator/read_write_timeout", json!("5m")),
        ("ssh_file_transfer_method", json!("sftp"), "/communicator/file_transfer", json!("sftp")),
        ("ssh_ciphers", json!(["c"]), "/communicator/ciphers", json!(["c"])),
        ("ssh_key_exchange_algorithms", json!(["k"]), "/communicator/key_exchange_algorithms", json!(["k"])),
        ("pause_before_connecting", json!("10s"), "/communicator/pause_before_connecting", json!("10s")),
    ] {
        if expected.is_null() {
            continue; // A template in a tag's key is checked; see below.
        }
        let after = text(&bsu(json!({name: value})));
        assert_eq!(after.pointer(place), Some(&expected), "{name}");
        assert_ne!(before.pointer(place), Some(&expected), "{name}: the default is the same");
    }
    let parsed = read(json!({"run_tags": {"{{user `x`}}a": "b"}}), json!([])).unwrap();
    assert!(parsed.notices[0].contains("no variable `x`"), "{:?}", parsed.notices);
}

#[test]
fn defaults_are_packers_or_better() {
    let plan = bsu(json!({}));
    assert_eq!((plan.vm.source_cidr.as_str(), plan.vm.subnet_choice), ("0.0.0.0/0", SubnetChoice::Only));
    let ssh = ssh(json!({}));
    assert_eq!((ssh.port, ssh.timeout.as_secs(), ssh.handshake_attempts), (22, 600, 0));
    assert_eq!(ssh.keep_alive_interval.as_secs(), 5);
    assert_eq!(serde_json::to_value(ssh.temporary_key_pair_type).unwrap(), "ed25519");
    let plan = bsu(json!({"launch_block_device_mappings": [{"device_name": "/dev/xvdb"}]}));
    assert!(plan.vm.block_devices[0].delete_on_vm_deletion, "Packer would leave a volume behind");
    let plan = bsu(
        json!({"launch_block_device_mappings": {"device_name": "/dev/xvdb", "delete_on_vm_deletion": false}}),
    );
    assert!(!plan.vm.block_devices[0].delete_on_vm_deletion);
}

#[test]
fn wrong_values_are_named() {
    for (options, pointer, expected) in [
        (json!({"omi_name": null}), "", "`omi_name` is missing"),
        (json!({"omi_name": "ab"}), "/omi_name", "3 to 128 characters; it has 2"),
        (json!({"omi_name": "x".repeat(129)}), "/omi_name", "3 to 128 characters; it has 129"),
        (json!({"omi_name": "a:b c"}), "/omi_name", "cannot hold `:`"),
        (json!({"omi_name": "café"}), "/omi_name", "cannot hold `é`"),
        (json!({"omi_name": "x {{timestmp}}"}), "/omi_name", "did you mean `timestamp`?"),
        (json!({"omi_name": ["x"]}), "/omi_name", "must be a text, not a list"),
        (json!({"vm_type": ""}), "/vm_type", "`vm_type` is missing"),
        (json!({"vm_types": ["a", "b"]}), "/vm_types", "both given"),
        (json!({"vm_type": null, "vm_types": ["a", "a"]}), "/vm_types", "given twice"),
        (
            json!({"subregions": ["a", "b"], "subnet_id": "subnet-1"}),
            "/subregions",
            "cannot be combined with a Subnet",
        ),
        (json!({"source_omi": null}), "", "`source_omi` or `source_omi_filter` is missing"),
        (json!({"source_omi": "debian"}), "/source_omi", "the id of an OMI"),
        (json!({"source_omi": "", "source_omi_filter": {}}), "/source_omi_filter", "is missing"),
        (
            json!({"source_omi": null, "source_omi_filter": {"filters": {"image-name": "D*"}}}),
            "/source_omi_filter",
            "`owners` is missing",
        ),
        (
            json!({"source_omi_filter": {"filters": {"name": "D*"}}}),
            "/source_omi_filter/filters",
            "did you mean `image-name`?",
        ),
        (
            json!({"source_omi_filter": {"filters": {"colour": "red"}}}),
            "/source_omi_filter/filters",
            "use one of `account-alias`",
        ),
        (
            json!({"source_omi_filter": {"most_recnt": true}}),
            "/source_omi_filter/most_recnt",
            "did you mean `most_recent`?",
        ),
        (json!({"access_key": "A"}), "/access_key", "give both or neither"),
        (json!({"secret_key": "A"}), "/secret_key", "give both or neither"),
        (json!({"access_key": "A", "secret_key": ""}), "/secret_key", "is empty"),
        (json!({"region": "EU West"}), "/region", "such as `eu-west-2`"),
        (json!({"custom_endpoint_oapi": "api.example.com"}), "/custom_endpoint_oapi", "address of an API"),
        (json!({"custom_endpoint_oapi": "https://u:p@x/"}), "/custom_endpoint_oapi", "address of an API"),
        (
            json!({"custom_endpoint_oapi": "https://a", "oapi_custom_endpoint": "https://b"}),
            "/oapi_custom_endpoint",
            "old name",
        ),
        (
            json!({"insecure_skip_tls_verify": "maybe"}),
            "/insecure_skip_tls_verify",
            "true or false, not `maybe`",
        ),
        (json!({"omi_boot_modes": ["bios"]}), "/omi_boot_modes", "cannot hold `bios`"),
        (json!({"boot_mode": "bios"}), "/boot_mode", "`legacy` or `uefi`"),
        (json!({"shutdown_behavior": "terminate"}), "/shutdown_behavior", "would be gone"),
        (json!({"shutdown_behavior": "restart"}), "/shutdown_behavior", "must be `stop`"),
        (json!({"security_group_id": "a", "security_group_ids": ["b"]}), "/security_group_id", "both given"),
        (
            json!({"security_group_filter": {"filters": {"group-name": "x"}}}),
            "/security_group_filter/filters",
            "did you mean `security_group_names`?",
        ),
        (
            json!({"temporary_security_group_source_cidr": "10.0.0.0/33"}),
            "/temporary_security_group_source_cidr",
            "a range",
        ),
        (
            json!({"temporary_security_group_source_cidr": "10.0.0.1"}),
            "/temporary_security_group_source_cidr",
            "a range",
        ),
        (json!({"user_data": "a", "user_data_file": "data.txt"}), "/user_data", "both given"),
        (json!({"user_data_file": "data.tx"}), "/user_data_file", "did you mean `data.txt`?"),
        (json!({"user_data_file": "/etc/passwd"}), "/user_data_file", "outside the template's folder"),
        (json!({"user_data_file": "../x"}), "/user_data_file", "outside the template's folder"),
        (json!({"user_data_file": "~/x"}), "/user_data_file", "in your home"),
        (json!({"user_data_file": "files"}), "/user_data_file", "is a folder"),
        (json!({"user_data_file": "binary"}), "/user_data_file", "no UTF-8 text"),
        (json!({"user_data": "x".repeat(400_000)}), "/user_data", "larger than"),
        (json!({"ssh_username": null}), "", "`ssh_username` is missing"),
        (json!({"communicator": "winrm"}), "/communicator", "not supported yet"),
        (json!({"communicator": "docker"}), "/communicator", "no communicator `docker`"),
        (json!({"ssh_port": 70_000}), "/ssh_port", "between 0 and 65535, not 70000"),
        (json!({"ssh_port": "ssh"}), "/ssh_port", "whole number, not `ssh`"),
        (json!({"ssh_port": 22.5}), "/ssh_port", "whole number, not `22.5`"),
        (json!({"ssh_interface": "publicip"}), "/ssh_interface", "did you mean `public_ip`?"),
        (json!({"ssh_timeout": 10}), "/ssh_timeout", "such as `30s`"),
        (json!({"ssh_timeout": "10"}), "/ssh_timeout", "is no duration"),
        (json!({"ssh_file_transfer_method": "ftp"}), "/ssh_file_transfer_method", "did you mean `sftp`?"),
        (json!({"temporary_key_pair_type": "dsa"}), "/temporary_key_pair_type", "did you mean"),
        (json!({"ssh_keypair_name": "k"}), "/ssh_keypair_name", "needs `ssh_private_key_file`"),
        (json!({"ssh_private_key_file": "a.sh"}), "/ssh_private_key_file", "no private key"),
        (json!({"ssh_private_key_file": "locked.pem"}), "/ssh_private_key_file", "passphrase"),
        (
            json!({"ssh_certificate_file": "cert.pub"}),
            "/ssh_certificate_file",
            "needs `ssh_private_key_file`",
        ),
        (json!({"ssh_bastion_host": "b"}), "/ssh_bastion_host", "needs `ssh_bastion_username`"),
        (
            json!({"ssh_bastion_host": "b", "ssh_bastion_username": "u"}),
            "/ssh_bastion_host",
            "does not know a temporary key",
        ),
        (
            json!({"launch_block_device_mappings": [{}]}),
            "/launch_block_device_mappings/0",
            "`device_name` is missing",
        ),
        (
            json!({"launch_block_device_mappings": [{"device_name": "xvdb"}]}),
            "/launch_block_device_mappings/0/device_name",
            "must begin with",
        ),
        (
            json!({"launch_block_device_mappings": [{"device_name": "/dev/sda1", "volume_type": "gp3"}]}),
            "/launch_block_device_mappings/0/volume_type",
            "did you mean `gp2`?",
        ),
        (
            json!({"launch_block_device_mappings": [{"device_name": "/dev/sda1", "volume_type": "io1"}]}),
            "/launch_block_device_mappings/0/volume_type",
            "needs `iops`",
        ),
        (
            json!({"launch_block_device_mappings": [{"device_name": "/dev/sda1", "volume_type": "io1", "iops": 3001, "volume_size": 10}]}),
            "/launch_block_device_mappings/0/iops",
            "which is 3000",
        ),
        (
            json!({"launch_block_device_mappings": [{"device_name": "/dev/sda1", "volume_size": 20_000}]}),
            "/launch_block_device_mappings/0/volume_size",
            "between 0 and 14901",
        ),
        (
            json!({"launch_block_device_mappings": [{"device_name": "/dev/sda1"}, {"device_name": "/dev/sda1"}]}),
            "/launch_block_device_mappings/1/device_name",
            "two volumes",
        ),
        (
            json!({"launch_block_device_mappings": [{"device_name": "/dev/sda1", "virtual_name": "e"}]}),
            "/launch_block_device_mappings/0/virtual_name",
            "ephemeral",
        ),
        (json!({"launch_block_device_mappings": "x"}), "/launch_block_device_mappings", "a list of objects"),
        (json!({"tags": "x"}), "/tags", "an object of names and texts"),
        (json!({"tags": {"a": ["x"]}}), "/tags/a", "must be a text"),
        (json!({"tags": {"a": "{{.Path}}"}}), "/tags/a", "has no value here"),
        (json!({"instance_typ": "x"}), "/instance_typ", "`osc-bsu` has no option `instance_typ`"),
        (json!({"omi_nmae": "x"}), "/omi_nmae", "did you mean `omi_name`?"),
        (json!({"snapshot_groups": ["x"]}), "/snapshot_groups", "snapshot_account_ids"),
        (json!({"ssh_agent_auth": true}), "/ssh_agent_auth", "no SSH agent"),
    ] {
        let shown = options.to_string();
        let (at, detail) = error(options);
        assert!(at == pointer && detail.contains(expected), "{:.200}: {at}: {detail}", shown);
    }
}

#[test]
fn keys_and_bastions_are_read_from_the_folder() {
    let own = ssh(
        json!({"ssh_private_key_file": "./key.pem", "ssh_certificate_file": "cert.pub", "ssh_keypair_name": "k"}),
    );
    assert!(own.private_key.is_some() && own.certificate.is_some() && own.keypair_name.is_some());
    let bastion = ssh(json!({
        "ssh_bastion_host": "b", "ssh_bastion_username": "u", "ssh_bastion_port": 2200,
        "ssh_bastion_private_key_file": "key.pem",
    }))
    .bastion
    .unwrap();
    assert!(bastion.private_key.is_some() && bastion.password.is_none());
    assert_eq!((bastion.host.as_str(), bastion.port, bastion.username.as_str()), ("b", 2200, "u"));
    let plan = read(
        json!({"ssh_bastion_host": "b", "ssh_bastion_username": "u", "ssh_bastion_password": "hunter2"}),
        json!([]),
    )
    .unwrap();
    let secrets: Vec<_> = plan.runs[0].secrets.iter().map(secrecy::ExposeSecret::expose_secret).collect();
    assert!(secrets.contains(&"hunter2"));
}

#[test]
fn filters_become_oapis() {
    let vm = bsu(json!({
        "source_omi_filter": {
            "filters": {"image-name": "Debian-12-*", "architecture": "x86_64"},
            "filter": [{"name": "root-device-type", "value": "bsu"}],
            "owners": ["Outscale"], "most_recent": true,
        },
        "net_filter": {"filters": {"is-default": "true", "tag-key": "a"}},
        "subnet_filter": {"filters": {"available-ips-counts": 250, "sub-region-names": "eu-west-2a"}, "random": true},
        "security_group_filter": {"filters": {"tags": "a=b"}},
    }))
    .vm;
    assert_eq!(
        serde_json::to_value(&vm.source).unwrap(),
        json!({
            "id": "ami-12345678", "owners": [], "most_recent": true,
            "filters": {
                "AccountAliases": ["Outscale"], "Architectures": ["x86_64"], "ImageNames": ["Debian-12-*"],
                "RootDeviceTypes": ["bsu"],
            },
        })
    );
    let filters = |lookup: Option<Lookup>| match lookup {
        Some(Lookup::Filters(filters)) => json!(filters),
        other => panic!("{other:?}"),
    };
    assert_eq!(filters(vm.net), json!({"IsDefault": true, "TagKeys": ["a"]}));
    assert_eq!(filters(vm.subnet), json!({"AvailableIpsCounts": [250], "SubregionNames": ["eu-west-2a"]}));
    assert_eq!(
        (filters(vm.security_groups), vm.subnet_choice),
        (json!({"Tags": ["a=b"]}), SubnetChoice::Random)
    );
    let vm = bsu(
        json!({"source_omi_filter": {"owners": "self,123456789012"}, "subnet_filter": {"most_free": true}}),
    )
    .vm;
    assert_eq!(vm.source.owners, ["self", "123456789012"]);
    assert_eq!((filters(vm.subnet), vm.subnet_choice), (json!({}), SubnetChoice::MostFree));
    let plan = read(json!({"net_id": "vpc-1", "net_filter": {"filters": {"state": "available"}}}), json!([]))
        .unwrap();
    assert!(plan.notices.iter().any(|notice| notice.contains("`net_filter` has no effect beside `net_id`")));
}

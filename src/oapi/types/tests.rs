//! Requests are sent exactly as meant; answers are read whatever else they hold.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A VM with everything that a recorded answer has, and more.
fn full_vm() -> Value {
    json!({
        "VmId": "i-12345678", "State": "running", "StateReason": "", "VmType": "tinav5.c2r4p1", "ImageId": "ami-12345678",
        "KeypairName": "key", "ClientToken": "token", "CreationDate": "2026-08-01T12:34:56.789+0000",
        "Architecture": "x86_64", "BootMode": "uefi", "TpmEnabled": false, "DeletionProtection": false,
        "RootDeviceName": "/dev/sda1", "RootDeviceType": "ebs", "Hypervisor": "xen", "LaunchNumber": 0,
        "ShutdownBehaviorConfiguration": {"GuestAction": "stop", "HostAction": "stop"},
        "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Bsu": {
            "VolumeId": "vol-12345678", "State": "attached", "DeleteOnVmDeletion": true, "LinkDate": "2026-08-01T12:34:56Z"}}],
        "Placement": {"SubregionName": "eu-west-2a", "Tenancy": "default"}, "NetId": "vpc-12345678",
        "SubnetId": "subnet-12345678", "PrivateIp": "10.0.0.4", "PublicIp": "198.51.100.7",
        "Nics": [{"NicId": "eni-12345678", "LinkPublicIp": {"PublicIp": "198.51.100.7"},
            "PrivateIps": [{"IsPrimary": true, "PrivateIp": "10.0.0.4"}], "SecurityGroups": []}],
        "SecurityGroups": [{"SecurityGroupId": "sg-12345678", "SecurityGroupName": "default"}],
        "ProductCodes": ["0001"], "Tags": [{"Key": "name", "Value": "web"}], "UserData": "",
        "VmInitiatedShutdownBehavior": "stop",
    })
}

#[test]
fn a_recorded_vm_is_read_in_full() {
    let vm: Vm = serde_json::from_value(full_vm()).unwrap();
    assert_eq!(vm.state, VmState::Running);
    assert_eq!(vm.root_volume().unwrap().volume_id.as_deref(), Some("vol-12345678"));
    assert_eq!(vm.public_ip.as_deref(), Some("198.51.100.7"));
    assert_eq!(vm.nics[0].link_public_ip.as_ref().unwrap().public_ip.as_deref(), Some("198.51.100.7"));
    assert_eq!(vm.tags, [ResourceTag::new("name", "web")]);
}

#[test]
fn a_terminated_vm_has_lost_most_of_its_fields() {
    let vm: Vm = serde_json::from_value(json!({
        "VmId": "i-12345678", "State": "terminated", "StateReason": "Client.UserInitiatedShutdown",
        "ActionsOnNextBoot": {}, "BlockDeviceMappings": [], "Tags": [],
    }))
    .unwrap();
    assert_eq!(vm.state, VmState::Terminated);
    assert!(vm.root_volume().is_none());
}

#[test]
fn an_image_names_its_snapshots() {
    let image: Image = serde_json::from_value(json!({
        "ImageId": "ami-12345678", "State": "available", "StateComment": {}, "BootModes": ["legacy", "uefi", "tomorrow"],
        "BlockDeviceMappings": [
            {"DeviceName": "/dev/sda1", "Bsu": {"SnapshotId": "snap-1", "VolumeSize": 10, "VolumeType": "gp2"}},
            {"DeviceName": "/dev/sdb", "VirtualDeviceName": "ephemeral0"},
            {"DeviceName": "/dev/sdc", "Bsu": {"SnapshotId": "snap-2", "VolumeType": "io1", "Iops": 300}},
        ],
    }))
    .unwrap();
    assert_eq!(image.snapshot_ids(), ["snap-1", "snap-2"]);
    assert_eq!(image.boot_modes[2], BootMode::Other("tomorrow".to_owned()));
}

#[test]
fn user_data_is_sent_but_never_shown() {
    let request = CreateVms {
        image_id: "ami-12345678".to_owned(),
        user_data: Some("cGFzc3dvcmQ=".to_owned().into()),
        ..CreateVms::default()
    };
    assert!(!format!("{request:?}").contains("cGFzc3dvcmQ"));
    assert_eq!(serde_json::to_value(&request).unwrap()["UserData"], "cGFzc3dvcmQ=");
}

#[test]
fn a_private_key_made_by_outscale_is_never_shown() {
    let answer: CreateKeypairAnswer =
        serde_json::from_value(json!({"Keypair": {"KeypairName": "k", "PrivateKey": "-----BEGIN"}})).unwrap();
    assert!(!format!("{answer:?}").contains("BEGIN"));
}

#[test]
fn only_calls_without_a_way_to_find_their_result_are_never_repeated_blindly() {
    assert_eq!(CreateImage::RETRY, Retry::OnlyIfNotRun);
    assert_eq!(CreateKeypair::RETRY, Retry::OnlyIfNotRun);
    assert_eq!(CreateSecurityGroup::RETRY, Retry::OnlyIfNotRun);
    assert_eq!(CreatePublicIp::RETRY, Retry::OnlyIfNotRun);
    for retry in [CreateVms::RETRY, CreateVolume::RETRY, CreateSnapshot::RETRY] {
        assert_eq!(retry, Retry::WithToken);
    }
    for retry in [ReadVms::RETRY, DeleteVms::RETRY, CreateTags::RETRY, UpdateImage::RETRY, StopVms::RETRY] {
        assert_eq!(retry, Retry::Always);
    }
    assert!(!CreateVolume::default().has_client_token());
    assert!(
        CreateVolume { client_token: Some("t".to_owned()), ..CreateVolume::default() }.has_client_token()
    );
}

/// JSON that an answer of tomorrow may hold beside what is known today.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[A-Z][a-z]{1,6}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_vm_is_read_whatever_is_added_left_out_or_renamed(
        extra in prop::collection::hash_map("X[a-z]{3,8}", any_json(), 0..6),
        left_out in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        state in "[a-z/-]{0,16}",
    ) {
        let mut vm = full_vm();
        let fields = vm.as_object_mut().unwrap();
        for index in left_out {
            let key = index.get(&fields.keys().cloned().collect::<Vec<_>>()).clone();
            if key != "VmId" {
                fields.remove(&key);
            }
        }
        fields.insert("State".to_owned(), state.clone().into());
        fields.extend(extra);
        let read: Vm = serde_json::from_value(vm).unwrap();
        prop_assert_eq!(read.vm_id, "i-12345678");
        prop_assert_eq!(read.state.as_str(), state);
    }

    #[test]
    fn a_word_survives_reading_and_writing(word in "\\PC{0,20}") {
        let state: SnapshotState = serde_json::from_value(json!(word)).unwrap();
        prop_assert_eq!(serde_json::to_value(&state).unwrap(), json!(word));
        let shown = state.to_string();
        prop_assert_eq!(shown, if word.is_empty() { "unknown".to_owned() } else { word });
    }
}

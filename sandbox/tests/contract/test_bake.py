"""The flow of an image builder, from the key pair to the last deletion."""

import base64
import time

from conftest import PATIENCE, Refused


def test_a_bake_leaves_nothing_but_what_it_deletes_itself(cloud, image):
    cloud.through_the_gateway()
    keypair = cloud.call("CreateKeypair", KeypairName="bake")["Keypair"]
    assert keypair["PrivateKey"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    group = cloud.call("CreateSecurityGroup", SecurityGroupName="bake", Description="for a bake")["SecurityGroup"]
    opened = cloud.call(
        "CreateSecurityGroupRule", SecurityGroupId=group["SecurityGroupId"], Flow="Inbound",
        FromPortRange=22, ToPortRange=22, IpProtocol="tcp", IpRange="0.0.0.0/0",
    )["SecurityGroup"]
    assert opened["InboundRules"][0]["IpRanges"] == ["0.0.0.0/0"]

    vm = cloud.call(
        "CreateVms", ImageId=image["ImageId"], VmType="tinav6.c1r1p2", KeypairName="bake",
        SecurityGroupIds=[group["SecurityGroupId"]], ClientToken="bake-1",
        UserData=base64.b64encode(b"#!/bin/sh\n").decode(),
        BlockDeviceMappings=[{"DeviceName": "/dev/sdb", "Bsu": {"VolumeSize": 2, "VolumeType": "gp2"}}],
    )["Vms"][0]
    vm_id = vm["VmId"]
    assert vm["State"] == "pending"
    running = cloud.until("ReadVms", "Vms", "running", VmIds=[vm_id])
    assert running["PublicIp"].startswith("127.")
    assert [mapping["DeviceName"] for mapping in running["BlockDeviceMappings"]] == ["/dev/sda1", "/dev/sdb"]
    volume_ids = [mapping["Bsu"]["VolumeId"] for mapping in running["BlockDeviceMappings"]]
    cloud.call("CreateTags", ResourceIds=[vm_id, *volume_ids], Tags=[{"Key": "Name", "Value": "bake"}])
    assert len(cloud.call("ReadTags", Filters={"Values": ["bake"]})["Tags"]) == 3

    change = cloud.call("StopVms", VmIds=[vm_id])["Vms"][0]
    assert (change["PreviousState"], change["CurrentState"]) == ("running", "stopping")
    cloud.until("ReadVms", "Vms", "stopped", VmIds=[vm_id])
    omi = cloud.call("CreateImage", VmId=vm_id, ImageName="bake 1.0", Description="baked")["Image"]
    assert omi["State"] == "pending"
    available = cloud.until("ReadImages", "Images", "available", ImageIds=[omi["ImageId"]])
    snapshot_ids = [mapping["Bsu"]["SnapshotId"] for mapping in available["BlockDeviceMappings"]]
    assert len(snapshot_ids) == 2
    cloud.call("CreateTags", ResourceIds=[omi["ImageId"], *snapshot_ids], Tags=[{"Key": "Name", "Value": "bake"}])
    shared = cloud.call(
        "UpdateImage", ImageId=omi["ImageId"], PermissionsToLaunch={"Additions": {"AccountIds": ["123456789012"]}}
    )["Image"]
    assert shared["PermissionsToLaunch"]["AccountIds"] == ["123456789012"]

    cloud.call("DeleteVms", VmIds=[vm_id])
    gone = cloud.until("ReadVms", "Vms", "terminated", VmIds=[vm_id])
    assert gone["BlockDeviceMappings"] == [] and "PrivateIp" not in gone
    delete_group(cloud, group["SecurityGroupId"])
    cloud.call("DeleteKeypair", KeypairName="bake")
    in_use = cloud.refused("DeleteSnapshot", SnapshotId=snapshot_ids[0])
    assert in_use.status == 409
    cloud.call("DeleteImage", ImageId=omi["ImageId"])
    for snapshot_id in snapshot_ids:
        cloud.call("DeleteSnapshot", SnapshotId=snapshot_id)


def delete_group(cloud, group_id):
    """Deletes the group as soon as the cloud has noticed that its VM is gone."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            cloud.call("DeleteSecurityGroup", SecurityGroupId=group_id)
            return
        except Refused as refused:
            assert (refused.status, refused.code, refused.details) == (409, 9085, "")
        time.sleep(0.02)
    raise AssertionError("the group was never released")


def end_vm(cloud, vm_id):
    cloud.call("DeleteVms", VmIds=[vm_id])
    cloud.until("ReadVms", "Vms", "terminated", VmIds=[vm_id])


def test_an_image_of_a_running_vm_stops_and_starts_it(cloud, image):
    vm_id = cloud.call("CreateVms", ImageId=image["ImageId"])["Vms"][0]["VmId"]
    before = cloud.until("ReadVms", "Vms", "running", VmIds=[vm_id])
    omi = cloud.call("CreateImage", VmId=vm_id, ImageName="of a running vm")["Image"]
    cloud.until("ReadImages", "Images", "available", ImageIds=[omi["ImageId"]])
    after = cloud.until("ReadVms", "Vms", "running", VmIds=[vm_id])
    assert after["PublicIp"] != before["PublicIp"], "a stop costs the VM its address"
    duplicate = cloud.refused("CreateImage", VmId=vm_id, ImageName="of a running vm", NoReboot=True)
    assert (duplicate.status, duplicate.code) == (409, 9015)
    end_vm(cloud, vm_id)
    cloud.call("DeleteImage", ImageId=omi["ImageId"])
    cloud.call("DeleteSnapshot", SnapshotId=omi["BlockDeviceMappings"][0]["Bsu"]["SnapshotId"])


def test_a_surrogate_volume_becomes_an_image(cloud, image):
    vm_id = cloud.call("CreateVms", ImageId=image["ImageId"])["Vms"][0]["VmId"]
    cloud.until("ReadVms", "Vms", "running", VmIds=[vm_id])
    volume = cloud.call("CreateVolume", SubregionName="eu-west-2a", Size=4, VolumeType="io1", Iops=200)["Volume"]
    assert volume["State"] == "creating"
    volume_id = volume["VolumeId"]
    cloud.until("ReadVolumes", "Volumes", "available", VolumeIds=[volume_id])
    cloud.call("LinkVolume", VmId=vm_id, VolumeId=volume_id, DeviceName="/dev/xvdf")
    linked = cloud.until("ReadVolumes", "Volumes", "in-use", VolumeIds=[volume_id])
    assert linked["LinkedVolumes"][0]["DeleteOnVmDeletion"] is False
    assert cloud.refused("DeleteVolume", VolumeId=volume_id).code == 6007
    snapshot = cloud.call("CreateSnapshot", VolumeId=volume_id, Description="surrogate", ClientToken="s-1")["Snapshot"]
    assert (snapshot["State"], snapshot["Progress"]) == ("in-queue", 0)
    again = cloud.call("CreateSnapshot", VolumeId=volume_id, Description="surrogate", ClientToken="s-1")["Snapshot"]
    assert again["SnapshotId"] == snapshot["SnapshotId"]
    mismatch = cloud.refused("CreateSnapshot", VolumeId=volume_id, Description="other", ClientToken="s-1")
    assert mismatch.code == 4091
    cloud.until("ReadSnapshots", "Snapshots", "completed", SnapshotIds=[snapshot["SnapshotId"]])
    cloud.until("ReadVolumes", "Volumes", "in-use", VolumeIds=[volume_id])
    while cloud.call("ReadVolumes", Filters={"VolumeIds": [volume_id]})["Volumes"][0]["LinkedVolumes"][0]["State"] != "attached":
        time.sleep(0.02)
    cloud.call("UnlinkVolume", VolumeId=volume_id)
    cloud.until("ReadVolumes", "Volumes", "available", VolumeIds=[volume_id])
    assert cloud.refused("UnlinkVolume", VolumeId=volume_id).code == 9063
    omi = cloud.call(
        "CreateImage", ImageName="surrogate", RootDeviceName="/dev/sda1", Architecture="x86_64",
        BootModes=["uefi", "legacy"],
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Bsu": {"SnapshotId": snapshot["SnapshotId"], "VolumeSize": 5}}],
    )["Image"]
    assert omi["State"] == "available" and omi["BootModes"] == ["uefi", "legacy"]
    copy = cloud.call(
        "CreateImage", ImageName="copy", SourceImageId=omi["ImageId"], SourceRegionName="eu-west-2"
    )["Image"]
    copied_snapshot = copy["BlockDeviceMappings"][0]["Bsu"]["SnapshotId"]
    assert copied_snapshot != snapshot["SnapshotId"]
    for image_id in (omi["ImageId"], copy["ImageId"]):
        cloud.call("DeleteImage", ImageId=image_id)
    for snapshot_id in (snapshot["SnapshotId"], copied_snapshot):
        cloud.call("DeleteSnapshot", SnapshotId=snapshot_id)
    cloud.call("DeleteVolume", VolumeId=volume_id)
    end_vm(cloud, vm_id)
    cloud.until_gone("ReadVolumes", "Volumes", VolumeIds=[volume_id])


def test_a_vm_in_a_net_gets_a_public_ip_only_by_a_link(cloud, image):
    subnet = cloud.call("ReadSubnets", Filters={"SubregionNames": ["eu-west-2b"]})["Subnets"][0]
    group = cloud.call(
        "CreateSecurityGroup", SecurityGroupName="net", Description="in a Net", NetId=subnet["NetId"]
    )["SecurityGroup"]
    assert group["OutboundRules"][0]["IpProtocol"] == "-1"
    vm = cloud.call(
        "CreateVms", ImageId=image["ImageId"], SubnetId=subnet["SubnetId"], SecurityGroupIds=[group["SecurityGroupId"]]
    )["Vms"][0]
    vm_id = vm["VmId"]
    running = cloud.until("ReadVms", "Vms", "running", VmIds=[vm_id])
    assert "PublicIp" not in running and running["NetId"] == subnet["NetId"]
    assert running["Placement"]["SubregionName"] == "eu-west-2b"
    public_ip = cloud.call("CreatePublicIp")["PublicIp"]
    link = cloud.call("LinkPublicIp", VmId=vm_id, PublicIpId=public_ip["PublicIpId"])["LinkPublicIpId"]
    linked = cloud.call("ReadVms", Filters={"PublicIps": [public_ip["PublicIp"]]})["Vms"][0]
    assert linked["Nics"][0]["LinkPublicIp"]["PublicIp"] == public_ip["PublicIp"]
    assert cloud.call("ReadPublicIps", Filters={"VmIds": [vm_id]})["PublicIps"][0]["LinkPublicIpId"] == link
    cloud.call("UnlinkPublicIp", LinkPublicIpId=link)
    assert cloud.refused("UnlinkPublicIp", LinkPublicIpId=link).code == 5026
    cloud.call("DeletePublicIp", PublicIpId=public_ip["PublicIpId"])
    assert cloud.refused("DeletePublicIp", PublicIpId=public_ip["PublicIpId"]).code == 5080
    end_vm(cloud, vm_id)
    delete_group(cloud, group["SecurityGroupId"])


def test_a_token_makes_one_vm_and_states_forbid_what_they_must(cloud, image):
    request = {"ImageId": image["ImageId"], "ClientToken": "one", "BootOnCreation": False}
    vm_id = cloud.call("CreateVms", **request)["Vms"][0]["VmId"]
    assert cloud.call("CreateVms", **request)["Vms"][0]["VmId"] == vm_id
    assert cloud.refused("CreateVms", **{**request, "VmType": "t2.large"}).code == 4091
    assert cloud.call("ReadVms", Filters={"ClientTokens": ["one"]})["Vms"][0]["VmId"] == vm_id
    cloud.until("ReadVms", "Vms", "stopped", VmIds=[vm_id])
    updated = cloud.call("UpdateVm", VmId=vm_id, VmType="tinav5.c2r4p1", DeletionProtection=True)["Vm"]
    assert (updated["VmType"], updated["Performance"]) == ("tinav5.c2r4p1", "highest")
    assert cloud.call("ReadVmsState", Filters={"VmIds": [vm_id]})["VmStates"] == []
    assert len(cloud.call("ReadVmsState", AllVms=True, Filters={"VmIds": [vm_id]})["VmStates"]) == 1
    cloud.call("StartVms", VmIds=[vm_id])
    cloud.until("ReadVms", "Vms", "running", VmIds=[vm_id])
    assert cloud.refused("StartVms", VmIds=[vm_id]).status == 409
    assert cloud.refused("UpdateVm", VmId=vm_id, VmType="t2.small").code == 6006
    assert cloud.refused("ReadAdminPassword", VmId=vm_id).code == 4087
    assert cloud.call("ReadConsoleOutput", VmId=vm_id)["ConsoleOutput"] == ""
    cloud.call("RebootVms", VmIds=[vm_id])
    assert cloud.refused("DeleteVms", VmIds=[vm_id]).code == 8018
    cloud.call("UpdateVm", VmId=vm_id, DeletionProtection=False, VmInitiatedShutdownBehavior="terminate")
    assert cloud.call("StopVms", VmIds=[vm_id])["Vms"][0]["CurrentState"] == "shutting-down"
    cloud.until("ReadVms", "Vms", "terminated", VmIds=[vm_id])
    cloud.call("DeleteVms", VmIds=[vm_id])

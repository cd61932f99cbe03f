"""The machine itself as a VM of the region: an image is baked on its own devices, as a builder does that works in a chroot."""

import json
import os
import pathlib
import subprocess
import time
import urllib.request

import pytest

from conftest import PATIENCE, Cloud, Sandbox

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="devices of this machine need root")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    options = ["--host-vm", "--role", "baker", "--seed-images", "tiny-disk", "--state-dir", str(state)]
    running = Sandbox(*options)
    yield running
    assert running.stop() == 0
    assert [path.name for path in state.iterdir() if path.name != "lock"] == ["host-vm.json"]


@pytest.fixture
def host(running):
    cloud = Cloud(running.url)
    before = cloud.resources()
    yield cloud
    assert cloud.problems == []
    assert cloud.resources() == before


def metadata(cloud, path: str) -> str:
    with urllib.request.urlopen(f"{cloud.url}/latest/meta-data/{path}", timeout=PATIENCE) as answer:
        return answer.read().decode()


def wait_for(path: pathlib.Path, is_there: bool = True):
    end = time.monotonic() + PATIENCE
    while path.exists() != is_there:
        assert time.monotonic() < end, f"{path} did not {'come' if is_there else 'go'}"
        time.sleep(0.01)


def link(cloud, vm_id: str, volume_id: str) -> pathlib.Path:
    for letter in "abcdefghijklmnopqrstuvwxyz":
        device = pathlib.Path(f"/dev/xvdz{letter}")
        if not device.is_symlink():
            cloud.call("LinkVolume", VolumeId=volume_id, VmId=vm_id, DeviceName=str(device))
            return device
    raise AssertionError("no name is free")


def test_an_image_is_baked_on_devices_of_this_machine(host, tmp_path):
    vm_id = metadata(host, "instance-id")
    vm = host.until("ReadVms", "Vms", "running", VmIds=[vm_id])
    host.call("ReadVmsState", Filters={"VmIds": [vm_id]})
    source = host.call("ReadImages", Filters={"ImageNames": ["tiny-disk*"]})["Images"][0]
    snapshot_id = source["BlockDeviceMappings"][0]["Bsu"]["SnapshotId"]
    subregion = vm["Placement"]["SubregionName"]
    volume_id = host.call("CreateVolume", SubregionName=subregion, SnapshotId=snapshot_id)["Volume"]["VolumeId"]
    host.until("ReadVolumes", "Volumes", "available", VolumeIds=[volume_id])

    device = link(host, vm_id, volume_id)
    partition = pathlib.Path(f"{device}1")
    wait_for(partition)
    host.until("ReadVolumes", "Volumes", "in-use", VolumeIds=[volume_id])
    mounted = host.call("ReadVms", Filters={"VmIds": [vm_id]})["Vms"][0]["BlockDeviceMappings"]
    assert [mapping["DeviceName"] for mapping in mounted] == ["/dev/sda1", str(device)]
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["mount", partition, root], check=True)
    try:
        subprocess.run(["chroot", root, "/bin/sh", "-c", "echo bread > /etc/baked"], check=True)
        host.call("UnlinkVolume", VolumeId=volume_id)
        busy = host.call("ReadVolumes", Filters={"VolumeIds": [volume_id]})["Volumes"][0]
        assert busy["LinkedVolumes"][0]["State"] == "detaching"
        assert host.refused("DeleteVolume", VolumeId=volume_id).code == 6007
    finally:
        subprocess.run(["umount", root], check=True)
    host.until("ReadVolumes", "Volumes", "available", VolumeIds=[volume_id])
    wait_for(device, is_there=False)

    baked_id = host.call("CreateSnapshot", VolumeId=volume_id)["Snapshot"]["SnapshotId"]
    host.until("ReadSnapshots", "Snapshots", "completed", SnapshotIds=[baked_id])
    image_id = host.call(
        "CreateImage",
        ImageName="baked",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Bsu": {"SnapshotId": baked_id}}],
    )["Image"]["ImageId"]
    host.until("ReadImages", "Images", "available", ImageIds=[image_id])
    copy_id = host.call("CreateVolume", SubregionName=subregion, SnapshotId=baked_id)["Volume"]["VolumeId"]
    host.until("ReadVolumes", "Volumes", "available", VolumeIds=[copy_id])
    partition = pathlib.Path(f"{link(host, vm_id, copy_id)}1")
    wait_for(partition)
    subprocess.run(["mount", "-o", "ro", partition, root], check=True)
    found = (root / "etc/baked").read_text()
    subprocess.run(["umount", root], check=True)
    assert found == "bread\n"

    host.until("ReadVolumes", "Volumes", "in-use", VolumeIds=[copy_id])
    host.call("UnlinkVolume", VolumeId=copy_id)
    host.call("DeleteImage", ImageId=image_id)
    host.call("DeleteSnapshot", SnapshotId=baked_id)
    for volume in (volume_id, copy_id):
        host.until("ReadVolumes", "Volumes", "available", VolumeIds=[volume])
        host.call("DeleteVolume", VolumeId=volume)
        host.until_gone("ReadVolumes", "Volumes", VolumeIds=[volume])


def test_the_machine_is_spared(host):
    vm_id = metadata(host, "instance-id")
    assert host.refused("StopVms", VmIds=[vm_id]).kind == "OperationNotSupported"
    assert host.refused("DeleteVms", VmIds=[vm_id]).code == 8018


def test_the_keys_of_the_role_are_the_account_s(host):
    assert metadata(host, "iam/security-credentials/") == "baker"
    keys = json.loads(metadata(host, "iam/security-credentials/baker"))
    baker = Cloud(host.url, access_key=keys["AccessKeyId"], secret_key=keys["SecretAccessKey"])
    assert baker.call("ReadAccounts") == {**host.call("ReadAccounts"), "ResponseContext": baker._last.json()["ResponseContext"]}
    assert baker.problems == []
    calls = json.dumps(host.control("GET", "calls"))
    assert not any(keys[name] in calls for name in ("AccessKeyId", "SecretAccessKey", "Token"))

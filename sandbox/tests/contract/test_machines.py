"""The flow of an image builder with real machines: what is provisioned into one VM is in the VMs of its image."""

import os
import shutil
import subprocess
import time

import pytest

from conftest import PATIENCE, Cloud, Sandbox
from test_bake import delete_group

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ssh"), reason="namespace VMs need root, and the test needs ssh"
)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    running = Sandbox("--backend", "ns", "--state-dir", str(state))
    cloud = Cloud(running.url)
    yield cloud
    assert running.stop() == 0
    assert cloud.problems == []
    # Only ours: other sandboxes may run on this machine.
    listing = ["losetup", "--list", "--noheadings", "--output", "BACK-FILE"]
    assert str(state) not in subprocess.run(listing, capture_output=True, text=True).stdout


@pytest.fixture
def key(real, tmp_path):
    keypair = real.call("CreateKeypair", KeypairName="real")["Keypair"]
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_text(keypair["PrivateKey"])
    yield path
    real.call("DeleteKeypair", KeypairName="real")


def ssh_command(address: str, key, command: str) -> list[str]:
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "LogLevel=ERROR"]
    options = [word for option in options for word in ("-o", option)]
    return ["ssh", "-i", str(key), *options, f"outscale@{address}", command]


def ssh(address: str, key, command: str, seconds: float = PATIENCE) -> str:
    """Runs a command, as soon as the VM answers."""
    end = time.monotonic() + seconds
    while True:
        ran = subprocess.run(ssh_command(address, key, command), capture_output=True, text=True, timeout=PATIENCE)
        # 255 is ssh's own failure: nobody listens yet, or the key is not there yet.
        if ran.returncode == 0:
            return ran.stdout
        assert ran.returncode == 255 and time.monotonic() < end, ran.stderr
        time.sleep(0.05)


def linked_state(cloud, volume_id):
    links = cloud.call("ReadVolumes", Filters={"VolumeIds": [volume_id]})["Volumes"][0]["LinkedVolumes"]
    return links[0]["State"] if links else None


def test_what_is_baked_is_in_the_image(real, key):
    cloud = real
    before = cloud.resources()
    image_id = cloud.call("ReadImages", Filters={"ImageNames": ["tiny*"]})["Images"][0]["ImageId"]
    group_id = cloud.call("CreateSecurityGroup", SecurityGroupName="real", Description="real")["SecurityGroup"][
        "SecurityGroupId"
    ]
    launch = {"KeypairName": "real", "SecurityGroupIds": [group_id]}
    vm_id = cloud.call("CreateVms", ImageId=image_id, **launch)["Vms"][0]["VmId"]
    vm = cloud.until("ReadVms", "Vms", "running", VmIds=[vm_id])
    closed = subprocess.run(["bash", "-c", f"exec 3<>/dev/tcp/{vm['PublicIp']}/22"], capture_output=True)
    assert closed.returncode != 0, "nothing comes in without a rule"
    cloud.call(
        "CreateSecurityGroupRule", SecurityGroupId=group_id, Flow="Inbound", IpProtocol="tcp",
        FromPortRange=22, ToPortRange=22, IpRange="127.0.0.1/32",
    )
    ssh(vm["PublicIp"], key, "echo baked | sudo tee /etc/baked")
    assert ssh(vm["PrivateIp"], key, "hostname").strip() == vm["PrivateDnsName"].split(".")[0]

    volume_id = cloud.call("CreateVolume", SubregionName="eu-west-2a", Size=1)["Volume"]["VolumeId"]
    cloud.until("ReadVolumes", "Volumes", "available", VolumeIds=[volume_id])
    cloud.call("LinkVolume", VmId=vm_id, VolumeId=volume_id, DeviceName="/dev/xvdf")
    while linked_state(cloud, volume_id) != "attached":
        time.sleep(0.02)
    ssh(vm["PublicIp"], key, "sudo mkfs.ext4 -q /dev/xvdf && sudo mount /dev/xvdf /mnt && echo two | sudo tee /mnt/two")

    # The VM runs: it is stopped with its data on disk, imaged, and started again.
    omi = cloud.call("CreateImage", VmId=vm_id, ImageName="real")["Image"]
    omi = cloud.until("ReadImages", "Images", "available", ImageIds=[omi["ImageId"]])
    again = cloud.until("ReadVms", "Vms", "running", VmIds=[vm_id])
    assert ssh(again["PublicIp"], key, "cat /etc/baked") == "baked\n"

    second_id = cloud.call("CreateVms", ImageId=omi["ImageId"], **launch)["Vms"][0]["VmId"]
    second = cloud.until("ReadVms", "Vms", "running", VmIds=[second_id])
    wanted = "cat /etc/baked; sudo mount /dev/xvdf /mnt && cat /mnt/two"
    assert ssh(second["PublicIp"], key, wanted) == "baked\ntwo\n"
    # The session may end with the machine, so how it ends tells nothing.
    subprocess.run(ssh_command(second["PublicIp"], key, "sudo poweroff"), capture_output=True, timeout=PATIENCE)
    stopped = cloud.until("ReadVms", "Vms", "stopped", VmIds=[second_id])
    assert stopped["StateReason"] == "Client.GuestShutdown"
    assert cloud.call("ReadConsoleOutput", VmId=vm_id)["ConsoleOutput"]

    cloud.call("DeleteVms", VmIds=[vm_id, second_id])
    for each in (vm_id, second_id):
        cloud.until("ReadVms", "Vms", "terminated", VmIds=[each])
    cloud.call("DeleteVolume", VolumeId=volume_id)
    cloud.call("DeleteImage", ImageId=omi["ImageId"])
    for mapping in omi["BlockDeviceMappings"]:
        cloud.call("DeleteSnapshot", SnapshotId=mapping["Bsu"]["SnapshotId"])
    delete_group(cloud, group_id)
    assert cloud.resources() == before


def test_twenty_machines_run_at_once(real, key):
    cloud = real
    image_id = cloud.call("ReadImages", Filters={"ImageNames": ["tiny*"]})["Images"][0]["ImageId"]
    vms = cloud.call("CreateVms", ImageId=image_id, KeypairName="real", MinVmsCount=20)["Vms"]
    vm_ids = [vm["VmId"] for vm in vms]
    for vm_id in vm_ids:
        cloud.until("ReadVms", "Vms", "running", VmIds=[vm_id])
    assert len({vm["PrivateIp"] for vm in vms}) == 20
    cloud.call("DeleteVms", VmIds=vm_ids)
    for vm_id in vm_ids:
        cloud.until("ReadVms", "Vms", "terminated", VmIds=[vm_id])

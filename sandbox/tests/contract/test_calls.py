"""Single calls: what they refuse, how they page and filter, and what the controls of the sandbox do."""

import json
import socket
import urllib.error
import urllib.request

import pytest

from conftest import ACCESS_KEY, PATIENCE, Cloud, Refused, Sandbox
from test_bake import end_vm


@pytest.mark.parametrize(
    ("action", "parameters", "code"),
    [
        ("CreateVms", {"ImageId": "ami-00000000"}, 5023),
        ("StopVms", {"VmIds": ["i-00000000"]}, 5063),
        ("StopVms", {"VmIds": ["x-00000000"]}, 4104),
        ("ReadVms", {"Filters": {"VmIds": ["nonsense"]}}, 4104),
        ("DeleteVolume", {"VolumeId": "vol-00000000"}, 5064),
        ("DeleteImage", {"ImageId": "ami-00000000"}, 5023),
        ("DeleteSnapshot", {"SnapshotId": "snap-00000000"}, 5054),
        ("DeleteKeypair", {"KeypairName": "nobody"}, 5071),
        ("DeleteSecurityGroup", {"SecurityGroupId": "sg-00000000"}, 5020),
        ("CreateTags", {"ResourceIds": ["vol-00000000"], "Tags": [{"Key": "a", "Value": "b"}]}, 5064),
        ("CreateVolume", {"SubregionName": "eu-west-2z", "Size": 1}, 5009),
        ("CreateVolume", {"SubregionName": "eu-west-2a"}, 7000),
        ("CreateVolume", {"SubregionName": "eu-west-2a", "Size": 100000}, 4078),
        ("CreateKeypair", {"KeypairName": "bad", "PublicKey": "bm9uc2Vuc2U="}, 4032),
        ("ReadVms", {"ResultsPerPage": 10, "NextPageToken": "nonsense"}, 4117),
        ("CreateImage", {"ImageName": "x" * 200, "VmId": "i-00000000"}, 5063),
    ],
)
def test_a_refusal_has_the_code_of_its_reason(cloud, action, parameters, code):
    refused = cloud.refused(action, **parameters)
    assert refused.code == code
    assert refused.status == 400


def test_fields_that_do_not_exist_or_have_a_wrong_type_are_named(cloud):
    assert "Colour" in cloud.refused("ReadVms", Colour="red").details
    assert "VmIds[0]" in cloud.refused("StopVms", VmIds=[7]).details
    assert "ImageId" in cloud.refused("CreateVms").details
    assert "Filters.Names" in cloud.refused("ReadImages", Filters={"Names": ["x"]}).details


def test_a_documented_call_that_is_not_played_says_so(cloud):
    refused = cloud.refused("CreateNet", IpRange="10.0.0.0/16")
    assert "CreateNet" in refused.details and refused.kind == "OperationNotSupported"


def test_a_dry_run_answers_nothing_and_does_nothing(cloud, image):
    assert set(cloud.call("CreateVms", ImageId=image["ImageId"], DryRun=True)) == {"ResponseContext"}
    assert set(cloud.call("ReadVms", DryRun=True)) == {"ResponseContext"}


def test_pages_are_cut_only_on_request(cloud):
    ids = [cloud.call("CreatePublicIp")["PublicIp"]["PublicIpId"] for _ in range(5)]
    everything = cloud.call("ReadPublicIps")
    assert "NextPageToken" not in everything
    seen, token = [], {}
    while True:
        page = cloud.call("ReadPublicIps", ResultsPerPage=2, **token)
        seen += [public_ip["PublicIpId"] for public_ip in page["PublicIps"]]
        if "NextPageToken" not in page:
            break
        token = {"NextPageToken": page["NextPageToken"]}
    assert seen == ids == [public_ip["PublicIpId"] for public_ip in everything["PublicIps"]]
    for public_ip_id in ids:
        cloud.call("DeletePublicIp", PublicIpId=public_ip_id)


def test_tags_find_what_they_mark(cloud):
    public_ip_id = cloud.call("CreatePublicIp")["PublicIp"]["PublicIpId"]
    cloud.call("CreateTags", ResourceIds=[public_ip_id], Tags=[{"Key": "role", "Value": "a=b"}])
    for filters in ({"TagKeys": ["role"]}, {"TagValues": ["a=b"]}, {"Tags": ["role=a=b"]}):
        assert len(cloud.call("ReadPublicIps", Filters=filters)["PublicIps"]) == 1
    assert cloud.call("ReadPublicIps", Filters={"Tags": ["role=other"]})["PublicIps"] == []
    cloud.call("DeleteTags", ResourceIds=[public_ip_id], Tags=[{"Key": "role", "Value": "other"}])
    assert len(cloud.call("ReadTags", Filters={"ResourceIds": [public_ip_id]})["Tags"]) == 1
    cloud.call("DeleteTags", ResourceIds=[public_ip_id], Tags=[{"Key": "role", "Value": "a=b"}])
    assert cloud.call("ReadTags", Filters={"ResourceIds": [public_ip_id]})["Tags"] == []
    cloud.call("DeletePublicIp", PublicIpId=public_ip_id)


def test_the_places_and_the_account_are_there(cloud):
    assert len(cloud.call("ReadNets")["Nets"]) == 1
    assert len(cloud.call("ReadSubnets")["Subnets"]) == 2
    assert [place["SubregionName"] for place in cloud.call("ReadSubregions")["Subregions"]] == ["eu-west-2a", "eu-west-2b"]
    assert cloud.call("ReadRegions")["Regions"][0]["RegionName"] == "eu-west-2"
    assert len(cloud.call("ReadAccounts")["Accounts"][0]["AccountId"]) == 12
    assert cloud.call("ReadQuotas")["QuotaTypes"][0]["Quotas"]
    types = cloud.call("ReadVmTypes", Filters={"VmTypeNames": ["tinav5.c2r4p1"]})["VmTypes"]
    assert types[0]["MemorySize"] == 4
    names = {image["ImageName"] for image in cloud.call("ReadImages", Filters={"AccountAliases": ["Outscale"]})["Images"]}
    assert names == {"tiny-1.0", "Debian-12-sandbox"}


def test_wrong_keys_are_refused_as_the_cloud_does(cloud, sandbox):
    cloud.call("ReadVms")
    unknown = Cloud(sandbox.url, access_key="ZZZZZZZZZZZZZZZZZZZZ").refused("ReadVms")
    assert (unknown.status, unknown.code) == (400, 4120)
    wrong = Cloud(sandbox.url, access_key=ACCESS_KEY, secret_key="Z" * 40).refused("ReadVms")
    assert (wrong.status, wrong.code, wrong.kind) == (401, 1, "AccessDenied")
    cloud.control("POST", "quirks", {})


def test_other_methods_are_refused(cloud):
    cloud.call("ReadVms")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{cloud.url}/api/v1/ReadVms", timeout=PATIENCE)
    assert caught.value.code == 405
    assert json.loads(caught.value.read())["Errors"][0]["Code"] == "2"


def test_a_skewed_clock_refuses_and_shows_itself(cloud):
    cloud.control("POST", "clock", {"skew_seconds": 1000})
    try:
        refused = cloud.refused("ReadVms")
    finally:
        cloud.control("POST", "clock", {"skew_seconds": 0})
    assert refused.status == 401
    cloud.call("ReadVms")


def test_limits_stop_calls_and_creations(cloud, image):
    cloud.control("POST", "limits", {"quotas": {"vms": 0}})
    refused = cloud.refused("CreateVms", ImageId=image["ImageId"])
    assert (refused.status, refused.code, refused.kind) == (400, 10010, "TooManyResources (QuotaExceeded)")
    cloud.control("POST", "limits", {"quotas": {"vms": 400}, "rate_per_second": 1})
    try:
        refusals = [failure.code for failure in map(lambda _: try_call(cloud, "ReadVms"), range(4)) if failure]
    finally:
        cloud.control("POST", "limits", {"rate_per_second": None})
    assert set(refusals) == {24}


def try_call(cloud, action):
    from conftest import Refused

    try:
        cloud.call(action)
        return None
    except Refused as refused:
        return refused


def test_a_fault_answers_its_code_on_its_call(cloud):
    cloud.control("POST", "faults", {"action": "ReadVms", "nth": 2, "code": 10001})
    cloud.call("ReadVms")
    assert cloud.refused("ReadVms").kind == "InsufficientCapacity"
    cloud.call("ReadVms")


def test_a_lost_answer_still_has_its_effect(cloud):
    cloud.control("POST", "faults", {"action": "CreatePublicIp", "drop": "after"})
    with pytest.raises(Exception):
        cloud.call("CreatePublicIp")
    cloud.control("POST", "faults", {"action": "CreatePublicIp", "drop": "before"})
    with pytest.raises(Exception):
        cloud.call("CreatePublicIp")
    found = cloud.call("ReadPublicIps")["PublicIps"]
    assert len(found) == 1
    calls = cloud.control("GET", "calls?action=CreatePublicIp")
    assert [call.get("dropped") for call in calls[-2:]] == ["after", "before"]
    cloud.call("DeletePublicIp", PublicIpId=found[0]["PublicIpId"])


def test_an_error_may_come_after_the_effect(cloud):
    cloud.control("POST", "faults", {"action": "CreatePublicIp", "status": 500, "after_effect": True})
    assert cloud.refused("CreatePublicIp").status == 500
    found = cloud.call("ReadPublicIps")["PublicIps"]
    assert len(found) == 1
    cloud.call("DeletePublicIp", PublicIpId=found[0]["PublicIpId"])


def test_what_is_invisible_appears_later(cloud):
    cloud.control("POST", "faults", {"action": "CreateVolume", "invisible_ms": 300})
    volume_id = cloud.call("CreateVolume", SubregionName="eu-west-2a", Size=1)["Volume"]["VolumeId"]
    assert cloud.call("ReadVolumes", Filters={"VolumeIds": [volume_id]})["Volumes"] == []
    assert cloud.refused("CreateSnapshot", VolumeId=volume_id).code == 5064
    cloud.until("ReadVolumes", "Volumes", "available", VolumeIds=[volume_id])
    cloud.call("DeleteVolume", VolumeId=volume_id)


def test_resources_fail_when_a_fault_wants_it(cloud, image):
    cloud.control("POST", "faults", {"action": "CreateVms", "state": "terminated"})
    vm_id = cloud.call("CreateVms", ImageId=image["ImageId"])["Vms"][0]["VmId"]
    ended = cloud.until("ReadVms", "Vms", "terminated", VmIds=[vm_id])
    assert ended["StateReason"]
    vm_id = cloud.call("CreateVms", ImageId=image["ImageId"])["Vms"][0]["VmId"]
    cloud.until("ReadVms", "Vms", "running", VmIds=[vm_id])
    cloud.control("POST", "faults", {"action": "CreateImage", "state": "failed"})
    omi = cloud.call("CreateImage", VmId=vm_id, ImageName="fails", NoReboot=True)["Image"]
    failed = cloud.until("ReadImages", "Images", "failed", ImageIds=[omi["ImageId"]])
    assert failed["StateComment"]["StateMessage"]
    volume_id = ended_volume = cloud.call("ReadVolumes", Filters={"LinkVolumeVmIds": [vm_id]})["Volumes"][0]["VolumeId"]
    cloud.control("POST", "faults", {"action": "CreateSnapshot", "state": "error"})
    snapshot_id = cloud.call("CreateSnapshot", VolumeId=volume_id)["Snapshot"]["SnapshotId"]
    cloud.until("ReadSnapshots", "Snapshots", "error", SnapshotIds=[snapshot_id])
    assert ended_volume
    end_vm(cloud, vm_id)
    cloud.call("DeleteImage", ImageId=omi["ImageId"])
    cloud.call("DeleteSnapshot", SnapshotId=snapshot_id)
    cloud.call("DeleteSnapshot", SnapshotId=omi["BlockDeviceMappings"][0]["Bsu"]["SnapshotId"])


def test_states_follow_each_other_when_the_cloud_is_slow(tmp_path):
    # A busy machine does not see each state when they last 150 ms.
    for milliseconds in (150, 2000, 20000):
        if saw_all_states(tmp_path, milliseconds):
            return
    raise AssertionError("a state never came")


def saw_all_states(tmp_path, milliseconds: int) -> bool:
    """Follows a VM and an image through their states, which must come in order; answers whether each was seen."""
    profile = tmp_path / "slow.toml"
    changes = ["vm_pending", "vm_stopping", "vm_shutting_down", "snapshot_in_queue", "snapshot_pending", "image_pending"]
    profile.write_text("[changes]\n" + "".join(f"{change} = {milliseconds}\n" for change in changes))
    running = Sandbox("--latency", str(profile))
    try:
        cloud = Cloud(running.url)
        before = cloud.resources()
        complete = []

        def follow(action: str, key: str, states: list[str], **filters):
            seen = cloud.states_until(action, key, states[-1], **filters)
            assert seen == [state for state in states if state in seen], seen
            complete.append(seen == states)

        image_id = cloud.call("ReadImages")["Images"][0]["ImageId"]
        vm_id = cloud.call("CreateVms", ImageId=image_id)["Vms"][0]["VmId"]
        of_the_vm = {"VmIds": [vm_id]}
        if cloud.call("ReadVms", Filters=of_the_vm)["Vms"][0]["State"] == "pending":
            try:
                cloud.call("StopVms", VmIds=[vm_id])
                complete.append(False)
            except Refused as refused:
                assert (refused.status, refused.code) == (409, 9039)
        follow("ReadVms", "Vms", ["pending", "running"], **of_the_vm)
        cloud.call("StopVms", VmIds=[vm_id])
        follow("ReadVms", "Vms", ["stopping", "stopped"], **of_the_vm)
        stopped = cloud.until("ReadVms", "Vms", "stopped", **of_the_vm)
        assert stopped["StateReason"] == "Client.ApiGracefulShutdown"
        omi = cloud.call("CreateImage", VmId=vm_id, ImageName="slow")["Image"]
        snapshot_id = omi["BlockDeviceMappings"][0]["Bsu"]["SnapshotId"]
        follow("ReadSnapshots", "Snapshots", ["in-queue", "pending", "completed"], SnapshotIds=[snapshot_id])
        follow("ReadImages", "Images", ["pending", "available"], ImageIds=[omi["ImageId"]])
        cloud.call("DeleteVms", VmIds=[vm_id])
        follow("ReadVms", "Vms", ["shutting-down", "terminated"], **of_the_vm)
        cloud.call("DeleteImage", ImageId=omi["ImageId"])
        cloud.call("DeleteSnapshot", SnapshotId=snapshot_id)
        assert cloud.resources() == before
        assert cloud.problems == []
        return all(complete)
    finally:
        assert running.stop() == 0


def test_the_port_is_free_after_the_end():
    running = Sandbox()
    host, port = running.url.removeprefix("http://").split(":")
    assert running.stop() == 0
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))

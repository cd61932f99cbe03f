"""The sandbox knows exactly the fields of the official document."""

import json
import subprocess

import pytest

import official
from conftest import binary

SCHEMA = json.loads(subprocess.run([binary(), "schema"], capture_output=True, check=True).stdout)


def _sorted(known):
    if isinstance(known, dict):
        return {
            "properties": {name: _sorted(member) for name, member in known["properties"].items()},
            "required": sorted(known["required"]),
        }
    return [_sorted(known[0])] if isinstance(known, list) else known


@pytest.mark.parametrize("action", sorted(SCHEMA))
def test_a_request_has_the_fields_of_the_document(action):
    assert _sorted(SCHEMA[action]) == official.known_fields(action)


def test_all_calls_of_an_image_builder_are_played():
    wanted = """
        CreateImage CreateKeypair CreatePublicIp CreateSecurityGroup CreateSecurityGroupRule CreateSnapshot CreateTags
        CreateVms CreateVolume DeleteImage DeleteKeypair DeletePublicIp DeleteSecurityGroup DeleteSnapshot DeleteVms
        DeleteVolume LinkPublicIp LinkVolume ReadAccounts ReadAdminPassword ReadImages ReadNets ReadSecurityGroups
        ReadSnapshots ReadSubnets ReadVms ReadVolumes StopVms UnlinkVolume UpdateImage UpdateSnapshot
    """.split()
    assert set(wanted) <= set(SCHEMA)


@pytest.mark.parametrize(
    ("kind", "action", "value"),
    [
        ("answer", "ReadVms", {"Vms": [{"VmId": "i-12345678", "Colour": "red"}]}),
        ("answer", "ReadVms", {"Vms": [{"VmId": 7}]}),
        ("answer", "ReadVms", {"Vms": [{"CreationDate": "yesterday"}]}),
        ("request", "CreateVms", {"VmType": "t2.small"}),
        ("error", "ReadVms", {"Errors": [{"Code": 4104}]}),
    ],
)
def test_the_check_itself_finds_what_does_not_fit(kind, action, value):
    assert official.problems(kind, action, value)

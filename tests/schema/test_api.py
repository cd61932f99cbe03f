"""schemathesis over openapi.yaml: whatever it makes of each operation, valid or not, the answer is as described."""

import collections
import itertools
import pathlib

import schemathesis
from schemathesis.core.parameters import ParameterLocation

import serving

HERE = pathlib.Path(__file__).parent

schema = schemathesis.openapi.from_path(
    serving.REPOSITORY / "openapi.yaml", config=schemathesis.Config.from_path(HERE / "schemathesis.toml")
)

# A wrong token counts against the address that it comes from. The server believes the proxy in front of it, which is
# this test, so each request comes from an address of its own, and the limit stays as it is.
addresses = (f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in itertools.count(1))

# Bodies that are bytes, or text that is no JSON, are sent as they are.
@schemathesis.serializer("application/hcl", "application/gzip", "application/x-tar")
def as_it_is(_, value):
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


# The builds that an operation is tried on, beside those that do not exist.
BUILDS = {
    # Nothing but ended builds, which are not waited for.
    "get_build": ["succeeded", "succeeded-volume", "failed", "cancelled"],
    "read_logs": ["succeeded", "succeeded-volume", "failed", "cancelled"],
    "release_build": ["held", "held-2", "failed", "queued"],
    "cancel_build": ["queued-2", "held-2", "succeeded", "cancelled"],
    "destroy_artifacts": ["succeeded-volume", "failed", "queued"],
    "clean_up_build": ["failed", "succeeded", "queued"],
    "retry_build": ["succeeded", "failed", "queued"],
    "download_file": ["succeeded"],
}
ANY = ["succeeded", "succeeded-volume", "failed", "held", "cancelled", "queued"]

# How many requests of each operation there were.
turns = collections.Counter()


@schema.parametrize()
def test_operation(case, bakery):
    aim(case, bakery)
    headers = {"Authorization": f"Bearer {serving.TOKEN}", "X-Forwarded-For": next(addresses)}
    case.call_and_validate(base_url=bakery.url, session=bakery.session, headers=headers)


def aim(case, bakery):
    """Aims a request at what there is; else almost every answer would be 404."""
    operation = case.operation.definition.raw["operationId"]
    # By turns, not by chance: the same requests every time.
    turn = turns[operation]
    turns[operation] += 1
    if "id" in case.path_parameters and not case.meta.is_negative_at(ParameterLocation.PATH):
        # Every fifth is left as it is.
        if turn % 5:
            names = BUILDS.get(operation, ANY)
            case.path_parameters["id"] = bakery.builds[names[turn % len(names)]]
            if operation == "download_file":
                case.path_parameters.update(run="osc-bsu", path="packer-manifest.json")
    if not case.meta.is_negative_at(ParameterLocation.QUERY):
        make_true(operation, case, bakery)


def make_true(operation, case, bakery):
    """Parameters that are wrong although each is of the described form, for reasons that no description can tell."""
    query = case.query or {}
    # The name of one of the build's own runs.
    if "run" in query:
        volume = bakery.builds["succeeded-volume"] == case.path_parameters["id"]
        query["run"] = "osc-bsuvolume" if volume else "osc-bsu"
    # The `next` of an earlier page.
    if "cursor" in query and operation == "list_builds":
        query["cursor"] = bakery.cursor
    # No pattern says "at most a minute".
    if "wait" in query and len(query["wait"]) > 2:
        query["wait"] = "1ms"
    # Options of a JSON or multipart body are in the body, and only an archive has a file that the template is in.
    if operation == "create_build":
        if case.media_type in ("application/json", "multipart/form-data"):
            query.clear()
        if case.media_type == "application/hcl":
            query.pop("template", None)

"""Starts the sandbox, and gives the tests a cloud whose every word is checked."""

import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.request

import pytest
from osc_sdk_python import Gateway
from osc_sdk_python.call import Call
from osc_sdk_python.credentials import Endpoint

import official

ACCESS_KEY = "SANDBOX0ACCESS0KEY00"
SECRET_KEY = "SANDBOX0SECRET0KEY000000000000000000000"

# Seconds for whatever should happen soon, on a busy machine too; only failures take this long.
PATIENCE = 180


def binary() -> str:
    chosen = os.environ.get("OAPI_SANDBOX_BIN")
    if chosen:
        return chosen
    target = os.environ.get("CARGO_TARGET_DIR") or pathlib.Path(__file__).parents[3] / "target"
    return str(pathlib.Path(target) / "debug" / "oapi-sandbox")


class Refused(Exception):
    """An error that the cloud answered."""

    def __init__(self, status: int, body: dict):
        error = body["Errors"][0]
        super().__init__(f"{status} {error['Type']} {error['Code']}: {error['Details']}")
        self.status = status
        self.code = int(error["Code"])
        self.kind = error["Type"]
        self.details = error["Details"]


def sdk_arguments(url: str, access_key=ACCESS_KEY, secret_key=SECRET_KEY) -> dict:
    return {
        "access_key": access_key,
        "secret_key": secret_key,
        "region": "eu-west-2",
        "protocol": "http",
        "endpoints": Endpoint(api=f"{url}/api/v1"),
        "limiter_max_requests": 10_000,
        "max_retries": 0,
    }


class Cloud:
    """The official SDK in front of the sandbox. Whatever passes is validated against the official document."""

    def __init__(self, url: str, **keys):
        self.url = url
        self.problems: list[str] = []
        self.exchanges = 0
        self._last = None
        # The part of the SDK that signs and sends. Its front (Gateway) reads the document anew, which takes seconds.
        self.sender = Call(**sdk_arguments(url, **keys))
        self.sender.session.hooks["response"].append(self._check)
        self.gateway = None

    def through_the_gateway(self) -> "Cloud":
        """From now on the calls go through the SDK's front, which checks parameters by itself."""
        self.gateway = Gateway(**sdk_arguments(self.url))
        self.gateway.call.session.hooks["response"].append(self._check)
        return self

    def _check(self, response, *_args, **_kwargs):
        action = response.request.path_url.rsplit("/", 1)[1]
        self.exchanges += 1
        self._last = response
        body = response.json()
        if response.status_code == 200:
            self.problems += official.problems("request", action, json.loads(response.request.body))
            self.problems += official.problems("answer", action, body)
        else:
            self.problems += official.problems("error", action, body)
        if not body.get("ResponseContext", {}).get("RequestId"):
            self.problems.append(f"{action} answered without a RequestId")

    def call(self, action: str, **parameters) -> dict:
        self._last = None
        try:
            if self.gateway:
                getattr(self.gateway, action)(**parameters)
            else:
                self.sender.api(action, **parameters)
        except Exception:
            if self._last is None:
                raise
        response = self._last
        if response.status_code != 200:
            raise Refused(response.status_code, response.json())
        return response.json()

    def refused(self, action: str, **parameters) -> Refused:
        with pytest.raises(Refused) as caught:
            self.call(action, **parameters)
        return caught.value

    def control(self, method: str, path: str, body=None):
        request = urllib.request.Request(
            f"{self.url}/sandbox/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def resources(self) -> dict:
        return self.control("GET", "resources")

    def until(self, action: str, key: str, state: str, member: str = "State", seconds: float = PATIENCE, **filters) -> dict:
        """Reads until the one object that the filters find is in a state; all words on the way are checked too."""
        end = time.monotonic() + seconds
        while True:
            found = self.call(action, Filters=filters)[key]
            if found and found[0][member] == state:
                return found[0]
            assert time.monotonic() < end, f"{action} {filters}: not {state} in time, but {found}"
            time.sleep(0.02)

    def states_until(self, action: str, key: str, last: str, **filters) -> list[str]:
        """Reads until the object is in its last state; answers the states that were seen, in order."""
        seen = []
        end = time.monotonic() + PATIENCE
        while last not in seen:
            state = self.call(action, Filters=filters)[key][0]["State"]
            if state not in seen:
                seen.append(state)
            assert time.monotonic() < end, f"{action} {filters}: not {last} in time, but {seen}"
        return seen

    def until_gone(self, action: str, key: str, seconds: float = PATIENCE, **filters):
        end = time.monotonic() + seconds
        while self.call(action, Filters=filters)[key]:
            assert time.monotonic() < end, f"{action} {filters}: still there"
            time.sleep(0.02)


class Sandbox:
    def __init__(self, *arguments: str):
        backend = [] if "--backend" in arguments else ["--backend", "none"]
        command = [binary(), "--listen", "127.0.0.1:0", *backend, *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OSC_")}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        line = self.process.stdout.readline()
        assert line.startswith("oapi-sandbox listening on http://"), line
        self.url = line.rsplit(" ", 1)[1].strip()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=PATIENCE)


@pytest.fixture(scope="session", autouse=True)
def sandbox(tmp_path_factory):
    # The SDK must not find keys of the developer.
    for name in [name for name in os.environ if name.startswith("OSC_")]:
        del os.environ[name]
    profile = tmp_path_factory.mktemp("osc") / "config.json"
    profile.write_text('{"default": {}}')
    os.environ["OSC_CONFIG_FILE"] = str(profile)
    running = Sandbox("--seed-images", "tiny,debian")
    yield running
    assert running.stop() == 0


@pytest.fixture
def cloud(sandbox):
    cloud = Cloud(sandbox.url)
    cloud.control("DELETE", "faults")
    before = cloud.resources()
    yield cloud
    assert cloud.problems == []
    assert cloud.exchanges > 0
    # Every test leaves the region as it found it.
    assert cloud.resources() == before


@pytest.fixture
def image(cloud) -> dict:
    return cloud.call("ReadImages", Filters={"ImageNames": ["tiny*"], "AccountAliases": ["Outscale"]})["Images"][0]

"""A real fournil in front of a real Postgres, with builds in every state, and with nobody who would bake what is sent."""

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time

import requests

REPOSITORY = pathlib.Path(__file__).parents[2]
TOKEN = "schema-" + "0123456789abcdef" * 2
ACCESS_KEY = "SANDBOX0ACCESS0KEY00"
SECRET_KEY = "SANDBOX0SECRET0KEY000000000000000000000"

# Seconds for whatever should happen soon, on a busy machine too; only failures take this long.
PATIENCE = 180


def binary(name: str) -> str:
    target = os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target"
    return str(pathlib.Path(target) / "debug" / name)


class Process:
    """A server that runs, ended with the test however that ends."""

    def __init__(self, log: pathlib.Path, *command: str, **environment: str):
        self.log = log
        # Nothing of the developer's own account or settings.
        environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*", **environment}
        command = ["setpriv", "--pdeathsig", "KILL", *command]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.url = self._address()
        # Whatever it still has to say must find a reader.
        threading.Thread(target=self._copy, daemon=True).start()

    def _address(self) -> str:
        told = ""
        for line in self.process.stdout:
            told += line
            if found := re.search(r"on (http://[0-9.]+:[0-9]+)", line):
                return found[1]
        raise RuntimeError(f"it ended: {told}")

    def _copy(self):
        with self.log.open("w") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=PATIENCE)


class Bakery:
    """The API of fournil, and the builds that it has."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {TOKEN}"
        self.common = {
            "DATABASE_URL": os.environ["DATABASE_URL"],
            "FOURNIL_MASTER_KEY": "0123456789abcdef" * 4,
            "FOURNIL_BOOTSTRAP_TOKEN": TOKEN,
        }
        # Only the API: what schemathesis makes it accept stays queued, and it has no keys for any cloud.
        self.api = self._fournil("api", FOURNIL_WORKERS="0", FOURNIL_TRUSTED_PROXIES="127.0.0.1")
        self.url = self.api.url
        self.builds = self._bake()
        # To the second page of builds.
        self.cursor = self.call("GET", "/builds?limit=1").json()["next"]

    def _fournil(self, name: str, **settings: str) -> Process:
        command = [binary("fournil"), "serve", "--listen", "127.0.0.1:0", "--data-dir", str(self.folder / name)]
        return Process(self.folder / f"{name}.log", *command, **self.common, **settings)

    def stop(self):
        self.api.stop()

    def call(self, method: str, path: str, **arguments) -> requests.Response:
        return self.session.request(method, self.url + path, timeout=PATIENCE, **arguments)

    def post(self, **envelope) -> str:
        """Asks for a build; answers its id."""
        answer = self.call("POST", "/builds", json=envelope)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def until(self, build: str, what) -> dict:
        """Reads a build until `what` is true of it."""
        end = time.monotonic() + PATIENCE
        while not what(found := self.call("GET", f"/builds/{build}").json()):
            assert time.monotonic() < end and found["state"] in ("queued", "running"), f"not in time: {found}"
            time.sleep(0.1)
        return found

    def _bake(self) -> dict[str, str]:
        """Bakes in a sandbox whose machines are only states; then worker and sandbox end, so that nothing changes by itself."""
        sandbox = Process(
            self.folder / "sandbox.log",
            *[binary("oapi-sandbox"), "--listen", "127.0.0.1:0", "--backend", "none", "--seed-images", "tiny"],
            OSC_ACCESS_KEY=ACCESS_KEY,
            OSC_SECRET_KEY=SECRET_KEY,
        )
        worker = self._fournil(
            "worker",
            FOURNIL_WORKERS="4",
            FOURNIL_OAPI_SETTLE="1s",
            FOURNIL_OAPI_POLL_INTERVAL="50ms",
            OSC_ENDPOINT_API=sandbox.url,
            OSC_REGION="eu-west-2",
            OSC_ACCESS_KEY=ACCESS_KEY,
            OSC_SECRET_KEY=SECRET_KEY,
        )
        ended = lambda build: build["state"] in ("succeeded", "failed", "cancelled")
        held = lambda build: build["runs"][0]["held_until"] is not None
        try:
            made = {name: self.post(**envelope) for name, envelope in envelopes().items()}
            states = {name: self.until(build, held if name.startswith("held") else ended) for name, build in made.items()}
        finally:
            worker.stop()
            sandbox.stop()
        found = {name: build["state"] for name, build in states.items()}
        wanted = {name: "running" if name.startswith("held") else name.partition("-")[0] for name in made}
        assert found == wanted, states
        for name in ("queued", "queued-2"):
            made[name] = self.post(**envelopes()["succeeded"])
        made["cancelled"] = self.post(**envelopes()["succeeded"])
        assert self.call("POST", f"/builds/{made['cancelled']}/cancel").status_code == 202
        return made


def envelopes() -> dict[str, dict]:
    """What the builds are asked for with, by how they end."""
    machine = {
        "vm_type": "tinav5.c1r1p2",
        "communicator": "none",
        "source_omi_filter": {"filters": {"image-name": "tiny-*"}, "owners": ["Outscale"], "most_recent": True},
    }
    image = lambda name: {"type": "osc-bsu", "omi_name": f"{name}-{{{{timestamp}}}}", **machine}
    volume = {
        "type": "osc-bsuvolume",
        "bsu_volumes": [{"device_name": "/dev/xvdf", "volume_size": 1, "snapshot_volume": True}],
        **machine,
    }
    nowhere = {**image("nowhere"), "source_omi": "ami-00000000"}
    del nowhere["source_omi_filter"]
    # Nobody answers on SSH, so its VM is held.
    deaf = lambda name: {**image(name), "communicator": "ssh", "ssh_username": "outscale", "ssh_timeout": "1s"}
    manifest = {"post-processors": ["manifest"]}
    described = {"name": "schema", "labels": {"team": "web"}, "priority": 3, "timeout": "1h"}
    return {
        "succeeded": {"template": {"builders": [image("first"), {**image("second"), "name": "second"}], **manifest}, **described},
        "succeeded-volume": {"template": {"builders": [volume]}},
        "failed": {"template": {"builders": [nowhere]}},
        "held": {"template": {"builders": [deaf("deaf")]}, "on_error": "hold"},
        "held-2": {"template": {"builders": [deaf("mute")]}, "on_error": "hold"},
    }


def start() -> Bakery:
    return Bakery(pathlib.Path(tempfile.mkdtemp(prefix="fournil-schema.")))

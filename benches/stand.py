"""What the measurements stand on: a sandbox and a fournil of this tree on free loopback ports, a small HTTP client, and
a reader of server-sent events that is quick enough not to be what is measured. Standard library only."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEYS = {"OSC_ACCESS_KEY": "SANDBOX0ACCESS0KEY00", "OSC_SECRET_KEY": "SANDBOX0SECRET0KEY000000000000000000000"}
FINAL = ("succeeded", "failed", "cancelled")


class Trouble(Exception):
    """Something did not do what the measurement needs."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def seconds(text):
    """A time of the API as seconds since the epoch."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Http:
    """Requests to one server; one connection, kept open."""

    def __init__(self, port):
        self.port = port
        self.connection = None

    def ask(self, method, path, body=None, headers=None, patience=60):
        """Answers the status and the body, as JSON where it is that."""
        if isinstance(body, (dict, list)):
            body, headers = json.dumps(body), {"Content-Type": "application/json", **(headers or {})}
        for attempt in (1, 2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=patience)
            try:
                self.connection.request(method, path, body, headers or {})
                answer = self.connection.getresponse()
                data = answer.read()
                break
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                # A kept connection that the server closed meanwhile; a second failure is a real one.
                self.connection.close()
                self.connection = None
                if attempt == 2:
                    raise
        is_json = "json" in (answer.headers.get("Content-Type") or "")
        return answer.status, json.loads(data) if is_json and data else data


class Process:
    """A server of ours, its log in a file, ended by SIGTERM."""

    def __init__(self, name, command, environment, folder):
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def wait_for(self, port, path, patience=60):
        give_up = time.monotonic() + patience
        while time.monotonic() < give_up:
            if self.child.poll() is not None:
                raise Trouble(f"{self.name} ended with {self.child.returncode}; see {self.log}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if Http(port).ask("GET", path, patience=2)[0] == 200:
                    return
            time.sleep(0.05)
        raise Trouble(f"{self.name} does not answer on {path}; see {self.log}")

    def memory(self):
        """RSS and PSS of this one process in KiB; Postgres and VMs are processes of their own."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        rollup = Path(f"/proc/{self.child.pid}/smaps_rollup").read_text()
        rss = int(re.search(r"^VmRSS:\s+(\d+)", status, re.M)[1])
        return {"rss_kib": rss, "pss_kib": int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])}

    def cpu_seconds(self):
        """Processor time so far."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(60)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


class Stand:
    """A sandbox and a fournil that uses it. `with Stand(…) as stand:`"""

    def __init__(self, binaries, backend="ns", latency=None, settings=None, this_machine=False):
        self.binaries, self.backend, self.latency, self.this_machine = binaries, backend, latency, this_machine
        self.settings = settings or {}

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        try:
            return self.start()
        except BaseException:
            self.stack.close()
            raise

    def __exit__(self, *_):
        self.stack.close()

    def start(self):
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="fournil-bench-")))
        self.folder.chmod(0o755)
        latency = self.latency or "none"
        if latency not in ("none", "realistic"):
            latency = self.folder / "latency.toml"
            latency.write_text(self.latency)
        # Nothing of the caller's own set-up may change what is measured.
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("OSC_", "FOURNIL_"))}
        oapi, api = free_port(), free_port()
        self.sandbox_process = self.process("oapi-sandbox", [
            self.binaries / "oapi-sandbox", "--listen", f"127.0.0.1:{oapi}", "--backend", self.backend,
            "--latency", latency, *(["--host-vm", "--seed-images", "tiny,tiny-disk"] if self.this_machine else []),
        ], {**plain, **KEYS})
        self.sandbox_process.wait_for(oapi, "/sandbox/health")
        self.sandbox = Http(oapi)
        # The order matters: fournil goes first, then its cloud.
        self.environment = {
            **plain, **KEYS, "OSC_ENDPOINT_API": f"http://127.0.0.1:{oapi}", "OSC_REGION": "eu-west-2", **self.settings,
        }
        if self.this_machine:
            self.environment |= {"FOURNIL_METADATA_URL": f"http://127.0.0.1:{oapi}", "FOURNIL_CAPABILITIES": "chroot"}
        self.fournil, self.api = self.replica("fournil", api)
        return self

    def replica(self, name, port=None):
        """One more fournil, on the same cloud; on the same database if the environment names one."""
        port = port or free_port()
        process = self.process(name, [
            self.binaries / "fournil", "serve", "--data-dir", self.folder / name, "--listen", f"127.0.0.1:{port}",
        ], {**self.environment, "FOURNIL_WORKER_NAME": name})
        process.wait_for(port, "/readyz")
        return process, Http(port)

    def process(self, name, command, environment):
        process = Process(name, [str(part) for part in command], environment, self.folder)
        self.stack.callback(process.end)
        return process

    def post(self, body):
        status, build = self.api.ask("POST", "/builds", body)
        if status != 202:
            raise Trouble(f"POST /builds answered {status}: {build}")
        return build

    def wait(self, build_id, until=lambda build: build["state"] in FINAL, patience=180):
        give_up, version = time.monotonic() + patience, 0
        while time.monotonic() < give_up:
            status, build = self.api.ask("GET", f"/builds/{build_id}?wait=20s&version={version}")
            if status == 200:
                if until(build):
                    return build
                version = build["version"]
        raise Trouble(f"build {build_id} did not get where it should within {patience} s")

    def baked(self, body, patience=180):
        """Posts a build and waits until it has succeeded."""
        build = self.wait(self.post(body)["id"], patience=patience)
        if build["state"] != "succeeded":
            raise Trouble(f"the build {build['state']}: {json.dumps(build['error'])}")
        return build

    def steps(self, build_id):
        return self.api.ask("GET", f"/builds/{build_id}/steps")[1]["steps"]

    def calls(self):
        """All OAPI calls since the last time they were forgotten, by time."""
        return sorted(self.sandbox.ask("GET", "/sandbox/calls")[1], key=lambda call: call["time"])

    def forget_calls(self):
        self.sandbox.ask("DELETE", "/sandbox/calls")


def template(name, inline=None, **more):
    """A bare Packer template; without a script nothing is provisioned."""
    builder = {
        "type": "osc-bsu", "name": "bench", "region": "eu-west-2", "omi_name": name, "vm_type": "tinav5.c1r1p2",
        "source_omi_filter": {"filters": {"image-name": "tiny-*"}, "owners": ["Outscale"], "most_recent": True},
        "ssh_username": "outscale", **more,
    }
    if inline is None:
        return {"builders": [{**builder, "communicator": "none"}]}
    return {"builders": [builder], "provisioners": [{"type": "shell", "inline": inline}]}


def events(port, build_id, patience=300):
    """The event stream of a build: (time it was read, event, data) for each complete event, in pieces as they come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    connection.request("GET", f"/builds/{build_id}/logs", headers={"Accept": "text/event-stream"})
    answer = connection.getresponse()
    if answer.status != 200:
        raise Trouble(f"the log answered {answer.status}")
    rest = b""
    while piece := answer.read1(1 << 18):
        at = time.time()
        whole, separator, rest = (rest + piece).rpartition(b"\n\n")
        if separator:
            yield at, whole + separator
    connection.close()


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round((len(ordered) - 1) * percent / 100))]

"""The measurements. Each starts its own stand, answers a dict of numbers, and is bounded in count and time. None of them
judges a number: they tell, docs/performance.md explains."""

import json
import re
import time

from stand import FINAL, ROOT, Stand, Trouble, events, percentile, seconds, template

# Delays in milliseconds that are small enough to bake often and far above the noise of a laptop.
CALL, PENDING, STOPPING, ENDING, IMAGE = 20, 2000, 1000, 500, 3000

LATENCY = f"""
call_ms = {CALL}
[changes]
vm_pending = {PENDING}
vm_stopping = {STOPPING}
vm_shutting_down = {ENDING}
image_pending = {IMAGE}
"""

# What must follow one another in a bake without a communicator: each call or change needs the outcome of the one before.
# Calls of the same bake that are not here overlap with these.
CHAIN_OF_OMI = [
    ("ReadAccounts", CALL), ("ReadImages: source, name", CALL), ("CreateVms", CALL), ("VM pending", PENDING),
    ("ReadVms: it runs", CALL), ("StopVms", CALL), ("VM stopping", STOPPING), ("ReadVms: it has stopped", CALL),
    ("CreateImage", CALL), ("image pending", IMAGE), ("ReadImages: it is available", CALL),
    ("CreateTags: image, snapshots", CALL),
]
CHAIN_OF_CLEANUP = [
    ("DeleteVms", CALL), ("VM shutting down", ENDING), ("ReadVms: it is terminated", CALL), ("DeleteVolume", CALL),
]

# What tests of the waiting need not wait for; the pace is not what is measured where it is lifted.
UNPACED = {"FOURNIL_OAPI_CALLS_PER_SECOND": "1000"}


def spread(values, unit=1000.0):
    """Percentiles: of seconds, shown in milliseconds, or with `unit` 1 in seconds."""
    digits = 1 if unit > 1 else 3
    shown = {"p50": percentile(values, 50), "p99": percentile(values, 99), "max": max(values)}
    return {"samples": len(values)} | {name: round(value * unit, digits) for name, value in shown.items()}


def first_call(binaries, samples=200):
    """From the client's POST to the first OAPI call that the cloud sees, on an idle service, one build after the other.
    The cloud refuses the keys, so that a build is over after that call."""
    to_call, to_step, to_accepted = [], [], []
    with Stand(binaries, backend="none", settings=UNPACED) as stand:
        stand.baked(template("bench-warm-up"))
        stand.sandbox.ask("POST", "/sandbox/faults", {
            "action": "*", "times": 10 * samples, "status": 401, "code": 1, "type": "AccessDenied",
        })
        for number in range(samples):
            stand.forget_calls()
            began = time.time()
            build = stand.post(template(f"bench-{number}"))
            to_accepted.append(time.time() - began)
            ended = stand.wait(build["id"], patience=30)
            if ended["state"] != "failed":
                raise Trouble(f"a build with refused keys {ended['state']}")
            # The sandbox tells whole milliseconds, cut off: half of one is added back.
            to_call.append(seconds(stand.calls()[0]["time"]) + 0.0005 - began)
            first = min(seconds(step["started_at"]) for step in stand.steps(build["id"]))
            to_step.append(first - seconds(build["created_at"]))
    return {
        "POST to 202 (ms)": spread(to_accepted), "created_at to first step (ms)": spread(to_step),
        "POST to first OAPI call (ms)": spread(to_call),
    }


def whole_bake(binaries, bakes=4):
    """Whole bakes against the delays that the sandbox was told, and against a cloud without delays."""
    result = {}
    critical = {"to the artifact": sum(ms for _, ms in CHAIN_OF_OMI) / 1000}
    critical["to the end"] = critical["to the artifact"] + sum(ms for _, ms in CHAIN_OF_CLEANUP) / 1000
    for kind, latency, settings in (
        ("delays, default settings", LATENCY, {}),
        ("delays, poll interval 50 ms", LATENCY, {"FOURNIL_OAPI_POLL_INTERVAL": "50ms", **UNPACED}),
        ("no delays", None, {}),
    ):
        to_artifact, to_end, calls = [], [], []
        with Stand(binaries, backend="none", latency=latency, settings=settings) as stand:
            stand.baked(template("bench-warm-up"))
            for number in range(bakes):
                # The bucket of the pace fills up again: how it is spent is not what is measured.
                time.sleep(1)
                stand.forget_calls()
                began = time.time()
                build = stand.baked(template(f"bench-{number}"))
                ended = time.time()
                made = max(seconds(step["finished_at"]) for step in stand.steps(build["id"]))
                to_artifact.append(made - began)
                to_end.append(ended - began)
                calls.append(len(stand.calls()))
        times = {"to the artifact": to_artifact, "to the end": to_end}
        result[kind] = {"OAPI calls a bake": max(calls)}
        for name, values in times.items():
            least = critical[name] if latency else 0.0
            result[kind][f"{name} (s)"] = spread(values, 1.0) | {"critical path": round(least, 3)}
            result[kind][f"{name}: overhead (ms)"] = spread([value - least for value in values])
    return result


def hello(binaries, bakes=5):
    """Whole bakes on real VMs (namespaces), with a shell provisioner, against a cloud without delays."""
    times, steps = [], {}
    with Stand(binaries) as stand:
        stand.baked(template("bench-warm-up", ["true"]))
        for number in range(bakes):
            time.sleep(1)
            began = time.time()
            build = stand.baked(template(f"bench-{number}", ["true"]))
            times.append(time.time() - began)
            for step in stand.steps(build["id"]):
                steps.setdefault(step["name"], []).append(step["seconds"])
    slowest = sorted(((percentile(values, 50), name) for name, values in steps.items()), reverse=True)[:5]
    return {"POST to the end (s)": spread(times, 1.0), "slowest steps (s)": {name: took for took, name in slowest}}


def log_rate(binaries, lines=200_000):
    """A provisioner prints as fast as it can; one reader of server-sent events counts, and checks that every number
    comes once and in order."""
    text = "x" * 90
    scripts = {
        "short lines (7 bytes)": [f"seq 1 {lines}"],
        "long lines (98 bytes)": [f"seq 1 {lines} | sed 's/$/ {text}/'"],
    }
    number_of = re.compile(rb"^id: (\d+)\nevent: log$", re.M)
    result = {}
    with Stand(binaries) as stand:
        stand.baked(template("bench-warm-up", ["true"]))
        for name, script in scripts.items():
            build = stand.post(template(f"bench-{'short' if 'short' in name else 'long'}", script))
            busy, last, times = stand.fournil.cpu_seconds(), 0, []
            for at, piece in events(stand.api.port, build["id"]):
                numbers = [int(number) for number in number_of.findall(piece)]
                if numbers:
                    if numbers != list(range(last + 1, last + 1 + len(numbers))):
                        raise Trouble(f"the log has a gap or a line twice behind {last}")
                    last = numbers[-1]
                    times.append((at, len(numbers)))
            if last < lines:
                raise Trouble(f"{last} of at least {lines} lines came")
            ended = stand.wait(build["id"])
            if ended["state"] != "succeeded":
                raise Trouble(f"the build {ended['state']}: {ended['error']}")
            began, finished = burst(times, lines)
            provision = next(step for step in stand.steps(build["id"]) if step["name"] == "provision")
            result[name] = {
                "lines": last, "gapless": True, "lines a second at the reader": round(lines / (finished - began)),
                "provision step (s)": round(provision["seconds"], 2),
                "processor seconds of fournil": round(stand.fournil.cpu_seconds() - busy, 2),
            }
    return result


def burst(times, lines):
    """When the bulk of the lines began and ended: without the few of fournil's own before and after."""
    seen, began = 0, None
    for at, count in times:
        seen += count
        if began is None and seen > 100:
            began = at
        if seen >= lines:
            return began, at
    raise Trouble("the lines were counted wrong")


def log_delay(binaries, lines=500):
    """A provisioner prints its clock slowly; the reader has the same clock, since the VM is on this machine."""
    script = f"for i in $(seq {lines}); do echo \"at $EPOCHREALTIME\"; sleep 0.02; done"
    stamp = re.compile(rb'"line":"at (\d+\.\d+)"')
    delays = []
    with Stand(binaries) as stand:
        stand.baked(template("bench-warm-up", ["true"]))
        # $EPOCHREALTIME is bash's; /bin/sh in the VM need not be that.
        build = stand.post(template("bench-slow", [f"bash -c '{script}'"]))
        for at, piece in events(stand.api.port, build["id"]):
            delays += [at - float(printed) for printed in stamp.findall(piece)]
        stand.wait(build["id"])
    if len(delays) != lines:
        raise Trouble(f"{len(delays)} of {lines} lines came")
    return {"printed to seen (ms)": spread(delays)}


def many(binaries, bakes=50, seconds_inside=25):
    """One bake, then many at once that all sit in their provisioner on a VM of their own: memory of the process, and
    how many calls a bake costs when the waits are shared."""
    script = [f"sleep {seconds_inside}"]
    settings = {"FOURNIL_WORKERS": str(bakes), **UNPACED}
    result = {}
    with Stand(binaries, settings=settings) as stand:
        time.sleep(3)
        result["fresh (KiB)"] = stand.fournil.memory()
        stand.forget_calls()
        stand.baked(template("bench-alone", script))
        alone = stand.calls()
        time.sleep(3)
        result["idle after one bake (KiB)"] = idle = stand.fournil.memory()
        stand.forget_calls()
        began = time.time()
        ids = [stand.post(template(f"bench-{number}", script))["id"] for number in range(bakes)]
        result["posted in (s)"] = round(time.time() - began, 2)
        for build_id in ids:
            stand.wait(build_id, until=lambda build: build["runs"][0]["step"] == "provision" or build["state"] in FINAL)
        running = [build for build in (stand.api.ask("GET", f"/builds/{one}")[1] for one in ids) if build["state"] == "running"]
        result["all in their provisioners after (s)"] = round(time.time() - began, 2)
        result["bakes in a provisioner at once"] = sum(build["runs"][0]["step"] == "provision" for build in running)
        result["busy (KiB)"] = busy = stand.fournil.memory()
        ended = [stand.wait(build_id)["state"] for build_id in ids]
        if set(ended) != {"succeeded"}:
            raise Trouble(f"of {bakes} bakes, {ended.count('succeeded')} succeeded")
        result["all ended after (s)"] = round(time.time() - began, 2)
        together = stand.calls()
        time.sleep(3)
        result["idle afterwards (KiB)"] = stand.fournil.memory()
    result["RSS a bake (KiB)"] = round((busy["rss_kib"] - idle["rss_kib"]) / bakes)
    result["OAPI calls, one bake"] = len(alone)
    result[f"OAPI calls a bake, {bakes} at once"] = round(len(together) / bakes, 1)
    reads = {"one bake": reads_of_waits(alone), f"{bakes} at once, all together": reads_of_waits(together)}
    result["of them reads by shared waits"] = reads
    return result


def reads_of_waits(calls):
    """Reads by id are what waits make; a bake's other reads filter by name or account."""
    by_id = ("VmIds", "ImageIds", "SnapshotIds", "VolumeIds")
    filters = [(call["request"] or {}).get("Filters") or {} for call in calls if call["action"].startswith("Read")]
    return sum(any(name in one for name in by_id) for one in filters)


def takeover(binaries, kills=8):
    """Two replicas with the default lease, one of them baking; it is killed (SIGKILL), and the time runs until the other one
    has the run. A third one takes the place of the dead for the next kill."""
    times = []
    settings = {"FOURNIL_MASTER_KEY": bytes(range(32)).hex()}
    with Stand(binaries, backend="none", latency="[changes]\nvm_pending = 3600000\n", settings=settings) as stand:
        replicas = {"fournil": (stand.fournil, stand.api)}
        build = stand.post(template(f"bench-{time.time_ns()}"))
        for number in range(kills):
            replicas[f"replica{number}"] = stand.replica(f"replica{number}")
            asked = next(iter(replicas.values()))[1]
            run = lambda: asked.ask("GET", f"/builds/{build['id']}")[1]["runs"][0]
            give_up = time.monotonic() + 60
            while run()["step"] != "wait_for_vm" and time.monotonic() < give_up:
                time.sleep(0.1)
            # A moment of its own in the rhythm of the heartbeats.
            time.sleep(1.7 * number % 9)
            owner = run()["worker"]
            victim, _ = replicas.pop(next(key for key in replicas if owner.startswith(f"{key}-")))
            asked = next(iter(replicas.values()))[1]
            began = time.time()
            victim.child.kill()
            while run()["worker"] == owner:
                if time.time() - began > 120:
                    raise Trouble("nobody took over within 120 s")
                time.sleep(0.05)
            times.append(time.time() - began)
        stand.api = asked
        stand.api.ask("POST", f"/builds/{build['id']}/cancel")
        stand.wait(build["id"])
    return {"SIGKILL to takeover, default lease (s)": spread(times, 1.0)}


# Of the sandbox's `--latency realistic`, in milliseconds: what must follow one another in the bake of a surrogate, without
# getting into the VM and what is done there.
CHAIN_OF_SURROGATE = [
    ("ReadAccounts", 150), ("ReadImages: source, name", 150), ("CreateKeypair", 350), ("CreateVms", 900),
    ("VM pending", 15_000), ("ReadVms: it runs", 150), ("StopVms", 150), ("VM stopping", 20_000),
    ("ReadVms: it has stopped", 150), ("CreateSnapshot", 150), ("snapshot in queue", 20_000), ("snapshot pending", 30_000),
    ("ReadSnapshots: it is complete", 150), ("CreateImage", 700), ("ReadImages: it is available", 150),
    ("CreateTags: image, snapshots", 150),
]
SNAPSHOT = 50.0


def surrogate_template(volumes):
    """The example, with so many volumes that go into the OMI, and its scripts as lines, since a folder is not sent."""
    folder = ROOT / "examples" / "surrogate"
    template = json.loads((folder / "template.json").read_text())
    builder = template["builders"][0]
    builder["omi_name"] = f"bench-{volumes}-{time.time_ns()}"
    names = ["/dev/xvdf", "/dev/xvdg", *(f"/dev/xvd{letter}" for letter in "hijklmno")]
    sizes = [mapping["volume_size"] for mapping in builder["launch_block_device_mappings"]] + [1] * 8
    builder["launch_block_device_mappings"] = [
        {"device_name": name, "volume_size": size, "delete_on_vm_deletion": True}
        for name, size in list(zip(names, sizes))[:volumes]
    ]
    template["provisioners"] = [
        {"type": "shell", "inline": [(folder / provisioner["script"]).read_text()]}
        for provisioner in template["provisioners"][:volumes]
    ]
    return template


def surrogate(binaries, counts=(1, 2, 8)):
    """The bake of examples/surrogate on real VMs in a cloud of realistic delays, with one volume, as it is, and with more:
    whether the snapshots overlap."""
    critical = sum(ms for _, ms in CHAIN_OF_SURROGATE) / 1000
    result = {"critical path without what is done in the VM (s)": round(critical, 2)}
    with Stand(binaries, latency="realistic") as stand:
        builds = {count: stand.post(surrogate_template(count)) for count in counts}
        for count, build in builds.items():
            ended = stand.wait(build["id"], patience=400)
            if ended["state"] != "succeeded":
                raise Trouble(f"the build {ended['state']}: {json.dumps(ended['error'])}")
            steps = {step["name"]: step for step in stand.steps(build["id"])}
            made = max(seconds(step["finished_at"]) for step in steps.values()) - seconds(build["created_at"])
            inside = steps["connect"]["seconds"] + steps["provision"]["seconds"]
            result[f"{count} volumes"] = {
                "to the artifact (s)": round(made, 2), "of it in the VM (s)": round(inside, 2),
                "overhead (s)": round(made - inside - critical, 2),
                "snapshot_volumes (s)": round(steps["snapshot_volumes"]["seconds"], 2),
                "one after the other it would take (s)": SNAPSHOT * count,
            }
    return result


def same_bake(kind, source, rounds=0):
    """The bake of examples/chroot by this builder; its script as a line, since a folder is not sent."""
    folder = ROOT / "examples" / "chroot"
    builder = {"type": kind, "region": "eu-west-2", "omi_name": f"bench-{kind}-{rounds}-{time.time_ns()}", **source}
    if kind == "osc-bsu":
        builder |= {"vm_type": "tinav5.c1r1p2", "ssh_username": "outscale"}
    script = (folder / "scripts" / "setup.sh").read_text().splitlines()[1:]
    if kind == "osc-bsu":
        script = ["sudo sh -e <<'SETUP'", *script, "SETUP"]
    return {"builders": [builder], "provisioners": [{"type": "shell", "inline": script}]}


def chroot(binaries, rounds=5):
    """The same change of an OMI by osc-chroot and by osc-bsu, in a cloud of realistic delays and in one without any: what is
    left there is the time in fournil, in the sandbox, and in the provisioners."""
    official = {"source_omi_filter": {"filters": {"image-name": "tiny-disk-*"}, "owners": ["Outscale"], "most_recent": True}}
    result = {}
    for latency in ("realistic", "none"):
        with Stand(binaries, latency=latency, this_machine=True) as stand:
            def bake(kind, source, number):
                build = stand.post(same_bake(kind, source, number))
                ended = stand.wait(build["id"], patience=600)
                if ended["state"] != "succeeded":
                    raise Trouble(f"the build {ended['state']}: {json.dumps(ended['error'])}")
                steps = stand.steps(build["id"])
                made = max(seconds(step["finished_at"]) for step in steps) - seconds(ended["created_at"])
                return ended, made, {step["name"]: step["seconds"] for step in steps}

            first, copied, _ = bake("osc-chroot", official, 0)
            own = {"source_omi": first["artifacts"][0]["id"]}
            times = {kind: [] for kind in ("osc-chroot", "osc-bsu")}
            local = []
            for number in range(1, (rounds if latency == "none" else 2) + 1):
                for kind in times:
                    _, made, steps = bake(kind, own, number)
                    times[kind].append(made)
                    if kind == "osc-chroot":
                        names = ("pre_mount", "mount_volume", "post_mount", "prepare_chroot", "provision", "release_chroot")
                        local.append(sum(steps[name] for name in names))
            result[f"delays: {latency}"] = {
                "osc-chroot from an OMI of another account, which is copied (s)": round(copied, 2),
                "osc-chroot (s)": spread(times["osc-chroot"], 1.0),
                "of it mounted (s)": spread(local, 1.0),
                "osc-bsu (s)": spread(times["osc-bsu"], 1.0),
            }
    return result


ALL = {
    "first-call": first_call, "whole-bake": whole_bake, "hello": hello, "log-rate": log_rate, "log-delay": log_delay,
    "many": many, "takeover": takeover, "surrogate": surrogate, "chroot": chroot,
}
NEED_DATABASE = ("takeover",)
NEED_ROOT = ("hello", "log-rate", "log-delay", "many", "surrogate", "chroot")

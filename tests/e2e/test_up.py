"""`gateway up` as a newcomer meets it: one command, a key, a picture, and everything kept."""

from __future__ import annotations

import io
import os
import signal
import time
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from tests.support.machine import DIRECT, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "data")


def post(control: str) -> None:
    with DIRECT.open(urllib.request.Request(control, data=b"{}", method="POST"), timeout=10):
        pass


def test_one_command_to_the_first_image_and_everything_kept(machine: Machine) -> None:
    lantern = {"model": "wan2.5-t2i-preview", "prompt": "a paper lantern"}
    with machine.up() as ready:
        key = ready["key"]
        answer = machine.call(key, "/v1/images/generations", lantern, prefer="wait=60")
        with DIRECT.open(answer["results"][0], timeout=30) as picture:
            size = Image.open(io.BytesIO(picture.read())).size
        control = f"http://127.0.0.1:{ready['simulator']['control']}/_sim"
        post(f"{control}/evolink/down")
        second = machine.call(key, "/v1/images/generations", lantern, prefer="wait=60")
        shown = machine.json("task", "show", second["id"])
        verified = machine.json("ledger", "verify")
        clash = machine.run("up", check=False)

    assert answer["status"] == second["status"] == "completed"
    assert size == (1280, 1280)
    assert [a["outcome"] for a in shown["attempts"]] == ["not_sent", "delivered"]
    assert [t["kind"] for t in shown["transfers"]] == ["hold", "capture"]
    assert verified["ok"] is True
    assert (clash.returncode, "cannot listen" in clash.stderr) == (1, True)
    assert (machine.data_dir / "admin.key").stat().st_mode & 0o777 == 0o600

    # Nothing runs now; commands start the database for themselves.
    team = machine.json("team", "show", "demo")
    assert (team["balance"], team["held"]) == ("997", "0")

    with machine.up() as again:
        assert again["key"] == key
        assert machine.call(key, f"/v1/tasks/{answer['id']}")["status"] == "completed"


def test_a_killed_worker_is_replaced_and_its_task_goes_on(machine: Machine) -> None:
    slow = {"model": "wan2.5-t2i-preview", "prompt": "a kite [sim:seconds=4]"}
    with machine.up() as ready:
        created = machine.call(ready["key"], "/v1/images/generations", slow)
        path = f"/v1/tasks/{created['id']}"
        ends = time.monotonic() + 20
        while machine.call(ready["key"], path)["status"] == "pending":
            assert time.monotonic() < ends
            time.sleep(0.1)
        workers = worker_pids(machine)
        assert len(workers) == 1
        for pid in workers:
            os.kill(int(pid), signal.SIGKILL)
        ends = time.monotonic() + 40
        while (task := machine.call(ready["key"], path))["status"] == "processing":
            assert time.monotonic() < ends
            time.sleep(0.2)
        shown = machine.json("task", "show", created["id"])

    assert task["status"] == "completed"
    assert len(shown["attempts"]) == 1


def worker_pids(machine: Machine) -> list[str]:
    """Find the worker of this data directory by its environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            argv = (entry / "cmdline").read_bytes()
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        if b"\0worker\0" in argv and str(machine.data_dir).encode() in environ:
            found.append(entry.name)
    return found


def test_bad_settings_are_refused_with_a_suggestion(machine: Machine) -> None:
    machine.env["GATEWAY_PROT"] = "80"

    answer = machine.run("up", check=False)

    assert answer.returncode == 1
    assert "GATEWAY_PROT" in answer.stderr
    assert "GATEWAY_PORT" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_bad_configuration_is_explained_and_not_started(machine: Machine, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('[upstreams.x]\nadaptor = "evolink"\n')

    checked = machine.run("catalog", "check", "--config", str(config), check=False)
    started = machine.run("api", "--config", str(config), check=False)

    assert checked.returncode == started.returncode == 1
    assert "adapter" in checked.stdout
    assert "adapter" in started.stderr
    assert "Traceback" not in started.stderr

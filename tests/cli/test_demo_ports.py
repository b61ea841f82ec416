"""Two demos that choose their ports at the same time choose different ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.demo import plan_demo
from gateway.settings import Settings
from gateway.simulator import DEFAULT_PORTS
from tests.support.ports import free_port

OTHER = """
import json, sys
from pathlib import Path
from gateway.cli.demo import plan_demo
from gateway.settings import Settings
demo = plan_demo(Settings(data_dir=Path(sys.argv[1])))
print(json.dumps(dict(demo.ports)), flush=True)
sys.stdin.read()
"""


def wishing(folder: Path, ports: dict[str, int]) -> Path:
    """Give a data directory whose demo had these ports the last time."""
    (folder / "demo").mkdir(parents=True)
    (folder / "demo" / "ports.json").write_text(json.dumps(ports))
    return folder


@pytest.fixture
def ports() -> dict[str, int]:
    return {name: free_port() for name in DEFAULT_PORTS}


def test_a_port_that_another_demo_chose_is_not_chosen_before_anybody_listens(
    tmp_path: Path, ports: dict[str, int]
) -> None:
    argv = [sys.executable, "-c", OTHER, str(wishing(tmp_path / "other", ports))]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        theirs = json.loads(process.stdout.readline())
        demo = plan_demo(Settings(data_dir=wishing(tmp_path / "one", ports)))
        demo.claims.close()
        process.communicate()
    assert theirs == ports
    assert not set(theirs.values()) & set(demo.ports.values())
    assert theirs.keys() == demo.ports.keys()
    assert json.loads((tmp_path / "one" / "demo" / "ports.json").read_text()) == demo.ports


def test_a_demo_that_ended_gives_its_ports_back(tmp_path: Path, ports: dict[str, int]) -> None:
    settings = Settings(data_dir=wishing(tmp_path, ports))
    for _ in range(2):
        demo = plan_demo(settings)
        demo.claims.close()
        assert demo.ports == ports

"""The commands a newcomer and the continuous integration type."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
PROMISED = ["install", "run", "test", "lint", "soak", "bench", "migrate",
            "requirements", "clean"]  # fmt: skip
INPUTS = ["Makefile", "pyproject.toml", "requirements-dev.txt", "requirements-uv.txt",
          "requirements-old-sdks.txt"]  # fmt: skip


def plan(target: str, *, cwd: Path = ROOT) -> str:
    """What make would do, without doing it."""
    return subprocess.run(
        ["make", "--dry-run", target], cwd=cwd, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("target", PROMISED)
def test_help_explains_every_promised_target(target):
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert re.search(rf"^  make {target} +\S", shown, re.MULTILINE)


@pytest.mark.parametrize("target", ["run", "test", "lint", "soak", "bench", "migrate"])
def test_a_target_that_needs_the_environment_makes_it_first(tmp_path, target):
    for name in INPUTS:
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())

    assert "-m venv" in plan(target, cwd=tmp_path)


def test_run_becomes_the_gateway_so_that_signals_reach_it_alone():
    assert re.search(r"exec \S+/gateway up", plan("run"))


def test_every_installation_checks_hashes_or_takes_nothing_from_outside():
    joined = MAKEFILE.replace("\\\n", " ")
    commands = re.findall(r"/(?:uv )?pip (?:--python \S+ )?install [^;&|\n]*", joined)

    assert len(commands) == 5
    assert [c for c in commands if "--require-hashes" not in c and "--no-index" not in c] == []


def test_continuous_integration_runs_exactly_make_test():
    script = ROOT / ".ci" / "run"
    lines = script.read_text().splitlines()

    assert os.access(script, os.X_OK)
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert [line for line in lines if "make" in line and line[0] != "#"] == ["exec make test"]

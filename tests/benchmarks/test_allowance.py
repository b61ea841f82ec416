"""A share of a core for a process: real control groups are made only where that is allowed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.allowance import allowance
from benchmarks.subjects import Missing
from gateway.cli.load import cpu_seconds

LOOK_S = 1.0


def test_a_confined_process_gets_its_share_of_a_core() -> None:
    spins = [sys.executable, "-c", "while True: pass"]
    try:
        with allowance(20) as confine, subprocess.Popen(spins) as process:
            try:
                confine(process.pid)
                before = cpu_seconds(process.pid)
                time.sleep(LOOK_S)
                spent = cpu_seconds(process.pid) - before
            finally:
                process.kill()
    except Missing as missing:
        pytest.skip(str(missing))

    assert 0 < spent <= 0.5 * LOOK_S


def test_where_no_group_can_be_made_it_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(Missing, match="no share of a core can be set here"),
        allowance(20, root=tmp_path / "none") as confine,
    ):
        confine(1)

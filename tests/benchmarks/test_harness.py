"""The benchmark harness runs to its end and fills its tables; how fast is not judged here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


@needs_wrk
def test_accepts_and_reads_are_measured_against_floors(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    options = ["--seconds", "1", "--rounds", "1", "--connections", "4"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accept", *options, "--json", str(results)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(results.read_text())
    assert set(found["accept"]) == {"ours", "floor: fastapi", "floor: raw", "floor: naive"}
    assert "ours, DashScope's path" in found["read"]
    for name, rounds in (*found["accept"].items(), *found["read"].items()):
        assert rounds[0]["per_second"] > 0, name
        assert rounds[0]["errors"] == 0, name
        assert f"| {name} |" in done.stdout


def test_without_wrk_the_benchmark_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accept"],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "apt-get install wrk" in done.stderr

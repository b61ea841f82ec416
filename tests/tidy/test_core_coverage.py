"""Every branch of the pure core is taken by the tests of the pure core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tests_of_the_domain_take_every_branch_of_it(tmp_path: Path) -> None:
    environment = {**os.environ, "COVERAGE_FILE": str(tmp_path / "coverage")}
    run = ["-m", "coverage", "run", "--branch", "--source=gateway.domain", "-m", "pytest"]
    tests = ["-q", "-p", "no:cacheprovider", "tests/domain"]
    report = tmp_path / "coverage.json"
    for arguments in (
        [*run, *tests],
        ["-m", "coverage", "combine", "-q", str(tmp_path)],
        ["-m", "coverage", "json", "-q", "-o", str(report)],
    ):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    missing = {
        name: found["missing_lines"] + found["missing_branches"]
        for name, found in json.loads(report.read_text())["files"].items()
        if found["missing_lines"] or found["missing_branches"]
    }
    assert missing == {}

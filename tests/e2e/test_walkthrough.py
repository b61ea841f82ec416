"""The walkthrough of docs/admin.md, run with bash exactly as a newcomer pastes it."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.machine import Machine

PAGE = Path(__file__).resolve().parents[2] / "docs" / "admin.md"
HEADING = "## A team, 100 credits, a key with limits\n"
ADDRESS = "http://127.0.0.1:8080"
BETWEEN = "--- the next block ---"
MISSING = [tool for tool in ("bash", "curl", "jq") if shutil.which(tool) is None]
# What differs from run to run: ids, and how long something took.
_VARYING = re.compile(r"(req|team)_\w+|Retry in \d+\.\d s|(?<=,)\d+,\d+$", re.MULTILINE)


def printed(language: str) -> list[str]:
    """Give the section's blocks in a language."""
    section = PAGE.read_text(encoding="utf-8").split(HEADING, 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def steady(text: str) -> str:
    """Give a text without what differs from run to run."""
    return _VARYING.sub("*", text.strip())


def run_blocks(machine: Machine, folder: Path) -> list[str]:
    """Run all shell blocks in one shell; gives what each printed."""
    blocks = printed("sh")
    assert sum(ADDRESS in block for block in blocks) == 1
    script = f"\necho '{BETWEEN}'\n".join(blocks).replace(ADDRESS, machine.address)
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**machine.env, "PATH": path_with_gateway(machine.env), "no_proxy": "*"},
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split(f"{BETWEEN}\n")


def path_with_gateway(environ: Mapping[str, str]) -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"


def rows_by_team(text: str) -> dict[str, dict[str, str]]:
    return {row["team"]: row for row in csv.DictReader(text.splitlines())}


@pytest.mark.skipif(bool(MISSING), reason=f"the walkthrough needs {', '.join(MISSING)}")
def test_a_newcomer_gets_from_a_team_to_last_weeks_cost_by_pasting(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "data")
    with machine.up():
        made, refused, limited, cost, by_api = run_blocks(machine, tmp_path)
        verified = machine.json("ledger", "verify")

    assert re.search(r"^balance +100$", made, re.MULTILINE)

    (not_allowed,) = printed("json")
    assert steady(refused) == steady(not_allowed)
    assert "legal: wan2.5-t2i-preview" in json.loads(refused)["error"]["message"]

    *accepted, answer = limited.split("\n", 10)
    assert [line.split()[1] for line in accepted] == ["pending"] * 10
    head, body = answer.replace("\r", "").split("\n\n", 1)
    (answered,) = printed("http")
    printed_head, printed_body = answered.split("\n\n", 1)
    assert steady(body) == steady(printed_body)
    status, *headers = printed_head.splitlines()
    assert head.splitlines()[0] == status == "HTTP/1.1 429 Too Many Requests"
    names = {line.partition(":")[0] for line in head.splitlines()}
    assert {line.partition(":")[0] for line in headers} <= names
    assert "ratelimit-limit: 10" in head
    # A minute, and the rest of the second in which it began.
    assert 1 <= int(re.findall(r"^retry-after: (\d+)$", head, re.MULTILINE)[0]) <= 61

    (report,) = printed("csv")
    assert steady(cost) == steady(report)
    assert cost == (tmp_path / "week.csv").read_text(encoding="utf-8")
    assert rows_by_team(cost)["studio"]["cost_usd"] == "0.22"

    rows = rows_by_team(by_api[by_api.index("team,team_id,") :])
    assert {team: (row["images"], row["cost_usd"]) for team, row in rows.items()} == {
        "studio": ("10", "0.22"),
        "press": ("1", "0.022"),
    }
    assert verified["ok"] is True

"""Help costs what it needs: no framework, driver, domain or console library is loaded for it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gateway.cli import app

# Each of these alone takes a noticeable part of the time that help is given.
HEAVY = (
    "aiohttp",
    "alembic",
    "asyncpg",
    "fastapi",
    "gateway.domain",
    "gateway.http",
    "gateway.settings",
    "gateway.wiring",
    "httpx",
    "msgspec",
    "redis",
    "rich",
    "sqlalchemy",
    "uvicorn",
)
GROUPS = [name for group in app.registered_groups if (name := group.name)]

SCRIPT = """
import json, sys
from gateway.cli import app
try:
    app(sys.argv[1:], prog_name="gateway")
except SystemExit as end:
    print(json.dumps({"code": end.code, "modules": sorted(sys.modules)}))
"""


def help_of(*words: str) -> tuple[str, set[str]]:
    """Give what a fresh process prints for help, and the modules it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words, "--help"], capture_output=True, text=True, check=True
    )
    text, _, last = done.stdout.rstrip().rpartition("\n")
    found = json.loads(last)
    assert found["code"] == 0
    return text, set(found["modules"])


def test_help_loads_nothing_heavy() -> None:
    text, modules = help_of()
    assert "Usage: gateway" in text
    assert all(name in text for name in GROUPS)
    assert [name for name in (*HEAVY, "pydantic") if name in modules] == []


@pytest.mark.parametrize("words", [*((name,) for name in GROUPS), ("api",), ("key", "create")])
def test_help_of_a_command_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    text, modules = help_of(*words)
    assert f"Usage: gateway {' '.join(words)}" in text
    assert [name for name in HEAVY if name in modules] == []

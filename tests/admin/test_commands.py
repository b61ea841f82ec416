"""The commands about teams and keys act on the database as the API does, audit rows included."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.stores.postgres.database import Database


@pytest.fixture
def gateway(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)

    def call(*words: str, code: int = 0) -> dict[str, Any]:
        result = CliRunner().invoke(app, [*words, "--json"])
        assert result.exit_code == code, result.output
        found: dict[str, Any] = json.loads(result.stdout or result.stderr)
        return found

    return call


async def _actions(database_url: str) -> list[tuple[str, str]]:
    database = Database(database_url)
    await database.connect()
    rows = await database.read("SELECT actor_id, action FROM audit ORDER BY id")
    await database.close()
    return [(row["actor_id"], row["action"]) for row in rows]


def test_commands_change_teams_and_leave_audit_rows(gateway: Any, database_url: str) -> None:
    gateway("team", "create", "studio")
    assert gateway("team", "suspend", "studio")["suspended_at"] is not None
    assert gateway("team", "resume", "studio")["suspended_at"] is None
    gateway("team", "delete", "studio")
    assert "no team" in gateway("team", "show", "studio", code=1)["error"]
    actions = asyncio.run(_actions(database_url))
    assert actions == [
        ("command-line", f"team.{verb}") for verb in ("create", "suspend", "resume", "delete")
    ]


def test_a_team_with_money_is_not_deleted(gateway: Any) -> None:
    gateway("team", "create", "studio")
    gateway("credits", "grant", "5", "--team", "studio")
    assert "suspend" in gateway("team", "delete", "studio", code=1)["error"]


def test_a_key_is_made_with_rules(gateway: Any) -> None:
    gateway("team", "create", "studio")
    made = gateway("key", "create", "--team", "studio", "--scope", "read", "--network", "::1/128")
    assert set(made) == {"id", "key", "team", "name"}
    wrong = gateway("key", "create", "--team", "studio", "--scope", "write", code=1)
    assert "generate, read, usage" in wrong["error"]

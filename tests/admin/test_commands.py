"""The commands about teams and keys act on the database as the API does, audit rows included."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.stores.postgres.database import Database
from tests.support.stack import CONFIGURATION


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


def test_signing_secrets_and_retries_are_changed_by_command(gateway: Any) -> None:
    old = gateway("team", "create", "studio")["webhook_secret"]
    new = gateway("team", "rotate-secret", "studio", "--overlap-hours", "1")["webhook_secret"]
    assert new != old
    assert gateway("team", "show", "studio")["webhook_secret"] == new
    assert gateway("team", "retries", "studio", "days")["callback_retries"] == "days"
    assert "quick, days" in gateway("team", "retries", "studio", "weeks", code=1)["error"]
    assert "no team" in gateway("team", "rotate-secret", "nobody", code=1)["error"]


def test_callbacks_are_listed_shown_and_replayed_by_command(gateway: Any) -> None:
    assert gateway("callback", "list", "--state", "dead") == []
    assert (
        "pending, delivered, dead" in gateway("callback", "list", "--state", "x", code=1)["error"]
    )
    assert "no team" in gateway("callback", "list", "--team", "nobody", code=1)["error"]
    for verb in ("show", "replay"):
        assert "no callback" in gateway("callback", verb, "msg_x", code=1)["error"]


def test_a_key_is_made_for_one_model_with_limits(
    gateway: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gateway.toml"
    urls = dict.fromkeys(("evolink", "dashscope", "openai"), "http://127.0.0.1:1")
    config.write_text(CONFIGURATION.format(**urls), encoding="utf-8")
    monkeypatch.setenv("GATEWAY_CONFIG", str(config))
    gateway("team", "create", "studio")
    words = ("--model", "wan2.5-t2i-preview", "--images-per-minute", "10")
    gateway("key", "create", "--team", "studio", *words)
    (made,) = gateway("key", "list", "--team", "studio")
    assert (made["models"], made["images_per_minute"]) == (["wan2.5-t2i-preview"], 10)
    wrong = gateway("key", "create", "--team", "studio", "--model", "nothing", code=1)
    assert "'nothing'" in wrong["error"]


def test_a_key_is_capped_shown_and_changed_by_command(
    gateway: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gateway.toml"
    urls = dict.fromkeys(("evolink", "dashscope", "openai"), "http://127.0.0.1:1")
    config.write_text(CONFIGURATION.format(**urls), encoding="utf-8")
    monkeypatch.setenv("GATEWAY_CONFIG", str(config))
    gateway("team", "create", "studio")
    words = ("--concurrent", "5", "--credit-cap", "2.5", "--monthly-credit-cap", "1")
    more = ("--upstream", "cheap", "--expires", "2099-01-01T00:00:00+01:00")
    key = gateway("key", "create", "--team", "studio", *words, *more)["id"]
    shown = gateway("key", "show", key)
    assert (shown["concurrent_tasks"], shown["upstreams"]) == (5, ["cheap"])
    assert (shown["credit_cap"], shown["monthly_credit_cap"]) == ("2.5", "1")
    assert shown["expires_at"] == "2098-12-31T23:00:00+00:00"
    assert (shown["tasks_running"], shown["credits_spent"]) == (0, "0")
    cleared = ("--clear", "credit_cap", "--clear", "expires_at")
    changed = gateway("key", "update", key, "--name", "shop", "--mode", "sync", *cleared)
    assert (changed["name"], changed["mode"]) == ("shop", "sync")
    assert (changed["credit_cap"], changed["expires_at"]) == (None, None)
    assert changed["monthly_credit_cap"] == "1"
    later = gateway("key", "update", key, "--expires", "2099-01-01T00:00:00Z")
    assert later["expires_at"] == "2099-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--credit-cap", "much"), "--credit-cap: 'much' is not a decimal number"),
        (("--credit-cap", "0"), "more than 0 credits"),
        (("--expires", "2020-01-01T00:00:00Z"), "a time to come"),
        (("--expires", "2099-01-01"), "with its zone"),
        (("--clear", "limits"), "legal: expires_at, scopes"),
        (("--clear", "credit_cap", "--credit-cap", "5"), "set by the same command"),
        (("--mode", "later"), "auto, sync, async"),
        ((), "nothing to change"),
    ],
)
def test_what_cannot_be_changed_of_a_key_is_said(
    gateway: Any, words: tuple[str, ...], said: str
) -> None:
    gateway("team", "create", "studio")
    key = gateway("key", "create", "--team", "studio")["id"]
    before = gateway("key", "show", key)
    assert said in gateway("key", "update", key, *words, code=1)["error"]
    assert gateway("key", "show", key) == before


def test_an_upstream_there_is_none_of_is_named(gateway: Any) -> None:
    gateway("team", "create", "studio")
    wrong = gateway("key", "create", "--team", "studio", "--upstream", "nowhere", code=1)
    assert "'nowhere'" in wrong["error"]
    assert "no key" in gateway("key", "show", "key_x", code=1)["error"]


def test_a_team_gets_a_budget_by_command(gateway: Any) -> None:
    gateway("team", "create", "studio")
    words = ("--monthly", "500", "--mode", "alert", "--alert", "50", "--alert", "90")
    more = ("--low-balance", "99.5", "--alert-url", "https://ops.example.com/credits")
    changed = gateway("team", "budget", "studio", *words, *more)
    assert (changed["monthly_budget"], changed["budget_mode"]) == ("500", "alert")
    assert (changed["budget_alerts"], changed["low_balance"]) == ([50, 90], "99.5")
    assert changed["alert_url"] == "https://ops.example.com/credits"
    cleared = gateway("team", "budget", "studio", "--clear", "monthly_budget")
    assert (cleared["monthly_budget"], cleared["low_balance"]) == (None, "99.5")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--monthly", "much"), "--monthly: 'much' is not a decimal number"),
        (("--monthly", "0"), "more than 0 credits"),
        (("--mode", "shout"), "refuse, alert"),
        (("--alert", "0"), "1 to 1000"),
        (("--alert-url", "http://ops.example.com/"), "must start with https"),
        (("--clear", "name"), "monthly_budget, low_balance, alert_url"),
        (("--clear", "low_balance", "--low-balance", "5"), "legal: monthly_budget, alert_url"),
        ((), "nothing to change"),
    ],
)
def test_a_bad_budget_is_said(gateway: Any, words: tuple[str, ...], said: str) -> None:
    gateway("team", "create", "studio")
    before = gateway("team", "show", "studio")
    assert said in gateway("team", "budget", "studio", *words, code=1)["error"]
    assert gateway("team", "show", "studio") == before

"""Credits, refunds and statements, by API and by command."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.support.stack import MODEL, Stack, running_stack

ADMIN = {"authorization": "Bearer the-admin-key"}
MONTH = datetime.now(UTC).strftime("%Y-%m")


@pytest.fixture
async def stack(tmp_path: Any, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(
        tmp_path, database_url, redis_url, admin_key="the-admin-key"
    ) as running:
        yield running


async def admin(stack: Stack, method: str, path: str, body: Any = None, **headers: str) -> Any:
    sent = {**ADMIN, **{name.replace("_", "-"): value for name, value in headers.items()}}
    answer = await stack.client.request(method, f"/admin/v1{path}", json=body, headers=sent)
    assert isinstance(answer, httpx.Response)
    return answer


async def test_finance_grants_adjusts_refunds_and_reads_the_statement(stack: Stack) -> None:
    team = await stack.team(credits=0)
    path = f"/teams/{team.id}/credits"
    grant = {"credits": "10", "reference": "invoice 7"}
    answers = await asyncio.gather(
        *(admin(stack, "POST", path, grant, idempotency_key="k") for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    made = (await stack.post(team, {"model": MODEL, "prompt": "a kite", "n": 2})).json()
    await stack.ended(team, made["id"])
    less = {"kind": "adjustment", "credits": "-0.25", "reference": "fee"}
    assert (await admin(stack, "POST", path, less)).json()["credits"] == "-0.25"
    refund = f"/tasks/{made['id']}/refund"
    back = await admin(stack, "POST", refund, {"credits": "1.5", "reference": "blurred"})
    assert (back.status_code, back.json()["credits"], back.json()["kind"]) == (201, "1.5", "refund")
    listed = (await admin(stack, "GET", path)).json()["data"]
    assert [one["kind"] for one in listed] == ["refund", "adjustment", "grant"]

    path = f"/teams/{team.id}/statements/{MONTH}"
    found = (await admin(stack, "GET", path)).json()
    lines = found.pop("lines")
    assert found == {
        "object": "statement", "team": team.name, "team_id": team.id, "month": MONTH, "open": True,
        "opening": "0", "grants": "10", "adjustments": "-0.25", "charges": "-3", "refunds": "1.5",
        "expirations": "0", "closing": "8.25",
    }  # fmt: skip
    (charge,) = (line for line in lines if line["kind"] == "charge")
    assert (charge["model"], charge["tasks"], charge["images"]) == (MODEL, 1, 2)
    assert (await stack.credits(team))[0] == "8.25"
    text = (await admin(stack, "GET", f"{path}?format=csv")).text
    *rows, closing = csv.DictReader(io.StringIO(text))
    assert sum(Decimal(row["credits"]) for row in rows) == Decimal(closing["credits"])
    await stack.assert_ledger_is_clean()


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "credits", "missing"),
        ({"credits": 5}, "credits", "text"),
        ({"credits": "many"}, "credits", "decimal"),
        ({"credits": "0"}, "credits", "more than 0"),
        ({"credits": "-1"}, "credits", "more than 0"),
        ({"credits": "0.0000001"}, "credits", "six decimals"),
        ({"credits": "9223372036854.775"}, "credits", "too large"),
        ({"credits": "1", "kind": "gift"}, "kind", "grant, adjustment"),
        ({"credits": "1", "kind": "adjustment"}, "reference", "missing"),
        ({"credits": "0", "kind": "adjustment", "reference": "x"}, "credits", "less than 0"),
        ({"credits": "-6", "kind": "adjustment", "reference": "x"}, "credits", "available"),
        ({"credits": "1", "amount": "1"}, "amount", "no such field"),
        ({"credits": "1", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "not in the future"),
        ({"credits": "1", "expires_at": "soon"}, "expires_at", "a time such as"),
        (
            {
                "credits": "1",
                "kind": "adjustment",
                "reference": "x",
                "expires_at": "2099-01-01T00:00:00Z",
            },
            "expires_at",
            "Only a grant",
        ),
    ],
)
async def test_a_wrong_movement_is_named_and_moves_nothing(
    stack: Stack, body: Any, field: str, words: str
) -> None:
    team = await stack.team(credits=5)
    refused = await admin(stack, "POST", f"/teams/{team.id}/credits", body)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["param"] == field
    assert words in refused.json()["error"]["message"]
    assert await stack.credits(team) == ("5", "0", "5")


async def test_what_is_not_there_is_404_and_a_wrong_month_400(stack: Stack) -> None:
    team = await stack.team()
    missing = [
        ("POST", "/teams/nobody/credits", {"credits": "1"}),
        ("GET", "/teams/nobody/credits", None),
        ("GET", f"/teams/nobody/statements/{MONTH}", None),
        ("POST", "/tasks/nobody/refund", {"reference": "x"}),
    ]
    for method, path, body in missing:
        assert (await admin(stack, method, path, body)).status_code == 404
    for month in ("2026-13", "november", "9000-01"):
        refused = await admin(stack, "GET", f"/teams/{team.id}/statements/{month}")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "month")


@pytest.fixture
def gateway(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)

    def call(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, words)
        assert result.exit_code == code, result.output
        return result.stdout or result.stderr

    return call


def test_commands_move_credits_and_print_statements(gateway: Any) -> None:
    gateway("team", "create", "studio")
    grant = ("credits", "grant", "5", "--team", "studio", "--reference", "=invoice", "--json")
    assert json.loads(gateway(*grant))["granted"] == "5"
    take = ("credits", "adjust", "--team", "studio", "--by", "-1.5", "--reference", "fee")
    assert json.loads(gateway(*take, "--json"))["credits"] == "-1.5"
    assert "more than" not in gateway("credits", "list", "--team", "studio")
    view = json.loads(gateway("statement", "studio", MONTH, "--json"))
    assert (view["grants"], view["adjustments"], view["closing"]) == ("5", "-1.5", "3.5")
    text = gateway("statement", "studio", MONTH, "--csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["kind"] for row in rows] == ["opening", "grant", "adjustment", "closing"]
    assert (rows[1]["reference"], rows[2]["credits"]) == ("'=invoice", "-1.5")
    assert "closing" in gateway("statement", "studio", MONTH)
    assert "no team" in gateway("statement", "nobody", MONTH, code=1)
    assert "2026-11" in gateway("statement", "studio", "last", code=1)
    assert "no charge" in gateway("credits", "refund", "task-1", "--reference", "x", code=1)
    assert "decimal" in gateway(*take[:5], "much", *take[6:], code=1)


async def test_a_grant_that_expires_says_so_and_is_booked_by_a_worker(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.worker.CHORES_EVERY_S", 0.1)
    await stack.stop_workers()
    await stack.start_worker()
    team = await stack.team(credits=2)
    path = f"/teams/{team.id}/credits"
    soon = datetime.now(UTC) + timedelta(seconds=1)
    given = {"credits": "3", "expires_at": soon.isoformat()}
    made = (await admin(stack, "POST", path, given)).json()
    assert datetime.fromisoformat(made["expires_at"]) == soon.replace(
        microsecond=soon.microsecond // 1000 * 1000
    )
    assert (await stack.credits(team))[0] == "5"
    async with asyncio.timeout(10):
        while (await stack.credits(team))[0] != "2":
            await asyncio.sleep(0.1)
    gone = (await admin(stack, "GET", path)).json()["data"][0]
    assert (gone["kind"], gone["credits"]) == ("expiration", "-3")
    assert gone["reference"] == f"grant {made['id']}"
    await stack.assert_ledger_is_clean()


def test_a_grant_that_expires_is_made_by_command(gateway: Any) -> None:
    gateway("team", "create", "studio")
    grant = ("credits", "grant", "5", "--team", "studio", "--json", "--expires")
    gateway(*grant, "2099-01-01T00:00:00Z")
    (listed,) = json.loads(gateway("credits", "list", "--team", "studio", "--json"))
    assert listed["expires_at"] == "2099-01-01T00:00:00+00:00"
    assert "a time to come" in gateway(*grant, "2020-01-01T00:00:00Z", code=1)

"""Usage reports: by API for operators and teams, and by command."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.support.stack import MODEL, Stack, running_stack

ADMIN = {"authorization": "Bearer the-admin-key"}
TODAY = datetime.now(UTC).date()


@pytest.fixture
async def stack(tmp_path: Any, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(
        tmp_path, database_url, redis_url, admin_key="the-admin-key"
    ) as running:
        yield running


async def ask(stack: Stack, query: str) -> httpx.Response:
    return await stack.client.get(f"/admin/v1/usage{query}", headers=ADMIN)


async def test_operators_and_teams_read_the_same_sums(stack: Stack) -> None:
    teams = [await stack.team(), await stack.team()]
    for team in teams:
        made = await stack.post(team, {"model": MODEL, "prompt": "a kite", "n": 2})
        await stack.ended(team, made.json()["id"])
    body = (await ask(stack, "")).json()
    assert (body["by"], body["credits_charged"], body["images"]) == (["team"], "6", 4)
    first = body["data"][0]
    assert first | {"latency_p50_ms": 0, "latency_p95_ms": 0} == {
        "team": "team-1", "team_id": teams[0].id, "tasks": 1, "completed": 1, "images": 2,
        "credits_charged": "3", "cost_usd": "0.044", "exposure_usd": "0", "margin_usd": "0",
        "waste_usd": "0", "latency_p50_ms": 0, "latency_p95_ms": 0,
    }  # fmt: skip
    assert 0 < first["latency_p50_ms"] <= first["latency_p95_ms"]
    own = (await stack.get(teams[0], "/v1/usage")).json()
    assert [row | first for row in own["data"]] == [
        {"model": MODEL, "status": "completed", **first}
    ]
    (row,) = (await stack.get(teams[1], "/v1/usage?by=hour,upstream&days=1")).json()["data"]
    assert row["hour"].startswith(str(TODAY))
    assert (row["upstream"], row["images"]) == ("cheap", 2)


async def test_csv_and_ndjson_are_streamed_with_the_same_rows(stack: Stack) -> None:
    team = await stack.team()
    made = await stack.post(team, {"model": MODEL, "prompt": "a kite"})
    await stack.ended(team, made.json()["id"])
    query = f"?by=team,day&from={TODAY - timedelta(days=7)}&to={TODAY}"
    rows = (await ask(stack, query)).json()["data"]
    text = await ask(stack, query + "&format=csv")
    assert text.headers["content-type"].startswith("text/csv")
    assert list(csv.DictReader(io.StringIO(text.text))) == [
        {name: str(value) for name, value in row.items()} for row in rows
    ]
    lines = await ask(stack, query + "&format=ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == rows
    empty = await ask(stack, "?from=2020-01-01&to=2020-01-02&format=csv")
    assert empty.text.startswith("team,team_id,tasks,")


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("by=moon", "by", "day, hour, team, key, model, upstream, status"),
        ("by=team,", "by", "day, hour"),
        ("from=yesterday", "from", "2026-11-16"),
        ("to=2026-13-01", "to", "2026-11-16"),
        ("to=2026-11-16T08:00:00", "to", "2026-11-16T08:00:00Z"),
        ("from=2026-11-16&to=2026-11-15", "from", "before to"),
        ("by=hour&from=2026-01-01", "from", "31 days"),
        ("from=2026-01-01T00:00:01Z", "from", "31 days"),
        ("from=0001-01-01T00:00:00%2B23:59", "from", "31 days"),
        ("status=done", "status", "completed, failed, cancelled"),
        ("format=xlsx", "format", "json, csv, ndjson"),
        ("team=nobody", "team", "no team"),
        ("key=nobody&format=csv", "key", "no key"),
        ("model=%00", "model", "1 to 500"),
        ("group=team", "group", "no such"),
    ],
)
async def test_a_wrong_parameter_is_named(stack: Stack, query: str, field: str, words: str) -> None:
    refused = await ask(stack, f"?{query}")
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert error["param"] == field
    assert words in error["message"]


async def test_a_team_names_no_team_and_needs_the_scope(stack: Stack) -> None:
    team = await stack.team()
    refused = await stack.get(team, "/v1/usage?team=team-2")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "team")
    assert (await stack.get(team, "/v1/usage?days=0")).json()["error"]["param"] == "days"


async def _one_task_yesterday(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    at_ms = int(datetime.now(UTC).timestamp() * 1000) - 86_400_000
    await connection.execute(
        "INSERT INTO teams (id, name, created_ms) VALUES ('team_1', '=studio', 0)"
    )
    await connection.execute(
        """
        INSERT INTO attempts (id, task_id, no, upstream, adapter, upstream_model, started_ms,
            outcome, planned_cost, cost, exposure, polls, misses, retry_after_ms, idempotent,
            on_ambiguous, delivered)
        VALUES ('a1', 't1', 1, 'cheap', 'evolink', 'wan', 0, 'delivered', 22000, 22000, 0, 0, 0,
            0, true, 'failover', 1)
        """
    )
    await connection.execute(
        """
        INSERT INTO usage (task_id, team_id, key_id, model, upstream, status, images, charged,
            cost, exposure, created_ms, finished_ms)
        VALUES ('t1', 'team_1', 'key_1', 'wan', 'cheap', 'completed', 1, 1500000, 22000, 0,
            $1::bigint - 4000, $1)
        """,
        at_ms,
    )
    await connection.close()


def test_last_weeks_cost_per_team_is_one_command(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(_one_task_yesterday(database_url))
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)
    words = ["usage", "--by", "team", "--from", str(TODAY - timedelta(days=7)), "--to", str(TODAY)]

    def call(*more: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*words, *more])
        assert result.exit_code == code, result.output
        return result.stdout or result.stderr

    (line,) = csv.DictReader(io.StringIO(call("--csv")))
    assert (line["team"], line["credits_charged"], line["cost_usd"]) == ("'=studio", "1.5", "0.022")
    (row,) = json.loads(call("--json"))
    assert (row["team"], row["margin_usd"]) == ("=studio", "0")
    assert "=studio" in call()
    assert json.loads(call("--json", "--only", "status=failed")) == []
    assert "by team" not in call("--json", "--by", "x", code=1)
    assert "--only" in call("--only", "colour=red", code=2)

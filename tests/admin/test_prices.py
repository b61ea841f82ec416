"""Prices agreed with a team or a key: what is quoted, held and charged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from tests.support.stack import MODEL, Stack, Team, running_stack

ADMIN = {"authorization": "Bearer the-admin-key"}
KITE = {"model": MODEL, "prompt": "a kite"}
LONG_AGO, LATER = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(
        tmp_path, database_url, redis_url, admin_key="the-admin-key"
    ) as running:
        yield running


async def agree(stack: Stack, team: Team, credits: Any, **more: Any) -> httpx.Response:
    body = {"team_id": team.id, "model": MODEL, "credits": credits, **more}
    return await stack.client.post("/admin/v1/prices", json=body, headers=ADMIN)


async def quoted(stack: Stack, team: Team, key: str | None = None, **more: Any) -> str:
    headers = {"authorization": f"Bearer {key or team.key}"}
    body = {**KITE, **more}
    answer = await stack.client.post("/v1/images/quote", json=body, headers=headers)
    return str(answer.json()["credits"])


async def keys_of(stack: Stack, team: Team) -> list[dict[str, Any]]:
    answer = await stack.client.get(f"/admin/v1/keys?team_id={team.id}", headers=ADMIN)
    return list(answer.json()["data"])


async def test_a_team_is_quoted_shown_held_and_charged_its_own_price(stack: Stack) -> None:
    team, other = await stack.team(), await stack.team()
    made = await agree(stack, team, "0.7")
    assert made.status_code == 200, made.text
    assert (await quoted(stack, team), await quoted(stack, other)) == ("0.7", "1.5")
    shown = (await stack.get(team, f"/v1/models/{MODEL}")).json()
    assert shown["price"]["per_image"] == "0.7"
    listed = (await stack.get(team, "/v1/models")).json()["data"]
    assert next(m for m in listed if m["id"] == MODEL)["price"]["per_image"] == "0.7"

    created = (await stack.post(team, {**KITE, "n": 2})).json()
    await stack.ended(team, created["id"])
    assert (await stack.credits(team))[0] == "98.6"
    assert (await stack.gateway.ledger.verify()).violations == ()


async def test_a_keys_price_goes_before_its_teams_and_follows_its_rotation(stack: Stack) -> None:
    team = await stack.team()
    (key,) = await keys_of(stack, team)
    await agree(stack, team, "0.7")
    await agree(stack, team, {"1K": "0.4", "2K": "0.6"}, key_id=key["id"])
    assert await quoted(stack, team, size="1024x1024") == "0.4"
    _, plain = await stack.gateway.keys.create(team.id, "another")
    assert await quoted(stack, team, plain) == "0.7"
    rotated = await stack.client.post(f"/admin/v1/keys/{key['id']}/rotate", headers=ADMIN)
    assert await quoted(stack, team, rotated.json()["key"], size="1024x1024") == "0.4"


async def test_a_price_holds_between_its_times_and_until_it_is_removed(stack: Stack) -> None:
    team = await stack.team()
    await agree(stack, team, "0.7", until=LONG_AGO)
    assert await quoted(stack, team) == "1.5"
    await agree(stack, team, "0.8", **{"from": LATER})
    assert await quoted(stack, team) == "1.5"
    made = (await agree(stack, team, "0.9", **{"from": LONG_AGO, "until": LATER})).json()
    assert await quoted(stack, team) == "0.9"
    listed = (await stack.client.get(f"/admin/v1/prices?team_id={team.id}", headers=ADMIN)).json()
    assert listed["data"] == [made]

    path = f"/admin/v1/prices/{made['id']}"
    assert (await stack.client.delete(path, headers=ADMIN)).status_code == 204
    assert (await stack.client.delete(path, headers=ADMIN)).status_code == 404
    assert await quoted(stack, team) == "1.5"
    log = await stack.client.get(f"/admin/v1/audit?subject={made['id']}", headers=ADMIN)
    actions = [entry["action"] for entry in log.json()["data"]]
    assert actions == ["price.remove", "price.set", "price.set", "price.set"]


async def test_what_is_no_price_is_refused_by_name(stack: Stack) -> None:
    team, other = await stack.team(), await stack.team()
    (key,) = await keys_of(stack, other)
    for body, param in (
        ({"credits": "-1"}, "credits"),
        ({"credits": "1.1234567"}, "credits"),
        ({"credits": {"8K": "1"}}, "credits"),
        ({"credits": {}}, "credits"),
        ({"credits": 3}, "credits"),
        ({"model": "wan2.5-t2i-prevew"}, "model"),
        ({"model": ""}, "model"),
        ({"edit_surcharge": "-1"}, "edit_surcharge"),
        ({"from": LATER, "until": LONG_AGO}, "until"),
        ({"colour": 1}, "colour"),
    ):
        answer = await agree(stack, team, **{"credits": "1", **body})
        assert answer.status_code == 400, (body, answer.text)
        assert answer.json()["error"]["param"] == param
    for body in ({"team_id": "team_none"}, {"key_id": "key_none"}, {"key_id": key["id"]}):
        answer = await agree(stack, team, "1", **body)
        assert answer.status_code == 404, (body, answer.text)
    assert (await stack.client.get("/admin/v1/prices", headers=ADMIN)).json()["data"] == []


async def test_commands_set_list_and_remove(
    stack: Stack, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_CONFIG", str(stack.gateway.settings.config))
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)
    team = await stack.team()

    async def call(*words: str) -> tuple[int, Any]:
        def invoke() -> Any:
            return CliRunner().invoke(app, ["price", *words, "--json"])

        result = await asyncio.to_thread(invoke)
        # The gateway beside it logs into what is captured.
        last = (result.stdout if result.exit_code == 0 else result.stderr).splitlines()[-1]
        return result.exit_code, json.loads(last)

    code, made = await call("set", MODEL, "1K=0.4,2K=0.6", "--team", team.name, "--until", LATER)
    assert (code, made["credits"]) == (0, {"1K": "0.4", "2K": "0.6"})
    async with asyncio.timeout(2):
        while await quoted(stack, team, size="1024x1024") != "0.4":
            await asyncio.sleep(0.05)
    assert (await call("list", "--team", team.name)) == (0, [made])
    for words, named in (
        (("set", MODEL, "x", "--team", team.name), "CREDITS"),
        (("set", "nothing", "1", "--team", team.name), "MODEL"),
        (("set", MODEL, "1", "--team", "nobody"), "nobody"),
        (("set", MODEL, "1", "--team", team.name, "--from", "soon"), "--from"),
        (("set", MODEL, "1", "--team", team.name, "--edit-surcharge=-1"), "--edit-surcharge"),
        (("set", MODEL, "1", "--team", team.name, "--from", LATER, "--until", LONG_AGO), "--until"),
    ):
        code, error = await call(*words)
        assert (code, named in error["error"]) == (1, True), error
    assert (await call("remove", made["id"]))[1]["removed"] is True
    assert (await call("list"))[1] == []

"""What bounds batches: the lines of a team, the size of a file, every budget, the catalogue."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.domain.access import KeyRules
from gateway.domain.administration import COMMAND_LINE
from gateway.domain.money import MICRO
from tests.e2e.test_batches import kites, results, send, until
from tests.support.stack import Stack, Team, running_stack


async def test_all_batches_of_a_team_share_its_bound(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with running_stack(
        tmp_path, database_url, redis_url, workers=2, batch_lines_running=3, batch_max_mib=1
    ) as stack:
        team = await stack.team(credits=1000)
        slow = kites(5, prompt="a slow kite [sim:work_ms=400]")
        ids = [(await send(stack, team, slow)).json()["id"] for _ in range(2)]
        most = 0
        async with asyncio.timeout(60):
            while True:
                listed = (await stack.get(team, "/v1/batches")).json()["data"]
                most = max(most, sum(one["lines"]["running"] for one in listed))
                if all(one["status"] == "completed" for one in listed):
                    break
                await asyncio.sleep(0.02)
        assert most == 3
        assert {one["id"] for one in listed} == set(ids)
        assert {one["concurrency"] for one in listed} == {3}
        too_wide = await send(stack, team, slow, "?concurrency=4")
        assert "legal: 1 to 3" in too_wide.json()["error"]["message"]
        too_large = await send(stack, team, kites(1, prompt="x" * 1_100_000))
        assert (too_large.status_code, "1 MiB" in too_large.text) == (413, True)


async def capped(stack: Stack, team: Team, rules: KeyRules) -> Team:
    _, text = await stack.gateway.keys.create(team.id, "capped", rules=rules)
    return Team(team.id, team.name, text, team.secret)


@pytest.mark.parametrize("code", ["key_credit_cap", "team_budget", "not_allowed"])
async def test_every_budget_and_a_changed_rule_pause_a_batch(stack: Stack, code: str) -> None:
    team = await stack.team(credits=1000)
    caller = team
    if code == "key_credit_cap":
        caller = await capped(stack, team, KeyRules(credit_cap=4 * MICRO))
    elif code == "team_budget":
        fields = {"monthly_budget": 4 * MICRO}
        await stack.gateway.ledger.update_team(team.id, fields, COMMAND_LINE)

    batch = (await send(stack, caller, kites(6), "?concurrency=1")).json()
    if code == "not_allowed":
        (key,) = await stack.gateway.keys.keys(team.id)
        narrow = {"models": ("wan2.7-image",)}
        await stack.gateway.keys.update(key.id, narrow)
    paused = await until(stack, caller, batch["id"], "paused")

    assert paused["reason"]["code"] == code
    assert paused["lines"]["failed"] == 0
    if code != "not_allowed":
        assert paused["lines"]["completed"] == 2


async def test_a_model_that_is_not_sold_any_more_fails_its_lines_alone(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stack.stop_workers()
    team = await stack.team()
    lines = [*kites(2), {"model": "wan2.7-image", "prompt": "a kite"}]
    batch = (await send(stack, team, lines)).json()
    path = stack.gateway.settings.config
    assert path is not None
    text = await asyncio.to_thread(path.read_text)
    gone = text.replace('{ model = "wan2.7-image", cost_usd = "0.0294" },', "")
    gone = gone.replace(
        '[models."wan2.7-image"]\nprice_credits = "2"\naliases = ["gpt-image-1"]', ""
    )
    assert gone != text
    await asyncio.to_thread(path.write_text, gone)
    stack.gateway.configuration.reload()
    await stack.start_worker()

    ended = await until(stack, team, batch["id"], "completed")

    assert (ended["lines"]["completed"], ended["lines"]["failed"]) == (2, 1)
    (failed,) = [one for one in await results(stack, team, batch["id"]) if one["error"]]
    assert (failed["line"], failed["error"]["code"]) == (3, "model_not_found")
    assert (failed["task_id"], failed["data"], failed["credits_charged"]) == (None, [], "0")


async def test_what_a_line_asks_for_is_kept_until_it_is_sent(stack: Stack) -> None:
    team = await stack.team(credits="1.5")
    batch = (await send(stack, team, kites(2), "?concurrency=1")).json()
    await until(stack, team, batch["id"], "paused")
    rows = await stack.gateway.database.read(
        "SELECT no, draft FROM batch_lines WHERE batch_id = $1 ORDER BY no", batch["id"]
    )
    assert [bool(row["draft"]) for row in rows] == [False, True]
    assert json.loads(rows[1]["draft"])["request"]["prompt"] == "kite 2"

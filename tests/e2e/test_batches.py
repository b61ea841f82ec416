"""Batches: a file of create calls, each line a task of its own, exactly once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from gateway.domain.access import KeyRules
from gateway.domain.money import MICRO
from gateway.simulator import Script
from tests.support.stack import MODEL, Stack, Team

pytestmark = pytest.mark.asyncio(loop_scope="module")
KITE = {"model": MODEL, "prompt": "a red kite"}
JSONL = {"content-type": "application/jsonl"}


def kites(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{**KITE, "prompt": f"kite {number}", **fields} for number in range(1, count + 1)]


async def send(
    stack: Stack, team: Team, lines: Sequence[object], query: str = "", **headers: str
) -> httpx.Response:
    body = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    merged = {**team.headers, **JSONL, **headers}
    return await stack.client.post(f"/v1/batches{query}", content=body, headers=merged)


async def until(
    stack: Stack, team: Team, batch_id: str, *states: str, timeout_s: float = 30
) -> dict[str, Any]:
    async with asyncio.timeout(timeout_s):
        while True:
            body = (await stack.get(team, f"/v1/batches/{batch_id}")).json()
            if body["status"] in states:
                return body
            await asyncio.sleep(0.05)


async def results(stack: Stack, team: Team, batch_id: str, query: str = "") -> list[dict[str, Any]]:
    answer = await stack.get(team, f"/v1/batches/{batch_id}/results{query}")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_every_line_becomes_one_task_with_its_pictures(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team(credits=100)
    wrapped = {
        "custom_id": "sku-7",
        "method": "POST",
        "url": "/v1/images/generations",
        "body": {**KITE, "n": 2},
    }

    made = await send(stack, team, [*kites(3), "", wrapped], "?concurrency=2&name=spring")
    assert made.status_code == 200, made.text
    batch = made.json()
    ended = await until(stack, team, batch["id"], "completed")

    assert (batch["object"], batch["name"], batch["concurrency"]) == ("batch", "spring", 2)
    assert batch["lines"]["total"] == 4
    assert ended["lines"] == {
        "total": 4, "waiting": 0, "running": 0, "completed": 4, "failed": 0, "cancelled": 0,
    }  # fmt: skip
    assert (ended["images"], ended["credits_charged"]) == (5, "7.5")
    found = await results(stack, team, batch["id"])
    assert [one["line"] for one in found] == [1, 2, 3, 5]
    assert [len(one["data"]) for one in found] == [1, 1, 1, 2]
    assert found[3]["custom_id"] == "sku-7"
    assert [one["line"] for one in await results(stack, team, batch["id"], "?after=3")] == [5]
    task = (await stack.get(team, f"/v1/tasks/{found[0]['task_id']}")).json()
    assert task["data"] == found[0]["data"]
    assert (await stack.credits(team))[0] == "92.5"


async def test_nothing_is_made_of_a_file_with_bad_lines(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team()
    lines = [
        KITE,
        {**KITE, "n": 99},
        "{not json",
        {**KITE, "promt": "x"},
        {"custom_id": "a", "body": KITE},
        {"custom_id": "a", "body": KITE},
        {"custom_id": "b", "url": "/v1/chat/completions", "body": KITE},
        {**KITE, "model": "nothing"},
        {**KITE, "stream": True},
        {**KITE, "response_format": "b64_json"},
        {"custom_id": "c"},
        {**KITE, "callback_url": "https://127.0.0.1/hook"},
    ]

    answer = await send(stack, team, lines)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["param"] == "lines[2].n"
    for no in (2, 3, 4, 6, 7, 8, 9, 10, 11, 12):
        assert f"Line {no}: " in error["message"], no
    assert "Line 1: " not in error["message"]
    assert (await stack.get(team, "/v1/batches")).json()["data"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?concurrency=0", "concurrency"),
        ("?concurrency=100000", "concurrency"),
        ("?callback_url=http://example.com", "callback_url"),
        ("?callback_url=https://127.0.0.1/x", "callback_url"),
        ("?parallel=3", "parallel"),
        ("?name=" + "x" * 101, "name"),
    ],
)
async def test_bad_options_are_named(calm_stack: Stack, query: str, field: str) -> None:
    stack, team = calm_stack, await calm_stack.team()
    answer = await send(stack, team, [KITE], query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field), answer.text


async def test_an_empty_file_and_one_too_many_lines_are_refused(
    calm_stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, team = calm_stack, await calm_stack.team()
    monkeypatch.setattr("gateway.app.batch_intake.LINES_MAX", 2)

    empty = await send(stack, team, ["", " "])
    crowded = await send(stack, team, kites(3))

    assert (empty.status_code, crowded.status_code) == (400, 400)
    assert "legal: 1 to 2 lines" in crowded.json()["error"]["message"]


async def test_the_same_file_under_the_same_key_is_the_same_batch(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team()
    key = {"idempotency-key": "spring-2026"}

    both = await asyncio.gather(*(send(stack, team, kites(2), **key) for _ in range(2)))
    again = await send(stack, team, kites(2), **key)
    other = await send(stack, team, kites(3), **key)
    otherwise = await send(stack, team, kites(2), "?concurrency=1", **key)

    assert {answer.json()["id"] for answer in (*both, again)} == {both[0].json()["id"]}
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status_code, otherwise.status_code) == (422, 422)
    assert len((await stack.get(team, "/v1/batches")).json()["data"]) == 1


async def test_a_batch_stops_at_what_the_team_can_pay_and_goes_on_after_a_grant(
    calm_stack: Stack,
) -> None:
    stack, team = calm_stack, await calm_stack.team(credits=5)
    batch = (await send(stack, team, kites(6), "?concurrency=4")).json()

    paused = await until(stack, team, batch["id"], "paused")
    assert paused["reason"]["code"] == "insufficient_credits"
    assert (paused["lines"]["completed"], paused["lines"]["waiting"]) == (3, 3)
    assert (await stack.credits(team)) == ("0.5", "0", "0.5")
    assert [one["line"] for one in await results(stack, team, batch["id"])] == [1, 2, 3]

    await stack.gateway.ledger.grant(team.id, 100 * MICRO, None)
    resumed = await stack.post(team, None, f"/v1/batches/{batch['id']}/resume")
    assert (resumed.json()["status"], resumed.json()["reason"]) == ("running", None)
    ended = await until(stack, team, batch["id"], "completed")
    assert ended["lines"]["completed"] == 6
    late = await stack.post(team, None, f"/v1/batches/{batch['id']}/resume")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "batch_ended")


async def test_what_failed_lines_give_back_pays_for_further_ones(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team(credits="4.5")
    stack.simulator.script("evolink", Script(error="content_policy", times=3))

    batch = (await send(stack, team, kites(6), "?concurrency=6")).json()
    ended = await until(stack, team, batch["id"], "completed")

    assert (ended["lines"]["completed"], ended["lines"]["failed"]) == (3, 3)
    found = await results(stack, team, batch["id"])
    errors = [one["error"]["code"] for one in found if one["error"]]
    assert errors == ["content_policy_violation"] * 3
    assert await stack.credits(team) == ("0", "0", "0")


async def test_a_revoked_key_pauses_and_another_key_resumes(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team()
    first, _ = await stack.gateway.keys.create(team.id, "first")
    batch = (await send(stack, team, kites(12), "?concurrency=1")).json()
    # The batch is that of the calling key.
    keys = await stack.gateway.keys.keys(team.id)
    calling = next(key for key in keys if key.id != first.id)
    await stack.gateway.keys.revoke(calling.id)
    _, text = await stack.gateway.keys.create(team.id, "second")
    second = Team(team.id, team.name, text, team.secret)

    paused = await until(stack, second, batch["id"], "paused")
    assert paused["reason"]["code"] == "invalid_api_key"
    assert paused["lines"]["waiting"] > 0
    resumed = await stack.post(second, None, f"/v1/batches/{batch['id']}/resume?x=1")
    assert resumed.status_code == 200
    assert (await until(stack, second, batch["id"], "completed"))["lines"]["completed"] == 12


async def test_limits_a_minute_only_slow_a_batch_down(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team()
    rules = KeyRules(images_per_minute=2, concurrent_tasks=1)
    _, text = await stack.gateway.keys.create(team.id, "slow", rules=rules)
    slow = Team(team.id, team.name, text, team.secret)

    batch = (await send(stack, slow, kites(3))).json()
    async with asyncio.timeout(20):
        while (await stack.get(slow, f"/v1/batches/{batch['id']}")).json()["lines"][
            "completed"
        ] < 2:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)

    now = (await stack.get(slow, f"/v1/batches/{batch['id']}")).json()
    assert (now["status"], now["lines"]["waiting"], now["lines"]["failed"]) == ("running", 1, 0)
    cancelled = await stack.post(slow, None, f"/v1/batches/{batch['id']}/cancel")
    assert cancelled.json()["status"] == "cancelling"
    ended = await until(stack, slow, batch["id"], "cancelled")
    assert (ended["lines"]["completed"], ended["lines"]["cancelled"]) == (2, 1)
    again = await stack.post(slow, None, f"/v1/batches/{batch['id']}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


async def test_a_batch_keeps_to_its_concurrency_and_a_team_to_its_own(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team(credits=1000)
    slow = kites(6, prompt="a slow kite [sim:work_ms=600]")
    one = (await send(stack, team, slow, "?concurrency=2")).json()
    most = 0
    async with asyncio.timeout(30):
        while True:
            body = (await stack.get(team, f"/v1/batches/{one['id']}")).json()
            most = max(most, body["lines"]["running"])
            if body["status"] == "completed":
                break
            await asyncio.sleep(0.02)
    assert most == 2


async def test_a_cancel_ends_what_was_not_sent_and_charges_only_the_rest(
    calm_stack: Stack,
) -> None:
    stack, team = calm_stack, await calm_stack.team(credits=100)
    lines = kites(30, prompt="a slow kite [sim:work_ms=700]")
    batch = (await send(stack, team, lines, "?concurrency=3")).json()
    async with asyncio.timeout(10):
        while not (await stack.get(team, f"/v1/batches/{batch['id']}")).json()["lines"]["running"]:
            await asyncio.sleep(0.02)

    await stack.post(team, None, f"/v1/batches/{batch['id']}/cancel")
    ended = await until(stack, team, batch["id"], "cancelled")

    lines_now = ended["lines"]
    assert lines_now["waiting"] == lines_now["running"] == 0
    assert lines_now["cancelled"] >= 24
    assert lines_now["completed"] + lines_now["cancelled"] == 30
    assert (await stack.credits(team))[1] == "0"
    tasks = (await stack.get(team, "/v1/tasks?limit=100")).json()["data"]
    assert len(tasks) <= 6


async def test_anybody_elses_batch_is_a_404(calm_stack: Stack) -> None:
    stack, team, other = calm_stack, await calm_stack.team(), await calm_stack.team()
    batch = (await send(stack, team, [KITE])).json()
    for path in ("", "/results"):
        answer = await stack.get(other, f"/v1/batches/{batch['id']}{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "batch_not_found")
    for verb in ("resume", "cancel"):
        answer = await stack.post(other, None, f"/v1/batches/{batch['id']}/{verb}")
        assert answer.status_code == 404


async def test_batches_are_listed_in_pages(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team()
    ids = [(await send(stack, team, [KITE])).json()["id"] for _ in range(3)]
    first = (await stack.get(team, "/v1/batches?limit=2")).json()
    rest = (await stack.get(team, f"/v1/batches?limit=2&cursor={first['next_cursor']}")).json()
    assert [one["id"] for one in first["data"] + rest["data"]] == ids[::-1]
    assert (first["has_more"], rest["has_more"]) == (True, False)


async def test_a_key_needs_the_scope_for_what_it_does(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team()
    batch = (await send(stack, team, [KITE])).json()
    _, text = await stack.gateway.keys.create(team.id, "r", rules=KeyRules(scopes=("read",)))
    reader = Team(team.id, team.name, text, team.secret)
    assert (await send(stack, reader, [KITE])).status_code == 403
    assert (await stack.get(reader, f"/v1/batches/{batch['id']}")).status_code == 200


async def test_figures_and_operators_see_what_is_under_way(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team(credits=3)
    batch = (await send(stack, team, kites(4), "?name=autumn")).json()
    await until(stack, team, batch["id"], "paused")
    admin = stack.gateway.core.admin

    metrics = (await stack.client.get("/metrics")).text
    found = await admin.batches.batch_page(50, None, team_id=team.id, status="paused")

    assert "igw_batches_paused 1.0" in metrics
    assert "igw_batch_lines_waiting 2.0" in metrics
    assert 'igw_batch_lines_total{status="completed"}' in metrics
    assert 'igw_batches_total{status="cancelled"}' in metrics
    assert [one.name for one in found.items] == ["autumn"]
    await stack.post(team, None, f"/v1/batches/{batch['id']}/cancel")
    await until(stack, team, batch["id"], "cancelled")


async def test_another_worker_goes_on_at_once_when_one_stops(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team(credits=1000)
    batch = (await send(stack, team, kites(60), "?concurrency=4")).json()
    async with asyncio.timeout(10):
        while not (await stack.get(team, f"/v1/batches/{batch['id']}")).json()["images"]:
            await asyncio.sleep(0.02)

    await stack.stop_workers()
    at_stop = (await stack.get(team, f"/v1/batches/{batch['id']}")).json()["lines"]
    await stack.start_worker()

    assert at_stop["waiting"] > 0
    ended = await until(stack, team, batch["id"], "completed")
    assert ended["lines"]["completed"] == 60

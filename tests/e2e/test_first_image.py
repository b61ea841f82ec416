"""The main job, end to end: a request becomes a picture that opens, and is paid for exactly."""

from __future__ import annotations

import asyncio
import base64

import httpx
import pytest

from gateway.domain.machine import apply
from gateway.domain.steps import CancelRequested
from gateway.domain.task import Outcome
from gateway.simulator import Script
from tests.support.stack import MODEL, Stack, picture_size

LANTERN = {"model": MODEL, "prompt": "a paper lantern", "size": "1280x1280"}


async def download(url: str) -> bytes:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(url)
        answer.raise_for_status()
        return answer.content


async def test_an_asynchronous_call_gives_a_task_and_then_its_picture(stack: Stack) -> None:
    team = await stack.team(credits=100)

    created = await stack.post(team, LANTERN)
    body = await stack.ended(team, created.json()["id"])

    assert created.status_code == 200
    assert created.json()["status"] == "pending"
    assert created.json()["usage"]["credits_reserved"] == 1.5
    assert body["status"] == "completed"
    assert body["usage"]["credits_charged"] == 1.5
    assert picture_size(await download(body["results"][0])) == (1280, 1280)
    assert await stack.credits(team) == ("98.5", "0", "98.5")
    await stack.assert_ledger_is_clean()


async def test_a_waiting_call_gives_pictures_and_the_task_fields(stack: Stack) -> None:
    team = await stack.team()

    answer = await stack.post(team, {**LANTERN, "n": 2, "response_format": "url"})

    body = answer.json()
    assert answer.status_code == 200
    assert len(body["data"]) == 2
    assert body["id"] == body["task_id"] == answer.headers["x-task-id"]
    assert picture_size(await download(body["data"][1]["url"])) == (1280, 1280)


async def test_pictures_come_inline_when_asked_for(stack: Stack) -> None:
    team = await stack.team()

    answer = await stack.post(team, {**LANTERN, "response_format": "b64_json"})

    content = base64.b64decode(answer.json()["data"][0]["b64_json"], validate=True)
    assert picture_size(content) == (1280, 1280)


async def test_a_vendor_that_answers_inline_still_gives_links(stack: Stack) -> None:
    team = await stack.team()

    body = {"model": "gpt-image-1.5", "prompt": "a kite", "size": "1024x1024"}
    answer = await stack.post(team, {**body, "response_format": "url"})

    url = answer.json()["data"][0]["url"]
    assert url.startswith(f"{stack.url}/assets/")
    assert url.endswith(".png")
    assert picture_size(await download(url)) == (1024, 1024)


async def test_the_cheapest_upstream_is_used_and_the_vendor_bills_what_we_booked(
    stack: Stack,
) -> None:
    team = await stack.team()

    created = await stack.post(team, {**LANTERN, "n": 3})
    await stack.ended(team, created.json()["id"])

    task = await stack.task(created.json()["id"])
    assert [attempt.upstream for attempt in task.attempts] == ["cheap"]
    assert task.cost == stack.simulator.bill("evolink").amount_usd_micros == 66_000
    assert stack.simulator.bill("dashscope").amount_usd_micros == 0


async def test_partial_delivery_is_charged_by_the_picture(stack: Stack) -> None:
    team = await stack.team(credits=10)
    stack.simulator.script("evolink", Script(deliver=1))

    created = await stack.post(team, {**LANTERN, "n": 4})
    body = await stack.ended(team, created.json()["id"])

    assert len(body["results"]) == 1
    assert body["usage"]["credits_reserved"] == 6
    assert body["usage"]["credits_charged"] == 1.5
    assert await stack.credits(team) == ("8.5", "0", "8.5")
    await stack.assert_ledger_is_clean()


async def test_a_dead_vendor_changes_nothing_for_the_caller(stack: Stack) -> None:
    team = await stack.team()
    await stack.simulator.down("evolink")

    answer = await stack.post(team, {**LANTERN, "async": False})

    task = await stack.task(answer.json()["id"])
    assert answer.status_code == 200
    assert [(a.upstream, a.outcome) for a in task.attempts] == [
        ("cheap", Outcome.NOT_SENT),
        ("dear", Outcome.DELIVERED),
    ]
    assert task.exposure == 0


@pytest.mark.parametrize("fault", ["server_error", "unpaid", "bad_key", "rate"])
async def test_faults_of_the_vendor_fail_over(stack: Stack, fault: str) -> None:
    team = await stack.team()
    stack.simulator.script("evolink", Script(error=fault))

    answer = await stack.post(team, {**LANTERN, "async": False})

    task = await stack.task(answer.json()["id"])
    assert answer.status_code == 200
    assert [(a.upstream, a.outcome) for a in task.attempts] == [
        ("cheap", Outcome.REFUSED),
        ("dear", Outcome.DELIVERED),
    ]
    assert stack.simulator.bill("evolink").amount_usd_micros == 0


async def test_a_refused_prompt_is_the_callers_fault_and_costs_nothing(stack: Stack) -> None:
    team = await stack.team(credits=10)
    stack.simulator.script("evolink", Script(error="content_policy"))

    answer = await stack.post(team, {**LANTERN, "async": False})

    task = await stack.task(answer.headers["x-task-id"])
    assert answer.status_code == 400
    assert answer.headers["x-should-retry"] == "false"
    assert [attempt.upstream for attempt in task.attempts] == ["cheap"]
    assert await stack.credits(team) == ("10", "0", "10")
    await stack.assert_ledger_is_clean()


async def test_a_job_that_fails_at_the_vendor_is_made_elsewhere(stack: Stack) -> None:
    team = await stack.team()
    stack.simulator.script("evolink", Script(fail="service_error"))

    created = await stack.post(team, LANTERN)
    body = await stack.ended(team, created.json()["id"])

    task = await stack.task(created.json()["id"])
    assert body["status"] == "completed"
    assert [attempt.outcome for attempt in task.attempts] == [Outcome.FAILED, Outcome.DELIVERED]


async def test_a_queued_task_is_cancelled_and_its_credits_return(stack: Stack) -> None:
    team = await stack.team(credits=10)
    await stack.stop_workers()
    created = await stack.post(team, LANTERN)
    task_id = created.json()["id"]

    cancelled = await stack.client.post(f"/v1/tasks/{task_id}/cancel", headers=team.headers)

    assert cancelled.status_code == 200
    assert cancelled.json()["status"] == "cancelled"
    assert await stack.credits(team) == ("10", "0", "10")
    again = await stack.client.post(f"/v1/tasks/{task_id}/cancel", headers=team.headers)
    assert again.status_code == 200
    await stack.assert_ledger_is_clean()


async def test_a_task_at_a_vendor_that_cannot_cancel_goes_on(stack: Stack) -> None:
    team = await stack.team()
    stack.simulator.script("evolink", Script(work_ms=1_500))
    created = await stack.post(team, LANTERN)
    task_id = created.json()["id"]
    async with asyncio.timeout(10):
        while not (await stack.task(task_id)).attempts:
            await asyncio.sleep(0.02)

    refused = await stack.client.post(f"/v1/tasks/{task_id}/cancel", headers=team.headers)
    body = await stack.ended(team, task_id)

    assert refused.status_code == 409
    assert refused.json()["error"]["code"] == "task_not_cancellable"
    assert body["status"] == "completed"
    await stack.assert_ledger_is_clean()


async def test_a_cancel_survives_the_process_that_asked_the_vendor(stack: Stack) -> None:
    """It died between the vendor's yes and the settlement: the next one ends the task cancelled."""
    team = await stack.team(credits=10)
    rules = {"only": ["dear"]}
    prompt = "a kite to cancel [sim:queue_ms=20000]"
    created = await stack.post(team, {"model": MODEL, "prompt": prompt, "provider": rules})
    task_id = created.json()["id"]
    async with asyncio.timeout(10):
        while (at_vendor := (await stack.task(task_id)).last) is None or not at_vendor.is_live:
            await asyncio.sleep(0.02)
    assert at_vendor.upstream_task_id is not None
    await stack.gateway.tasks.save(apply(await stack.task(task_id), CancelRequested(0)), None)
    assert await stack.gateway.configuration.adapters["dear"].cancel(at_vendor.upstream_task_id)

    body = await stack.ended(team, task_id)

    assert body["status"] == "cancelled"
    assert await stack.credits(team) == ("10", "0", "10")
    await stack.assert_ledger_is_clean()


async def test_a_wish_to_cancel_is_durable_when_the_vendor_hears_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = await stack.team(credits=10)
    prompt = "a kite to cancel [sim:queue_ms=20000]"
    body = {"model": MODEL, "prompt": prompt, "provider": {"only": ["dear"]}}
    task_id = (await stack.post(team, body)).json()["id"]
    async with asyncio.timeout(10):
        while (last := (await stack.task(task_id)).last) is None or not last.is_live:
            await asyncio.sleep(0.02)
    dear = stack.gateway.configuration.adapters["dear"]
    ask, wishes = dear.cancel, []

    async def cancel(upstream_task_id: str) -> bool:
        wishes.append((await stack.task(task_id)).cancel_requested)
        return await ask(upstream_task_id)

    monkeypatch.setattr(dear, "cancel", cancel)
    answer = await stack.client.post(f"/v1/tasks/{task_id}/cancel", headers=team.headers)

    assert answer.status_code == 200, answer.text
    assert wishes == [True]


async def test_a_wait_that_ends_early_gives_the_task_and_loses_nothing(stack: Stack) -> None:
    team = await stack.team()
    stack.simulator.script("evolink", Script(work_ms=1_500))

    answer = await stack.post(team, LANTERN, headers={"prefer": "wait=1"})
    body = await stack.ended(team, answer.json()["id"])

    assert answer.status_code == 200
    assert answer.json()["status"] in ("pending", "processing")
    assert body["status"] == "completed"


async def test_tasks_are_listed_newest_first_and_only_to_their_team(stack: Stack) -> None:
    mine, other = await stack.team(), await stack.team()
    ids = [(await stack.post(mine, LANTERN)).json()["id"] for _ in range(3)]

    page = (await stack.get(mine, "/v1/tasks?limit=2")).json()
    strangers = (await stack.get(other, "/v1/tasks")).json()
    foreign = await stack.get(other, f"/v1/tasks/{ids[0]}")

    assert [task["id"] for task in page["data"]] == ids[::-1][:2]
    assert strangers["data"] == []
    assert foreign.status_code == 404
    assert foreign.json()["error"]["code"] == "task_not_found"


async def test_a_task_remembers_how_it_was_routed(stack: Stack) -> None:
    team = await stack.team()

    created = await stack.post(team, {**LANTERN, "seed": 7})
    await stack.ended(team, created.json()["id"])

    route = (await stack.task(created.json()["id"])).route
    assert route[0] == "1. dear: $0.029"
    assert route[1].startswith("not cheap: seed")

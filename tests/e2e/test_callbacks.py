"""Callbacks: signed, sent after the money is settled, retried with the same id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook

from gateway.domain.administration import COMMAND_LINE as ASK
from gateway.simulator import Script
from tests.support.certificates import authority
from tests.support.receivers import Answer, Received, Receiver, receiver, reply
from tests.support.stack import MODEL, Stack, Team, running_stack

LANTERN = {"model": MODEL, "prompt": "a paper lantern"}


@asynccontextmanager
async def listening(
    tmp_path: Path, database_url: str, redis_url: str, answer: Answer, **settings: Any
) -> AsyncIterator[tuple[Stack, Receiver, str]]:
    """Run a gateway that may call a receiver on this machine, and that receiver."""
    ca = authority(tmp_path)
    async with (
        receiver(answer, ca.server("localhost")) as hook,
        running_stack(
            tmp_path,
            database_url,
            redis_url,
            callback_allowed_hosts=frozenset({f"localhost:{hook.port}"}),
            callback_ca_file=ca.ca_file,
            **settings,
        ) as stack,
    ):
        yield stack, hook, f"https://localhost:{hook.port}/hook"


async def received(hook: Receiver, count: int) -> list[Received]:
    async with asyncio.timeout(20):
        while len(hook.requests) < count:
            await asyncio.sleep(0.05)
    return hook.requests


def verified(team: Team, request: Received) -> Any:
    """Check the signature with the standard's own implementation."""
    return Webhook(team.secret).verify(request.body, request.headers)


async def test_a_completed_task_is_told_once_with_the_body_of_a_query(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with listening(tmp_path, database_url, redis_url, reply(204)) as (stack, hook, url):
        team = await stack.team()
        created = await stack.post(team, {**LANTERN, "callback_url": url})

        (request,) = await received(hook, 1)
        body = (await stack.get(team, f"/v1/tasks/{created.json()['id']}")).json()

        assert verified(team, request) == json.loads(request.body)
        assert json.loads(request.body) == body
        assert body["usage"]["credits_charged"] == 1.5
        (logged,) = await stack.gateway.outbox.of_task(body["id"])
        assert logged.state == "delivered"
        assert "." not in request.headers["webhook-id"]


async def test_a_failing_receiver_is_tried_again_with_the_same_id(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    statuses = [500, 302, 200]

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        await reply(statuses.pop(0))(request, writer)

    async with listening(tmp_path, database_url, redis_url, answer) as (stack, hook, url):
        team = await stack.team()
        created = await stack.post(team, {**LANTERN, "callback_url": url})

        requests = await received(hook, 3)
        (logged,) = await stack.gateway.outbox.of_task(created.json()["id"])

        assert len({request.headers["webhook-id"] for request in requests}) == 1
        assert len({request.body for request in requests}) == 1
        first, second, *_ = logged.tries
        assert first.status == 500
        assert second.started_ms - first.started_ms >= 1_000


async def test_failures_and_cancellations_are_told_and_events_filter(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with listening(tmp_path, database_url, redis_url, reply(200)) as (stack, hook, url):
        team = await stack.team()
        for vendor in ("evolink", "dashscope"):
            stack.simulator.script(vendor, Script(error="content_policy"))
        unheard = {**LANTERN, "callback_url": url, "callback_events": ["completed"]}
        silent = (await stack.post(team, unheard)).json()["id"]
        told = (await stack.post(team, {**LANTERN, "callback_url": url})).json()["id"]
        await stack.ended(team, silent)

        (request,) = await received(hook, 1)

        assert json.loads(request.body)["id"] == told
        assert json.loads(request.body)["status"] == "failed"
        assert await stack.gateway.outbox.of_task(silent) == ()


async def test_a_team_is_told_of_its_budget_and_low_balance(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    statuses = [503, 200, 200]

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        await reply(statuses.pop(0))(request, writer)

    async with listening(tmp_path, database_url, redis_url, answer) as (stack, hook, url):
        team = await stack.team(credits=4)
        given = {"monthly_budget": 2_000_000, "low_balance": 3_000_000, "alert_url": url}
        await stack.gateway.ledger.update_team(team.id, {**given, "budget_alerts": (70,)}, ASK)
        created = await stack.post(team, LANTERN)
        await stack.ended(team, created.json()["id"])

        requests = await received(hook, 3)
        bodies = {request.headers["webhook-id"]: verified(team, request) for request in requests}
        assert len(bodies) == 2
        told = {body["type"]: body["data"] for body in bodies.values()}
        assert told["team.budget"]["percent"] == 70
        assert (told["team.budget"]["spent"], told["team.budget"]["monthly_budget"]) == ("1.5", "2")
        assert told["team.low_balance"]["balance"] == "2.5"

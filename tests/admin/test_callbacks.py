"""Dead letters, replays and signing secrets, by `/admin/v1` and by command."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gateway.stores.postgres.outbox import callback_id
from tests.e2e.test_callbacks import LANTERN, listening, received
from tests.support.receivers import Received, reply
from tests.support.stack import Stack

ADMIN = {"authorization": "Bearer the-admin-key"}


async def call(stack: Stack, method: str, path: str, body: Any = None) -> httpx.Response:
    return await stack.client.request(method, f"/admin/v1{path}", json=body, headers=ADMIN)


async def ended(stack: Stack, of_callback: str, state: str) -> dict[str, Any]:
    """Wait until a callback is in a state."""
    async with asyncio.timeout(20):
        while True:
            answer = await call(stack, "GET", f"/callbacks/{of_callback}")
            assert answer.status_code in (200, 404)
            if answer.status_code == 200 and answer.json()["state"] == state:
                found: dict[str, Any] = answer.json()
                return found
            await asyncio.sleep(0.05)


def signers(request: Received, *secrets: str) -> list[bool]:
    """Say which of the secrets alone verify a callback."""
    found = []
    for secret in secrets:
        try:
            Webhook(secret).verify(request.body, request.headers)
        except WebhookVerificationError:
            found.append(False)
        else:
            found.append(True)
    return found


async def test_a_gone_receiver_is_a_dead_letter_that_a_replay_revives(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    answers = [410, 204]

    async def answer(request: Received, writer: asyncio.StreamWriter) -> None:
        await reply(answers.pop(0))(request, writer)

    async with listening(tmp_path, database_url, redis_url, answer, admin_key="the-admin-key") as (
        stack,
        hook,
        url,
    ):
        team = await stack.team()
        first = (await stack.post(team, {**LANTERN, "callback_url": url})).json()["id"]
        dead = await ended(stack, callback_id(first), "dead")
        assert [tried["status"] for tried in dead["tries"]] == [410]
        assert dead["next_try_at"] is None

        second = (await stack.post(team, {**LANTERN, "callback_url": url})).json()["id"]
        unsent = await ended(stack, callback_id(second), "dead")
        assert "410" in unsent["tries"][0]["error"]
        assert len(hook.requests) == 1
        letters = (await call(stack, "GET", "/callbacks?state=dead")).json()["data"]
        assert {letter["id"] for letter in letters} == {dead["id"], unsent["id"]}

        replayed = await call(stack, "POST", f"/callbacks/{unsent['id']}/replay")
        assert (replayed.status_code, replayed.json()["state"]) == (200, "pending")
        requests = await received(hook, 2)
        assert requests[1].headers["webhook-id"] == unsent["id"]
        await ended(stack, unsent["id"], "delivered")
        log = (await call(stack, "GET", f"/audit?subject={unsent['id']}")).json()["data"]
        assert [entry["action"] for entry in log] == ["callback.replay"]


async def test_both_secrets_sign_while_they_overlap(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with listening(
        tmp_path, database_url, redis_url, reply(204), admin_key="the-admin-key"
    ) as (stack, hook, url):
        team = await stack.team()
        path = f"/teams/{team.id}/rotate-secret"
        answer = await call(stack, "POST", path, {"overlap_seconds": 3600})
        new = answer.json()["webhook_secret"]
        assert new != team.secret
        await stack.post(team, {**LANTERN, "callback_url": url})
        (request,) = await received(hook, 1)
        assert signers(request, new, team.secret) == [True, True]

        newest = (await call(stack, "POST", path, {"overlap_seconds": 0})).json()["webhook_secret"]
        await stack.post(team, {**LANTERN, "callback_url": url})
        request = (await received(hook, 2))[1]
        assert signers(request, newest, new, team.secret) == [True, False, False]
        log = (await call(stack, "GET", f"/audit?subject={team.id}")).json()["data"]
        assert [e["action"] for e in log].count("team.rotate_secret") == 2
        assert "whsec_" not in json.dumps(log)


async def test_wrong_questions_about_callbacks_are_explained(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with listening(
        tmp_path, database_url, redis_url, reply(204), admin_key="the-admin-key"
    ) as (stack, _, _url):
        team = await stack.team()
        wrong = (await call(stack, "GET", "/callbacks?state=lost")).json()["error"]
        assert wrong["param"] == "state"
        assert "pending, delivered, dead" in wrong["message"]
        for method, path in (("GET", "/callbacks/msg_x"), ("POST", "/callbacks/msg_x/replay")):
            assert (await call(stack, method, path)).status_code == 404
        weeks = {"callback_retries": "weeks"}
        refused = await call(stack, "PATCH", f"/teams/{team.id}", weeks)
        assert refused.status_code == 400
        assert "quick, days" in refused.json()["error"]["message"]
        changed = await call(stack, "PATCH", f"/teams/{team.id}", {"callback_retries": "days"})
        assert changed.json()["callback_retries"] == "days"
        body = {"overlap_seconds": -1}
        overlap = await call(stack, "POST", f"/teams/{team.id}/rotate-secret", body)
        assert overlap.json()["error"]["param"] == "overlap_seconds"

"""Idempotency-Key: the same call sent again is answered with the same task, and buys nothing."""

from __future__ import annotations

import asyncio
import io

import pytest
from PIL import Image

from gateway.app.ports import NewTask
from gateway.simulator import Script
from gateway.stores.postgres.failures import ConnectionLost
from tests.support.stack import MODEL, Stack, Team

pytestmark = pytest.mark.asyncio(loop_scope="module")
LANTERN = {"model": MODEL, "prompt": "a paper lantern"}
KEY = {"idempotency-key": "order-17"}
DASHSCOPE = {"model": MODEL, "input": {"prompt": "a paper lantern"}, "parameters": {"n": 1}}
CREATES = [
    ("/v1/images/generations", LANTERN),
    ("/evolink/v1/images/generations", LANTERN),
    ("/openai/v1/images/generations", LANTERN),
    ("/modelverse/v1/images/generations", LANTERN),
    ("/modelverse/v1/tasks/submit", {"model": MODEL, "input": {"prompt": "a paper lantern"}}),
    ("/qingbo/v1/tasks", {**LANTERN, "action": "generate"}),
    ("/dashscope/api/v1/services/aigc/text2image/image-synthesis", DASHSCOPE),
]
ASYNC = {"x-dashscope-async": "enable"}


async def tasks_of(stack: Stack, team: Team) -> list[str]:
    body = (await stack.get(team, "/v1/tasks")).json()
    return [task["id"] for task in body["data"]]


def picture() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (512, 512), "teal").save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(("path", "body"), CREATES)
async def test_a_repeated_call_is_answered_with_the_first_ones_task(
    calm_stack: Stack, path: str, body: object
) -> None:
    stack, team = calm_stack, await calm_stack.team(credits=10)

    first = await stack.post(team, body, path, {**KEY, **ASYNC})
    again = await stack.post(team, body, path, {**KEY, **ASYNC})

    assert first.status_code == again.status_code == 200, first.text
    assert first.headers["x-task-id"] == again.headers["x-task-id"]
    assert first.json().keys() == again.json().keys()
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert await tasks_of(stack, team) == [first.headers["x-task-id"]]
    await stack.ended(team, first.headers["x-task-id"])
    assert (await stack.credits(team))[0] == "8.5"


async def test_a_form_is_recognised_by_what_it_says(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team()
    form = {"model": "wan2.5-i2i-preview", "prompt": "make it teal", "async": "true"}
    same = dict(reversed(form.items()))

    answers = [
        await stack.client.post(
            "/v1/images/edits",
            data=fields,
            files={"image": (name, picture(), "image/png")},
            headers={**team.headers, **KEY},
        )
        for fields, name in ((form, "a.png"), (same, "b.png"), ({**form, "n": "2"}, "a.png"))
    ]

    assert [answer.status_code for answer in answers] == [200, 200, 422], answers[0].text
    assert answers[0].json()["id"] == answers[1].json()["id"]


async def test_how_the_body_is_written_makes_no_difference(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team()
    first = await stack.post(team, {**LANTERN, "n": 1}, headers=KEY)
    again = await stack.client.post(
        "/v1/images/generations",
        content=f'{{ "prompt":"a paper \\u006cantern", "model":"{MODEL}", "seed": null }}',
        headers={**team.headers, **KEY, "content-type": "application/json"},
    )

    assert first.json()["id"] == again.json()["id"]


@pytest.mark.parametrize(("path", "body"), CREATES)
async def test_another_request_under_the_same_key_is_refused(
    calm_stack: Stack, path: str, body: dict
) -> None:
    stack, team = calm_stack, await calm_stack.team(credits=10)
    await stack.post(team, body, path, {**KEY, **ASYNC})
    text = {"prompt": "a kite"}
    other = {**body, "input": text} if "input" in body else {**body, **text}

    answer = await stack.post(team, other, path, {**KEY, **ASYNC})

    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.text
    assert len(await tasks_of(stack, team)) == 1


async def test_the_native_conflict_has_its_code(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team()
    await stack.post(team, LANTERN, headers=KEY)

    answers = [
        await stack.post(team, {**LANTERN, **more}, headers=KEY)
        for more in (
            {"callback_url": "https://example.com/hook"},
            {"response_format": "b64_json"},
            {"seed": 7},
        )
    ]

    assert [answer.status_code for answer in answers] == [422] * 3
    assert {answer.json()["error"]["code"] for answer in answers} == {"idempotency_conflict"}


async def test_a_waiting_caller_attaches_to_the_running_task(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team()
    stack.simulator.script("evolink", Script(work_ms=800))
    created = (await stack.post(team, LANTERN, headers=KEY)).json()

    waited = await stack.post(team, {**LANTERN, "async": False}, headers=KEY)

    assert created["status"] == "pending"
    assert waited.headers["idempotent-replayed"] == "true"
    assert (waited.json()["id"], waited.json()["status"]) == (created["id"], "completed")
    assert len(waited.json()["data"]) == 1


async def test_two_calls_at_once_make_one_task(calm_stack: Stack) -> None:
    stack, team = calm_stack, await calm_stack.team(credits="1.5")

    answers = await asyncio.gather(*(stack.post(team, LANTERN, headers=KEY) for _ in range(10)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await stack.credits(team))[1:] in (("1.5", "0"), ("0", "0"))
    await stack.assert_ledger_is_clean()


@pytest.mark.parametrize(
    ("body", "credits", "status"), [({**LANTERN, "n": 99}, 10, 400), (LANTERN, 1, 402)]
)
async def test_a_refused_call_leaves_its_key_free(
    calm_stack: Stack, body: object, credits: int, status: int
) -> None:
    stack, team = calm_stack, await calm_stack.team(credits=credits)
    refused = await stack.post(team, body, headers=KEY)
    await stack.gateway.ledger.grant(team.id, 10_000_000, None)

    accepted = await stack.post(team, LANTERN, headers=KEY)

    assert (refused.status_code, accepted.status_code) == (status, 200)
    assert "idempotent-replayed" not in accepted.headers


async def test_a_key_belongs_to_its_team_and_operation(calm_stack: Stack) -> None:
    stack = calm_stack
    one, two = await stack.team(), await stack.team()
    ids = {
        (await stack.post(team, LANTERN, path, KEY)).headers["x-task-id"]
        for team in (one, two)
        for path in ("/v1/images/generations", "/openai/v1/images/generations")
    }

    assert len(ids) == 4


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_of_a_bad_length_is_refused_by_name(calm_stack: Stack, key: str) -> None:
    team = await calm_stack.team()

    answer = await calm_stack.post(team, LANTERN, headers={"idempotency-key": key})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Idempotency-Key"
    assert "255" in answer.json()["error"]["message"]
    longest = await calm_stack.post(team, LANTERN, headers={"idempotency-key": "k" * 255})
    assert longest.status_code == 200


@pytest.mark.parametrize(
    ("headers", "may_repeat"),
    [
        ({}, False),
        ({"idempotency-key": "k"}, True),
        ({"x-stainless-retry-count": "1"}, True),
    ],
)
async def test_an_unknown_outcome_may_be_repeated_where_the_repetition_attaches(
    calm_stack: Stack, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], may_repeat: bool
) -> None:
    async def cut(_: NewTask) -> None:
        raise ConnectionLost("", "ConnectionError: db.internal:5432 gateway_user")

    stack, team = calm_stack, await calm_stack.team()
    monkeypatch.setattr(stack.gateway.tasks, "accept", cut)
    answer = await stack.post(team, {"model": MODEL, "prompt": "a kite"}, headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert (answer.headers.get("x-should-retry") != "false") is may_repeat
    assert "db.internal" not in answer.text

"""A key's limits as its caller meets them: headers, a 429 in its dialect, nothing lost."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from gateway.app.ports import NewTask
from gateway.domain.access import KeyRules
from gateway.domain.limits import Taken, Verdict
from gateway.domain.request import GenerationRequest
from gateway.domain.submission import Draft
from gateway.stores.postgres.failures import ConnectionLost
from tests.support.stack import MODEL, Stack, Team

LANTERN = {"model": MODEL, "prompt": "a lantern"}


async def limited(stack: Stack, credits: int = 1_000, **rules: Any) -> Team:
    team = await stack.team(credits=credits)
    _, text = await stack.gateway.keys.create(team.id, "limited", rules=KeyRules(**rules))
    return Team(team.id, team.name, text, team.secret)


def counts(answer: httpx.Response) -> tuple[str, str]:
    return answer.headers["ratelimit-limit"], answer.headers["ratelimit-remaining"]


async def test_pictures_are_counted_and_the_next_is_refused_with_when_to_come_back(
    stack: Stack,
) -> None:
    team = await limited(stack, images_per_minute=10, requests_per_minute=100)
    first = await stack.post(team, {**LANTERN, "n": 4})
    assert counts(first) == ("10", "6")
    assert first.headers["ratelimit-policy"] == '"requests";q=100;w=60, "images";q=10;w=60'
    second = await stack.post(team, {**LANTERN, "n": 4})
    assert counts(second) == ("10", "2")
    third = await stack.post(team, {**LANTERN, "n": 4})

    assert third.status_code == 429
    error = third.json()["error"]
    assert error["code"] == "rate_limited"
    assert "10 images a minute" in error["message"]
    assert "2 images" in error["message"]
    assert 55 <= int(third.headers["retry-after"]) <= 61
    assert counts(third) == ("10", "2")
    fits = await stack.post(team, {**LANTERN, "n": 2})
    assert (fits.status_code, counts(fits)) == (200, ("10", "0"))
    held = await stack.gateway.ledger.team(team.id)
    assert held is not None
    await stack.assert_ledger_is_clean()


async def test_of_two_hundred_calls_at_once_exactly_the_allowed_pass(stack: Stack) -> None:
    team = await limited(stack, requests_per_minute=50)
    answers = await asyncio.gather(*(stack.post(team, LANTERN) for _ in range(200)))
    assert [a.status_code for a in answers].count(200) == 50
    assert {a.status_code for a in answers} == {200, 429}


async def test_a_refused_call_uses_nothing_up(stack: Stack) -> None:
    team = await limited(stack, credits=3, images_per_minute=4)
    too_dear = await stack.post(team, {**LANTERN, "n": 4})
    assert too_dear.status_code == 402
    bad = await stack.post(team, {**LANTERN, "size": "1x1"})
    assert bad.status_code == 400
    never = await stack.post(team, {**LANTERN, "n": 4, "model": "nothing"})
    assert never.status_code == 404
    good = await stack.post(team, {**LANTERN, "n": 2})
    assert counts(good) == ("4", "2")


async def test_a_repetition_uses_nothing_up(stack: Stack) -> None:
    team = await limited(stack, requests_per_minute=2)
    key = {"idempotency-key": "k"}
    ids = {(await stack.post(team, LANTERN, headers=key)).headers["x-task-id"] for _ in range(5)}
    assert len(ids) == 1
    assert counts(await stack.post(team, LANTERN)) == ("2", "0")


async def test_more_pictures_than_a_minute_allows_are_named_as_the_callers_mistake(
    stack: Stack,
) -> None:
    team = await limited(stack, images_per_minute=2)
    answer = await stack.post(team, {**LANTERN, "n": 3})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "n")
    assert "1 to 2" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/openai/v1/images/generations", LANTERN, ("error", "code")),
        ("/evolink/v1/images/generations", LANTERN, ("error", "code")),
        (
            "/dashscope/api/v1/services/aigc/text2image/image-synthesis",
            {"model": MODEL, "input": {"prompt": "a lantern"}},
            ("code",),
        ),
        ("/qingbo/v1/tasks", {**LANTERN, "action": "generate"}, ()),
        ("/modelverse/v1/images/generations", LANTERN, ()),
    ],
)
async def test_the_refusal_speaks_the_callers_dialect(
    stack: Stack, path: str, body: Any, where: tuple[str, ...]
) -> None:
    team = await limited(stack, requests_per_minute=1)
    assert (await stack.post(team, LANTERN)).status_code == 200
    headers = {"x-dashscope-async": "enable"}
    answer = await stack.post(team, body, path, headers=headers)
    assert answer.status_code == 429, answer.text
    assert answer.headers["ratelimit-remaining"] == "0"
    assert "1 requests a minute" in answer.text
    found = answer.json()
    for name in where:
        found = found[name]
    assert found


async def test_while_valkey_is_away_a_process_counts_for_itself(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.domain.errors import IndexUnavailable
    from gateway.stores.valkey.key_limits import LIMIT

    run = stack.gateway.valkey.run

    async def away(script: Any, *rest: Any) -> Any:
        if script is LIMIT:
            raise IndexUnavailable
        return await run(script, *rest)

    monkeypatch.setattr(stack.gateway.valkey, "run", away)
    team = await limited(stack, requests_per_minute=2)
    statuses = [(await stack.post(team, LANTERN)).status_code for _ in range(4)]
    assert statuses == [200, 200, 429, 429]


@pytest.mark.parametrize("error", [ConnectionLost, asyncio.CancelledError])
async def test_a_call_that_may_have_been_accepted_keeps_what_it_took(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    team = await limited(stack, requests_per_minute=1)
    tasks, accept = stack.gateway.tasks, stack.gateway.tasks.accept

    async def cut(new: NewTask) -> None:
        await accept(new)
        raise error

    monkeypatch.setattr(tasks, "accept", cut)
    principal = await stack.gateway.keys.principal(team.key)
    assert principal is not None
    draft = Draft(GenerationRequest(model=MODEL, prompt="a lantern"))
    with pytest.raises(error):
        await stack.gateway.core.submit.accept(principal, "evolink", draft)
    monkeypatch.undo()
    assert (await stack.post(team, LANTERN)).status_code == 429


async def test_who_comes_back_when_told_to_is_not_refused_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> Taken:
        return Taken((Verdict("requests", 5, 0, 7_400, 7_400),))

    team = await limited(stack, requests_per_minute=5)
    monkeypatch.setattr(stack.gateway.core.submit.limits, "take", refuse)
    answer = await stack.post(team, LANTERN)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "8")

"""What goes wrong inside reaches the outside with the right blame and the right bill."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from gateway.domain.errors import Blame
from gateway.domain.money import MICRO
from gateway.domain.task import Outcome, Task, TaskStatus
from tests.chained.chain import (
    BAD_KEY,
    BAD_MODELS,
    CREDITS,
    GOOD,
    INNER_PRICES,
    NO_CREDIT,
    NO_MODEL,
    OUTER_PRICES,
    PER_USD,
    PREFIXES,
    Chain,
)
from tests.support.stack import Team

pytestmark = pytest.mark.asyncio(loop_scope="module")

N = 3
CONTENT = ("[sim:error=content_policy]", "[sim:fail=content_policy]")
PARTIAL = "[sim:deliver=1]"
BAD = (BAD_KEY, NO_CREDIT, NO_MODEL)
each_adapter = pytest.mark.parametrize("adapter", PREFIXES)


@dataclass
class Ran:
    """What became of one request at both gateways."""

    body: dict[str, Any]
    outer: Task
    inner: list[Task]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def team(chain: Chain) -> Team:
    return await chain.outer.team(CREDITS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ran(chain: Chain, team: Team) -> Mapping[tuple[str, str], Ran]:
    """Ask every dialect for everything that goes wrong, all at once."""
    wanted = [(adapter, what) for adapter in PREFIXES for what in (*CONTENT, PARTIAL, *BAD)]
    bodies = await asyncio.gather(*(_send(chain, team, *pair) for pair in wanted))
    inner: dict[str, list[Task]] = {}
    for row in await chain.inner.gateway.database.read("SELECT id FROM tasks"):
        request = await chain.inner.gateway.tasks.request_of(row["id"])
        inner.setdefault(request.prompt, []).append(await chain.inner.task(row["id"]))
    return {
        pair: Ran(body, await chain.outer.task(body["id"]), inner.get(_prompt(*pair), []))
        for pair, body in zip(wanted, bodies, strict=True)
    }


def _prompt(adapter: str, what: str) -> str:
    return f"{adapter} {what}"


async def _send(chain: Chain, team: Team, adapter: str, what: str) -> dict[str, Any]:
    names = [f"{what}-{adapter}"] if what in BAD else []
    body = {
        "model": BAD_MODELS[adapter],
        "prompt": _prompt(adapter, what),
        "n": N if what == PARTIAL else 1,
        "provider": {"only": [*names, f"{GOOD}-{adapter}"]},
    }
    answer = await chain.outer.post(team, body, headers={"prefer": "wait=60"})
    path = f"/v1/tasks/{answer.headers['x-task-id']}"
    shown: dict[str, Any] = (await chain.outer.get(team, path)).json()
    return shown


@each_adapter
@pytest.mark.parametrize("what", CONTENT)
async def test_a_refused_prompt_ends_it_and_nobody_pays(
    chain: Chain, ran: Mapping[tuple[str, str], Ran], adapter: str, what: str
) -> None:
    it = ran[adapter, what]
    (attempt,) = it.outer.attempts
    assert it.body["status"] == "failed"
    # Qingbo has one word for everything the model refuses.
    code = "invalid_parameters" if adapter == "qingbo" else "content_policy_violation"
    assert it.body["error"]["code"] == code
    assert (attempt.upstream, attempt.blame) == (f"{GOOD}-{adapter}", Blame.CALLER)
    assert [task.status for task in it.inner] == [TaskStatus.FAILED]
    assert it.outer.charged == it.outer.cost == it.outer.exposure == it.inner[0].charged == 0


@each_adapter
@pytest.mark.parametrize("what", BAD)
async def test_a_fault_of_our_account_inside_is_made_elsewhere_and_paid_once(
    chain: Chain, ran: Mapping[tuple[str, str], Ran], adapter: str, what: str
) -> None:
    it, model = ran[adapter, what], BAD_MODELS[adapter]
    assert it.body["status"] == "completed"
    assert [(a.upstream, a.outcome, a.blame) for a in it.outer.attempts] == [
        (f"{what}-{adapter}", Outcome.REFUSED, Blame.ACCOUNT),
        (f"{GOOD}-{adapter}", Outcome.DELIVERED, None),
    ]
    assert [task.status for task in it.inner] == [TaskStatus.COMPLETED]
    assert it.outer.charged == OUTER_PRICES[model] * MICRO
    assert it.outer.cost == INNER_PRICES[model] * MICRO / PER_USD
    assert it.outer.exposure == 0


@each_adapter
@pytest.mark.parametrize("what", BAD)
async def test_the_faulty_account_rests_and_the_quote_says_why(
    chain: Chain, team: Team, ran: Mapping[tuple[str, str], Ran], adapter: str, what: str
) -> None:
    body = {"model": BAD_MODELS[adapter], "prompt": "p"}
    quote = (await chain.outer.post(team, body, "/v1/images/quote")).json()
    reasons = {entry["upstream"]: entry["reason"] for entry in quote["excluded"]}
    assert reasons[f"{what}-{adapter}"].startswith("resting for ")
    assert f"{GOOD}-{adapter}" in [offer["upstream"] for offer in quote["offers"]]


@each_adapter
async def test_partial_delivery_is_paid_by_the_picture_on_both_sides(
    chain: Chain, ran: Mapping[tuple[str, str], Ran], adapter: str
) -> None:
    it, model = ran[adapter, PARTIAL], BAD_MODELS[adapter]
    assert it.outer.n == it.inner[0].n == N
    assert len(it.body["results"]) == 1
    assert it.outer.charged == OUTER_PRICES[model] * MICRO
    assert it.inner[0].charged == INNER_PRICES[model] * MICRO
    assert it.outer.cost == it.inner[0].charged / PER_USD


async def test_both_books_are_clean_and_the_poor_account_was_never_charged(
    chain: Chain, team: Team, ran: Mapping[tuple[str, str], Ran]
) -> None:
    charged = sum(it.outer.charged for it in ran.values())
    bought = sum(task.charged for it in ran.values() for task in it.inner)
    for stack, payer, amount in (
        (chain.outer, team, charged),
        (chain.inner, chain.payer, bought),
    ):
        balance, held, _ = await stack.credits(payer)
        assert (float(balance), held) == (CREDITS - amount / MICRO, "0")
        await stack.assert_ledger_is_clean()
    teams = {task.team_id for it in ran.values() for task in it.inner}
    assert teams == {chain.payer.id}

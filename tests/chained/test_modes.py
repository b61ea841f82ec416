"""Everything an adapter can ask for, through two gateways, until a picture comes back that opens.

All requests run at once, in one fixture; each test then looks at one of them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway.domain.money import MICRO
from gateway.domain.task import Outcome, Task, TaskStatus
from tests.chained.cases import NEGATIVE, Case, cases
from tests.chained.chain import (
    COSTS,
    CREDITS,
    GOOD,
    INNER_PRICES,
    OUTER_PRICES,
    PER_USD,
    Chain,
)
from tests.support.pictures import MASK, MASK_DATA, PNG
from tests.support.stack import Team, picture_size
from tests.support.wiretap import Sent

pytestmark = pytest.mark.asyncio(loop_scope="module")
CASES = {str(case): case for case in cases()}


@dataclass
class Ran:
    """What became of one request: the caller's last answer, both tasks, the vendor's order."""

    body: dict[str, Any]
    outer: Task | None
    inner: list[Task]
    sent: list[Sent]
    picture: tuple[int, int] | None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def team(chain: Chain) -> Team:
    return await chain.outer.team(CREDITS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ran(chain: Chain, team: Team) -> Mapping[str, Ran]:
    """Send every case, wait for all, and find each one's traces by its prompt."""
    bodies = await asyncio.gather(*(send(chain, team, case) for case in CASES.values()))
    inner: dict[str, list[Task]] = {name: [] for name in CASES}
    for row in await chain.inner.gateway.database.read("SELECT id FROM tasks"):
        request = await chain.inner.gateway.tasks.request_of(row["id"])
        inner[request.prompt].append(await chain.inner.task(row["id"]))
    found = {}
    for (name, case), body in zip(CASES.items(), bodies, strict=True):
        outer = await chain.outer.task(body["id"]) if body["id"] else None
        sent = chain.wiretap.sent(case.vendor, name)
        found[name] = Ran(body, outer, inner[name], sent, await opened(body))
    return found


async def send(chain: Chain, team: Team, case: Case) -> dict[str, Any]:
    """Send a case and give the native body of its ended task."""
    body = case.body | {"model": case.model}
    if case.path == "/v1/images/generations":
        pictures = [chain.picture(kind, at) for at, kind in enumerate(case.pictures)]
        body |= {"prompt": str(case), "provider": {"only": [f"{GOOD}-{case.adapter}"]}}
        body |= {"image_urls": pictures} if pictures else {}
        body |= {"mask": MASK_DATA} if case.mask else {}
    headers = {"prefer": "wait=60", **case.headers}
    created = await chain.outer.post(team, body, case.path, headers)
    if "x-task-id" not in created.headers:
        return {"id": None, "status": "refused", "answer": created.json()}
    while True:
        path = f"/evolink/v1/tasks/{created.headers['x-task-id']}"
        shown: dict[str, Any] = (await chain.outer.get(team, path)).json()
        if shown["status"] not in ("pending", "processing"):
            return shown
        await asyncio.sleep(0.5)


async def opened(body: Mapping[str, Any]) -> tuple[int, int] | None:
    """Download the last picture of a task and give its size."""
    if not body.get("results"):
        return None
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        return picture_size((await client.get(body["results"][-1])).content)


@pytest.mark.parametrize("name", CASES)
async def test_it_is_made_and_opens(ran: Mapping[str, Ran], name: str) -> None:
    case, it = CASES[name], ran[name]
    assert it.body["status"] == "completed", it.body
    assert len(it.body["results"]) == case.n
    size = str(case.wire.get("size", "")).replace("*", "x")
    assert it.picture is not None
    assert "x" not in size or size == "{}x{}".format(*it.picture)
    assert [(a.upstream, a.outcome) for a in it.outer.attempts] == [
        (f"{GOOD}-{case.adapter}", Outcome.DELIVERED)
    ]
    assert [task.status for task in it.inner] == [TaskStatus.COMPLETED]


@pytest.mark.parametrize("name", CASES)
async def test_both_books_agree(ran: Mapping[str, Ran], name: str) -> None:
    case, it = CASES[name], ran[name]
    (inner,) = it.inner
    assert it.outer.charged == OUTER_PRICES[case.model] * case.n * MICRO
    assert inner.charged == INNER_PRICES[case.model] * case.n * MICRO
    assert it.outer.cost == inner.charged // PER_USD
    surcharge = 1_000 if case.vendor == "qingbo" else 0
    assert inner.cost == (COSTS[case.model] * MICRO + surcharge) * case.n
    assert (it.outer.exposure, inner.exposure) == (0, 0)


@pytest.mark.parametrize("name", CASES)
async def test_it_reaches_the_vendor_word_for_word(
    chain: Chain, ran: Mapping[str, Ran], name: str
) -> None:
    case = CASES[name]
    (sent,) = ran[name].sent
    pictures = [chain.picture(kind, at) for at, kind in enumerate(case.pictures)]
    judge = {"dashscope": _dashscope, "openai": _openai, "qingbo": _qingbo}[case.vendor]
    assert judge(case, sent, pictures) == case.wire


def _dashscope(case: Case, sent: Sent, pictures: list[str]) -> dict[str, Any]:
    """Judge DashScope's input and give its parameters."""
    source, parameters = sent.words["input"], dict(sent.words["parameters"])
    if "messages" in source:
        content = source["messages"][0]["content"]
        assert content == [*({"image": url} for url in pictures), {"text": str(case)}]
        assert parameters.pop("negative_prompt", None) == case.negative
        return parameters
    assert source.get("negative_prompt") == case.negative
    assert source["prompt"] == str(case)
    if "base_image_url" in source:
        assert [source["base_image_url"]] == pictures
        assert source["mask_image_url"] == MASK_DATA
        assert source["function"] == "description_edit_with_mask"
    else:
        assert source.get("images", []) == pictures
    return parameters


def _openai(case: Case, sent: Sent, pictures: list[str]) -> dict[str, Any]:
    """Judge prompt and files of an OpenAI call and give its other fields."""
    words = dict(sent.words)
    assert (words.pop("model"), words.pop("prompt")) == (case.model, str(case))
    names = ["image"] if len(pictures) == 1 else ["image[]"] * len(pictures)
    files = [(name, PNG) for name in names] + ([("mask", MASK)] if case.mask else [])
    assert list(sent.files) == files
    return words | {"n": int(words["n"])}


def _qingbo(case: Case, sent: Sent, pictures: list[str]) -> dict[str, Any]:
    """Give Qingbo's fields beside model and prompt."""
    words = dict(sent.words)
    assert (words.pop("model"), words.pop("prompt")) == (case.model, str(case))
    assert words.pop("image_urls", []) == pictures
    return words


async def test_every_adapter_and_mode_is_in_the_table() -> None:
    seen = Counter(case.adapter for case in CASES.values())
    assert set(seen) == {"evolink", "dashscope", "modelverse", "qingbo", "openai"}
    assert NEGATIVE in {case.negative for case in CASES.values()}


async def test_the_sums_are_right_on_both_sides(
    chain: Chain, team: Team, ran: Mapping[str, Ran]
) -> None:
    charged = sum(it.outer.charged for it in ran.values())
    bought = sum(task.charged for it in ran.values() for task in it.inner)
    spent = sum(task.cost for it in ran.values() for task in it.inner)
    billed = sum(
        chain.inner.simulator.bill(name).amount_usd_micros
        for name in ("dashscope", "openai", "qingbo")
    )
    outer, inner = await chain.outer.credits(team), await chain.inner.credits(chain.payer)

    assert float(outer[2]) == CREDITS - charged / MICRO
    assert float(inner[2]) == CREDITS - bought / MICRO
    assert outer[1] == inner[1] == "0"
    assert billed == spent - 1_000
    await chain.outer.assert_ledger_is_clean()
    await chain.inner.assert_ledger_is_clean()

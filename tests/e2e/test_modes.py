"""Every mode of seeds 002 and 003 at every upstream that has it; the others are left out, in words.

Each row is one request. Upstreams that can do it must be sent the words given, upstreams that
cannot must be named in the quote with the reason given, in the caller's own field names. All
requests run at once, in one fixture.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.e2e.modes import OFFERS, PALETTE, PICTURES, PRO, ROWS, WAN27, Row
from tests.support.pictures import MASK, PNG
from tests.support.shared import PRICE, Shared
from tests.support.stack import Team, picture_size

pytestmark = pytest.mark.asyncio(loop_scope="module")

ABLE = [(row, name) for row in ROWS for name in row.able]
each_row = pytest.mark.parametrize("row", ROWS, ids=str)
each_able = pytest.mark.parametrize(("row", "name"), ABLE, ids=[f"{r}-{n}" for r, n in ABLE])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def team(shared: Shared) -> Team:
    return await shared.stack.team(10_000)


def body_of(row: Row, shared: Shared) -> dict[str, Any]:
    pictures = {"image_urls": shared.pictures(row.pictures)} if row.pictures else {}
    return {"model": row.model, "prompt": row.what, **row.body, **pictures}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ran(shared: Shared, team: Team) -> Mapping[tuple[str, str], dict[str, Any]]:
    """Send every row to every upstream that can serve it; gives the ended tasks."""

    async def send(row: Row, name: str) -> dict[str, Any]:
        body = body_of(row, shared) | {
            "prompt": f"{row} {name}",
            "provider": {"only": [name]},
        }
        answer = await shared.stack.post(team, body, headers={"prefer": "wait=60"})
        if "x-task-id" not in answer.headers:
            return {"status": "refused", "answer": answer.json()}
        path = f"/v1/tasks/{answer.headers['x-task-id']}"
        shown: dict[str, Any] = (await shared.stack.get(team, path)).json()
        return shown

    bodies = await asyncio.gather(*(send(*pair) for pair in ABLE))
    return {(row.what, name): body for (row, name), body in zip(ABLE, bodies, strict=True)}


@each_able
async def test_it_is_made(
    shared: Shared, ran: Mapping[tuple[str, str], dict[str, Any]], row: Row, name: str
) -> None:
    body = ran[row.what, name]
    assert body["status"] == "completed", body
    assert len(body["results"]) == row.body.get("n", 1)
    assert body["usage"]["credits_charged"] == PRICE * row.body.get("n", 1)
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        if "4K" not in row.what:
            assert picture_size((await client.get(body["results"][-1])).content)


@each_able
async def test_the_vendor_is_sent_these_words(
    shared: Shared, ran: Mapping[tuple[str, str], dict[str, Any]], row: Row, name: str
) -> None:
    (sent,) = shared.wiretap.sent(name, f"{row} {name}")
    pictures = shared.pictures(row.pictures)
    for path, value in row.able[name].items():
        wanted = pictures if value is PICTURES else value
        assert _at(sent.words, path) == wanted, path
    if name == "dashscope" and "messages" in sent.words["input"]:
        content = sent.words["input"]["messages"][0]["content"]
        assert [item["image"] for item in content if "image" in item] == pictures
    if name == "openai":
        assert sent.files == (("image", PNG), ("mask", MASK))


def _at(words: Any, path: str) -> Any:
    for name in path.split("."):
        words = words.get(name) if words else None
    return words


@each_row
async def test_the_quote_says_who_can_and_why_the_others_cannot(
    shared: Shared, team: Team, row: Row
) -> None:
    answer = await shared.stack.post(team, body_of(row, shared), "/v1/images/quote")

    quote = answer.json()
    assert answer.status_code == 200, quote
    assert row.able.keys() | row.unable.keys() == OFFERS[row.model]
    assert {offer["upstream"] for offer in quote["offers"]} == row.able.keys()
    excluded = {entry["upstream"]: entry["reason"] for entry in quote["excluded"]}
    assert excluded.keys() == row.unable.keys()
    for name, reason in row.unable.items():
        assert excluded[name].startswith(reason)


# --- rules between fields (models.md §4) ------------------------------------------------------


async def test_4k_of_the_standard_model_is_qingbos_alone(shared: Shared, team: Team) -> None:
    body = {"model": WAN27, "prompt": "p", "size": "4K"}
    cheapest = await shared.stack.post(team, body, "/v1/images/quote")
    refused = await shared.stack.post(team, {**body, "provider": {"ignore": ["qingbo"]}})

    assert [offer["upstream"] for offer in cheapest.json()["offers"]] == ["qingbo"]
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "size"
    assert PRO in refused.json()["error"]["message"]


@pytest.mark.parametrize("model", [WAN27, PRO])
@pytest.mark.parametrize("more", [{"enable_sequential": True}, {"image_urls": 1}], ids=str)
async def test_4k_is_made_from_text_alone(
    shared: Shared, team: Team, model: str, more: dict[str, Any]
) -> None:
    more = {"image_urls": shared.pictures(1)} if "image_urls" in more else more
    body = {"model": model, "prompt": "p", "size": "4K", **more}
    refused = await shared.stack.post(team, body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "size"
    assert "text alone" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("more", "ignored"),
    [
        ({"thinking_mode": True, "image_urls": 1}, ["thinking_mode"]),
        ({"thinking_mode": True, "enable_sequential": True}, ["thinking_mode"]),
        ({"color_palette": PALETTE, "enable_sequential": True}, ["color_palette"]),
        ({"thinking_mode": True}, []),
        ({"color_palette": PALETTE, "image_urls": 1}, []),
    ],
    ids=str,
)
async def test_what_has_no_effect_in_a_mode_is_ignored_and_named(
    shared: Shared, team: Team, more: dict[str, Any], ignored: list[str]
) -> None:
    more = {**more, "image_urls": shared.pictures(1)} if "image_urls" in more else more
    body = {"model": WAN27, "prompt": "p", "size": "1K", **more}
    quote = (await shared.stack.post(team, body, "/v1/images/quote")).json()
    created = await shared.stack.post(team, body)
    named = created.headers.get("x-ignored-params", "")

    assert quote["ignored_params"] == ignored
    assert [name for name in named.split(", ") if name] == ignored

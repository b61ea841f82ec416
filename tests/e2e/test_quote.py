"""What a request would cost and where it would go; and that models keep what they publish."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from gateway.domain.health import Plane, Signal, SignalKind
from gateway.domain.money import MICRO
from tests.e2e.published import bodies, fields, least, outside, properties
from tests.support.shared import COSTS, PRICE, SOLD, Shared
from tests.support.stack import Team

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAN25, WAN27 = "wan2.5-t2i-preview", "wan2.7-image"
KITE = {"model": WAN25, "prompt": "a kite", "size": "1280x1280"}
SINGLE = sorted(
    {"wan2.6-image", "wanx2.1-imageedit", "wanx-v1", "qwen-image-2.0", "z-image-turbo"}
    | {"gpt-image-1.5", "gpt-image-2", "dall-e-2", "dall-e-3"}
)
slow = [HealthCheck.too_slow]
quickly = settings(max_examples=5, deadline=None, suppress_health_check=slow)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def team(shared: Shared) -> Team:
    return await shared.stack.team(100)


async def quoted(shared: Shared, team: Team, body: object) -> dict[str, Any]:
    answer = await shared.stack.post(team, body, "/v1/images/quote")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def published(shared: Shared, team: Team, name: str) -> dict[str, Any]:
    entry: dict[str, Any] = (await shared.stack.get(team, f"/v1/models/{name}")).json()
    return entry


# --- the quote ------------------------------------------------------------------------------


async def test_it_gives_the_price_and_the_offers_cheapest_first(shared: Shared, team: Team) -> None:
    quote = await quoted(shared, team, {**KITE, "n": 3})
    cents = {name: str(3 * cost) for name, cost in COSTS.items()}
    assert quote == {
        "object": "quote",
        "model": WAN25,
        "n": 3,
        "tier": "2K",
        "credits_per_image": str(PRICE),
        "credits": str(3 * PRICE),
        "strategy": "cheapest",
        "offers": [
            {
                "upstream": name,
                "adapter": name,
                "upstream_model": model,
                "cost_usd": cents[name].rstrip("0"),
                "note": None,
            }
            for name, model in (
                ("evolink", "wan2.5-text-to-image"),
                ("dashscope", WAN25),
                ("fal", "fal-ai/wan-25-preview/text-to-image"),
            )
        ],
        "excluded": [{"upstream": "replicate", "reason": "n is 3 (legal: 1)"}],
        "warning": None,
        "ignored_params": [],
    }


async def test_what_is_quoted_is_what_is_done(shared: Shared, team: Team) -> None:
    body = {**KITE, "n": 2, "provider": {"ignore": ["evolink"]}}
    quote = await quoted(shared, team, body)
    created = await shared.stack.post(team, {**body, "async": False})
    task = await shared.stack.task(created.json()["id"])

    assert task.hold == int(quote["credits"]) * MICRO
    assert task.attempts[0].upstream == quote["offers"][0]["upstream"] == "dashscope"
    assert task.cost == float(quote["offers"][0]["cost_usd"]) * MICRO


@pytest.mark.parametrize(
    ("rules", "offers", "reasons"),
    [
        ({"only": ["fal"]}, ["fal"], {"evolink": "not in provider.only"}),
        (
            {"ignore": ["evolink", "replicate"]},
            ["dashscope", "fal"],
            {"evolink": "in provider.ignore", "replicate": "in provider.ignore"},
        ),
        ({"order": ["fal", "dashscope"]}, ["fal", "dashscope", "evolink", "replicate"], {}),
        (
            {"order": ["fal"], "allow_fallbacks": False},
            ["fal"],
            {"evolink": "not in provider.order, and allow_fallbacks is false"},
        ),
        (
            {"allow_fallbacks": False},
            ["evolink"],
            {"fal": "evolink is preferred, and allow_fallbacks is false"},
        ),
        (
            {"max_price": "0.0139"},
            ["evolink", "dashscope"],
            {"fal": "provider.max_price is $0.0139, a picture costs $0.015"},
        ),
    ],
    ids=str,
)
async def test_the_callers_rules_are_told_in_words(
    shared: Shared, team: Team, rules: dict[str, Any], offers: list[str], reasons: dict[str, str]
) -> None:
    quote = await quoted(shared, team, {**KITE, "provider": rules})
    excluded = {entry["upstream"]: entry["reason"] for entry in quote["excluded"]}
    assert [offer["upstream"] for offer in quote["offers"]] == offers
    assert reasons.items() <= excluded.items()
    assert excluded.keys() | set(offers) == {"evolink", "dashscope", "fal", "replicate"}


async def test_a_resting_upstream_is_excluded_with_its_fault(shared: Shared, team: Team) -> None:
    health = shared.stack.gateway.core.submit.outlook.health
    now_ms = shared.stack.gateway.core.clock.now_ms()
    signal = Signal(SignalKind.ACCOUNT, 0, "Balance too low.", Plane.SUBMIT)
    await health.observe("fal", "wan2.6-t2i", signal, now_ms)

    quote = await quoted(shared, team, {"model": "wan2.6-t2i", "prompt": "p"})

    (excluded,) = quote["excluded"]
    assert excluded["upstream"] == "fal"
    assert excluded["reason"].startswith("resting for ")
    assert excluded["reason"].endswith("Balance too low.")


async def test_ignored_fields_are_named_as_a_create_call_names_them(
    shared: Shared, team: Team
) -> None:
    body = {**KITE, "quality": "hd", "user": "u-1", "images": None}
    quote = await quoted(shared, team, body)
    created = await shared.stack.post(team, body)
    assert quote["ignored_params"] == ["user", "quality"]
    assert created.headers["x-ignored-params"] == "user, quality"


async def test_it_sends_nothing_and_holds_nothing(shared: Shared) -> None:
    team = await shared.stack.team(5)
    for name in sorted(SOLD):
        entry = await published(shared, team, name)
        body = least(entry, shared.pictures(1)) | {"prompt": "only asking"}
        await quoted(shared, team, body)
        expensive = {**body, "n": properties(entry)["n"]["maximum"], "enable_sequential": True}
        await shared.stack.post(team, expensive, "/v1/images/quote")

    assert await shared.stack.credits(team) == ("5", "0", "5")
    assert (await shared.stack.get(team, "/v1/tasks")).json()["data"] == []
    assert not any(shared.wiretap.sent(vendor, "only asking") for vendor in COSTS)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "wan2.5-t2i-previeu"},
        {"n": 99, "size": "1x1", "seed": -9},
        {"sise": "1280x1280"},
        {"prompt": ""},
        {"provider": {"only": ["nobody"]}},
        {"seed": 7, "provider": {"only": ["evolink"]}},
        {"callback_url": "https://127.0.0.1/"},
        {"image_urls": ["https://10.0.0.1/a.png"]},
    ],
    ids=str,
)
async def test_it_refuses_what_a_create_call_refuses_in_the_same_words(
    shared: Shared, team: Team, changes: dict[str, Any]
) -> None:
    answers = [
        await shared.stack.post(team, {**KITE, **changes}, path)
        for path in ("/v1/images/quote", "/v1/images/generations")
    ]
    errors = [answer.json()["error"] for answer in answers]
    for error in errors:
        del error["request_id"]
    assert answers[0].status_code == answers[1].status_code
    assert 400 <= answers[0].status_code < 500
    assert errors[0] == errors[1]


async def test_it_needs_a_key_and_no_credit(shared: Shared) -> None:
    poor = await shared.stack.team(0)
    anonymous = await shared.stack.client.post("/v1/images/quote", json=KITE)
    assert anonymous.status_code == 401
    assert (await quoted(shared, poor, KITE))["credits"] == str(PRICE)


# --- models ---------------------------------------------------------------------------------


async def test_the_list_has_every_name_and_each_entry_alone(shared: Shared, team: Team) -> None:
    listed = (await shared.stack.get(team, "/v1/models")).json()
    names = {entry["id"]: entry for entry in listed["data"]}
    assert listed["object"] == "list"
    assert names.keys() >= SOLD
    for name, entry in names.items():
        assert await published(shared, team, name) == entry
        assert entry["canonical"] == name or name in entry["aliases"]
        assert name in entry["parameters"]["properties"]["model"]["enum"]


@pytest.mark.parametrize("name", sorted(SOLD))
async def test_the_published_price_is_the_quoted_one(shared: Shared, team: Team, name: str) -> None:
    entry = await published(shared, team, name)
    quote = await quoted(shared, team, least(entry, shared.pictures(1)))
    assert entry["price"]["by_tier"][quote["tier"]] == quote["credits_per_image"]
    assert quote["n"] == entry["limits"]["n"]["default"]


@pytest.mark.parametrize("name", sorted(SOLD))
@quickly
@given(data=st.data())
async def test_every_published_field_is_accepted(
    shared: Shared, team: Team, name: str, data: st.DataObject
) -> None:
    entry = await published(shared, team, name)
    pictures = shared.pictures(16)
    judge = Draft202012Validator(entry["parameters"])
    for field, values in fields(entry, pictures).items():
        body = least(entry, pictures) | data.draw(values, label=field)
        assert judge.is_valid(body)
        answer = await shared.stack.post(team, body, "/v1/images/quote")
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", SINGLE)
@quickly
@given(data=st.data())
async def test_all_fields_together_are_accepted_where_one_upstream_sells_the_model(
    shared: Shared, team: Team, name: str, data: st.DataObject
) -> None:
    entry = await published(shared, team, name)
    body = data.draw(bodies(entry, shared.pictures(16)), label="body")

    assert Draft202012Validator(entry["parameters"]).is_valid(body)
    answer = await shared.stack.post(team, body, "/v1/images/quote")
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", sorted(SOLD))
async def test_one_step_outside_the_published_limits_is_refused(
    shared: Shared, team: Team, name: str
) -> None:
    entry = await published(shared, team, name)
    pictures = shared.pictures(1)
    for field, part in outside(entry, pictures):
        body = least(entry, pictures) | part
        answer = await shared.stack.post(team, body, "/v1/images/quote")
        assert answer.status_code == 400, (field, part)
        assert answer.json()["error"]["param"] == field, (part, answer.text)

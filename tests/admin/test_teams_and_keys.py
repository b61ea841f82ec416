"""`/admin/v1` over a running gateway: teams, keys, the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway.domain.administration import Permission, Role
from gateway.http.admin.table import ROUTES
from tests.support.stack import Stack, running_stack

ADMIN = {"authorization": "Bearer the-admin-key"}
LANTERN = {"model": "wan2.5-t2i-preview", "prompt": "a lantern"}


@pytest.fixture
async def stack(tmp_path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(
        tmp_path, database_url, redis_url, workers=0, admin_key="the-admin-key"
    ) as running:
        yield running


async def call(
    stack: Stack, method: str, path: str, body: Any = None, **headers: str
) -> httpx.Response:
    sent = {**ADMIN, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await stack.client.request(method, f"/admin/v1{path}", json=body, headers=sent)


async def made(stack: Stack, path: str, body: Any) -> dict[str, Any]:
    answer = await call(stack, "POST", path, body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def generate(stack: Stack, key: str, **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return await stack.client.post(
        "/v1/images/generations", json={**LANTERN, **body}, headers=headers
    )


# --- who may ---------------------------------------------------------------------------------


ASKING = [route for route in ROUTES if route.permission is not None]


@pytest.mark.parametrize("route", ASKING, ids=lambda r: f"{r.method} {r.path}")
async def test_every_route_asks_for_a_key(stack, route):
    path = f"/admin/v1{route.path}".replace("{", "").replace("}", "")
    for headers in ({}, {"authorization": "Bearer wrong"}):
        answer = await stack.client.request(route.method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"


def test_roles_have_the_permissions_their_names_promise():
    table = {role.value: {p.value for p in Permission if role.may(p)} for role in Role}
    assert table == {
        "member": {"team"},
        "viewer": {"read"},
        "finance": {"read", "money"},
        "operator": {"read", "manage"},
        "admin": {"read", "manage", "money", "operators"},
    }


# --- teams -----------------------------------------------------------------------------------


async def test_a_team_is_made_changed_suspended_and_logged(stack):
    team = await made(stack, "/teams", {"name": "studio"})
    assert team["webhook_secret"].startswith("whsec_")
    path = f"/teams/{team['id']}"

    seen = await call(stack, "GET", path)
    assert "webhook_secret" not in seen.json()
    changed = await call(stack, "PATCH", path, {"name": "atelier"}, if_match=seen.headers["etag"])
    assert (changed.status_code, changed.json()["name"]) == (200, "atelier")
    stale = await call(stack, "PATCH", path, {"name": "x"}, if_match=seen.headers["etag"])
    assert (stale.status_code, stale.json()["error"]["code"]) == (412, "version_conflict")
    assert (await call(stack, "POST", f"{path}/suspend")).json()["suspended_at"] is not None

    log = (await call(stack, "GET", f"/audit?subject={team['id']}")).json()["data"]
    assert [entry["action"] for entry in log] == ["team.suspend", "team.update", "team.create"]
    assert {entry["actor"] for entry in log} == {"admin-key"}
    assert log[1]["before"]["name"] == "studio"
    assert log[1]["after"]["name"] == "atelier"
    assert changed.headers["x-request-id"] == log[1]["request_id"]
    assert "whsec_" not in str(log)


async def test_a_double_submit_creates_once(stack):
    async def send(name: str = "studio") -> httpx.Response:
        return await call(stack, "POST", "/teams", {"name": name}, idempotency_key="k1")

    answers = await asyncio.gather(*(send() for _ in range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert (await send("another")).status_code == 422
    log = (await call(stack, "GET", "/audit")).json()["data"]
    assert [entry["action"] for entry in log] == ["team.create"]


async def test_lists_are_read_page_by_page(stack):
    for number in range(5):
        await made(stack, "/teams", {"name": f"team {number}"})
    names, cursor = [], ""
    while cursor is not None:
        page = (await call(stack, "GET", f"/teams?limit=2{cursor and '&cursor=' + cursor}")).json()
        names += [team["name"] for team in page["data"]]
        cursor = page["next_cursor"]
    assert sorted(names) == [f"team {number}" for number in range(5)]


async def test_only_a_team_without_money_can_be_deleted(stack):
    team = await made(stack, "/teams", {"name": "studio"})
    rich = await stack.team()
    assert (await call(stack, "DELETE", f"/teams/{team['id']}")).status_code == 204
    assert (await call(stack, "GET", f"/teams/{team['id']}")).status_code == 404
    refused = await call(stack, "DELETE", f"/teams/{rich.id}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "in_use")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": 7}, "name"),
        ({"name": "\x00"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a", "nmae": "b"}, "nmae"),
        ([], None),
    ],
)
async def test_a_bad_field_is_named(stack, body, param):
    answer = await call(stack, "POST", "/teams", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


# --- keys ------------------------------------------------------------------------------------


async def test_a_key_obeys_its_rules(stack):
    team = await stack.team()
    rules = {"models": ["wan2.5-t2i-preview"], "upstreams": ["dear"], "scopes": ["generate"]}
    key = await made(stack, "/keys", {"team_id": team.id, "name": "build", **rules})

    accepted = await generate(stack, key["key"])
    assert accepted.status_code == 200
    request = await stack.gateway.tasks.request_of(accepted.json()["id"])
    assert request.rules.only == ("dear",)
    other = await generate(stack, key["key"], model="wan2.7-image")
    assert other.status_code == 403
    assert "wan2.5-t2i-preview" in other.json()["error"]["message"]
    cheap = await generate(stack, key["key"], provider={"only": ["cheap"]})
    assert cheap.status_code == 403
    read = await stack.client.get("/v1/tasks", headers={"authorization": f"Bearer {key['key']}"})
    assert (read.status_code, "'read'" in read.text) == (403, True)


async def test_a_repetition_finds_its_task_after_the_keys_rules_changed(stack):
    team = await stack.team()
    key = await made(stack, "/keys", {"team_id": team.id})
    headers = {"authorization": f"Bearer {key['key']}", "idempotency-key": "order-7"}
    body = {"model": "wan2.5-t2i-preview", "prompt": "a kite"}
    path = "/v1/images/generations"
    first = await stack.client.post(path, json=body, headers=headers)

    await call(stack, "PATCH", f"/keys/{key['id']}", {"upstreams": ["dear"]})
    again = await stack.client.post(path, json=body, headers=headers)

    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


async def test_a_key_is_bound_to_its_networks(stack):
    team = await stack.team()
    far = await made(stack, "/keys", {"team_id": team.id, "networks": ["10.0.0.0/8"]})
    near = await made(stack, "/keys", {"team_id": team.id, "networks": ["127.0.0.0/8"]})
    assert (await generate(stack, far["key"])).status_code == 403
    assert (await generate(stack, near["key"])).status_code == 200


async def test_revoking_and_suspending_bite_within_a_second(stack):
    team = await stack.team()
    key = await made(stack, "/keys", {"team_id": team.id})
    assert (await generate(stack, key["key"])).status_code == 200
    # As another process would: nothing tells this one.
    await stack.gateway.database.write(
        "UPDATE api_keys SET revoked_ms = 1 WHERE id = $1", key["id"]
    )
    await asyncio.sleep(1)
    assert (await generate(stack, key["key"])).status_code == 401
    await call(stack, "POST", f"/teams/{team.id}/suspend")
    await asyncio.sleep(1)
    assert (await generate(stack, team.key)).status_code == 403


async def test_a_rotated_key_is_replaced_and_a_repetition_shows_the_same_text(stack):
    team = await stack.team()
    old = await made(stack, "/keys", {"team_id": team.id, "models": ["wan2.5-t2i-preview"]})
    path = f"/keys/{old['id']}/rotate"
    body = {"overlap_seconds": 0}
    answers = [await call(stack, "POST", path, body, idempotency_key="r") for _ in "ab"]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    new = answers[0].json()
    assert (new["models"], new["replaces"]) == (["wan2.5-t2i-preview"], old["id"])
    assert (await generate(stack, new["key"])).status_code == 200
    assert (await generate(stack, old["key"])).status_code == 401
    log = (await call(stack, "GET", "/audit")).text
    assert new["key"] not in log


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scopes", ["write"]),
        ("scopes", []),
        ("models", ["nothing"]),
        ("upstreams", ["nowhere"]),
        ("networks", ["10.0.0.1/8"]),
        ("mode", "later"),
        ("expires_at", "2020-01-01T00:00:00Z"),
        ("expires_at", "tomorrow"),
        ("concurrent_tasks", 0),
        ("credit_cap", 5),
        ("credit_cap", "0"),
        ("monthly_credit_cap", "0.0000001"),
        ("monthly_credit_cap", "-1"),
    ],
)
async def test_a_bad_rule_is_named_and_nothing_is_made(stack, field, value):
    team = await stack.team()
    answer = await call(stack, "POST", "/keys", {"team_id": team.id, field: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field
    assert len((await call(stack, "GET", f"/keys?team_id={team.id}")).json()["data"]) == 1


async def test_limits_a_minute_are_set_changed_and_taken_away(stack):
    team = await made(stack, "/teams", {"name": "studio"})
    key = await made(stack, "/keys", {"team_id": team["id"], "images_per_minute": 2})
    await stack.gateway.ledger.grant(team["id"], 100_000_000, None)
    answers = [(await generate(stack, key["key"])).status_code for _ in range(3)]
    assert answers == [200, 200, 429]
    path = f"/keys/{key['id']}"
    for wrong in (0, -1, 1.5, "ten", 10**7):
        refused = await call(stack, "PATCH", path, {"images_per_minute": wrong})
        assert refused.json()["error"]["param"] == "images_per_minute"
        assert "1 to 1000000" in refused.json()["error"]["message"]
    changed = await call(stack, "PATCH", path, {"images_per_minute": None})
    assert changed.json()["images_per_minute"] is None


async def test_caps_are_set_shown_with_what_was_used_and_taken_away(stack):
    team = await stack.team()
    key = await made(stack, "/keys", {"team_id": team.id, "credit_cap": "4", "concurrent_tasks": 9})
    assert (key["credit_cap"], key["monthly_credit_cap"]) == ("4", None)
    answers = [await generate(stack, key["key"]) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 402]
    error = answers[2].json()["error"]
    assert error["code"] == "key_credit_cap"
    assert (
        "needs 1.5 credits; of the 4 credits (credit_cap) of this key 1 are left"
        in (error["message"])
    )
    path = f"/keys/{key['id']}"
    seen = (await call(stack, "GET", path)).json()
    assert (seen["tasks_running"], seen["credits_held"], seen["credits_spent"]) == (2, "3", "0")
    await call(stack, "PATCH", path, {"credit_cap": None, "concurrent_tasks": 2})
    busy = await generate(stack, key["key"])
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "8")
    assert "(concurrent_tasks)" in busy.json()["error"]["message"]
    new = await made(stack, f"{path}/rotate", {})
    assert (await generate(stack, new["key"])).status_code == 429


# --- budgets ---------------------------------------------------------------------------------


async def test_a_budget_is_set_bites_and_is_taken_away(stack):
    team = await stack.team()
    path = f"/teams/{team.id}"
    given = {"monthly_budget": "2", "budget_alerts": [50, 100], "low_balance": "0.5"}
    changed = (await call(stack, "PATCH", path, given)).json()
    assert {name: changed[name] for name in given} == given
    assert (changed["budget_mode"], changed["spent_this_month"]) == ("refuse", "0")
    answers = [await generate(stack, team.key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 402]
    error = answers[1].json()["error"]
    assert (error["code"], error["type"]) == ("team_budget", "insufficient_quota_error")
    assert "of the team's budget of 2 a month 0.5 are left" in error["message"]
    await call(stack, "PATCH", path, {"budget_mode": "alert"})
    assert (await generate(stack, team.key)).status_code == 200
    await call(stack, "PATCH", path, {"budget_mode": "refuse", "monthly_budget": None})
    assert (await generate(stack, team.key)).status_code == 200


@pytest.mark.parametrize(
    ("field", "value", "legal"),
    [
        ("monthly_budget", "0", "more than 0"),
        ("monthly_budget", 5, "a text"),
        ("budget_mode", "shout", "refuse, alert"),
        ("budget_alerts", [0], "1 to 1000"),
        ("budget_alerts", [True], "1 to 1000"),
        ("budget_alerts", "50", "a list"),
        ("low_balance", "much", "decimal text"),
        ("alert_url", "http://ops.example.com/", "an https URL"),
        ("alert_url", "https://127.0.0.1/", "a public address"),
        ("alert_url", "https://localhost/", "a public address"),
    ],
)
async def test_a_bad_budget_is_named_and_nothing_is_changed(stack, field, value, legal):
    team = await stack.team()
    before = (await call(stack, "GET", f"/teams/{team.id}")).json()
    answer = await call(stack, "PATCH", f"/teams/{team.id}", {"name": "other", field: value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert legal in answer.json()["error"]["message"]
    assert (await call(stack, "GET", f"/teams/{team.id}")).json() == before

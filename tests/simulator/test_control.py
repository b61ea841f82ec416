from __future__ import annotations

import httpx
import pytest

from gateway.simulator import API_KINDS
from tests.simulator.calls import create


@pytest.fixture
def control(sim, web):
    async def call(method: str, path: str, body: object = None) -> httpx.Response:
        return await web.request(method, f"{sim.control_url}/_sim{path}", json=body)

    return call


async def test_the_overview_names_every_vendor_with_its_address(sim, control):
    body = (await control("GET", "")).json()
    assert set(body) == set(API_KINDS)
    assert body["dashscope"]["base_url"] == sim.base_url("dashscope")
    assert body["dashscope"]["down"] is False


async def test_a_script_can_be_added_and_dropped(sim, web, control):
    state = (await control("POST", "/evolink/script", {"error": "rate", "times": 3})).json()
    assert state["scripts"] == [{"on": "submit", "times": 3, "share": 1.0, "error": "rate"}]
    assert (await create(sim, web, "evolink")).status_code == 429
    await control("POST", "/evolink/clear")
    assert (await create(sim, web, "evolink")).status_code == 200


async def test_a_vendor_can_be_taken_down_and_brought_up(sim, web, control):
    assert (await control("POST", "/evolink/down")).json()["down"] is True
    with pytest.raises(httpx.ConnectError):
        await create(sim, web, "evolink")
    assert (await control("POST", "/evolink/up")).json()["down"] is False
    assert (await create(sim, web, "evolink")).status_code == 200


async def test_limits_can_be_set(sim, web, control):
    limits = {"submit_per_second": 1, "models": {"wan2.5-text-to-image": [1, 2]}}
    state = (await control("POST", "/evolink/limits", limits)).json()
    assert state["limits"]["submit_per_second"] == 1
    assert state["limits"]["models"] == {"wan2.5-text-to-image": [1, 2]}


async def test_the_bill_and_the_clock(sim, web, control):
    await create(sim, web, "evolink")
    before = (await control("GET", "/bill")).json()["evolink"]
    assert (before["images"], before["pending_images"]) == (0, 1)
    await control("POST", "/clock", {"advance_ms": 10_000})
    after = (await control("GET", "/bill")).json()["evolink"]
    assert (after["images"], after["amount_usd_micros"]) == (1, 22_000)
    assert after["records"][0]["task_id"] == sim.tasks("evolink")[0].id


async def test_the_state_of_a_vendor_shows_its_newest_tasks(sim, web, control):
    task_id = (await create(sim, web, "evolink")).json()["id"]
    state = (await control("GET", "/evolink")).json()
    assert [task["id"] for task in state["newest"]] == [task_id]
    assert state["newest"][0]["phase"] == "pending"
    assert "content_policy" in state["faults"]["failures"]


async def test_reset_forgets_and_brings_up(sim, web, control):
    await create(sim, web, "evolink")
    await control("POST", "/evolink/down")
    assert (await control("POST", "/reset")).json() == {"ok": True}
    assert not sim.is_down("evolink")
    assert sim.tasks("evolink") == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/acme", None, 404),
        ("POST", "/acme/down", None, 404),
        ("POST", "/evolink/dance", None, 404),
        ("POST", "/evolink/script", {"colour": "red"}, 400),
        ("POST", "/evolink/script", {"error": "explosion"}, 400),
        ("POST", "/evolink/script", [1], 400),
        ("POST", "/evolink/limits", {"speed": 1}, 400),
        ("POST", "/evolink/limits", {"in_flight": -1}, 400),
        ("POST", "/evolink/limits", {"models": {"m": 3}}, 400),
        ("POST", "/clock", {"advance_ms": "soon"}, 400),
    ],
)
async def test_a_wrong_command_is_answered_with_the_reason(control, method, path, body, status):
    answer = await control(method, path, body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]

from __future__ import annotations

from typing import Any

import pytest

from gateway.simulator import API_KINDS, Phase, Script
from gateway.simulator.faults import COMMON_FAILURES, COMMON_REFUSALS
from tests.simulator.calls import CREATES, create

# Copied from the error tables of the provider documents: what each name looks like on the wire.
WIRE: list[tuple[str, str, int, Any]] = [
    ("evolink", "rate", 429, "rate_limited"),
    ("evolink", "unpaid", 402, 402),
    ("evolink", "bad_key", 401, 401),
    ("evolink", "content_policy", 400, "content_policy_violation"),
    ("evolink", "server_error", 500, 500),
    ("evolink", "unavailable", 503, "no_available_channel"),
    ("evolink", "key_daily_quota_exhausted", 402, "key_daily_quota_exhausted"),
    ("dashscope", "rate", 429, "Throttling.RateQuota"),
    ("dashscope", "unpaid", 400, "Arrearage"),
    ("dashscope", "bad_key", 401, "InvalidApiKey"),
    ("dashscope", "content_policy", 400, "DataInspectionFailed"),
    ("dashscope", "server_error", 500, "InternalError"),
    ("dashscope", "PrepaidBillOverdue", 429, "PrepaidBillOverdue"),
    ("dashscope", "GatewayTimeout", 504, "GatewayTimeout"),
    ("openai", "rate", 429, "rate_limit_exceeded"),
    ("openai", "unpaid", 429, "insufficient_quota"),
    ("openai", "billing_hard_limit_reached", 400, "billing_hard_limit_reached"),
    ("openai", "bad_key", 401, "invalid_api_key"),
    ("openai", "content_policy", 400, "moderation_blocked"),
    ("modelverse", "rate", 429, "rate_limit"),
    ("modelverse", "unpaid", 403, "forbidden"),
    ("modelverse", "bad_key", 401, "auth_error"),
    ("modelverse", "model_not_found", 400, "model_error"),
    ("modelverse", "timeout", 504, "gateway_timeout_error"),
    ("qingbo", "rate", 429, "rate_limited"),
    ("qingbo", "unpaid", 402, "insufficient_balance"),
    ("qingbo", "price_not_configured", 500, "price_not_configured"),
]


def code_of(vendor: str, body: dict[str, Any]) -> object:
    return body["code"] if vendor == "dashscope" else body["error"]["code"]


@pytest.mark.parametrize(("vendor", "name", "status", "code"), WIRE)
async def test_a_refusal_has_the_documented_status_and_code(sim, web, vendor, name, status, code):
    sim.script(vendor, Script(error=name))
    answer = await create(sim, web, vendor)
    assert (answer.status_code, code_of(vendor, answer.json())) == (status, code)
    assert sim.tasks(vendor) == []


@pytest.mark.parametrize(
    ("vendor", "name", "status"),
    [
        ("fal", "rate", 429),
        ("fal", "unpaid", 402),
        ("fal", "content_policy", 422),
        ("replicate", "rate", 429),
        ("replicate", "unpaid", 402),
        ("replicate", "content_policy", 422),
    ],
)
async def test_vendors_without_codes_are_told_apart_by_status(sim, web, vendor, name, status):
    sim.script(vendor, Script(error=name))
    assert (await create(sim, web, vendor)).status_code == status


@pytest.mark.parametrize("vendor", API_KINDS)
async def test_every_vendor_refuses_by_every_common_name(sim, web, vendor):
    for name in COMMON_REFUSALS:
        sim.script(vendor, Script(error=name, times=1))
        answer = await create(sim, web, vendor)
        assert answer.status_code >= 400, name
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("vendor", API_KINDS)
async def test_every_vendor_fails_a_task_by_every_common_name(quick, web, vendor):
    for name in COMMON_FAILURES:
        quick.script(vendor, Script(fail=name, times=1))
        await create(quick, web, vendor)
    now_ms = quick.clock.now_ms()
    tasks = quick.tasks(vendor)
    assert [task.failure for task in tasks] == list(COMMON_FAILURES)
    assert {task.phase(now_ms) for task in tasks} == {Phase.FAILED}
    assert quick.bill(vendor).images == 0


@pytest.mark.parametrize("vendor", API_KINDS)
async def test_a_wrong_key_is_a_401(sim, web, vendor):
    call = CREATES[vendor]
    scheme = "Key" if vendor == "fal" else "Bearer"
    url = sim.base_url(vendor) + call.path
    for value in (f"{scheme} wrong-key", scheme, f"Basic {scheme}"):
        headers = call.headers | {"authorization": value}
        answer = await web.post(url, json=call.body, headers=headers)
        assert answer.status_code == 401, value


@pytest.mark.parametrize("vendor", API_KINDS)
async def test_a_body_that_is_no_json_object_is_refused_as_the_vendor_does(sim, web, vendor):
    call = CREATES[vendor]
    url = sim.base_url(vendor) + call.path
    for body in (b"", b"not json", b"[1, 2]"):
        answer = await web.post(url, content=body, headers=call.headers)
        assert answer.status_code in (400, 422), body
        assert answer.json()


def test_an_unknown_fault_is_a_mistake_of_the_script(sim):
    with pytest.raises(ValueError, match="content_policy"):
        sim.script("evolink", Script(error="explosion"))
    with pytest.raises(ValueError, match="unknown vendor"):
        sim.script("acme", Script())

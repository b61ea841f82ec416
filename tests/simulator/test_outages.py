from __future__ import annotations

import asyncio

import httpx
import pytest

from gateway.simulator import DASHSCOPE_LIMITS, Limits, Script, Simulator, SimulatorConfig
from tests.simulator.calls import CREATES, create


async def test_a_vendor_that_is_down_refuses_connections_and_the_others_do_not(sim, web):
    await create(sim, web, "evolink")
    await sim.down("evolink")
    async with httpx.AsyncClient(trust_env=False) as fresh:
        with pytest.raises(httpx.ConnectError):
            await fresh.get(sim.base_url("evolink") + "/models")
    assert (await create(sim, web, "qingbo")).status_code == 200


async def test_a_vendor_comes_up_again_on_its_port_and_remembers(sim, web):
    base = sim.base_url("evolink")
    task_id = (await create(sim, web, "evolink")).json()["id"]
    await sim.down("evolink")
    await sim.down("evolink")
    await sim.up("evolink")
    await sim.up("evolink")
    async with httpx.AsyncClient(trust_env=False, headers=web.headers) as fresh:
        assert (await fresh.get(f"{base}/tasks/{task_id}")).status_code == 200
    assert sim.base_url("evolink") == base


async def test_going_down_resets_the_calls_that_wait(sim, web):
    sim.script("evolink", Script(accept_then="timeout"))
    waiting = asyncio.create_task(create(sim, web, "evolink"))
    async with asyncio.timeout(5):
        while not sim.tasks("evolink"):
            await asyncio.sleep(0.01)
    await sim.down("evolink")
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await waiting
    sim.advance(10_000)
    assert sim.bill("evolink").images == 1


async def test_going_down_in_the_middle_of_work_leaves_no_error_in_the_log(sim, web, caplog):
    calls = [asyncio.create_task(create(sim, web, vendor)) for vendor in ("openai", "openai")]
    async with asyncio.timeout(5):
        while len(sim.tasks("openai")) < 2:
            await asyncio.sleep(0.01)
    await sim.down("openai")
    await asyncio.gather(*calls, return_exceptions=True)
    await sim.up("openai")
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_ports_can_be_chosen_and_are_given_back(sim, web):
    port = sim.port("evolink")
    with pytest.raises(OSError, match="in use"):
        async with Simulator(SimulatorConfig(ports={"evolink": port})):
            pass
    await sim.__aexit__(None, None, None)
    async with Simulator(SimulatorConfig(ports={"evolink": port})) as second:
        assert second.base_url("evolink") == f"http://127.0.0.1:{port}/v1"


async def test_base_urls_end_where_the_version_ends(sim):
    for vendor, ending in (
        ("dashscope", "/api/v1"),
        ("evolink", "/v1"),
        ("replicate", "/v1"),
        ("fal", f":{sim.port('fal')}"),
    ):
        assert sim.base_url(vendor).endswith(ending)


@pytest.mark.parametrize(
    "limits",
    [Limits(submit_per_second=3), Limits(in_flight=3), Limits(models={"wan2.7-image": (3, 9)})],
)
async def test_too_many_submits_are_refused_as_rate(sim, web, limits):
    sim.limit("qingbo", limits)
    answers = await asyncio.gather(*(create(sim, web, "qingbo") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 429, 429]
    assert sim.counts("qingbo")["peak_submit_per_second"] == 5
    sim.advance(10_000)
    assert (await create(sim, web, "qingbo")).status_code == 200


async def test_dashscope_has_its_documented_limits_when_enabled(sim, web):
    sim.limit("dashscope", DASHSCOPE_LIMITS)
    answers = await asyncio.gather(*(create(sim, web, "dashscope") for _ in range(6)))
    assert [answer.status_code for answer in answers].count(429) == 1
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "Throttling.RateQuota"
    sim.advance(2_000)
    assert (await create(sim, web, "dashscope")).status_code == 429, "five run at once"
    url = sim.base_url("dashscope") + "/tasks/" + sim.tasks("dashscope")[0].id
    queries = await asyncio.gather(*(web.get(url) for _ in range(25)))
    assert [answer.status_code for answer in queries].count(429) == 5
    assert sim.counts("dashscope")["peak_query_per_second"] == 25


async def test_a_vendor_that_sends_retry_after_sends_it_when_busy(quick, web):
    quick.limit("openai", Limits(submit_per_second=1))
    answers = await asyncio.gather(*(create(quick, web, "openai") for _ in range(2)))
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["retry-after"] == "1"


async def test_the_first_query_that_sees_the_end_is_noted(sim, web):
    task_id = (await create(sim, web, "evolink")).json()["id"]
    url = f"{sim.base_url('evolink')}/tasks/{task_id}"
    await web.get(url)
    assert sim.tasks("evolink")[0].noticed_ms is None
    sim.advance(12_000)
    await web.get(url)
    task = sim.tasks("evolink")[0]
    assert task.noticed_ms is not None
    assert task.noticed_ms - task.finish_ms >= 2_000


async def test_a_large_body_is_read_in_full(sim, web):
    body = CREATES["evolink"].body | {"note": "x" * 1_000_000}
    answer = await web.post(sim.base_url("evolink") + "/images/generations", json=body)
    assert answer.status_code == 200

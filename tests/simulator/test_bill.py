from __future__ import annotations

import pytest

from gateway.simulator import (
    API_KINDS,
    DEFAULT_PRICES,
    Script,
    Simulator,
    SimulatorConfig,
    VendorConfig,
    usd,
)
from gateway.simulator.billing import size_tier
from tests.simulator.calls import CREATES, create


@pytest.mark.parametrize(
    ("vendor", "micros"),
    [
        ("evolink", 22_000),
        ("dashscope", 29_000),
        ("openai", 40_000),
        ("modelverse", 27_000),
        ("qingbo", 22_950),
        ("fal", 50_000),
        ("replicate", 40_000),
    ],
)
async def test_a_finished_task_is_billed_at_the_price_of_its_vendor(quick, web, vendor, micros):
    await create(quick, web, vendor)
    bill = quick.bill(vendor)
    assert (bill.images, bill.amount_usd_micros) == (1, micros)
    [record] = bill.records
    [task] = quick.tasks(vendor)
    assert (record.task_id, record.model, record.images) == (task.id, task.order.model, 1)
    assert record.billed_ms >= record.accepted_ms


async def test_a_task_is_pending_on_the_bill_until_it_ends(sim, web):
    url = sim.base_url("evolink") + "/images/generations"
    await web.post(url, json=CREATES["evolink"].body | {"n": 3})
    bill = sim.bill("evolink")
    assert (bill.images, bill.pending_images, bill.pending_usd_micros) == (0, 3, 66_000)
    sim.advance(10_000)
    bill = sim.bill("evolink")
    assert (bill.images, bill.amount_usd_micros, bill.pending_images) == (3, 66_000, 0)


@pytest.mark.parametrize(
    ("script", "images"),
    [
        (Script(deliver=2), 2),
        (Script(deliver=0), 0),
        (Script(fail="server_error"), 0),
        (Script(cancelled=True), 0),
        (Script(answer="garbage"), 4),
        (Script(answer="wrong_types"), 4),
        (Script(answer="empty"), 0),
        (Script(answer="html"), 0),
        (Script(answer="html", accept=True), 4),
        (Script(error="server_error"), 0),
    ],
)
async def test_only_delivered_pictures_are_billed(quick, web, script, images):
    quick.script("evolink", script)
    url = quick.base_url("evolink") + "/images/generations"
    await web.post(url, json=CREATES["evolink"].body | {"n": 4})
    assert quick.bill("evolink").images == images


async def test_prices_can_depend_on_the_size_and_vendors_can_share_an_api(web):
    tiers = {"1K": usd("0.02"), "2K": usd("0.03"), "4K": usd("0.06")}
    vendors = {
        "qingbo": VendorConfig(api="qingbo"),
        "qingbo-tiers": VendorConfig(api="qingbo", prices={"wan2.7-image": tiers}),
    }
    async with Simulator(SimulatorConfig(work_ms=(0, 0), vendors=vendors)) as sim:
        for resolution in ("1K", "2K", "4K"):
            body = CREATES["qingbo"].body | {"resolution": resolution, "aspect_ratio": "16:9"}
            await web.post(sim.base_url("qingbo-tiers") + "/tasks", json=body)
        records = sim.bill("qingbo-tiers").records
        assert sorted(record.amount_usd_micros for record in records) == [20_000, 30_000, 60_000]
        assert sim.bill("qingbo").records == ()


def test_a_price_table_with_a_gap_or_too_fine_a_price_is_refused():
    with pytest.raises(ValueError, match="tiers"):
        VendorConfig(api="qingbo", prices={"wan2.7-image": {"1K": 1}})
    with pytest.raises(ValueError, match="micro"):
        usd("0.0000001")


@pytest.mark.parametrize(
    ("size", "tier"),
    [((1024, 1024), "1K"), ((1280, 1280), "2K"), ((2688, 1512), "2K"), ((2056, 2048), "4K")],
)
def test_the_tier_follows_from_the_area(size, tier):
    assert size_tier(*size) == tier


def test_every_api_sells_something_at_a_whole_number_of_micros():
    assert set(DEFAULT_PRICES) == set(API_KINDS)
    for prices in DEFAULT_PRICES.values():
        assert all(isinstance(price, int) and price > 0 for price in prices.values())


async def test_reset_forgets_tasks_bill_and_scripts(quick, web):
    quick.script("evolink", Script(fail="server_error", times=5))
    await create(quick, web, "evolink")
    await quick.reset()
    assert quick.tasks("evolink") == []
    await create(quick, web, "evolink")
    assert quick.bill("evolink").images == 1


async def test_the_oldest_tasks_are_forgotten_but_stay_billed(web):
    async with Simulator(SimulatorConfig(work_ms=(0, 0), max_tasks=3)) as sim:
        for _ in range(10):
            await create(sim, web, "evolink")
        assert len(sim.tasks("evolink")) == 3
        assert sim.bill("evolink").images == 10

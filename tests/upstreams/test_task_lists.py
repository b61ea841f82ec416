"""Task lists: every job of a time, page by page, and nothing believed that is not whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import pytest

from gateway.domain.errors import Sent, UpstreamError
from gateway.domain.lost import ListedJob
from gateway.domain.upstream import Accepted
from gateway.upstreams import ADAPTERS, dashscope, evolink
from tests.upstreams.benches import WORK_MS, Bench, bench
from tests.upstreams.support import NOW_S, Vendor, adapter_at, says
from tests.upstreams.test_build import PROTOCOLS

NOW_MS = NOW_S * 1000
MINUTE = 60_000
VENDORS = ("dashscope-text2image", "evolink")


async def one_more(it: Bench) -> str:
    answer = await it.adapter.submit(replace(it.case.job, attempt_id=str(uuid4())))
    assert isinstance(answer, Accepted)
    return answer.upstream_task_id


async def read(it: Bench, since_ms: int, until_ms: int) -> list[ListedJob]:
    found: list[ListedJob] = []
    cursor = None
    while True:
        page = await it.adapter.list_jobs(since_ms, until_ms, cursor)
        found += page.jobs
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("name", VENDORS)
async def test_the_list_shows_what_was_made_in_a_time(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashscope, "LIST_PAGE", 2)
    monkeypatch.setattr(evolink, "LIST_PAGE", 2)
    async with bench(name) as it:
        await one_more(it)
        it.sim.advance(3 * 60 * MINUTE)
        began_ms = it.sim.clock.now_ms()
        wanted = [await one_more(it) for _ in range(5)]
        found = await read(it, began_ms - MINUTE, it.sim.clock.now_ms() + MINUTE)
        near = [job for job in found if job.created_ms >= began_ms - MINUTE]
        assert sorted(job.id for job in near) == sorted(wanted)
        assert {job.model for job in near} == {it.case.job.offer.upstream_model}
        assert all(abs(job.created_ms - began_ms) < 10_000 for job in near)


@pytest.mark.parametrize("name", VENDORS)
async def test_an_account_without_jobs_has_an_empty_list(name: str) -> None:
    async with bench(name) as it:
        now_ms = it.sim.clock.now_ms()
        assert await read(it, now_ms - MINUTE, now_ms) == []


@pytest.mark.parametrize("name", VENDORS)
async def test_a_list_shows_jobs_whatever_became_of_them(name: str) -> None:
    async with bench(name) as it:
        began_ms = it.sim.clock.now_ms()
        task_id = await it.accepted()
        it.sim.advance(WORK_MS)
        await it.adapter.poll(task_id)
        assert [job.id for job in await read(it, began_ms, began_ms + MINUTE)] == [task_id]


def test_only_what_makes_tasks_is_listed() -> None:
    shown = {
        (name, protocol)
        for name in ADAPTERS
        for protocol in PROTOCOLS[name]
        if adapter_at(Vendor(), name).lists(protocol)
    }
    asynchronous = {p for p in PROTOCOLS["dashscope"] if p != "multimodal-generation"}
    assert shown == {("dashscope", p) for p in asynchronous} | {
        ("evolink", p) for p in PROTOCOLS["evolink"]
    }


async def test_a_vendor_without_a_list_is_never_asked_for_it() -> None:
    with pytest.raises(NotImplementedError):
        await adapter_at(Vendor(), "openai").list_jobs(0, 1, None)


def page_of(total: int, pages: int, *ids: str) -> dict[str, Any]:
    rows = [{"task_id": one, "model_name": "wan", "gmt_create": NOW_MS} for one in ids]
    return {"total": total, "total_page": pages, "data": rows}


async def test_dashscope_is_asked_for_the_time_by_both_clocks_it_may_mean() -> None:
    vendor = Vendor([says(page_of(2, 2, "a")), says(page_of(2, 2, "b")), says(page_of(0, 0))])
    adapter = adapter_at(vendor, "dashscope")
    cursors, cursor = [], None
    for _ in range(3):
        page = await adapter.list_jobs(NOW_MS, NOW_MS + 5 * MINUTE, cursor)
        cursor = page.next_cursor
        cursors.append(cursor)
    assert cursors == ["0:2", "1:1", None]
    queries = [parse_qs(call.url.query.decode()) for call in vendor.calls]
    assert [(q["page_no"], q["start_time"], q["end_time"]) for q in queries] == [
        (["1"], ["20261120182000"], ["20261120182500"]),
        (["2"], ["20261120182000"], ["20261120182500"]),
        (["1"], ["20261120102000"], ["20261120102500"]),
    ]


async def test_evolinks_list_is_read_until_it_is_older() -> None:
    def page(*ages_s: int) -> Any:
        rows = [{"id": f"t{a}", "model": "wan", "created_at": NOW_S - a} for a in ages_s]
        return says({"data": rows, "total": 900})

    adapter = adapter_at(Vendor([page(0, 10), page(20, 90)]), "evolink")
    first = await adapter.list_jobs(NOW_MS - MINUTE, NOW_MS, None)
    assert first.next_cursor is not None
    second = await adapter.list_jobs(NOW_MS - MINUTE, NOW_MS, first.next_cursor)
    assert second.next_cursor is None
    assert second.jobs[1] == ListedJob("t90", "wan", NOW_MS - 90_000)

    # Not sorted from new to old, on a page or between two: read to the end.
    adapter = adapter_at(Vendor([page(90, 10, 95), page(99), page(99)]), "evolink")
    cursor = None
    for _ in range(3):
        cursor = (await adapter.list_jobs(NOW_MS - MINUTE, NOW_MS, cursor)).next_cursor
        assert cursor is not None
    adapter = adapter_at(Vendor([page(50), page(40, 95)]), "evolink")
    first = await adapter.list_jobs(NOW_MS - MINUTE, NOW_MS, None)
    assert (await adapter.list_jobs(NOW_MS - MINUTE, NOW_MS, first.next_cursor)).next_cursor


ROW = {"id": "t", "task_id": "t", "created_at": NOW_S, "gmt_create": NOW_MS}


@pytest.mark.parametrize("adapter", ["dashscope", "evolink"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": {}, "total": 1, "total_page": 1},
        {"data": [], "total": 3, "total_page": 1},
        {"data": [], "total_page": 0},
        {"data": [ROW | {"id": None, "task_id": None}], "total": 1, "total_page": 1},
        {"data": [ROW | {"created_at": "now", "gmt_create": "now"}], "total": 1, "total_page": 1},
        {"data": [7], "total": 1, "total_page": 1},
        {"data": [ROW]},
    ],
    ids=[
        "nothing",
        "no list",
        "empty but not none",
        "no total",
        "no id",
        "no time",
        "junk",
        "bare",
    ],
)
async def test_a_list_that_is_not_whole_is_not_believed(adapter: str, body: Any) -> None:
    with pytest.raises(UpstreamError) as raised:
        await adapter_at(Vendor([says(body)]), adapter).list_jobs(NOW_MS, NOW_MS, None)
    assert raised.value.sent is Sent.NO

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from gateway.simulator import API_KINDS, Script, Simulator, SimulatorConfig
from gateway.simulator.scripts import ScriptBook, magic, script_from
from tests.simulator.calls import CREATES, FAL_KEY, create

QUERY = {
    "evolink": ("id", "/tasks/{}"),
    "qingbo": ("task_id", "/tasks/{}"),
    "replicate": ("id", "/predictions/{}"),
}


async def query(sim: Simulator, web: httpx.AsyncClient, vendor: str) -> httpx.Response:
    """Ask for the newest task of a vendor."""
    task_id = sim.tasks(vendor)[-1].id
    return await web.get(sim.base_url(vendor) + QUERY[vendor][1].format(task_id))


async def test_a_script_lasts_for_its_number_of_requests(sim, web):
    sim.script("evolink", Script(error="rate", times=2, retry_after_s=7))
    answers = [await create(sim, web, "evolink") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "7"


async def test_a_script_hits_only_its_model_and_prompt(sim, web):
    sim.script("evolink", Script(error="rate", model="wan2.5-t2i-preview"))
    sim.script("evolink", Script(error="unpaid", prompt="dragon"))
    url = sim.base_url("evolink") + "/images/generations"
    body = CREATES["evolink"].body
    other = await web.post(url, json=body | {"model": "wan2.5-t2i-preview"})
    dragon = await web.post(url, json=body | {"prompt": "a small dragon"})
    plain = await web.post(url, json=body)
    assert [answer.status_code for answer in (other, dragon, plain)] == [429, 402, 200]


async def test_a_share_is_drawn_from_the_seed(web):
    async def statuses(seed: int) -> list[int]:
        async with Simulator(SimulatorConfig(seed=seed)) as sim:
            sim.script("evolink", Script(error="rate", share=0.5))
            return [(await create(sim, web, "evolink")).status_code for _ in range(20)]

    first = await statuses(1)
    assert first == await statuses(1)
    assert first != await statuses(2)
    assert {200, 429} == set(first)


async def test_scripts_add_up_and_the_later_one_wins(sim, web):
    sim.script("evolink", Script(work_ms=5, deliver=1), Script(deliver=2, times=1))
    url = sim.base_url("evolink") + "/images/generations"
    for _ in range(2):
        await web.post(url, json=CREATES["evolink"].body | {"n": 4})
    assert [(t.delivered, t.finish_ms - t.start_ms) for t in sim.tasks("evolink")] == [
        (2, 0),
        (1, 0),
    ]
    sim.clear("evolink")
    await create(sim, web, "evolink")
    assert sim.tasks("evolink")[-1].finish_ms - sim.tasks("evolink")[-1].accepted_ms == 10_000


@pytest.mark.parametrize(
    ("prompt", "script"),
    [
        ("a lighthouse", None),
        ("a lighthouse [sim:fail=content_policy]", Script(fail="content_policy")),
        ("[sim:seconds=2.5, deliver=1]", Script(work_ms=2_500, deliver=1)),
        ("[sim:stuck]", Script(stuck=True)),
        ("[sim:links=expired,accept_then=timeout]", Script(links="expired", accept_then="timeout")),
    ],
)
def test_a_prompt_can_carry_a_script(prompt, script):
    assert magic(prompt) == script


@pytest.mark.parametrize("text", ["paint=blue", "seconds=soon", "deliver=few", "answer=music"])
async def test_magic_that_makes_no_sense_is_refused_with_the_reason(sim, web, text):
    url = sim.base_url("evolink") + "/images/generations"
    body = CREATES["evolink"].body | {"prompt": f"a kite [sim:{text}]"}
    answer = await web.post(url, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "prompt"


async def test_magic_wins_over_scripts_for_its_own_request(sim, web):
    sim.script("evolink", Script(error="rate", prompt="kite"), Script(deliver=3))
    url = sim.base_url("evolink") + "/images/generations"
    body = CREATES["evolink"].body | {"prompt": "a lamp [sim:deliver=1]", "n": 4}
    await web.post(url, json=body)
    assert sim.tasks("evolink")[0].delivered == 1


@pytest.mark.parametrize(
    "values",
    [
        {"colour": "red"},
        {"times": 0},
        {"share": 1.5},
        {"on": "sunday"},
        {"deliver": "x"},
        {"deliver": -1},
        {"work_ms": -1},
        {"stuck": "maybe"},
        {"fail": 3},
    ],
)
def test_a_script_from_json_is_checked(values):
    with pytest.raises(ValueError, match=r"\w+"):
        script_from(values)


@pytest.mark.parametrize("vendor", API_KINDS)
async def test_accept_then_timeout_accepts_and_bills_but_never_answers(sim, web, vendor):
    sim.script(vendor, Script(accept_then="timeout", times=1))
    with pytest.raises(httpx.ReadTimeout):
        await web.post(
            sim.base_url(vendor) + CREATES[vendor].path,
            json=CREATES[vendor].body,
            headers=CREATES[vendor].headers,
            timeout=0.15,
        )
    sim.advance(10_000)
    assert sim.bill(vendor).images == 1


@pytest.mark.parametrize("vendor", API_KINDS)
async def test_accept_then_reset_accepts_and_bills_and_drops_the_connection(sim, web, vendor):
    sim.script(vendor, Script(accept_then="reset", times=1))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await create(sim, web, vendor)
    sim.advance(10_000)
    assert sim.bill(vendor).images == 1


async def test_reset_drops_the_connection_before_anything_is_accepted(sim, web):
    sim.script("evolink", Script(reset=True, times=1))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await create(sim, web, "evolink")
    assert sim.tasks("evolink") == []
    assert (await create(sim, web, "evolink")).status_code == 200


@pytest.mark.parametrize(("status", "seen"), [(None, 502), (200, 200)])
async def test_an_html_answer_hides_no_task_unless_told_to(sim, web, status, seen):
    sim.script("evolink", Script(answer="html", status=status, times=1))
    answer = await create(sim, web, "evolink")
    assert (answer.status_code, answer.headers["content-type"]) == (seen, "text/html")
    assert sim.tasks("evolink") == []
    sim.script("evolink", Script(answer="html", accept=True, times=1))
    await create(sim, web, "evolink")
    assert len(sim.tasks("evolink")) == 1


@pytest.mark.parametrize("vendor", API_KINDS)
async def test_garbage_is_a_200_that_is_not_json_and_hides_a_task(quick, web, vendor):
    quick.script(vendor, Script(answer="garbage"))
    answer = await create(quick, web, vendor)
    assert answer.is_success
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert len(quick.tasks(vendor)) == 1


@pytest.mark.parametrize(
    ("vendor", "empty"), [("openai", {"data": []}), ("evolink", {"id": "", "status": ""})]
)
async def test_an_empty_answer_is_a_200_without_data_or_task(quick, web, vendor, empty):
    quick.script(vendor, Script(answer="empty"))
    answer = await create(quick, web, vendor)
    assert answer.status_code == 200
    assert empty.items() <= answer.json().items()
    assert quick.bill(vendor).images == 0


async def test_wrong_types_keep_the_names_and_change_the_values(sim, web):
    sim.script("evolink", Script(answer="wrong_types"))
    body = (await create(sim, web, "evolink")).json()
    assert isinstance(body["id"], int)
    assert isinstance(body["created"], str)
    assert body["task_info"]["can_cancel"] == "True"


async def test_a_truncated_answer_breaks_off(sim, web):
    sim.script("evolink", Script(answer="truncated"))
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await create(sim, web, "evolink")
    assert len(sim.tasks("evolink")) == 1


async def test_a_slow_answer_drips(sim, web):
    sim.script("evolink", Script(answer="slow"))
    url = sim.base_url("evolink") + "/images/generations"
    async with web.stream("POST", url, json=CREATES["evolink"].body) as answer:
        first = await anext(answer.aiter_raw())
    assert len(first) == 8
    assert int(answer.headers["content-length"]) > 100


@pytest.mark.parametrize("vendor", sorted(QUERY))
async def test_a_stuck_task_never_ends(sim, web, vendor):
    sim.script(vendor, Script(stuck=True))
    await create(sim, web, vendor)
    sim.advance(12 * 3600 * 1000)
    assert (await query(sim, web, vendor)).json()["status"] == "processing"
    assert sim.bill(vendor).images == 0


async def test_a_task_can_be_unknown_for_a_while(sim, web):
    sim.script("evolink", Script(unknown_ms=5_000))
    await create(sim, web, "evolink")
    assert (await query(sim, web, "evolink")).status_code == 404
    sim.advance(5_000)
    assert (await query(sim, web, "evolink")).status_code == 200


async def test_a_duplicate_id_is_answered_twice_and_billed_twice(sim, web):
    first = (await create(sim, web, "evolink")).json()["id"]
    sim.script("evolink", Script(duplicate_id=True, times=1))
    assert (await create(sim, web, "evolink")).json()["id"] == first
    sim.advance(10_000)
    assert [record.task_id for record in sim.bill("evolink").records] == [first, first]


async def test_a_script_on_queries_leaves_submits_alone(sim, web):
    sim.script("evolink", Script(on="query", error="server_error", times=1))
    assert (await create(sim, web, "evolink")).status_code == 200
    assert (await query(sim, web, "evolink")).status_code == 500
    assert (await query(sim, web, "evolink")).status_code == 200


async def test_queries_can_answer_html_and_garbage(sim, web):
    await create(sim, web, "evolink")
    sim.script("evolink", Script(on="query", answer="html", times=1))
    assert (await query(sim, web, "evolink")).status_code == 502
    sim.script("evolink", Script(on="query", answer="garbage", times=1))
    assert "results" not in (await query(sim, web, "evolink")).text


@pytest.mark.parametrize(
    ("links", "status"), [("missing", 404), ("expired", 403), ("html", 200), (None, 200)]
)
async def test_result_links_can_be_dead(quick, web, links, status):
    quick.script("evolink", Script(links=links))
    await create(quick, web, "evolink")
    url = (await query(quick, web, "evolink")).json()["results"][0]
    answer = await web.get(url)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("image/") == (links is None)


async def test_a_huge_result_goes_on_and_on(quick, web):
    quick.script("evolink", Script(links="huge"))
    await create(quick, web, "evolink")
    url = (await query(quick, web, "evolink")).json()["results"][0]
    received = 0
    async with web.stream("GET", url) as answer:
        async for chunk in answer.aiter_raw():
            received += len(chunk)
            if received > 2_000_000:
                break
    assert received > 2_000_000
    assert "content-length" not in answer.headers


async def test_links_need_no_key_and_know_only_what_was_delivered(quick):
    quick.script("evolink", Script(deliver=1))
    async with httpx.AsyncClient(trust_env=False) as plain:
        url = quick.base_url("evolink") + "/images/generations"
        headers = {"authorization": "Bearer k"}
        await plain.post(url, json=CREATES["evolink"].body | {"n": 2}, headers=headers)
        origin = quick.base_url("evolink").removesuffix("/v1")
        task_id = quick.tasks("evolink")[0].id
        assert (await plain.get(f"{origin}/files/{task_id}/0.png")).status_code == 200
        assert (await plain.get(f"{origin}/files/{task_id}/1.png")).status_code == 404
        assert (await plain.get(f"{origin}/files/nothing/0.png")).status_code == 404


async def test_latency_holds_back_only_the_answer_asked_for(sim, web):
    sim.script("evolink", Script(latency_ms=60_000))
    with pytest.raises(httpx.ReadTimeout):
        await web.post(
            sim.base_url("evolink") + "/images/generations",
            json=CREATES["evolink"].body,
            timeout=0.1,
        )
    assert (await create(sim, web, "qingbo")).status_code == 200


async def test_a_caller_who_leaves_a_sync_call_is_billed_all_the_same(web):
    async with Simulator(SimulatorConfig(work_ms=(60_000, 60_000))) as sim:
        with pytest.raises(httpx.ReadTimeout):
            await web.post(
                sim.base_url("openai") + "/images/generations",
                json=CREATES["openai"].body,
                timeout=0.1,
            )
        assert sim.bill("openai").pending_images == 1
        sim.advance(60_000)
        assert sim.bill("openai").images == 1


async def test_the_fal_and_dashscope_cancel_calls_can_be_scripted(sim, web):
    sim.script("fal", Script(on="cancel", error="server_error"))
    cancel_url = (await create(sim, web, "fal")).json()["cancel_url"]
    assert (await web.put(cancel_url, headers=FAL_KEY)).status_code == 500


def test_a_book_without_matching_scripts_gives_no_effect():
    import random

    book = ScriptBook(random.Random(0))
    book.add(Script(on="query", error="rate"))
    assert book.pick("submit", "m", "p") == Script()
    assert book.in_force() == [Script(on="query", error="rate")]


async def test_many_requests_at_once_are_all_served(sim, web):
    answers = await asyncio.gather(*(create(sim, web, "evolink") for _ in range(100)))
    assert len({answer.json()["id"] for answer in answers}) == 100

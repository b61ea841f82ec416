"""Every adapter against the simulated provider, over the production transport and real sockets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.domain.errors import Blame, Sent, UpstreamError
from gateway.domain.model import Secret
from gateway.domain.upstream import Accepted, Cancelled, Delivered, PollAnswer, Running
from gateway.simulator import Script
from gateway.upstreams import CAN_CANCEL, IDEMPOTENT, _http, build
from tests.upstreams.benches import (
    CASES,
    QUEUE_MS,
    TASKS,
    USUAL,
    WORK_MS,
    Case,
    bench,
)
from tests.upstreams.support import upstream


@pytest.mark.parametrize("name", CASES)
async def test_submit_poll_deliver_and_look_at_the_pictures(name: str) -> None:
    async with bench(name) as it:
        answer: Accepted | PollAnswer = await it.submit()
        if not it.case.blocking:
            assert isinstance(answer, Accepted)
            assert (await it.adapter.poll(answer.upstream_task_id)) in (
                Running(queued=True),
                Running(queued=True, progress=0),
            )
            it.sim.advance(QUEUE_MS)
            running = await it.adapter.poll(answer.upstream_task_id)
            assert isinstance(running, Running)
            assert not running.queued
            it.sim.advance(WORK_MS)
            answer = await it.adapter.poll(answer.upstream_task_id)
        assert isinstance(answer, Delivered)
        assert (len(answer.images), answer.failed) == (it.case.n, 0)
        for image in answer.images:
            assert min((await it.look(image)).size) >= 512
        bill = it.sim.bill(it.vendor)
        assert (len(bill.records), bill.images) == (1, it.case.n)


@pytest.mark.parametrize("name", TASKS)
async def test_links_are_promised_no_longer_than_they_live(name: str) -> None:
    async with bench(name) as it:
        image = (await it.finished()).images[0]
        assert image.url is not None
        assert image.expires_at is not None
        it.sim.advance(image.expires_at * 1000 - it.sim.clock.now_ms() - 1_000)
        assert (await it.client.get(image.url)).status_code == 200


@pytest.mark.parametrize("name", [name for name in USUAL if CASES[name].n > 1])
async def test_a_partial_delivery_gives_the_pictures_there_are(name: str) -> None:
    async with bench(name, Script(deliver=1)) as it:
        answer = await it.finished()
        assert len(answer.images) == 1
        # Only DashScope's old shape says that a picture failed; elsewhere the list is shorter.
        assert answer.failed == (1 if name == "dashscope-text2image" else 0)
        assert it.sim.bill(it.vendor).images == 1


FAILURES: dict[str, dict[str, Blame]] = {
    "content_policy": {},
    "invalid_parameter": {"replicate": Blame.PROVIDER},
    "server_error": {},
    "timeout": {},
    "rate": {
        "evolink": Blame.PROVIDER,
        "fal": Blame.PROVIDER,
        "replicate": Blame.PROVIDER,
    },
}
USUAL_BLAME = {
    "content_policy": Blame.CALLER,
    "invalid_parameter": Blame.CALLER,
    "server_error": Blame.PROVIDER,
    "timeout": Blame.PROVIDER,
    "rate": Blame.RATE,
}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("fault", FAILURES)
async def test_a_failed_task_has_its_blame_and_costs_nothing(name: str, fault: str) -> None:
    async with bench(name, Script(fail=fault)) as it:
        error = await it.failure()
        expected = FAILURES[fault].get(name, USUAL_BLAME[fault])
        assert (error.blame, error.sent) == (expected, Sent.REFUSED)
        assert it.sim.bill(it.vendor).images == 0


REFUSALS: list[tuple[str, Blame, Sent]] = [
    ("invalid_parameter", Blame.CALLER, Sent.REFUSED),
    ("content_policy", Blame.CALLER, Sent.REFUSED),
    ("too_large", Blame.CALLER, Sent.REFUSED),
    ("bad_key", Blame.ACCOUNT, Sent.REFUSED),
    ("unpaid", Blame.ACCOUNT, Sent.REFUSED),
    ("forbidden", Blame.ACCOUNT, Sent.REFUSED),
    ("model_not_found", Blame.ACCOUNT, Sent.REFUSED),
    ("rate", Blame.RATE, Sent.REFUSED),
    ("server_error", Blame.PROVIDER, Sent.REFUSED),
    ("unavailable", Blame.PROVIDER, Sent.REFUSED),
]


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize(("fault", "blame", "sent"), REFUSALS)
async def test_a_refused_submit_has_its_blame(
    name: str, fault: str, blame: Blame, sent: Sent
) -> None:
    async with bench(name, Script(error=fault)) as it:
        error = await it.failure()
        assert (error.blame, error.sent) == (blame, sent)
        if fault == "model_not_found":
            assert error.scope == "model"


@pytest.mark.parametrize("name", USUAL)
async def test_a_wrong_key_is_the_accounts_fault_and_is_not_shown(name: str) -> None:
    async with bench(name) as it:
        account = upstream(
            it.vendor,
            base_url=it.sim.base_url(it.vendor),
            allow_private=True,
            options=it.case.job.upstream.options,
        )
        account = replace(account, api_key=Secret("wrong-key-of-ours"))
        adapter = build(account, it.client, lambda: 0)
        with pytest.raises(UpstreamError) as raised:
            await adapter.submit(it.case.job)
        assert (raised.value.blame, raised.value.scope) == (Blame.ACCOUNT, "upstream")
        assert "wrong-key-of-ours" not in repr(vars(raised.value))


@pytest.mark.parametrize("name", USUAL)
async def test_a_vendor_that_refuses_connections_got_nothing(name: str) -> None:
    async with bench(name) as it:
        await it.sim.down(it.vendor)
        error = await it.failure()
        assert (error.blame, error.sent) == (Blame.PROVIDER, Sent.NO)


SPOILED: list[tuple[Script, Callable[[Case], Sent]]] = [
    (Script(accept_then="timeout"), lambda case: Sent.UNKNOWN),
    (Script(accept_then="reset"), lambda case: Sent.UNKNOWN),
    # A reset cannot be told from one after acceptance.
    (Script(reset=True), lambda case: Sent.UNKNOWN),
    (Script(answer="html"), lambda case: Sent.UNKNOWN),
    (Script(answer="garbage"), lambda case: Sent.UNKNOWN),
    (Script(answer="wrong_types"), lambda case: Sent.UNKNOWN),
    (Script(answer="truncated"), lambda case: Sent.UNKNOWN),
    # An empty list of pictures means that none was made; an empty task id means nothing.
    (Script(answer="empty"), lambda case: Sent.REFUSED if case.blocking else Sent.UNKNOWN),
    (Script(error="timeout", status=504), lambda case: Sent.UNKNOWN),
]


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize(
    ("script", "sent"),
    SPOILED,
    ids=[
        "accept-then-timeout",
        "accept-then-reset",
        "reset",
        "html",
        "garbage",
        "wrong-types",
        "truncated",
        "empty",
        "gateway-timeout",
    ],
)
async def test_a_spoiled_answer_says_whether_it_may_be_billed(
    monkeypatch: pytest.MonkeyPatch, name: str, script: Script, sent: Callable[[Case], Sent]
) -> None:
    monkeypatch.setattr(_http, "BLOCKING_TIMEOUT_S", 0.5)
    async with bench(name, script, submit_timeout_ms=500) as it:
        error = await it.failure()
        assert (error.blame, error.sent) == (Blame.PROVIDER, sent(it.case))


@pytest.mark.parametrize("name", sorted(IDEMPOTENT))
async def test_an_idempotent_submit_repeated_is_one_task_and_one_bill(name: str) -> None:
    case = next(key for key in USUAL if CASES[key].adapter == name)
    lost = Script(accept_then="timeout", times=1)
    async with bench(case, lost, submit_timeout_ms=300) as it:
        with pytest.raises(UpstreamError) as raised:
            await it.submit()
        assert raised.value.sent is Sent.UNKNOWN
        first, second = await it.accepted(), await it.accepted()
        assert first == second == it.sim.tasks(it.vendor)[0].id
        it.sim.advance(WORK_MS)
        assert isinstance(await it.adapter.poll(first), Delivered)
        bill = it.sim.bill(it.vendor)
        assert (len(bill.records), bill.images, bill.pending_images) == (1, it.case.n, 0)


async def test_an_idempotency_key_in_dispute_leaves_the_outcome_unknown() -> None:
    async with bench("evolink") as it:
        await it.accepted()
        other = replace(it.case.job, request=replace(it.case.job.request, prompt="Another"))
        with pytest.raises(UpstreamError) as raised:
            await it.adapter.submit(other)
        assert (raised.value.sent, raised.value.code) == (Sent.UNKNOWN, "idempotency_conflict")


CANCELLABLE = tuple(name for name in TASKS if CASES[name].adapter in CAN_CANCEL)


@pytest.mark.parametrize("name", CANCELLABLE)
async def test_a_queued_task_is_cancelled_and_not_billed(name: str) -> None:
    async with bench(name) as it:
        task_id = await it.accepted()
        assert await it.adapter.cancel(task_id) is True
        assert await it.adapter.poll(task_id) == Cancelled()
        it.sim.advance(WORK_MS)
        bill = it.sim.bill(it.vendor)
        assert (bill.images, bill.pending_images) == (0, 0)


@pytest.mark.parametrize("name", TASKS)
async def test_a_running_task_is_not_reported_as_cancelled(name: str) -> None:
    async with bench(name) as it:
        task_id = await it.accepted()
        it.sim.advance(QUEUE_MS)
        assert await it.adapter.cancel(task_id) is False
        it.sim.advance(WORK_MS)
        assert isinstance(await it.adapter.poll(task_id), Delivered | Cancelled)


@pytest.mark.parametrize("name", CANCELLABLE)
async def test_a_finished_or_unknown_task_cannot_be_cancelled(name: str) -> None:
    async with bench(name) as it:
        task_id = await it.accepted()
        it.sim.advance(WORK_MS)
        assert await it.adapter.cancel(task_id) is False
        unknown = task_id.replace(it.sim.tasks(it.vendor)[0].id, "no-such-task")
        assert await it.adapter.cancel(unknown) is False


@pytest.mark.parametrize("name", TASKS)
async def test_a_task_cancelled_by_the_vendor_says_so(name: str) -> None:
    async with bench(name, Script(cancelled=True)) as it:
        task_id = await it.accepted()
        it.sim.advance(WORK_MS)
        assert await it.adapter.poll(task_id) == Cancelled()


@pytest.mark.parametrize("name", TASKS)
async def test_a_task_the_vendor_does_not_know_yet_is_asked_for_again(name: str) -> None:
    async with bench(name, Script(unknown_ms=1_000)) as it:
        task_id = await it.accepted()
        with pytest.raises(UpstreamError) as raised:
            await it.adapter.poll(task_id)
        assert (raised.value.sent, raised.value.code) == (Sent.NO, "task_unknown")
        it.sim.advance(1_000)
        assert isinstance(await it.adapter.poll(task_id), Running)


QUERY_TROUBLE = [
    Script(on="query", error="rate", times=1),
    Script(on="query", error="server_error", times=1),
    Script(on="query", error="unavailable", times=1),
    Script(on="query", error="bad_key", times=1),
    # The transport repeats a query once when a kept connection was closed under it.
    Script(on="query", reset=True, times=2),
    Script(on="query", answer="html", times=1),
    Script(on="query", answer="garbage", times=1),
    Script(on="query", answer="wrong_types", times=1),
    Script(on="query", answer="truncated", times=1),
]


@pytest.mark.parametrize("name", TASKS)
async def test_trouble_with_a_query_never_ends_a_task(name: str) -> None:
    async with bench(name) as it:
        task_id = await it.accepted()
        it.sim.advance(QUEUE_MS)
        for script in QUERY_TROUBLE:
            it.sim.script(it.vendor, script)
            with pytest.raises(UpstreamError) as raised:
                await it.adapter.poll(task_id)
            assert raised.value.sent is Sent.NO
            assert isinstance(await it.adapter.poll(task_id), Running)
        await it.sim.down(it.vendor)
        with pytest.raises(UpstreamError) as raised:
            await it.adapter.poll(task_id)
        assert raised.value.sent is Sent.NO
        await it.sim.up(it.vendor)
        it.sim.advance(WORK_MS)
        assert isinstance(await it.adapter.poll(task_id), Delivered)


async def test_a_refusal_names_the_time_to_come_back() -> None:
    async with bench("evolink", Script(error="rate", retry_after_s=7)) as it:
        assert (await it.failure()).retry_after_s == 7

"""The callback loop: schedule, concurrency, outages and stopping, over an outbox in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.callbacks import dispatcher as dispatcher_module
from gateway.callbacks.dispatcher import LEASE_MS, SENDS_MAX, SENDS_PER_HOST_MAX, Dispatcher
from gateway.domain.callback import RETRY_DELAYS_MS, SLOW_DELAYS_MS, Callback
from gateway.domain.errors import StoreUnavailable
from tests.callbacks.memory import START_MS, MemoryOutbox, MemorySender, SetClock


def callback_of(number: int, host: str = "hooks.acme.com") -> Callback:
    return Callback(
        f"msg_{number}", f"task_{number}", "team", f"https://{host}/", "completed", 0, ("whsec_AA",)
    )


async def body_of(task_id: str) -> bytes | None:
    return None if task_id == "task_404" else f'{{"id":"{task_id}"}}'.encode()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def outbox(clock: SetClock) -> MemoryOutbox:
    return MemoryOutbox(clock)


@pytest.fixture
def sender(clock: SetClock) -> MemorySender:
    sender = MemorySender(clock)
    sender.gate.set()
    return sender


@pytest.fixture(autouse=True)
def _quick_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "IDLE_S", 0.02)


@asynccontextmanager
async def running(outbox: MemoryOutbox, sender: MemorySender) -> AsyncIterator[Dispatcher]:
    dispatcher = Dispatcher(outbox, sender, body_of, outbox.clock)
    loop = asyncio.create_task(dispatcher.run())
    yield dispatcher
    await dispatcher.stop(1)
    async with asyncio.timeout(1):
        await loop


async def test_a_due_callback_is_sent_once_with_its_rendered_body(
    outbox: MemoryOutbox, sender: MemorySender
):
    outbox.add(callback_of(1))
    async with running(outbox, sender):
        await outbox.until_recorded(1)

    assert sender.sent == [(callback_of(1), b'{"id":"task_1"}')]
    [(name, result, next_at_ms)] = outbox.log
    assert (name, result.delivered, next_at_ms) == ("msg_1", True, None)


async def test_failed_tries_are_repeated_after_1_2_and_4_seconds_and_then_given_up(
    outbox: MemoryOutbox, sender: MemorySender, clock: SetClock
):
    sender.status = 500
    outbox.add(callback_of(1))
    async with running(outbox, sender) as dispatcher:
        for tries, delay_ms in enumerate((1000, 2000, 4000, None), start=1):
            await outbox.until_recorded(tries)
            next_at_ms = outbox.log[-1][2]
            assert next_at_ms == (None if delay_ms is None else clock.ms + delay_ms)
            if delay_ms is not None:
                clock.ms += delay_ms - 1
                dispatcher.notify()
                await asyncio.sleep(0.05)
                assert len(outbox.log) == tries
                clock.ms += 1
                dispatcher.notify()

    assert [callback.tries for callback, _ in sender.sent] == [0, 1, 2, 3]
    assert {callback.id for callback, _ in sender.sent} == {"msg_1"}
    assert outbox.due == {}


async def test_a_success_after_a_failure_ends_the_tries(
    outbox: MemoryOutbox, sender: MemorySender, clock: SetClock
):
    sender.status = None
    outbox.add(callback_of(1))
    async with running(outbox, sender) as dispatcher:
        await outbox.until_recorded(1)
        sender.status = 200
        clock.ms += 1000
        dispatcher.notify()
        await outbox.until_recorded(2)

    assert [(r.delivered, n) for _, r, n in outbox.log] == [(False, START_MS + 1000), (True, None)]


async def test_a_patient_team_s_callback_is_tried_for_days(
    outbox: MemoryOutbox, sender: MemorySender, clock: SetClock
):
    sender.status = 503
    outbox.add(replace(callback_of(1), patient=True))
    waits = []
    async with running(outbox, sender) as dispatcher:
        for tries in range(1, len(RETRY_DELAYS_MS + SLOW_DELAYS_MS) + 2):
            await outbox.until_recorded(tries)
            if (next_at_ms := outbox.log[-1][2]) is not None:
                waits.append(next_at_ms - clock.ms)
                clock.ms = next_at_ms
                dispatcher.notify()

    minutes = [5, 30, 120, 300, 600, 840, 1200, 1440]
    assert waits == [1000, 2000, 4000, *(60_000 * m for m in minutes)]
    assert outbox.due == {}


async def test_a_410_ends_the_tries_at_once(outbox: MemoryOutbox, sender: MemorySender):
    sender.status = 410
    outbox.add(replace(callback_of(1), patient=True))
    async with running(outbox, sender):
        await outbox.until_recorded(1)

    assert [(result.status, next_at) for _, result, next_at in outbox.log] == [(410, None)]


@pytest.mark.parametrize(
    ("changes", "reason", "is_final"),
    [
        ({"gone": True}, "410", True),
        ({"secrets": ()}, "signing secrets", False),
        ({"url": ""}, "address cannot be opened", False),
    ],
)
async def test_what_cannot_be_sent_is_logged_and_not_sent(
    outbox: MemoryOutbox, sender: MemorySender, changes, reason, is_final
):
    outbox.add(replace(callback_of(1), **changes))
    async with running(outbox, sender):
        await outbox.until_recorded(1)

    [(_, result, next_at_ms)] = outbox.log
    assert reason in str(result.error)
    assert (next_at_ms is None) == is_final
    assert sender.sent == []


async def test_a_notice_is_acted_on_at_once(
    outbox: MemoryOutbox, sender: MemorySender, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dispatcher_module, "IDLE_S", 3600)
    async with running(outbox, sender) as dispatcher:
        await asyncio.sleep(0.01)
        outbox.add(callback_of(1))
        dispatcher.notify()
        await outbox.until_recorded(1)

    assert outbox.claims <= 3


async def test_without_a_notice_the_outbox_is_asked_regularly(
    outbox: MemoryOutbox, sender: MemorySender
):
    async with running(outbox, sender):
        await asyncio.sleep(0.05)
        outbox.add(callback_of(1))
        await outbox.until_recorded(1)

    assert outbox.claims > 1


async def test_a_task_that_is_gone_gives_up_its_callback(
    outbox: MemoryOutbox, sender: MemorySender
):
    outbox.add(callback_of(404))
    async with running(outbox, sender):
        await outbox.until_recorded(1)

    [(_, result, next_at_ms)] = outbox.log
    assert (result.error, next_at_ms) == ("the task is gone", None)
    assert sender.sent == []


async def test_an_outage_of_the_store_is_waited_out_without_sending_twice(
    outbox: MemoryOutbox, sender: MemorySender
):
    outbox.away = 3
    outbox.add(callback_of(1))
    async with running(outbox, sender) as dispatcher:
        await outbox.until_recorded(1)
        outbox.away = 3
        outbox.add(callback_of(2))
        dispatcher.notify()
        await outbox.until_recorded(2)

    assert [callback.id for callback, _ in sender.sent] == ["msg_1", "msg_2"]


async def test_an_outage_between_send_and_record_is_waited_out(
    outbox: MemoryOutbox, sender: MemorySender
):
    sender.gate.clear()
    outbox.add(callback_of(1))
    async with running(outbox, sender):
        await sender.until_running(1)
        outbox.away = 4
        sender.gate.set()
        await outbox.until_recorded(1)

    assert len(sender.sent) == 1


async def test_what_could_not_be_recorded_in_its_lease_is_left_to_come_again(
    outbox: MemoryOutbox, sender: MemorySender, clock: SetClock
):
    sender.gate.clear()
    outbox.add(callback_of(1))
    async with running(outbox, sender) as dispatcher:
        await sender.until_running(1)
        clock.ms += LEASE_MS
        outbox.away = 1
        sender.gate.set()
        dispatcher.notify()
        await outbox.until_recorded(1)

    assert len(sender.sent) >= 1
    assert outbox.log[0][1].delivered


async def test_a_body_that_cannot_be_rendered_now_is_tried_again_after_its_lease(
    outbox: MemoryOutbox, sender: MemorySender, clock: SetClock
):
    called = asyncio.Event()

    async def away_once(task_id: str) -> bytes:
        if not called.is_set():
            called.set()
            raise StoreUnavailable
        return b"{}"

    outbox.add(callback_of(1))
    dispatcher = Dispatcher(outbox, sender, away_once, clock)
    loop = asyncio.create_task(dispatcher.run())
    await called.wait()
    clock.ms += LEASE_MS
    await outbox.until_recorded(1)
    await dispatcher.stop(1)
    await loop

    assert [result.delivered for _, result, _ in outbox.log] == [True]
    assert sender.sent[0][0].tries == 0


async def test_a_crash_in_one_delivery_does_not_stop_the_others(
    outbox: MemoryOutbox, sender: MemorySender, clock: SetClock
):
    async def broken(task_id: str) -> bytes:
        if task_id == "task_1":
            raise RuntimeError("a bug")
        return b"{}"

    outbox.add(callback_of(1), callback_of(2))
    dispatcher = Dispatcher(outbox, sender, broken, clock)
    loop = asyncio.create_task(dispatcher.run())
    await outbox.until_recorded(1)
    await dispatcher.stop(1)
    await loop

    assert [name for name, _, _ in outbox.log] == ["msg_2"]


async def test_one_host_never_has_more_than_its_share_and_does_not_hold_up_others(
    outbox: MemoryOutbox, sender: MemorySender
):
    sender.gate.clear()
    outbox.add(*(callback_of(n, "slow.acme.com") for n in range(100)))
    outbox.add(*(callback_of(n, "quick.acme.com") for n in range(100, 105)))
    async with running(outbox, sender):
        await sender.until_running(5, "https://quick.acme.com/")
        at_once = dict(sender.running)
        sender.gate.set()
        await outbox.until_recorded(105)

    assert at_once == {
        "https://slow.acme.com/": SENDS_PER_HOST_MAX,
        "https://quick.acme.com/": 5,
    }
    assert sender.most["https://slow.acme.com/"] == SENDS_PER_HOST_MAX


async def test_no_more_than_the_limit_are_sent_at_once(outbox: MemoryOutbox, sender: MemorySender):
    sender.gate.clear()
    outbox.add(*(callback_of(n, f"h{n}.acme.com") for n in range(SENDS_MAX + 30)))
    async with running(outbox, sender):
        await sender.until_running(SENDS_MAX)
        sender.gate.set()
        await outbox.until_recorded(SENDS_MAX + 30)

    assert sender.most_at_all == SENDS_MAX


async def test_more_than_are_held_at_once_are_all_sent(
    outbox: MemoryOutbox, sender: MemorySender, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dispatcher_module, "HELD_MAX", 7)
    monkeypatch.setattr(dispatcher_module, "IDLE_S", 3600)
    outbox.add(*(callback_of(n, f"h{n}.acme.com") for n in range(50)))
    async with running(outbox, sender):
        await outbox.until_recorded(50)

    assert len({callback.id for callback, _ in sender.sent}) == len(sender.sent) == 50


async def test_stopping_lets_a_send_in_progress_finish_and_claims_no_more(
    outbox: MemoryOutbox, sender: MemorySender, clock: SetClock
):
    sender.gate.clear()
    outbox.add(callback_of(1))
    dispatcher = Dispatcher(outbox, sender, body_of, clock)
    loop = asyncio.create_task(dispatcher.run())
    await sender.until_running(1)
    stop = asyncio.create_task(dispatcher.stop(5))
    await asyncio.sleep(0)
    outbox.add(callback_of(2))
    dispatcher.notify()
    sender.gate.set()
    await asyncio.gather(stop, loop)

    assert [name for name, _, _ in outbox.log] == ["msg_1"]
    assert "msg_2" in outbox.due


async def test_stopping_leaves_a_send_that_takes_too_long_to_the_next_worker(
    outbox: MemoryOutbox, sender: MemorySender, clock: SetClock
):
    sender.gate.clear()
    outbox.add(callback_of(1))
    dispatcher = Dispatcher(outbox, sender, body_of, clock)
    loop = asyncio.create_task(dispatcher.run())
    await sender.until_running(1)
    await asyncio.gather(dispatcher.stop(0.05), loop)
    assert outbox.log == []

    clock.ms += LEASE_MS
    sender.gate.set()
    async with running(outbox, sender):
        await outbox.until_recorded(1)

    assert [callback.id for callback, _ in sender.sent] == ["msg_1"]

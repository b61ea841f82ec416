"""A small event behaves like the standard one."""

from __future__ import annotations

import asyncio

from gateway.app.gates import Gate


async def test_an_open_gate_lets_through_at_once() -> None:
    gate = Gate(is_open=True)
    assert gate.is_set()
    assert await gate.wait()
    gate.clear()
    assert not gate.is_set()


async def test_everybody_who_waits_is_woken_even_if_it_shuts_at_once() -> None:
    gate = Gate()
    waiting = [asyncio.create_task(gate.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    gate.set()
    gate.clear()
    assert await asyncio.gather(*waiting) == [True, True, True]


async def test_a_cancelled_waiter_leaves_the_others_waiting() -> None:
    gate = Gate()
    first, second = (asyncio.create_task(gate.wait()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert not second.done()
    gate.set()
    assert await second

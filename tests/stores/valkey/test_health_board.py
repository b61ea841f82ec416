from __future__ import annotations

import asyncio

import pytest

from gateway.domain.health import (
    ACCOUNT_BENCH_MS,
    BENCH_MS,
    TRIAL_MS,
    WHOLE_UPSTREAM,
    Circuit,
    CircuitState,
    Plane,
    Signal,
    SignalKind,
)
from gateway.stores.valkey import health as health_module
from gateway.stores.valkey import keys
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.health import ValkeyHealthBoard
from tests.stores.valkey.helpers import NOW_MS, until, until_back

KEY = ("dashscope-beijing", "wan2.5-t2i-preview")
WHOLE = (KEY[0], WHOLE_UPSTREAM)
GOOD = Signal(SignalKind.GOOD)
FAULT = Signal(SignalKind.FAULT, reason="503")
ACCOUNT = Signal(SignalKind.ACCOUNT, reason="unpaid")


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch):
    monkeypatch.setattr(health_module, "FRESH_S", 0.0)


@pytest.fixture
def board(server: Valkey) -> ValkeyHealthBoard:
    return ValkeyHealthBoard(server)


@pytest.fixture
def other(server: Valkey) -> ValkeyHealthBoard:
    """The same board in another process."""
    return ValkeyHealthBoard(server)


async def observe(board: ValkeyHealthBoard, *signals: Signal, at_ms: int = NOW_MS) -> None:
    for signal in signals:
        await board.observe(*KEY, signal, at_ms)


async def test_a_board_without_news_says_nothing(board):
    await observe(board, GOOD)
    assert await board.circuits() == {}


async def test_faults_seen_by_different_processes_add_up(board, other):
    await observe(board, FAULT, FAULT, FAULT)
    await observe(other, FAULT, FAULT)
    circuit = (await board.circuits())[KEY]
    assert circuit.open_until_ms == NOW_MS + BENCH_MS
    assert circuit.reason == "503"
    assert await other.circuits() == {KEY: circuit}


async def test_concurrent_outcomes_of_many_processes_are_all_counted(server, board):
    boards = [ValkeyHealthBoard(server) for _ in range(8)]
    plenty = Signal(SignalKind.GOOD, plane=Plane.COMPLETION)
    await asyncio.gather(*(observe(one, *[plenty] * 25) for one in boards for _ in range(4)))
    await until(lambda: not any(one._writing for one in boards))
    await observe(board, ACCOUNT)
    assert (await board.circuits())[KEY].completion.calls == 8 * 4 * 25


async def test_a_success_is_waited_for_only_where_it_ends_a_doubt(board, other):
    # Nobody shares a board's turn with it here, so what is not waited for is not there yet.
    async with board._turns[KEY]:
        await asyncio.wait_for(observe(board, GOOD), 20)
    await observe(board, ACCOUNT)
    trial_ms = NOW_MS + ACCOUNT_BENCH_MS
    assert (await other.circuits())[KEY].state(trial_ms) is CircuitState.HALF_OPEN
    assert await board.claim_trial(*KEY, trial_ms)
    await observe(board, GOOD, at_ms=trial_ms)
    assert await other.circuits() == {}


async def test_news_of_others_arrives_within_the_fresh_time(monkeypatch, board, other):
    monkeypatch.setattr(health_module, "FRESH_S", 0.05)
    assert await other.circuits() == {}
    await observe(board, ACCOUNT)
    assert await other.circuits() == {}
    await asyncio.sleep(0.06)
    assert KEY in await other.circuits()


async def test_one_read_serves_all_who_ask_at_once(monkeypatch, board, server):
    monkeypatch.setattr(health_module, "FRESH_S", 60.0)
    await server.execute("CONFIG", "RESETSTAT")
    await asyncio.gather(*(board.circuits() for _ in range(500)))
    stats = (await server.execute("INFO", "commandstats")).decode()
    assert "cmdstat_hgetall:calls=1," in stats


async def test_half_open_admits_one_task_among_all_processes(server):
    boards = [ValkeyHealthBoard(server) for _ in range(10)]
    await observe(boards[0], *[FAULT] * 5)
    for one in boards:
        await one.circuits()
    at_ms = NOW_MS + BENCH_MS
    claims = [one.claim_trial(*KEY, at_ms) for one in boards for _ in range(20)]
    assert sum(await asyncio.gather(*claims)) == 1
    later_ms = at_ms + TRIAL_MS[Plane.SUBMIT]
    claims = [one.claim_trial(*KEY, later_ms) for one in boards]
    assert sum(await asyncio.gather(*claims)) == 1


async def test_a_trial_is_needed_only_while_half_open(board):
    assert await board.claim_trial(*KEY, NOW_MS)
    await observe(board, *[FAULT] * 4)
    assert await board.claim_trial(*KEY, NOW_MS)
    assert await board.claim_trial(*KEY, NOW_MS)


async def test_a_good_trial_closes_the_circuit_for_everybody(board, other):
    await observe(board, *[FAULT] * 5)
    at_ms = NOW_MS + BENCH_MS
    assert await other.circuits()
    assert await other.claim_trial(*KEY, at_ms)
    await observe(other, GOOD, at_ms=at_ms)
    assert await board.circuits() == {}
    assert await board.claim_trial(*KEY, at_ms)


async def test_a_success_of_any_model_ends_the_doubt_about_the_whole_upstream(board):
    await board.observe(*WHOLE, ACCOUNT, NOW_MS)
    circuit = (await board.circuits())[WHOLE]
    await observe(board, GOOD, at_ms=NOW_MS + 1)
    assert (await board.circuits())[WHOLE] == circuit
    at_ms = circuit.open_until_ms
    assert await board.claim_trial(*KEY, at_ms)
    assert not await board.claim_trial(*KEY, at_ms)
    await observe(board, GOOD, at_ms=at_ms)
    assert await board.circuits() == {}


async def test_an_operator_can_close_an_upstreams_circuits(board, other):
    await observe(board, *[FAULT] * 5)
    await board.observe(*WHOLE, ACCOUNT, NOW_MS)
    await board.observe("other-upstream", KEY[1], ACCOUNT, NOW_MS)
    await other.reset(KEY[0])
    assert list(await board.circuits()) == [("other-upstream", KEY[1])]


async def test_a_flush_does_not_forget_what_any_process_knows(server, board, other):
    await observe(board, *[FAULT] * 5)
    known = await board.circuits()
    await server.execute("FLUSHALL")
    assert await board.circuits() == known
    assert await other.circuits() == known


async def test_an_unreadable_circuit_counts_as_closed_and_is_replaced(server, board):
    await server.execute("HSET", keys.CIRCUITS, "\n".join(KEY), "{nonsense")
    assert await board.circuits() == {}
    await observe(board, *[FAULT] * 5)
    assert KEY in await board.circuits()


async def test_it_judges_by_its_own_eyes_while_valkey_is_away_and_shares_after(own_valkey):
    connection = Valkey(own_valkey.url)
    board, other = ValkeyHealthBoard(connection), ValkeyHealthBoard(connection)
    await observe(board, FAULT, FAULT)
    await asyncio.to_thread(own_valkey.kill)
    await observe(board, FAULT, FAULT, FAULT)
    assert (await board.circuits())[KEY].state(NOW_MS) is CircuitState.OPEN
    at_ms = NOW_MS + BENCH_MS
    claims = await asyncio.gather(*(board.claim_trial(*KEY, at_ms) for _ in range(5)))
    assert sum(claims) == 1
    await asyncio.to_thread(own_valkey.restart)
    await until_back(connection)
    known = await board.circuits()
    assert await other.circuits() == known
    await connection.aclose()


async def test_after_a_parting_the_longer_rest_wins(own_valkey):
    here, there = Valkey(own_valkey.url), Valkey(own_valkey.url)
    board, other = ValkeyHealthBoard(here), ValkeyHealthBoard(there)
    await observe(board, FAULT)
    here._away_until = float("inf")
    await observe(board, *[FAULT] * 4, at_ms=NOW_MS)
    await observe(other, *[ACCOUNT], at_ms=NOW_MS)
    here._away_until = 0.0
    circuits = await board.circuits()
    assert circuits == await other.circuits()
    assert circuits[KEY].reason == "unpaid"
    await here.aclose()
    await there.aclose()


def test_a_circuit_survives_the_journey():
    circuit = Circuit(open_until_ms=NOW_MS, opened_by=Plane.COMPLETION, reason="中文 \x00")
    assert health_module._decoded(health_module._encoder.encode(circuit)) == circuit

"""Shutting down: callers are sent on at once, nothing is bought twice, leases are given back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
import urllib.error
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.app.ports import Lease
from gateway.simulator import Script
from gateway.stores.valkey.live_tasks import ValkeyLiveTasks
from gateway.worker import Worker
from tests.support.machine import Machine
from tests.support.stack import MODEL, Stack

LANTERN = {"model": MODEL, "prompt": "a paper lantern"}
SYNC = {**LANTERN, "async": False}
COUNTED = {"x-stainless-lang": "python", "x-stainless-retry-count": "0"}
KEYED = {"idempotency-key": "order-17"}


@pytest.fixture
async def slow(stack: Stack) -> Stack:
    """A gateway whose vendors take longer than any of these tests waits."""
    stack.simulator.script("evolink", Script(work_ms=60_000))
    return stack


async def drain_with_one_waiting(stack: Stack) -> None:
    """Begin the drain once a task exists."""
    async with asyncio.timeout(10):
        while not await stack.gateway.tasks.unfinished("", 1):
            await asyncio.sleep(0.02)
    stack.draining.set()


@pytest.mark.parametrize(
    ("headers", "status", "code", "retry"),
    [
        (COUNTED, 503, "shutting_down", "true"),
        (KEYED, 503, "shutting_down", "true"),
        ({}, 504, "wait_expired", "false"),
    ],
)
async def test_a_waiting_caller_is_sent_on_at_once(
    slow: Stack, headers: dict[str, str], status: int, code: str, retry: str
) -> None:
    team = await slow.team()
    async with asyncio.timeout(8):
        answer, _ = await asyncio.gather(
            slow.post(team, SYNC, headers=headers), drain_with_one_waiting(slow)
        )

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["x-should-retry"] == retry
    assert ("retry-after" in answer.headers) is (status == 503)
    assert answer.headers["x-task-id"] in answer.json()["error"]["message"]
    task = await slow.task(answer.headers["x-task-id"])
    assert not task.status.is_terminal


async def test_a_caller_that_takes_a_task_gets_it_as_it_stands(slow: Stack) -> None:
    team = await slow.team()
    async with asyncio.timeout(8):
        answer, _ = await asyncio.gather(
            slow.post(team, LANTERN, headers={"prefer": "wait=60"}), drain_with_one_waiting(slow)
        )

    assert answer.status_code == 200
    assert answer.json()["status"] in ("pending", "processing")


@pytest.mark.parametrize(("headers", "code"), [(KEYED, "shutting_down"), ({}, "wait_expired")])
async def test_a_stream_ends_with_an_error_event(
    slow: Stack, headers: dict[str, str], code: str
) -> None:
    team = await slow.team()
    async with asyncio.timeout(8):
        answer, _ = await asyncio.gather(
            slow.post(team, {**LANTERN, "stream": True}, headers=headers),
            drain_with_one_waiting(slow),
        )

    assert answer.text.count("event: ") == 1
    name, data = answer.text.strip().split("\n")[-2:]
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"]["code"] == code


async def test_a_tasks_events_end_with_an_error_event(slow: Stack) -> None:
    team = await slow.team()
    created = (await slow.post(team, LANTERN)).json()["id"]
    async with asyncio.timeout(8):
        answer, _ = await asyncio.gather(
            slow.get(team, f"/v1/tasks/{created}/events"), drain_with_one_waiting(slow)
        )

    last = answer.text.strip().split("\n\n")[-1].split("\n")
    assert last[0] == "event: error"
    assert json.loads(last[1].removeprefix("data: "))["error"]["code"] == "shutting_down"


async def test_readiness_goes_off_and_nothing_new_is_accepted(stack: Stack) -> None:
    team = await stack.team(credits=10)
    stack.draining.set()

    ready = await stack.client.get("/readyz")
    alive = await stack.client.get("/healthz")
    refused = await stack.post(team, LANTERN)

    assert (ready.status_code, ready.json()["draining"], alive.status_code) == (503, True, 200)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
    assert "retry-after" in refused.headers
    assert await stack.credits(team) == ("10", "0", "10")


class StoppedWhileClaiming:
    """A live index whose answer to a claim arrives when the worker was told to stop."""

    def __init__(self, live: ValkeyLiveTasks) -> None:
        self._live = live
        self.worker: Worker | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._live, name)

    async def claim(self, limit: int, lease_ms: int) -> Sequence[Lease]:
        leases = await self._live.claim(limit, lease_ms)
        if leases and self.worker is not None:
            self.worker.stop()
        return leases


async def test_a_worker_gives_back_what_it_claimed_and_did_not_visit(stack: Stack) -> None:
    team = await stack.team()
    await stack.stop_workers()
    created = {(await stack.post(team, LANTERN)).json()["id"] for _ in range(3)}
    live = StoppedWhileClaiming(stack.gateway.live)
    worker = live.worker = replace(stack.gateway.worker(), live=live)

    async with asyncio.timeout(5):
        await worker.run()
    leases = await stack.gateway.live.claim(10, 1_000)

    assert {lease.task.id for lease in leases} == created


def pid_of(machine: Machine, role: str) -> int:
    """Find a process of this data directory by its role and environment."""
    for entry in Path("/proc").iterdir():
        try:
            argv = (entry / "cmdline").read_bytes()
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"\0{role}\0".encode() in argv and str(machine.data_dir).encode() in environ:
            return int(entry.name)
    raise AssertionError(f"no {role} process")


def test_a_terminated_api_sends_its_waiting_sdk_to_the_next_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "data")
    slow = {"model": MODEL, "prompt": "a kite [sim:seconds=4]"}
    refusals: list[tuple[int, dict[str, str]]] = []
    with machine.up() as ready:
        key = ready["key"]

        def wait() -> None:
            try:
                machine.call(key, "/v1/images/generations", slow, **COUNTED)
            except urllib.error.HTTPError as error:
                refusals.append((error.code, dict(error.headers)))
                error.close()

        caller = threading.Thread(target=wait)
        caller.start()
        ends = time.monotonic() + 20
        while not machine.call(key, "/v1/tasks")["data"]:
            assert time.monotonic() < ends
            time.sleep(0.05)
        os.kill(pid_of(machine, "api"), signal.SIGTERM)
        caller.join(10)
        assert not caller.is_alive()
        ((status, headers),) = refusals
        again = {**COUNTED, "x-stainless-retry-count": "1"}
        answer = None
        while answer is None:
            try:
                answer = machine.call(key, "/v1/images/generations", slow, **again)
            except (urllib.error.URLError, ConnectionError) as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
                assert time.monotonic() < ends
                time.sleep(0.2)
        tasks = machine.call(key, "/v1/tasks")["data"]
        shown = machine.json("task", "show", answer["id"])

    assert (status, headers["x-should-retry"]) == (503, "true")
    assert int(headers["retry-after"]) <= 120
    assert (answer["status"], answer["id"]) == ("completed", headers["x-task-id"])
    assert [task["id"] for task in tasks] == [answer["id"]]
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["delivered"]

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.simulator import Simulator, SimulatorConfig

WORK_MS = 10_000


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    """Every vendor; work takes 10 s, of which 1 s is queued, and time is moved by hand."""
    async with Simulator(SimulatorConfig(work_ms=(WORK_MS, WORK_MS), queue_ms=1_000)) as simulator:
        yield simulator


@pytest.fixture
async def quick() -> AsyncIterator[Simulator]:
    """Every vendor, with work that takes no time, for calls that wait for their pictures."""
    async with Simulator(SimulatorConfig(work_ms=(0, 0))) as simulator:
        yield simulator


@pytest.fixture
async def web() -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key every vendor but fal takes."""
    headers = {"authorization": "Bearer sim-key"}
    async with httpx.AsyncClient(
        trust_env=False, verify=False, timeout=5, headers=headers
    ) as client:
        yield client

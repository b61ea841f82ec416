"""Whole gateways: one per test, or one for all tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.support.engines import cloned_database, flush
from tests.support.pictures import png
from tests.support.sdk import SdkProcess, Sdks, sdk_processes
from tests.support.shared import Shared, shared_stack
from tests.support.stack import Stack, running_stack


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    """API, one worker, Postgres, Valkey and the simulated vendors."""
    async with running_stack(tmp_path, database_url, redis_url) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_stack(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: EmbeddedPostgres,
    migrated_template: str,
    valkey: EmbeddedValkey,
) -> AsyncIterator[Stack]:
    """The same for all tests of a module that sets ``loop_scope="module"``.

    Vendors are asked every 50 ms: their work takes that long here, and such a module makes many
    pictures.
    """
    flush(valkey)
    with (
        cloned_database(postgres, migrated_template) as database_url,
        pytest.MonkeyPatch.context() as quick,
    ):
        quick.setattr("gateway.domain.machine.POLL_DELAYS_MS", (50,))
        folder = tmp_path_factory.mktemp("stack")
        async with running_stack(folder, database_url, valkey.url) as running:
            yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    tmp_path_factory: pytest.TempPathFactory,
    postgres: EmbeddedPostgres,
    migrated_template: str,
    valkey: EmbeddedValkey,
) -> AsyncIterator[Shared]:
    """One upstream of every adapter, and a look at what each vendor was sent."""
    folder = tmp_path_factory.mktemp("shared")
    async with shared_stack(folder, postgres, migrated_template, valkey) as running:
        yield running


@pytest.fixture
def calm_stack(module_stack: Stack) -> Iterator[Stack]:
    """The module's gateway; what a test scripted its vendors to do is forgotten afterwards."""
    yield module_stack
    for vendor in module_stack.simulator.vendors:
        module_stack.simulator.clear(vendor)


@pytest.fixture(scope="module")
def processes() -> Iterator[list[SdkProcess]]:
    with sdk_processes("dashscope_calls") as found:
        yield found


@pytest.fixture
def sdks(calm_stack: Stack, processes: list[SdkProcess]) -> Sdks:
    return Sdks(processes, calm_stack)


@pytest.fixture
def local(tmp_path: Path) -> Callable[..., str]:
    """Gives the address of a picture file on this machine."""

    def make(name: str = "my cat.png", content: bytes | None = None) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png() if content is None else content)
        return f"file://{path}"

    return make

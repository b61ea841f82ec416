"""Every named point, every disaster: no task lost, no credit wrong, no picture bought unseen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from gateway.crashpoints import CrashPoint
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.crash.books import Figures, assert_books_are_exact
from tests.crash.matrix import CELLS, JOURNEYS, QUARTER, Disaster, go_through
from tests.crash.site import running_site


def test_the_matrix_has_every_point() -> None:
    assert set(JOURNEYS) == set(CrashPoint)
    assert len(JOURNEYS) >= 20
    assert {point for point, _ in QUARTER} == set(CrashPoint)
    assert {disaster for _, disaster in QUARTER} == set(Disaster)


async def run(
    cells: Iterable[tuple[CrashPoint, Disaster]],
    folder: Path,
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
) -> Figures:
    began = time.monotonic()
    async with running_site(folder, postgres, valkey) as site:
        journeys = []
        for point, disaster in cells:
            at = time.monotonic()
            journeys.append(await go_through(site, point, disaster))
            print(f"{point:20} {disaster:18} {time.monotonic() - at:5.1f} s")
        await asyncio.gather(*journeys)
        figures = await assert_books_are_exact(site)
    print(f"{len(journeys)} cells in {time.monotonic() - began:.0f} s: {figures}")
    return figures


async def test_a_quarter_of_the_matrix(
    tmp_path: Path, own_postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    figures = await run(QUARTER, tmp_path, own_postgres, own_valkey)
    # The disasters struck: a callback went out twice, a vendor billed what nobody could book.
    assert figures.deliveries > figures.callbacks
    assert figures.billed_usd_micros > figures.cost_usd_micros


@pytest.mark.soak
async def test_the_whole_matrix(
    tmp_path: Path, own_postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    await run(CELLS, tmp_path, own_postgres, own_valkey)

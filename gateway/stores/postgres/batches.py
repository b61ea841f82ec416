"""Running a batch so that one bad item fails alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.stores.postgres.failures import ROW_FAULTS

T = TypeVar("T")
R = TypeVar("R")


async def each_alone(
    run: Callable[[list[T]], Awaitable[Sequence[R | Exception]]], batch: list[T]
) -> Sequence[R | Exception]:
    """Run a batch; if a row of it is refused by the database, halve it until that row is alone.

    Gives one result or exception per item, in order. ``run`` must be all or nothing.
    """
    try:
        return await run(batch)
    except ROW_FAULTS as error:
        if len(batch) == 1:
            return [error]
    middle = len(batch) // 2
    return [
        *await each_alone(run, batch[:middle]),
        *await each_alone(run, batch[middle:]),
    ]

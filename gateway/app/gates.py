"""An event that is small: thousands of callers wait on one each."""

from __future__ import annotations

import asyncio


class Gate:
    """Like `asyncio.Event`, but without its queue of 700 bytes; for few who wait on each."""

    __slots__ = ("_open", "_waiters")

    def __init__(self, *, is_open: bool = False) -> None:
        """Begin shut, unless told otherwise."""
        self._open = is_open
        self._waiters: tuple[asyncio.Future[None], ...] = ()

    def is_set(self) -> bool:
        """Whether it is open."""
        return self._open

    def set(self) -> None:
        """Open it, and wake whoever waits."""
        self._open = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Shut it."""
        self._open = False

    async def wait(self) -> bool:
        """Return at once if it is open, else when it is opened."""
        if self._open:
            return True
        waiter = asyncio.get_running_loop().create_future()
        self._waiters = (*self._waiters, waiter)
        try:
            await waiter
        finally:
            self._waiters = tuple(one for one in self._waiters if one is not waiter)
        return True

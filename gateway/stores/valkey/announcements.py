"""Who waits for which task: one pub/sub connection wakes everybody in this process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from redis.asyncio.client import PubSub

from gateway.app.gates import Gate
from gateway.domain.errors import IndexUnavailable
from gateway.stores.valkey import keys
from gateway.stores.valkey.connection import Valkey

log = structlog.get_logger(__name__)

ENDED, CHANGED, DUE = "e", "c", "d"
# Everybody looks again this often, whatever was announced: a lost message costs seconds, not a
# hung call. Without pub/sub this is the only way to notice, hence sooner.
LOOK_AGAIN_S = 5.0
LOOK_AGAIN_DEAF_S = 1.0
LOOK_AGAIN_SLICE = 200
# An idle connection is proved by a ping after this long, and given up after as long again.
SILENCE_S = 5.0
RECONNECT_S = (0.1, 2.0)


class Announcements:
    """Wakes whoever waits for a task, and whoever waits for due work.

    Waking says "look", never what there is to see: a spurious wake is harmless. Starts with the
    first waiter.
    """

    def __init__(self, valkey: Valkey) -> None:
        """Take the server to listen to; connects nothing."""
        self._valkey = valkey
        self._watchers: dict[str, tuple[Gate, ...]] = {}
        self._due = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self.hears = False

    @contextmanager
    def watching(self, task_id: str) -> Iterator[Gate]:
        """Give what `watch` gives, for the length of the block."""
        gate = self.watch(task_id)
        try:
            yield gate
        finally:
            self.unwatch(task_id, gate)

    def watch(self, task_id: str) -> Gate:
        """Give what is opened whenever this task may have changed; `unwatch` it in the end.

        Look at the task afterwards: what changed before is not announced again.
        """
        self._start()
        gate = Gate()
        self._watchers[task_id] = (*self._watchers.get(task_id, ()), gate)
        return gate

    def unwatch(self, task_id: str, gate: Gate) -> None:
        """End a watch."""
        others = tuple(one for one in self._watchers[task_id] if one is not gate)
        if others:
            self._watchers[task_id] = others
        else:
            del self._watchers[task_id]

    async def wait_due(self, timeout_s: float) -> None:
        """Return when something became due anywhere, or after the time."""
        self._start()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._due.wait()
        self._due.clear()

    @property
    def watched(self) -> int:
        """How many tasks somebody waits for."""
        return len(self._watchers)

    async def aclose(self) -> None:
        """Stop listening."""
        loops, self._loops = self._loops, []
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    # --- the two loops -------------------------------------------------------------------

    def _start(self) -> None:
        if not self._loops:
            self._loops = [
                asyncio.create_task(self._listen(), name="announcements"),
                asyncio.create_task(self._look_again(), name="look again"),
            ]

    async def _listen(self) -> None:
        pause_s = RECONNECT_S[0]
        while True:
            try:
                async with self._valkey.subscribed(keys.CHANGES) as pubsub:
                    await self._hear(pubsub)
            except IndexUnavailable as error:
                if self.hears or pause_s == RECONNECT_S[0]:
                    log.warning("announcements_lost", reason=str(error))
                if self.hears:
                    pause_s = RECONNECT_S[0]
                self.hears = False
            await asyncio.sleep(pause_s * (0.5 + random.random()))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, RECONNECT_S[1])

    async def _hear(self, pubsub: PubSub) -> None:
        """Hand out messages until the connection falls silent or breaks."""
        pinged = False
        while True:
            message: dict[str, Any] | None = await pubsub.get_message(timeout=SILENCE_S)
            if message is None:
                if pinged:
                    raise IndexUnavailable("Valkey does not answer a ping.")
                await pubsub.ping()
                pinged = True
                continue
            pinged = False
            if message["type"] == "subscribe":
                self.hears = True
                # What was announced before this moment was missed.
                await self._wake_all()
            elif message["type"] == "message":
                self._wake(message["data"].decode())

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S if self.hears else LOOK_AGAIN_DEAF_S)
            await self._wake_all()

    def _wake(self, announcement: str) -> None:
        if announcement == DUE:
            self._due.set()
            return
        for gate in self._watchers.get(announcement[1:], ()):
            gate.set()

    async def _wake_all(self) -> None:
        """Wake every waiter, in slices so that the loop keeps serving."""
        self._due.set()
        for no, task_id in enumerate(list(self._watchers)):
            for gate in self._watchers.get(task_id, ()):
                gate.set()
            if no % LOOK_AGAIN_SLICE == LOOK_AGAIN_SLICE - 1:
                await asyncio.sleep(0.01)

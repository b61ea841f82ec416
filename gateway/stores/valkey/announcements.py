"""Who waits for which task, or for work: a pub/sub connection wakes everybody in this process."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
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

ENDED, CHANGED = b"e", b"c"
# Everybody looks again this often, whatever was announced: a lost message costs seconds, not a
# hung call. Without pub/sub this is the only way to notice, hence sooner.
LOOK_AGAIN_S = 5.0
LOOK_AGAIN_DEAF_S = 1.0
LOOK_AGAIN_SLICE = 200
# An idle connection is proved by a ping after this long, and given up after as long again.
SILENCE_S = 5.0
RECONNECT_S = (0.1, 2.0)


class Listener(ABC):
    """Listens to a channel from its first use on, whatever becomes of the connection."""

    def __init__(self, valkey: Valkey, channel: str) -> None:
        """Take the server and the channel to listen to; connects nothing."""
        self._valkey = valkey
        self._channel = channel
        self._loops: list[asyncio.Task[None]] = []
        self.hears = False

    @abstractmethod
    def _wake(self, message: bytes) -> None:
        """Wake whom a message is for."""

    @abstractmethod
    async def _wake_all(self) -> None:
        """Wake everybody: something may have been missed."""

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
                async with self._valkey.subscribed(self._channel) as pubsub:
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
                self._wake(message["data"])

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN_S if self.hears else LOOK_AGAIN_DEAF_S)
            await self._wake_all()


class Dues(Listener):
    """Wakes who waits for due work."""

    def __init__(self, valkey: Valkey) -> None:
        """Take the server to listen to; connects nothing."""
        super().__init__(valkey, keys.DUES)
        self._due = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        """Return when something became due anywhere, or after the time."""
        self._start()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._due.wait()
        self._due.clear()

    def _wake(self, message: bytes) -> None:
        self._due.set()

    async def _wake_all(self) -> None:
        self._due.set()


class Watch(Gate):
    """Opened whenever a task may have changed; ``doc`` is its document, if it was told to end."""

    __slots__ = ("doc",)

    def __init__(self) -> None:
        """Begin shut."""
        super().__init__()
        self.doc: bytes | None = None


class Announcements(Listener):
    """Wakes whoever waits for a task.

    Waking says "look", and of an ended task what there is to see; a spurious wake is harmless.
    """

    def __init__(self, valkey: Valkey) -> None:
        """Take the server to listen to; connects nothing."""
        super().__init__(valkey, keys.CHANGES)
        self._watchers: dict[str, tuple[Watch, ...]] = {}

    @contextmanager
    def watching(self, task_id: str) -> Iterator[Watch]:
        """Give what `watch` gives, for the length of the block."""
        watch = self.watch(task_id)
        try:
            yield watch
        finally:
            self.unwatch(task_id, watch)

    def watch(self, task_id: str) -> Watch:
        """Give what is opened whenever this task may have changed; `unwatch` it in the end.

        Look at the task afterwards: what changed before is not announced again.
        """
        self._start()
        watch = Watch()
        self._watchers[task_id] = (*self._watchers.get(task_id, ()), watch)
        return watch

    def unwatch(self, task_id: str, watch: Watch) -> None:
        """End a watch."""
        others = tuple(one for one in self._watchers[task_id] if one is not watch)
        if others:
            self._watchers[task_id] = others
        else:
            del self._watchers[task_id]

    @property
    def watched(self) -> int:
        """How many tasks somebody waits for."""
        return len(self._watchers)

    def _wake(self, message: bytes) -> None:
        task_id, _, doc = message[1:].partition(b"\n")
        for watch in self._watchers.get(task_id.decode(), ()):
            watch.doc = doc or None
            watch.set()

    async def _wake_all(self) -> None:
        """Wake every waiter, in slices so that the loop keeps serving."""
        for no, task_id in enumerate(list(self._watchers)):
            for watch in self._watchers.get(task_id, ()):
                watch.set()
            if no % LOOK_AGAIN_SLICE == LOOK_AGAIN_SLICE - 1:
                await asyncio.sleep(0.01)

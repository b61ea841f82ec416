"""Polls gathered into one query, where a vendor answers about many jobs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.app.ports import Budgets, UpstreamAdapter
from gateway.domain.errors import UpstreamError
from gateway.domain.upstream import PollAnswer

# Tasks whose polls fall due together meet in one query; nobody notices so short a wait.
LINGER_S = 0.01
# How many jobs are remembered whose query failed; beyond that all are forgotten.
ALONE_MAX = 10_000


@dataclass(slots=True)
class _Waiting:
    """A poll that waits for its query: when its job is probably done, and who wants to know."""

    likely_ms: int
    answer: asyncio.Future[PollAnswer | int]


@dataclass(slots=True)
class _Line:
    """The polls that wait at one upstream, by the vendor's task id."""

    waiting: dict[str, _Waiting] = field(default_factory=dict)
    serving: asyncio.Task[None] | None = None


class PollBatches:
    """Gathers the polls of this process; a query takes one from the shared budget."""

    def __init__(self, budgets: Budgets) -> None:
        """Take the budgets that queries come from."""
        self._budgets = budgets
        self._lines: dict[str, _Line] = {}
        self._queries: set[asyncio.Task[None]] = set()
        self._alone: set[tuple[str, str]] = set()

    async def poll(
        self, upstream: str, adapter: UpstreamAdapter, upstream_task_id: str, likely_ms: int
    ) -> PollAnswer | int:
        """Give how a job stands, or the milliseconds after which to ask again.

        Where more polls wait than a query holds, jobs likely done first are first. After a query
        that failed each of its jobs is asked about alone once: one that the vendor chokes on
        must not hide the others. Raises UpstreamError as `UpstreamAdapter.poll` does.
        """
        if (upstream, upstream_task_id) in self._alone:
            self._alone.discard((upstream, upstream_task_id))
            wait_ms = await self._budgets.take_query(upstream)
            return wait_ms or await adapter.poll(upstream_task_id)
        line = self._lines.setdefault(upstream, _Line())
        known = line.waiting.get(upstream_task_id)
        if known is None:
            future: asyncio.Future[PollAnswer | int] = asyncio.get_running_loop().create_future()
            known = line.waiting[upstream_task_id] = _Waiting(likely_ms, future)
        if line.serving is None or line.serving.done():
            line.serving = asyncio.create_task(self._serve(upstream, adapter, line))
        return await asyncio.shield(known.answer)

    async def _serve(self, upstream: str, adapter: UpstreamAdapter, line: _Line) -> None:
        await asyncio.sleep(LINGER_S)
        try:
            await self._send(upstream, adapter, line)
        except Exception as error:  # noqa: BLE001 - whoever waits must hear it, whatever it is
            while line.waiting:
                _tell(line.waiting.popitem()[1], error)

    async def _send(self, upstream: str, adapter: UpstreamAdapter, line: _Line) -> None:
        while line.waiting:
            wait_ms = await self._budgets.take_query(upstream)
            order = sorted(line.waiting, key=lambda task_id: line.waiting[task_id].likely_ms)
            if wait_ms:
                # Who would be in the next query comes back for it, the others after that.
                for place, task_id in enumerate(order):
                    turn = place // adapter.polls_max + 1
                    _tell(line.waiting.pop(task_id), wait_ms * turn)
                return
            taken = {task_id: line.waiting.pop(task_id) for task_id in order[: adapter.polls_max]}
            query = asyncio.create_task(self._query(upstream, adapter, taken))
            self._queries.add(query)
            query.add_done_callback(self._queries.discard)

    async def _query(
        self, upstream: str, adapter: UpstreamAdapter, taken: dict[str, _Waiting]
    ) -> None:
        """Ask once about all, and each that was not answered for by itself."""
        try:
            found = await _asked(adapter, list(taken))
            for task_id, waiting in taken.items():
                if task_id in found:
                    _tell(waiting, found[task_id])
                else:
                    _tell(waiting, await self._single(upstream, adapter, task_id))
        except Exception as error:  # noqa: BLE001 - whoever waits must hear it, whatever it is
            if len(taken) > 1:
                self._remember(upstream, taken)
            for waiting in taken.values():
                _tell(waiting, error)

    def _remember(self, upstream: str, task_ids: Iterable[str]) -> None:
        if len(self._alone) > ALONE_MAX:
            self._alone.clear()
        self._alone.update((upstream, task_id) for task_id in task_ids)

    async def _single(
        self, upstream: str, adapter: UpstreamAdapter, task_id: str
    ) -> PollAnswer | UpstreamError | int:
        wait_ms = await self._budgets.take_query(upstream)
        if wait_ms:
            return wait_ms
        try:
            return await adapter.poll(task_id)
        except UpstreamError as error:
            return error


async def _asked(
    adapter: UpstreamAdapter, task_ids: list[str]
) -> dict[str, PollAnswer | UpstreamError]:
    if len(task_ids) > 1:
        return dict(await adapter.poll_many(task_ids))
    return {task_ids[0]: await adapter.poll(task_ids[0])}


def _tell(waiting: _Waiting, answer: PollAnswer | Exception | int) -> None:
    if waiting.answer.done():
        return
    if isinstance(answer, Exception):
        waiting.answer.set_exception(answer)
        # Whoever asked may have been cancelled meanwhile; then nobody is left to hear it.
        waiting.answer.exception()
    else:
        waiting.answer.set_result(answer)

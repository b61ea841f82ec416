"""The crash matrix as data: which journey passes each point, and what happens there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import StrEnum

from gateway.crashpoints import CrashPoint
from gateway.domain.errors import StoreUnavailable
from gateway.domain.task import Task
from gateway.simulator import Script
from tests.crash.site import Site
from tests.support.stack import MODEL

Journey = Callable[[Site], Awaitable[None]]


class Disaster(StrEnum):
    """What happens while a process stands at a point."""

    KILL_WORKER = "kill -9 worker"
    KILL_API = "kill -9 api"
    FLUSH_VALKEY = "Valkey flush"
    RESTART_POSTGRES = "Postgres restart"


async def strike(site: Site, disaster: Disaster, pid: int) -> None:
    """Let it happen; a kill hits the process that stands there if it has the role."""
    match disaster:
        case Disaster.KILL_WORKER:
            await site.kill("worker", pid)
        case Disaster.KILL_API:
            await site.kill("api", pid)
        case Disaster.FLUSH_VALKEY:
            site.flush()
        case Disaster.RESTART_POSTGRES:
            await site.restart_postgres()


async def plain(site: Site) -> None:
    """An asynchronous task with a callback."""
    await site.generate({"model": MODEL, "n": 2})


async def unrepeatable(site: Site) -> None:
    """The first vendor knows no Idempotency-Key: a lost submit there stays unknown."""
    await site.generate({"model": MODEL, "n": 2, "provider": {"order": ["dear", "cheap"]}})


async def synchronous(site: Site) -> None:
    """A call that waits for its pictures, and is sent again when the connection breaks."""
    await site.generate({"model": MODEL}, prefer="wait=30")


async def refused(site: Site) -> None:
    """The cheapest vendor refuses once; the task goes elsewhere."""
    site.simulator.script("evolink", Script(error="server_error", times=1))
    await plain(site)


async def cancelled(site: Site) -> None:
    """A task that waits in the vendor's queue is cancelled."""
    rules = {"only": ["dear"]}
    prompt = "a kite to cancel [sim:queue_ms=20000]"
    task_id = await site.generate({"model": MODEL, "prompt": prompt, "provider": rules})
    await _at_vendor(site, task_id)
    await site.cancel(task_id)


async def _at_vendor(site: Site, task_id: str) -> None:
    """Wait until a vendor has the task; Postgres may be restarted meanwhile."""
    async with asyncio.timeout(30):
        while True:
            with suppress(StoreUnavailable):
                async with site.books() as books:
                    task = await books.tasks.get(task_id)
                if task is not None and (task.status.is_terminal or _upstream_id(task)):
                    return
            await asyncio.sleep(0.05)


def _upstream_id(task: Task) -> str | None:
    return task.last.upstream_task_id if task.last else None


async def lengthy(site: Site) -> None:
    """A vendor that answers with the pictures, late: one long visit."""
    await site.generate({"model": "gpt-image-1.5", "prompt": "a long kite [sim:seconds=5]"})


async def flushed(site: Site) -> None:
    """Valkey loses everything while a task is at the vendor: the sweeper brings it back."""
    await site.generate({"model": MODEL, "prompt": "a slow kite [sim:seconds=4]"})
    site.flush()


async def drained(site: Site) -> None:
    """A worker is told to stop while tasks are under way."""
    await plain(site)
    await site.drain("worker")


async def replaced(site: Site) -> None:
    """An API process is told to stop while a caller waits; the call is sent again to the next."""
    await asyncio.gather(synchronous(site), site.replace_api())


async def batched(site: Site) -> None:
    """A batch of three lines."""
    ended = await site.batch_ended(await site.batch(3))
    assert (ended["status"], ended["lines"]["completed"]) == ("completed", 3), ended


JOURNEYS: Mapping[CrashPoint, Journey] = {
    # First, with nothing else under way that could get there: a vendor that cannot be asked again.
    CrashPoint.SUBMIT_ANSWERED: unrepeatable,
    # What a killed worker had claimed of callbacks is due again only after 30 seconds.
    CrashPoint.CALLBACK_CLAIMED: plain,
    CrashPoint.CALLBACK_RECORDED: plain,
    CrashPoint.ACCEPT_PLANNED: plain,
    CrashPoint.CALLBACK_SENT: plain,
    CrashPoint.ACCEPT_HELD: plain,
    CrashPoint.ACCEPT_ENQUEUED: plain,
    CrashPoint.ANSWER_WAITING: synchronous,
    CrashPoint.VISIT_CLAIMED: unrepeatable,
    CrashPoint.SUBMIT_ADMITTED: unrepeatable,
    CrashPoint.SUBMIT_INTENDED: unrepeatable,
    CrashPoint.SUBMIT_SAVED: unrepeatable,
    CrashPoint.ATTEMPT_FAILED: refused,
    CrashPoint.POLL_ANSWERED: plain,
    CrashPoint.RESULT_KEPT: plain,
    CrashPoint.SETTLE_DECIDED: plain,
    CrashPoint.SETTLE_COMMITTED: plain,
    CrashPoint.VISIT_ENDED: plain,
    CrashPoint.VISIT_SAVED: plain,
    CrashPoint.CANCEL_SEIZED: cancelled,
    CrashPoint.CANCEL_INTENDED: cancelled,
    CrashPoint.CANCEL_ASKED: cancelled,
    CrashPoint.SWEEP_READ: flushed,
    CrashPoint.SWEEP_INDEXED: flushed,
    CrashPoint.LEASES_RENEWED: lengthy,
    CrashPoint.BATCH_READ: batched,
    CrashPoint.BATCH_SENT: batched,
    CrashPoint.BATCH_ENDED: batched,
    CrashPoint.WORKER_DRAINING: drained,
    CrashPoint.API_DRAINING: replaced,
}

CELLS = tuple((point, disaster) for point in JOURNEYS for disaster in Disaster)
# Each point once and each disaster equally often: what every test run goes through. Among
# them, workers die after a vendor took a task and after a callback was sent.
QUARTER = tuple(
    (point, tuple(Disaster)[number % len(Disaster)]) for number, point in enumerate(JOURNEYS)
)


async def go_through(site: Site, point: CrashPoint, disaster: Disaster) -> asyncio.Task[None]:
    """Lead a journey to its point and strike there; gives the journey, which goes on."""
    site.arm(point)
    journey = asyncio.create_task(_journey(site, point))
    holding = asyncio.create_task(site.held(point))
    await asyncio.wait((journey, holding), return_when=asyncio.FIRST_COMPLETED)
    if journey.done() and journey.exception():
        holding.cancel()
        journey.result()
    pid = await holding
    await strike(site, disaster, pid)
    site.release(point, pid)
    return journey


async def _journey(site: Site, point: CrashPoint) -> None:
    await JOURNEYS[point](site)

"""What must be true of the books after any crash (DESIGN promises 1 to 6)."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from gateway.domain.ledger import TransferKind
from gateway.domain.task import Attempt, Outcome, Task, TaskStatus
from gateway.simulator import BillRecord
from gateway.wiring.books import Books
from tests.crash.site import VENDORS, Site

ENDED_WITHIN_S = 120.0
UNDELIVERED = "SELECT 1 FROM callbacks WHERE state <> 'delivered' LIMIT 1"


@dataclass(frozen=True)
class Figures:
    """The figures of a run, for the report."""

    tasks: int
    attempts: int
    unknown: int
    billed_usd_micros: int
    cost_usd_micros: int
    exposure_usd_micros: int
    callbacks: int
    deliveries: int


async def assert_books_are_exact(site: Site) -> Figures:
    """Wait for every task and callback, then prove task, money, bill and callbacks."""
    tasks = await assert_books_are_sound(site)
    failed = [task for task in tasks if task.status is TaskStatus.FAILED]
    assert all(_honestly_failed(task) for task in failed), "\n".join(map(repr, failed))
    figures = figures_of(site, tasks)
    _assert_every_bill_is_known(site, tasks, figures)
    return figures


async def assert_books_are_sound(site: Site) -> list[Task]:
    """Wait for every task and callback, then prove tasks, money and callbacks."""
    async with site.books() as books:
        tasks = await _ended(site, books)
        await _callbacks_delivered(site, books, tasks)
        rows = await books.database.read("SELECT id FROM tasks")
        assert sorted(row["id"] for row in rows) == sorted(site.tasks.values())
        await _money(site, books, tasks)
        return tasks


def _honestly_failed(task: Task) -> bool:
    """Nobody knows the outcome of any of its submits, and no other upstream was left."""
    lost = {a.outcome is Outcome.UNKNOWN for a in task.attempts}
    ranked = [words for words in task.route if words[0].isdigit()]
    return lost == {True} and len(ranked) <= len(task.attempts)


async def _ended(site: Site, books: Books) -> list[Task]:
    async with asyncio.timeout(ENDED_WITHIN_S):
        while True:
            tasks = [await books.tasks.get(task_id) for task_id in site.tasks.values()]
            found = [task for task in tasks if task is not None]
            assert len(found) == len(tasks)
            if all(task.status.is_terminal for task in found):
                return found
            await asyncio.sleep(0.3)


async def _callbacks_delivered(site: Site, books: Books, tasks: list[Task]) -> None:
    """Each task and each batch was called back about, every time under the one id."""
    wanted = {task.id for task in tasks if task.has_callback} | site.batches
    async with asyncio.timeout(ENDED_WITHIN_S):
        while not wanted <= site.callbacks_heard().keys():
            await asyncio.sleep(0.3)
        while await books.database.read(UNDELIVERED):
            await asyncio.sleep(0.3)
    heard = site.callbacks_heard()
    assert heard.keys() == wanted
    assert {task_id: len(ids) for task_id, ids in heard.items()} == dict.fromkeys(wanted, 1)


async def _money(site: Site, books: Books, tasks: list[Task]) -> None:
    report = await books.ledger.verify()
    assert report.violations == ()
    for task in tasks:
        kinds = Counter(t.kind for t in await books.ledger.transfers_of(task.id))
        resolutions = kinds[TransferKind.CAPTURE] + kinds[TransferKind.RELEASE]
        assert (kinds[TransferKind.HOLD], resolutions) == (1, 1), (task.id, kinds)
        assert task.charged == task.unit_price * len(task.images)
    team = await books.ledger.team(site.team_id)
    assert team is not None
    granted = await books.database.read(
        "SELECT sum(amount)::bigint AS sum FROM transfers WHERE kind = 'grant'"
    )
    assert (team.held, team.balance) == (0, granted[0]["sum"] - sum(t.charged for t in tasks))


def _strays(site: Site, attempts: list[Attempt]) -> list[BillRecord]:
    """Give what vendors billed for submits whose answer never reached us."""
    known = {attempt.upstream_task_id for attempt in attempts}
    named = [
        record
        for vendor in VENDORS
        if vendor != "openai"
        for record in site.simulator.bill(vendor).records
        if record.task_id not in known
    ]
    # OpenAI answers with the pictures and names no task; each of its pictures costs the same.
    delivered = [a for a in attempts if a.adapter == "openai" and a.outcome is Outcome.DELIVERED]
    return [*named, *site.simulator.bill("openai").records[len(delivered) :]]


def _assert_every_bill_is_known(site: Site, tasks: list[Task], figures: Figures) -> None:
    """What vendors billed is what we booked as cost, plus submits we know nothing about."""
    attempts = [attempt for task in tasks for attempt in task.attempts]
    strays = _strays(site, attempts)
    assert len(strays) <= figures.unknown, strays
    strayed = sum(record.amount_usd_micros for record in strays)
    assert figures.billed_usd_micros - strayed == figures.cost_usd_micros


def figures_of(site: Site, tasks: list[Task]) -> Figures:
    """Give the figures; vendors billed what was booked as cost, plus at most the exposure."""
    records = [record for vendor in VENDORS for record in site.simulator.bill(vendor).records]
    attempts = [attempt for task in tasks for attempt in task.attempts]
    unknown = [attempt for attempt in attempts if attempt.outcome is Outcome.UNKNOWN]
    cost = sum(task.cost for task in tasks)
    exposure = sum(task.exposure for task in tasks)
    billed = sum(record.amount_usd_micros for record in records)
    assert cost <= billed <= cost + exposure, (cost, billed, exposure)
    return Figures(
        tasks=len(tasks),
        attempts=len(attempts),
        unknown=len(unknown),
        billed_usd_micros=billed,
        cost_usd_micros=cost,
        exposure_usd_micros=exposure,
        callbacks=len(site.callbacks_heard()),
        deliveries=len(site.receiver.requests),
    )

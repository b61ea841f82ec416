"""Lost submits in the books: which are asked about, whose a listed job is, what is written down."""

from __future__ import annotations

import pytest

from gateway.domain.administration import RECONCILIATION, Ask
from gateway.domain.lost import LostSubmit
from gateway.domain.task import Attempt, Outcome
from gateway.stores.postgres.exposure import PostgresExposures
from tests.stores.postgres.building import START_MS, accepted, attempt, failed, with_attempts

LONG_MS = 3_600_000
ASK = Ask(RECONCILIATION)


@pytest.fixture
def exposures(database, clock, vault) -> PostgresExposures:
    return PostgresExposures(database, clock, vault)


def tried(name: str, outcome: Outcome, task_id: str | None = None, **changes) -> Attempt:
    doubt = 20_000 if outcome is Outcome.UNKNOWN else 0
    changes = {"finished_ms": START_MS + 1_000, "exposure": doubt} | changes
    return attempt(id=name, outcome=outcome, upstream_task_id=task_id, **changes)


async def ended(tasks, team, *attempts: Attempt) -> str:
    task = with_attempts(await accepted(tasks, team.id), *attempts)
    await tasks.settle(failed(task))
    return task.id


async def under_way(tasks, team, one: Attempt) -> None:
    task = await accepted(tasks, team.id)
    await tasks.save(with_attempts(task, one), one)


async def test_only_ended_tasks_lost_submits_are_asked_about(exposures, tasks, team):
    await ended(tasks, team, tried("lost", Outcome.UNKNOWN))
    await ended(tasks, team, tried("named", Outcome.UNKNOWN, "v1"))
    await ended(tasks, team, tried("refused", Outcome.REFUSED))
    await ended(tasks, team, tried("elsewhere", Outcome.UNKNOWN, upstream="far"))
    await under_way(tasks, team, tried("waiting", Outcome.UNKNOWN))
    here = [attempt().upstream]
    window = (here, START_MS - 1, START_MS + LONG_MS)
    (one,) = await exposures.unnamed(*window, 10)
    assert (one.id, one.finished_ms, one.adapter) == ("lost", START_MS + 1_000, attempt().adapter)
    assert await exposures.unnamed(here, START_MS - 1, START_MS + 1_000, 10) == []
    assert await exposures.unnamed(here, START_MS + LONG_MS, START_MS + LONG_MS, 10) == []


async def test_a_job_is_claimed_by_whoever_knows_it_or_may_have_made_it(exposures, tasks, team):
    known = {
        "running": tried("running", Outcome.ACCEPTED, "v1"),
        "done": tried("done", Outcome.DELIVERED, "v2"),
    }
    await under_way(tasks, team, known["running"])
    await ended(tasks, team, known["done"])
    await ended(tasks, team, tried("lost", Outcome.UNKNOWN))
    await ended(tasks, team, tried("free", Outcome.UNKNOWN))
    await exposures.resolve("free", 0, ASK)
    await ended(tasks, team, tried("billed", Outcome.UNKNOWN))
    await exposures.resolve("billed", None, ASK)
    await ended(tasks, team, tried("refused", Outcome.REFUSED), tried("no", Outcome.NOT_SENT, no=2))
    await under_way(tasks, team, tried("sending", Outcome.INTENT, finished_ms=None))
    await ended(tasks, team, tried("other", Outcome.UNKNOWN, adapter="fal"))

    adapter, ids = attempt().adapter, ["v1", "v2", "v3"]
    claims = await exposures.claims(adapter, ids, START_MS - LONG_MS, START_MS + LONG_MS)
    assert claims.known == {"v1", "v2"}
    assert {one.id for one in claims.lost} == {"lost", "billed", "sending"}
    model = attempt().upstream_model
    assert LostSubmit("sending", model, attempt().started_ms, None) in claims.lost
    later = await exposures.claims(adapter, ids, START_MS + LONG_MS, START_MS + 2 * LONG_MS)
    assert (later.known, later.lost) == (frozenset(), ())


async def test_a_lost_submit_is_bound_to_its_job_once_and_that_is_audited(
    exposures, tasks, team, database
):
    task_id = await ended(tasks, team, tried("lost", Outcome.UNKNOWN))
    await under_way(tasks, team, tried("waiting", Outcome.UNKNOWN))
    assert await exposures.bind("lost", "v7", ASK)
    assert not await exposures.bind("lost", "v8", ASK)
    assert not await exposures.bind("waiting", "v9", ASK)
    assert not await exposures.bind("nobody", "v9", ASK)

    stored = await tasks.get(task_id)
    assert stored is not None
    assert (stored.attempts[0].upstream_task_id, stored.exposure) == ("v7", 20_000)
    (asked,) = await exposures.askable(START_MS - LONG_MS, 10)
    assert asked.upstream_task_id == "v7"
    rows = await database.read("SELECT actor_id, subject FROM audit WHERE action = 'exposure.bind'")
    assert [tuple(row) for row in rows] == [(RECONCILIATION.id, "lost")]


async def test_whose_a_job_is_is_looked_up_by_time(database):
    async with database.connection() as connection:
        await connection.execute("SET enable_seqscan = off")
        plan = await connection.fetch(
            "EXPLAIN SELECT id FROM attempts WHERE started_ms BETWEEN 1 AND 2"
        )
    assert "attempts_by_time" in "\n".join(row[0] for row in plan)

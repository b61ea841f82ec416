"""`ledger verify` on books that are sound, and on books in which one thing was made wrong."""

from __future__ import annotations

from uuid import uuid4

import pytest

from gateway.domain.ledger import TransferKind, resolution_id, transfer_id
from tests.stores.postgres.building import CREDIT, START_MS, accepted, delivered, failed
from tests.stores.postgres.conftest import EMPTY

DAY_MS = 86_400_000
UNIQUE = """
CREATE UNIQUE INDEX IF NOT EXISTS transfers_one_resolution_per_hold ON transfers (hold_id)
WHERE kind IN ('capture', 'release')
"""


@pytest.fixture
async def books(tasks, team, keys, ledger, database):
    """A completed, a failed, a running task of 2 credits each; another key, a grant that ends."""
    await keys.create(team.id)
    await ledger.grant(team.id, CREDIT, None, expires_ms=START_MS + DAY_MS)
    done, broken, running = [
        await accepted(tasks, team.id, hold=2 * CREDIT, n=2, task_id=name)
        for name in ("done", "failed", "running")
    ]
    await tasks.settle(delivered(done, 1))
    await tasks.settle(failed(broken))
    yield running
    async with database.transaction() as connection:
        await connection.execute(f"{EMPTY}{UNIQUE}")


async def corrupt(database, statement: str, *arguments: object) -> None:
    """Change what the schema forbids to change: without triggers, foreign keys, a unique index."""
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute("DROP INDEX transfers_one_resolution_per_hold")
        await connection.execute(statement, *arguments)


def capture_of(task_id: str) -> str:
    return str(resolution_id(task_id))


def hold_of(task_id: str) -> str:
    return str(transfer_id(task_id, TransferKind.HOLD))


def release_again(task_id: str) -> str:
    return f"""
    INSERT INTO transfers (id, kind, team_id, amount, task_id, hold_id, created_ms)
    SELECT '{uuid4()}', 'release', team_id, amount, task_id, id, 0
    FROM transfers WHERE id = '{hold_of(task_id)}'
    """


async def test_sound_books_have_no_violations(ledger, books):
    report = await ledger.verify()
    assert report.is_sound
    assert (report.transfers, report.teams, report.tasks, report.violations) == (7, 1, 3, ())


async def test_an_empty_database_is_sound(ledger):
    assert (await ledger.verify()).is_sound


@pytest.mark.parametrize(
    ("corruption", "found"),
    [
        ("UPDATE accounts SET balance = balance + 1", {"account_is_sum_of_transfers"}),
        ("UPDATE accounts SET held = held - 1", {"account_is_sum_of_transfers"}),
        (
            "UPDATE transfers SET amount = amount + 1 WHERE kind = 'grant'",
            {"account_is_sum_of_transfers"},
        ),
        (
            f"UPDATE transfers SET amount = amount + 1 WHERE id = '{capture_of('done')}'",
            {
                "entries_sum_to_zero",
                "resolution_adds_up_to_hold",
                "ended_task_has_its_usage",
                "usage_is_captured",
            },
        ),
        (
            f"UPDATE transfers SET returned = returned - 1 WHERE id = '{capture_of('done')}'",
            {"entries_sum_to_zero", "account_is_sum_of_transfers", "resolution_adds_up_to_hold"},
        ),
        (
            f"DELETE FROM transfers WHERE id = '{capture_of('failed')}'",
            {
                "account_is_sum_of_transfers",
                "no_hold_outlives_its_task",
                "ended_task_has_one_resolution",
            },
        ),
        (
            f"DELETE FROM transfers WHERE id = '{hold_of('done')}'",
            {
                "entries_sum_to_zero",
                "account_is_sum_of_transfers",
                "task_has_its_hold",
                "resolution_has_its_hold",
            },
        ),
        (
            release_again("failed"),
            {
                "account_is_sum_of_transfers",
                "ended_task_has_one_resolution",
                "hold_is_resolved_once",
            },
        ),
        (
            release_again("running"),
            {"account_is_sum_of_transfers", "ended_task_has_one_resolution"},
        ),
        (
            "UPDATE tasks SET status = 'failed', finished_ms = 1 WHERE id = 'running'",
            {
                "no_hold_outlives_its_task",
                "ended_task_has_one_resolution",
                "ended_task_has_its_usage",
            },
        ),
        ("DELETE FROM tasks WHERE id = 'running'", {"no_hold_outlives_its_task"}),
        ("DELETE FROM tasks WHERE id = 'done'", set()),
        ("UPDATE tasks SET hold = hold + 1 WHERE id = 'running'", {"task_has_its_hold"}),
        ("UPDATE tasks SET charged = 7 WHERE id = 'done'", {"ended_task_has_its_usage"}),
        (
            "UPDATE usage SET charged = 7 WHERE task_id = 'failed'",
            {"usage_is_captured", "days_are_the_usage"},
        ),
        (
            "DELETE FROM usage WHERE task_id = 'done'",
            {"ended_task_has_its_usage", "days_are_the_usage"},
        ),
        (
            "UPDATE usage_days SET charged = charged + 1 WHERE tasks > 0",
            {"days_are_the_usage", "teams_count_their_months"},
        ),
        ("DELETE FROM usage_days", {"days_are_the_usage", "teams_count_their_months"}),
        (
            "UPDATE expiring_grants SET remaining = 20000000",
            {"grants_expire_within_their_amount", "expiring_credits_are_there"},
        ),
        ("DELETE FROM expiring_grants", {"grants_expire_within_their_amount"}),
        ("UPDATE team_counts SET month_spent = 1", {"teams_count_their_months"}),
        ("UPDATE key_counts SET running = running + 1", {"keys_count_their_tasks"}),
        ("UPDATE key_counts SET month_spent = 1", {"keys_count_their_tasks"}),
    ],
)
async def test_each_kind_of_corruption_is_found(database, ledger, books, corruption, found):
    await corrupt(database, corruption)
    report = await ledger.verify()
    assert {violation.rule for violation in report.violations} == found
    assert report.is_sound == (not found)


async def test_a_violation_names_what_it_is_about_and_how(database, ledger, team, books):
    await corrupt(database, "UPDATE accounts SET balance = balance + 5")
    (violation,) = (await ledger.verify()).violations
    assert violation.subject == team.id
    assert violation.detail == "balance 10000005, held 2000000; transfers say 10000000, 2000000"


async def test_every_violation_is_listed(database, ledger, books):
    await corrupt(database, "UPDATE usage SET charged = charged + 1")
    report = await ledger.verify()
    assert [(v.rule, v.subject) for v in report.violations] == [
        ("usage_is_captured", "done"),
        ("usage_is_captured", "failed"),
        ("days_are_the_usage", f"{books.team_id} {START_MS // DAY_MS * DAY_MS}"),
    ]

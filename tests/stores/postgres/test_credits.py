"""Grants, adjustments, refunds and statements, on the ledger itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.administration import COMMAND_LINE, RepeatMark
from gateway.domain.errors import IdempotencyConflict, InvalidRequest, NotFound
from gateway.domain.money import MICRO_MAX
from gateway.domain.statement import KINDS, month_named
from tests.stores.postgres.building import CREDIT, START_MS, accepted, delivered, failed

DAY_MS = 86_400_000


@pytest.fixture
async def charged(tasks, team):
    """A task that was charged 4 of 10 credits."""
    task = await accepted(tasks, team.id, hold=5 * CREDIT, n=5)
    await tasks.settle(delivered(task, 4))
    return task


async def balance(ledger, team) -> int:
    return (await ledger.team(team.id)).balance


async def test_a_balance_is_adjusted_both_ways(ledger, team):
    assert (await ledger.adjust(team.id, 3 * CREDIT, "goodwill")).kind == "credit"
    assert (await ledger.adjust(team.id, -12 * CREDIT, "granted twice")).kind == "debit"
    assert await balance(ledger, team) == CREDIT
    assert (await ledger.verify()).violations == ()


@pytest.mark.parametrize("change", [0, -10 * CREDIT - 1, MICRO_MAX])
async def test_an_adjustment_that_cannot_be_is_refused(ledger, team, change):
    with pytest.raises(InvalidRequest) as refused:
        await ledger.adjust(team.id, change, "wrong")
    assert refused.value.problems[0].field == "credits"
    assert await balance(ledger, team) == 10 * CREDIT


async def test_what_is_held_cannot_be_taken_away(ledger, tasks, team):
    await accepted(tasks, team.id, hold=8 * CREDIT, n=8)
    with pytest.raises(InvalidRequest):
        await ledger.adjust(team.id, -3 * CREDIT, "wrong")
    await ledger.adjust(team.id, -2 * CREDIT, "right")
    assert (await ledger.verify()).violations == ()


async def test_a_refund_gives_back_a_part_then_the_rest_then_nothing(ledger, team, charged):
    part = await ledger.refund(charged.id, CREDIT, "one was blurred")
    rest = await ledger.refund(charged.id, None, "all were")
    assert (part.amount, rest.amount, rest.task_id) == (CREDIT, 3 * CREDIT, charged.id)
    assert await balance(ledger, team) == 10 * CREDIT
    for amount in (1, None):
        with pytest.raises(InvalidRequest):
            await ledger.refund(charged.id, amount, "again")
    assert (await ledger.verify()).violations == ()


@pytest.mark.parametrize("amount", [0, -1, 4 * CREDIT + 1])
async def test_a_refund_beyond_the_charge_is_refused(ledger, team, charged, amount):
    with pytest.raises(InvalidRequest) as refused:
        await ledger.refund(charged.id, amount, "wrong")
    assert refused.value.problems[0].field == "credits"
    assert await balance(ledger, team) == 6 * CREDIT


async def test_what_was_never_charged_is_not_refunded(ledger, tasks, team):
    free = await accepted(tasks, team.id)
    await tasks.settle(failed(free))
    running = await accepted(tasks, team.id)
    for task_id in (free.id, running.id, "task-nobody", "a\x00b"):
        with pytest.raises(NotFound):
            await ledger.refund(task_id, None, "wrong")


async def test_refunds_at_once_stay_within_the_charge(ledger, team, charged):
    asked = (ledger.refund(charged.id, CREDIT, f"no {n}") for n in range(12))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(one, InvalidRequest) for one in outcomes) == 8
    assert await balance(ledger, team) == 10 * CREDIT
    assert (await ledger.verify()).violations == ()


async def test_a_repeated_call_moves_credits_once(ledger, team, charged):
    def ask(fingerprint: bytes = b"f"):
        return replace(COMMAND_LINE, mark=RepeatMark("POST /x", "key", fingerprint))

    made = await asyncio.gather(*(ledger.refund(charged.id, CREDIT, "r", ask()) for _ in range(6)))
    assert len({one.id for one in made}) == 1
    assert await balance(ledger, team) == 7 * CREDIT
    with pytest.raises(IdempotencyConflict):
        await ledger.refund(charged.id, 2 * CREDIT, "r", ask(b"g"))


async def test_movements_are_listed_and_audited(ledger, database, clock, team, charged):
    for move in ("adjust", "refund"):
        clock.turn(1)
        if move == "adjust":
            await ledger.adjust(team.id, -CREDIT, "twice")
        else:
            await ledger.refund(charged.id, CREDIT, "blurred")
    first = await ledger.credit_page(team.id, 2, None)
    rest = await ledger.credit_page(team.id, 2, first.cursor)
    assert [one.kind for one in (*first.items, *rest.items)] == ["refund", "debit", "grant"]
    assert rest.cursor is None
    rows = await database.read("SELECT action FROM audit WHERE subject = $1 ORDER BY id", team.id)
    actions = [row["action"] for row in rows]
    assert actions == ["team.create", "credits.grant", "credits.debit", "credits.refund"]
    with pytest.raises(NotFound):
        await ledger.credit_page("team_nobody", 2, None)
    for cursor in ("x", "MTpub3BlLW5vLXV1aWQ="):
        with pytest.raises(InvalidRequest):
            await ledger.credit_page(team.id, 2, cursor)


async def test_a_refund_beyond_the_charge_is_found_by_the_proof(ledger, database, team, charged):
    await database.write(
        """
        WITH moved AS (UPDATE accounts SET balance = balance + 9000000 WHERE team_id = $1)
        INSERT INTO transfers (id, kind, team_id, amount, task_id, created_ms)
        VALUES (gen_random_uuid(), 'refund', $1, 9000000, $2, 0)
        """,
        team.id,
        charged.id,
    )
    (violation,) = (await ledger.verify()).violations
    assert (violation.rule, violation.subject) == ("refunds_stay_within_the_charge", charged.id)
    assert violation.detail == "refunded 9000000 of 4000000"


# --- statements ------------------------------------------------------------------------------


def month_of(ms: int):
    return month_named(datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m"), ms + 400 * DAY_MS)


async def test_a_team_that_never_was_has_no_statement(ledger):
    with pytest.raises(NotFound):
        await ledger.statement("team_nobody", month_of(START_MS))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["grant", "adjust", "charge", "fail", "hold", "refund"]),
        st.integers(1, 3_000_000),
        st.integers(0, 20),
    ),
    max_size=14,
)


@given(steps=STEPS)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_statements_are_the_ledger_to_the_micro_credit(ledger, tasks, database, clock, steps):
    """Months follow each other without a gap, their lines add up, and the last is the balance."""
    clock.ms = START_MS
    team = await ledger.create_team(f"team {id(steps)} {asyncio.get_running_loop().time()}")
    await ledger.grant(team.id, 20 * CREDIT, "first")
    charged: list[str] = []
    for what, amount, days in steps:
        clock.turn(days * DAY_MS)
        try:
            await _step(ledger, tasks, team.id, what, amount, clock.ms, charged)
        except InvalidRequest:
            continue  # a refund of nothing left, a debit of what is not there
    opening, at_ms = 0, START_MS
    while at_ms <= clock.ms + 31 * DAY_MS:
        month = month_of(at_ms)
        found = await ledger.statement(team.id, month)
        assert found.opening == opening
        assert found.opening + sum(line.credits for line in found.lines) == found.closing
        assert found.opening + sum(found.total(kind) for kind in KINDS) == found.closing
        assert all(month.since_ms <= line.at_ms < month.until_ms for line in found.lines)
        opening, at_ms = found.closing, month.until_ms
    entries = await database.read(
        """
        SELECT coalesce(sum(amount), 0)::bigint AS balance FROM ledger_entries
        WHERE team_id = $1 AND account IN ('available', 'held')
        """,
        team.id,
    )
    assert opening == (await ledger.team(team.id)).balance == entries[0]["balance"]
    assert (await ledger.verify()).violations == ()


async def _step(ledger, tasks, team_id, what, amount, now_ms, charged) -> None:
    match what:
        case "grant":
            await ledger.grant(team_id, amount, None)
        case "adjust":
            await ledger.adjust(team_id, amount if amount % 2 else -amount * 9, "because")
        case "refund" if charged:
            await ledger.refund(charged[amount % len(charged)], amount, "because")
        case "charge" | "fail" | "hold":
            model = f"model-{amount % 3}"
            if (await ledger.team(team_id)).available < amount:
                return
            task = await accepted(tasks, team_id, hold=amount, model=model, created_ms=now_ms)
            if what == "charge":
                await tasks.settle(delivered(task, at_ms=now_ms + 5000))
                charged.append(task.id)
            elif what == "fail":
                await tasks.settle(failed(task, at_ms=now_ms + 5000))

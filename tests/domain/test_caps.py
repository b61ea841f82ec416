"""Caps of a key: how many tasks at once, how many credits in all and in a month."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.domain.access import ApiKey, Principal
from gateway.domain.caps import CapReached, Caps, Counts, month_number, refusal
from gateway.domain.errors import RateLimited

CREDIT = 1_000_000


def test_without_caps_everything_may_begin():
    assert refusal(Caps(), Counts(10**6, 2**62, 2**62, 2**62), CREDIT, 15_000) is None


def test_one_task_more_than_is_allowed_at_once_waits_until_one_has_probably_ended():
    caps = Caps(concurrent_tasks=3)
    assert refusal(caps, Counts(running=2), CREDIT, 15_000) is None
    error = refusal(caps, Counts(running=3), CREDIT, 15_000)
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 5
    assert "3 tasks under way at once (concurrent_tasks); 3 are. Retry in 5.0 s" in error.message


@pytest.mark.parametrize(("typical_ms", "wait_s"), [(100, 1), (600_000, 60)])
def test_the_wait_is_within_a_second_and_a_minute(typical_ms, wait_s):
    error = refusal(Caps(concurrent_tasks=1), Counts(running=1), CREDIT, typical_ms)
    assert error.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("caps", "name"),
    [
        (Caps(credit_cap=10 * CREDIT), "credit_cap"),
        (Caps(monthly_credit_cap=10 * CREDIT), "monthly_credit_cap"),
    ],
)
def test_what_is_spent_and_held_counts_against_a_cap_to_the_last_micro_credit(caps, name):
    counts = Counts(1, held=2 * CREDIT, spent=5 * CREDIT, month_spent=5 * CREDIT)
    assert refusal(caps, counts, 3 * CREDIT, 15_000) is None
    error = refusal(caps, counts, 3 * CREDIT + 1, 15_000)
    assert isinstance(error, CapReached)
    assert (error.status, error.code) == (402, "key_credit_cap")
    assert "needs 3.000001 credits; of the 10 credits" in error.message
    assert f"({name}) of this key 3 are left" in error.message


def test_a_cap_that_was_lowered_below_what_is_spent_leaves_nothing():
    error = refusal(Caps(credit_cap=CREDIT), Counts(spent=5 * CREDIT), CREDIT, 15_000)
    assert " 0 are left" in error.message


def test_what_was_spent_in_other_months_is_free_of_this_months_cap():
    caps = Caps(monthly_credit_cap=CREDIT)
    assert refusal(caps, Counts(spent=50 * CREDIT), CREDIT, 15_000) is None


def test_a_task_more_adds_itself_and_what_it_may_cost():
    assert Counts(1, 2, 3, 4).plus(5) == Counts(2, 7, 3, 4)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1970-01-01T00:00:00.000", 1970 * 12 + 1),
        ("2026-11-30T23:59:59.999", 2026 * 12 + 11),
        ("2026-12-31T23:59:59.999", 2026 * 12 + 12),
        ("2027-01-01T00:00:00.000", 2027 * 12 + 1),
    ],
)
def test_months_are_those_of_utc(text, number):
    at = datetime.fromisoformat(text).replace(tzinfo=UTC)
    assert month_number(round(at.timestamp() * 1000)) == number


def test_keys_that_replace_each_other_count_as_one():
    assert Principal("team", "studio", "key_2", limits_id="key_1").counted_as == "key_1"
    assert Principal("team", "studio", "key_1").counted_as == "key_1"
    assert ApiKey("key_1", "team", "studio", "", "abcd", 0).counts == Counts()

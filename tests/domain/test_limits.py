"""Limits a minute: never more within any sixty seconds, and little less."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.access import LIMIT_MAX, KeyRules
from gateway.domain.limits import SLOT_MS, WINDOW_MS, Limit, Taken, judge, judge_together, slot_of

START_MS = 1_800_000_000_123


def play(calls: list[tuple[int, int]], allowed: int) -> list[tuple[int, int]]:
    """Make calls (pause in ms, amount) one after the other; gives those that passed, with times."""
    counts: dict[int, int] = defaultdict(int)
    passed, now_ms = [], START_MS
    for pause_ms, amount in calls:
        now_ms += pause_ms
        verdict = judge(Limit("images", allowed, amount), counts, now_ms)
        if verdict.retry_ms:
            later = judge(Limit("images", allowed, amount), counts, now_ms + verdict.retry_ms)
            assert later.retry_ms == 0 or amount > allowed
            if verdict.retry_ms > 1 and amount <= allowed:
                early = judge(
                    Limit("images", allowed, amount), counts, now_ms + verdict.retry_ms - 1
                )
                assert early.retry_ms > 0
        else:
            counts[slot_of(now_ms)] += amount
            passed.append((now_ms, amount))
        assert 0 <= verdict.remaining <= allowed
    return passed


CALLS = st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 4)), max_size=60)


@given(CALLS, st.integers(4, 20))
def test_no_sixty_seconds_hold_more_than_is_allowed(calls, allowed):
    passed = play(calls, allowed)
    for start_ms, _ in passed:
        within = sum(n for at_ms, n in passed if start_ms <= at_ms < start_ms + WINDOW_MS)
        assert within <= allowed


@pytest.mark.parametrize("allowed", [1, 7, 60, 500])
def test_a_key_that_asks_all_the_time_gets_all_but_a_hundredth(allowed):
    minutes = 10
    passed = play([(100, 1)] * 600 * minutes, allowed)
    least = allowed * (minutes * 60_000 // (60_000 + SLOT_MS))
    assert least <= sum(n for _, n in passed) <= allowed * minutes


def test_what_was_used_comes_back_a_minute_later():
    counts = {slot_of(START_MS): 3}
    verdict = judge(Limit("images", 3, 1), counts, START_MS)
    assert WINDOW_MS < verdict.retry_ms <= WINDOW_MS + SLOT_MS
    assert verdict.reset_ms == verdict.retry_ms
    assert judge(Limit("images", 3, 3), counts, START_MS + verdict.retry_ms).remaining == 0


def test_more_than_is_ever_allowed_waits_and_waits():
    assert judge(Limit("images", 3, 4), {}, START_MS).retry_ms == WINDOW_MS


def test_a_key_without_limits_has_none_and_bad_ones_are_named():
    assert KeyRules().limits(4) == ()
    rules = KeyRules(requests_per_minute=5, images_per_minute=9)
    assert rules.limits(4) == (Limit("requests", 5, 1), Limit("images", 9, 4))
    problems = list(KeyRules(requests_per_minute=0, images_per_minute=LIMIT_MAX + 1).problems())
    assert [problem.field for problem in problems] == ["requests_per_minute", "images_per_minute"]
    assert Taken(()).refusals == ()


def test_a_call_that_one_limit_refuses_uses_nothing_of_the_others():
    limits = (Limit("requests", 6, 1), Limit("images", 4, 3))
    some = {slot_of(START_MS): 2}
    passed = judge_together(limits, ({}, {}), START_MS)
    assert [verdict.remaining for verdict in passed] == [5, 1]
    refused = judge_together(limits, (some, some), START_MS)
    assert [verdict.remaining for verdict in refused] == [4, 2]
    assert [bool(verdict.retry_ms) for verdict in refused] == [False, True]

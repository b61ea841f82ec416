"""What is learnt of an upstream, and how it fades."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.performance import HALF_LIFE_MS, Outcome, Track, observe

NOW = 1_800_000_000_000


def track(*outcomes: Outcome) -> Track:
    found = Track()
    for outcome in outcomes:
        found = observe(found, outcome)
    return found


def test_a_newcomer_is_assumed_typical_and_good():
    assert Track().expected_ms(15_000, NOW) == 15_000
    assert Track().success_rate(NOW) == 1


def test_the_first_latency_is_believed_and_later_ones_move_it():
    assert track(Outcome(NOW, 8_000)).expected_ms(15_000, NOW) == 8_000
    both = track(Outcome(NOW, 8_000), Outcome(NOW, 18_000))
    assert both.expected_ms(15_000, NOW) == 10_000


def test_what_is_old_fades_to_the_typical():
    known = track(Outcome(NOW, 5_000))
    assert known.expected_ms(15_000, NOW + HALF_LIFE_MS) == 10_000
    assert known.expected_ms(15_000, NOW + 20 * HALF_LIFE_MS) == 15_000


def test_failures_lower_the_success_rate_and_fade_too():
    failed = track(*(Outcome(NOW) for _ in range(10)))
    assert failed.success_rate(NOW) == 0.5
    assert failed.success_rate(NOW + HALF_LIFE_MS) == pytest.approx(2 / 3)
    assert failed.latency_at_ms == 0
    mended = track(*(Outcome(NOW) for _ in range(10)), *(Outcome(NOW, 1) for _ in range(20)))
    assert mended.success_rate(NOW) == 0.75


def test_news_that_arrive_late_do_not_turn_back_time():
    late = track(Outcome(NOW, 8_000), Outcome(NOW - 60_000, 8_000))
    assert late.at_ms == NOW


@given(
    st.lists(
        st.builds(
            Outcome,
            st.integers(NOW, NOW + 10**7),
            st.one_of(st.none(), st.integers(1, 10**6)),
        )
    ),
    st.integers(0, 10**8),
)
def test_figures_stay_within_bounds(outcomes, later):
    found = track(*outcomes)
    assert 0 < found.success_rate(NOW + later) <= 1
    known = [o.latency_ms for o in outcomes if o.latency_ms is not None]
    expected = found.expected_ms(15_000, NOW + later)
    assert min([*known, 15_000]) - 1 <= expected <= max([*known, 15_000]) + 1

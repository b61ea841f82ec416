"""Amounts as text and back, exactly."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.money import MICRO_MAX, credits_for_usd, format_micro, parse_micro


@pytest.mark.parametrize(
    ("text", "micro"),
    [("1.5", 1_500_000), ("0", 0), ("-0.000001", -1), ("1e2", 100_000_000), ("0.022", 22_000)],
)
def test_a_decimal_text_is_read_exactly(text, micro):
    assert parse_micro(text) == micro


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("much", "not a decimal number"),
        ("", "not a decimal number"),
        ("NaN", "not a finite number"),
        ("Infinity", "not a finite number"),
        ("1e13", "too large"),
        ("0.0000001", "more than six decimals"),
    ],
)
def test_what_is_no_amount_is_refused_in_words(text, words):
    with pytest.raises(ValueError, match=words):
        parse_micro(text)


@given(st.integers(-MICRO_MAX // 10, MICRO_MAX // 10))
def test_every_amount_survives_the_journey_through_text(micro):
    text = format_micro(micro)
    assert parse_micro(text) == micro
    assert not (("." in text) and text.endswith(("0", ".")))


@given(st.integers(0, 10**9), st.decimals("0.01", "1000", places=4))
def test_credits_cover_a_cost_and_not_a_micro_credit_more(cost, per_usd):
    price = credits_for_usd(cost, per_usd)
    assert price - 1 < Decimal(cost) * per_usd <= price

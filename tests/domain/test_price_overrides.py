"""Prices of one team or key instead of the catalogue's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.access import Principal
from gateway.domain.price_overrides import PriceOverride, PriceOverrides, read_amounts, written
from gateway.domain.price_table import PriceTable
from tests.support.catalogs import catalog_of, upstream_toml

MODEL = "wan2.5-t2i-preview"
CATALOG = catalog_of(upstream_toml("u", "dashscope", {MODEL: "0.02", "wan2.6-t2i": "0.03"}))
CALLER = Principal("team_a", "a", "key_2", limits_id="key_1")
OF_TEAM = PriceOverride(1, "team_a", None, "team_a", MODEL, PriceTable(flat=9), None, None, 0)
OF_KEY = replace(OF_TEAM, id=2, key_id="key_1", owner="key_1", table=PriceTable(flat=7))


def price(*overrides, caller=CALLER, now_ms=1_000, model=MODEL):
    return PriceOverrides.of(overrides).seen_by(caller, CATALOG, now_ms).price(model, "1K")


def test_a_keys_price_goes_before_its_teams_and_that_before_the_catalogues():
    listed = CATALOG.price(MODEL, "1K")
    assert price() == listed
    assert price(OF_TEAM) == 9
    assert price(OF_KEY, OF_TEAM) == price(OF_TEAM, OF_KEY) == 7
    assert price(OF_TEAM, caller=Principal("team_b", "b", "key_9")) == listed
    assert price(OF_KEY, OF_TEAM, caller=Principal("team_a", "a", "key_9")) == 9
    assert price(OF_TEAM, model="wan2.6-t2i") == CATALOG.price("wan2.6-t2i", "1K")


def test_a_caller_without_a_price_of_its_own_sees_the_very_catalogue():
    assert PriceOverrides.of([OF_KEY]).seen_by(replace(CALLER, limits_id=""), CATALOG, 0) is CATALOG


@pytest.mark.parametrize(
    ("now_ms", "in_force"), [(999, False), (1_000, True), (1_999, True), (2_000, False)]
)
def test_a_price_is_in_force_from_its_beginning_until_its_end(now_ms, in_force):
    timed = replace(OF_TEAM, from_ms=1_000, until_ms=2_000)
    assert (price(timed, now_ms=now_ms) == 9) is in_force


@given(
    st.one_of(
        st.integers(0, 10**12).map(lambda micro: PriceTable(flat=micro)),
        st.dictionaries(
            st.sampled_from(("1K", "2K", "4K")), st.integers(0, 10**12), min_size=1
        ).map(lambda tiers: PriceTable(tiers=dict(sorted(tiers.items())))),
    )
)
def test_what_is_written_reads_as_the_same(table):
    assert read_amounts(written(table)) == table


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({}, "neither"),
        (None, "neither"),
        (["1"], "neither"),
        ({"8K": "1"}, "no tier '8K'"),
        ({"1K": 1}, "no decimal text"),
        ("-1", "below 0"),
        ("1.1234567", "more than six decimals"),
        ("a", "not a decimal number"),
    ],
)
def test_what_is_no_price_is_refused(value, wrong):
    with pytest.raises(ValueError, match=wrong):
        read_amounts(value)

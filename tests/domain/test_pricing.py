"""Prices: per picture and tier, held for every picture asked for, exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.model import cost_of
from gateway.domain.price_table import PriceTable
from gateway.domain.pricing import price_of
from tests.support.catalogs import ask, catalog_of, upstream_toml

BY_TIER = """
[models."wan2.7-image"]
price_credits = { "1K" = "1", "2K" = "2", "4K" = "5.000001" }
"""
CATALOG = catalog_of(
    upstream_toml("q", "qingbo", {"wan2.7-image": "0.02295"})
    + upstream_toml("e", "evolink", {"wan2.5-t2i-preview": "0.022"})
    + BY_TIER
)


@pytest.mark.parametrize(
    ("fields", "tier", "unit"),
    [
        ({"tier": "1K"}, "1K", 1_000_000),
        ({"size": "1024x1024"}, "1K", 1_000_000),
        ({}, "2K", 2_000_000),
        ({"size": "1032x1024"}, "2K", 2_000_000),
        ({"tier": "4K"}, "4K", 5_000_001),
        ({"size": "2056x2048"}, "4K", 5_000_001),
    ],
)
def test_the_tier_of_the_size_sets_the_price(fields, tier, unit):
    price = price_of(ask("wan2.7-image", n=3, **fields), CATALOG)
    assert (price.tier, price.unit, price.n, price.hold) == (tier, unit, 3, 3 * unit)


def test_without_a_price_the_dearest_offer_is_covered():
    assert price_of(ask("wan2.5-t2i-preview"), CATALOG).unit == 1_500_000


@given(st.integers(0, 10**12), st.integers(1, 12))
def test_a_hold_is_unit_times_n(unit, n):
    offer = CATALOG.offers["wan2.7-image"][0]
    assert cost_of(offer, "2K", n) == 22_950 * n
    assert PriceTable(flat=unit).per_image("4K") * n == unit * n


@pytest.mark.parametrize(
    ("tiers", "wanted", "amount"),
    [
        ({"1K": 1, "2K": 2, "4K": 4}, "2K", 2),
        ({"2K": 2}, "1K", 2),
        ({"4K": 4}, "1K", 4),
        ({"1K": 1, "2K": 2}, "4K", 2),
    ],
)
def test_a_missing_tier_costs_what_the_next_larger_does(tiers, wanted, amount):
    assert PriceTable(tiers=tiers).per_image(wanted) == amount

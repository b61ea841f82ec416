"""Amounts per picture over time, in the catalogue and in a single table."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.price_table import PriceChange, PriceTable
from tests.support.catalogs import catalog_of, upstream_toml

MODEL = "wan2.5-t2i-preview"
SALE = PriceTable(flat=10, changes=(PriceChange(PriceTable(flat=7), 100, 200),))
MOMENTS = st.integers(0, 10)


def test_a_change_replaces_the_amounts_for_its_time_but_not_the_surcharge():
    table = replace(SALE, edit=3)
    assert [table.at(ms).per_image("1K") for ms in (99, 100, 199, 200)] == [10, 7, 7, 10]
    assert table.at(150).per_image("1K", edits=True) == 10
    assert list(table.moments()) == [100, 200]


def test_a_change_without_an_end_lasts():
    table = PriceTable(flat=10, changes=(PriceChange(PriceTable(tiers={"2K": 5}), 100),))
    assert table.at(10**15).per_image("1K") == 5
    assert list(table.moments()) == [100]


def test_the_catalogue_of_a_moment_has_the_amounts_of_that_moment():
    catalog = catalog_of(upstream_toml("cheap", "evolink", {MODEL: "0.00001"}))
    (offer,) = catalog.offers[MODEL]
    changing = replace(
        catalog,
        offers={MODEL: (replace(offer, cost=SALE),)},
        prices={MODEL: replace(SALE, flat=20)},
    )
    now = changing.at(150)
    assert now.price(MODEL, "1K") == 7
    assert [o.cost.flat for o in now.offers[MODEL]] == [7]
    assert changing.at(200).price(MODEL, "1K") == 20
    assert [changing.next_change_ms(ms) for ms in (0, 100, 200)] == [100, 200, None]


@given(st.lists(st.tuples(MOMENTS, MOMENTS, st.integers(0, 9)), max_size=6), MOMENTS)
def test_amounts_change_at_their_moments_and_at_no_other_time(drawn, at_ms):
    changes = {
        from_ms: PriceChange(PriceTable(flat=amount), from_ms, until if until > from_ms else None)
        for from_ms, until, amount in drawn
    }
    table = PriceTable(flat=100, changes=tuple(changes.values()))
    if at_ms not in set(table.moments()):
        assert table.at(at_ms) == table.at(at_ms - 1)

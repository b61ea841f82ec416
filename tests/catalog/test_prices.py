"""Amounts per picture by tier, by time, in another currency, and on top for edits."""

from __future__ import annotations

import pytest

from gateway.domain.conditions import Conditions
from gateway.domain.pricing import price_of
from gateway.domain.routing import rank
from tests.support.catalogs import ask, catalog_of, pictures, problems_of, upstream_toml

DAY_MS = 86_400_000
JAN_1 = 1_798_761_600_000  # 2027-01-01T00:00:00Z
WAN25, EDIT = "wan2.5-t2i-preview", "wan2.5-i2i-preview"


def selling(offer: str, more: str = "", model: str = WAN25) -> str:
    """One upstream whose one offer is written out."""
    head = upstream_toml("cheap", "dashscope", {})
    return f'{head}\n[[upstreams.cheap.offers]]\nmodel = "{model}"\n{offer}\n{more}'


def cost(text: str, tier: str = "1K", at_ms: int = JAN_1, model: str = WAN25) -> int:
    offer = catalog_of(text).at(at_ms).offer(model, "cheap")
    assert offer is not None
    return offer.cost.per_image(tier)


def test_a_cost_may_be_in_another_currency_and_is_rounded_up():
    rates = '[currencies]\nCNY = "7.1"\n'
    text = rates + selling('cost = "0.2"\ncurrency = "CNY"')
    assert cost(text) == 28_170  # 0.2 / 7.1 = 0.028169…
    tiers = rates + selling('cost = { "1K" = "0.14", "4K" = "0.71" }\ncurrency = "CNY"')
    assert (cost(tiers), cost(tiers, "4K")) == (19_719, 100_000)


CHANGES = """cost_usd = "0.03"
changes = [
  { from = 2027-01-01, until = 2027-01-03, cost_usd = "0.02" },
  { from = 2027-01-02T00:00:00Z, cost_usd = "0.01", until = 2027-01-02T12:00:00+00:00 },
  { from = 2027-02-01T08:00:00+08:00, cost_usd = { "1K" = "0.04", "4K" = "0.08" } },
]"""


@pytest.mark.parametrize(
    ("at_ms", "micro"),
    [
        (JAN_1 - 1, 30_000),
        (JAN_1, 20_000),
        (JAN_1 + DAY_MS, 10_000),
        (JAN_1 + DAY_MS * 3 // 2, 20_000),
        (JAN_1 + 2 * DAY_MS, 30_000),
        (JAN_1 + 31 * DAY_MS - 1, 30_000),
        (JAN_1 + 31 * DAY_MS, 40_000),
        (JAN_1 + 900 * DAY_MS, 40_000),
    ],
)
def test_a_changes_when_it_was_said_to(at_ms, micro):
    assert cost(selling(CHANGES), at_ms=at_ms) == micro


def test_the_catalogue_knows_when_the_next_change_is():
    catalog = catalog_of(selling(CHANGES))
    assert catalog.next_change_ms(0) == JAN_1
    assert catalog.next_change_ms(JAN_1) == JAN_1 + DAY_MS
    assert catalog.next_change_ms(JAN_1 + 31 * DAY_MS) is None


def test_a_changes_too_and_without_one_covers_the_dearest_cost_of_any_time():
    price = f"""[models."{WAN25}"]
price_credits = "2"
changes = [{{ from = 2027-01-01, price_credits = "1.5" }}]
"""
    catalog = catalog_of(selling('cost_usd = "0.02"', price))
    assert catalog.at(JAN_1 - 1).price(WAN25, "1K") == 2_000_000
    assert catalog.at(JAN_1).price(WAN25, "1K") == 1_500_000
    derived = catalog_of('[credits]\nper_usd = "100"\n' + selling(CHANGES))
    for at_ms in (0, JAN_1, JAN_1 + 40 * DAY_MS):
        assert derived.at(at_ms).price(WAN25, "4K") == 8_000_000


def test_pictures_made_from_pictures_may_cost_more():
    text = selling(
        'cost_usd = "0.02"\nedit_surcharge_usd = "0.005"',
        '[models."wan2.7-image"]\nprice_credits = "2"\nedit_surcharge_credits = "0.5"\n',
        model="wan2.7-image",
    )
    catalog = catalog_of(text)
    plain = ask("wan2.7-image", n=2)
    edit = ask("wan2.7-image", n=2, images=pictures(1))
    assert price_of(plain, catalog).hold == 4_000_000
    assert price_of(edit, catalog).hold == 5_000_000
    for request, planned in ((plain, 40_000), (edit, 50_000)):
        (candidate,) = rank(request, catalog, Conditions(), JAN_1).candidates
        assert candidate.planned_cost == planned


def test_a_surcharge_outlives_changes_and_goes_into_a_derived_price():
    text = '[credits]\nper_usd = "100"\n' + selling(CHANGES + '\nedit_surcharge_usd = "0.001"')
    catalog = catalog_of(text)
    offer = catalog.at(JAN_1).offer(WAN25, "cheap")
    assert offer is not None
    assert offer.cost.per_image("1K", edits=True) == 21_000
    assert catalog.price(WAN25, "1K", edits=True) == 4_100_000


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        (selling('cost = "1"\ncurrency = "CNY"'), "currency", "'CNY' has no rate in [currencies]"),
        ('[currencies]\nCNY = "0"\n' + selling('cost_usd = "1"'), "CNY", "more than 0"),
        ('[currencies]\nyuan = "7"\n' + selling('cost_usd = "1"'), "yuan", "no code"),
        ('[currencies]\nUSD = "1"\n' + selling('cost_usd = "1"'), "USD", "no code"),
        (selling('cost = "1"'), "cost_usd", "is missing"),
        (
            selling('cost_usd = "1"\nchanges = [{ cost_usd = "2" }]'),
            "from",
            "is missing",
        ),
        (
            selling('cost_usd = "1"\nchanges = [{ from = 2027-01-01T00:00:00, cost_usd = "2" }]'),
            "from",
            "needs its offset",
        ),
        (
            selling(
                'cost_usd = "1"\n'
                'changes = [{ from = 2027-01-02, until = 2027-01-02, cost_usd = "2" }]'
            ),
            "until",
            "must be later than from",
        ),
        (
            selling(
                'cost_usd = "1"\nchanges = [{ from = 2027-01-02, cost_usd = "2" },'
                ' { from = 2027-01-02, cost_usd = "3" }]'
            ),
            "from",
            "another change begins",
        ),
        (
            selling('cost_usd = "1"', f'[models."{WAN25}"]\nedit_surcharge_credits = "1"\n'),
            "edit_surcharge_credits",
            "needs price_credits",
        ),
        (
            selling('cost_usd = "1"', f'[models."{WAN25}"]\nchanges = []\n'),
            "changes",
            "needs price_credits",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, where, words):
    found = problems_of(text)
    assert any(place.endswith(where) and words in message for place, message in found), found

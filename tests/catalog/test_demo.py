"""The demo catalogue of `gateway up`: every simulated vendor, sensible names and prices."""

from __future__ import annotations

import pytest

from gateway.catalog import demo
from gateway.domain.conditions import Conditions
from gateway.domain.request import Size
from gateway.domain.routing import rank
from gateway.simulator.config import DEFAULT_PRICES
from tests.support.catalogs import ask, pictures

URLS = {name: f"http://127.0.0.1:{9000 + i}/v1" for i, name in enumerate(DEFAULT_PRICES)}
DEMO = demo(URLS)


def test_every_simulated_vendor_is_an_upstream():
    assert {name: u.base_url for name, u in DEMO.upstreams.items()} == URLS
    assert all(upstream.allow_private for upstream in DEMO.upstreams.values())
    assert list(demo({"evolink": URLS["evolink"]}).upstreams) == ["evolink"]


def test_every_offer_is_sold_by_its_simulator_at_the_same_cost():
    for offers in DEMO.offers.values():
        for offer in offers:
            price = DEFAULT_PRICES[offer.adapter][offer.upstream_model]
            assert (offer.upstream, offer.cost.flat) == (offer.adapter, price)


@pytest.mark.parametrize(
    ("alias", "model"),
    [
        ("gpt-image-1", "wan2.7-image"),
        ("dall-e-3", "wan2.5-t2i-preview"),
        ("wan2.5-text-to-image", "wan2.5-t2i-preview"),
        ("wan2.5-image-to-image", "wan2.5-i2i-preview"),
        ("wanx2.1-t2i-turbo", "wan2.1-t2i-turbo"),
        ("gpt-image-2.5-flare-2026-09-08", "gpt-image-2.5-flare"),
    ],
)
def test_clients_find_their_names(alias, model):
    assert DEMO.aliases[alias] == model


def test_wan25_costs_one_and_a_half_credits_and_goes_to_the_cheapest():
    assert DEMO.price("wan2.5-t2i-preview", "2K") == 1_500_000
    route = rank(ask("wan2.5-t2i-preview"), DEMO, Conditions(), 0)
    assert route.candidates[0].upstream == "evolink"


def test_openai_clients_can_generate_and_edit():
    for images in ((), pictures(2)):
        wish = ask("wan2.7-image", size="1024x1024", images=images, snap_size=True)
        route = rank(wish, DEMO, Conditions(), 0)
        assert route.candidates
        assert wish.size == Size(1024, 1024)

"""What is legal in a configuration but probably not meant: the warnings of `catalog check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.catalog.builtin import builtin
from gateway.catalog.schema import tiers_made
from gateway.domain.model import Catalog, Offer
from gateway.domain.money import credits_for_usd, format_micro


def warnings_of(catalog: Catalog, document: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Give every warning about a catalogue and the file it came from, as (where, message)."""
    priced = document.get("models", {})
    return (
        *_upstream_warnings(catalog, document),
        *_unsold(catalog, priced),
        *(found for model_id in catalog.offers for found in _sold(catalog, model_id, priced)),
    )


def _upstream_warnings(catalog: Catalog, document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not catalog.upstreams:
        yield "upstreams", "there is none: every request will be refused"
    selling = {offer.upstream for offers in catalog.offers.values() for offer in offers}
    for name, upstream in catalog.upstreams.items():
        where = f"upstreams.{name}"
        if name not in selling:
            yield f"{where}.offers", "there is none: this upstream is never used"
        usual = builtin().providers[upstream.adapter].base_url
        path = urlsplit(usual).path
        if urlsplit(upstream.base_url).path != path:
            message = f"ends unlike {usual}; a version segment may be missing or doubled"
            yield f"{where}.base_url", message
        written = str(document["upstreams"][name]["api_key"])
        if not written.startswith(("env:", "file:")) and not upstream.allow_private:
            yield f"{where}.api_key", "is written in the file; env:NAME or file:/path keeps it out"


def _unsold(catalog: Catalog, priced: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in priced:
        if name not in catalog.offers:
            yield f'models."{name}"', "no upstream offers it: callers will not find it"


def _sold(catalog: Catalog, model_id: str, priced: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    where = f'models."{model_id}"'
    offers = catalog.offers[model_id]
    if len(offers) == 1:
        yield where, f"only {offers[0].upstream} offers it: nothing to fail over to"
    if "price_credits" not in priced.get(model_id, {}):
        price = format_micro(catalog.price(model_id, "1K"))
        yield where, f"has no price_credits: it costs what its dearest offer does, from {price}"
    for offer in offers:
        tiers = _below_cost(catalog, offer)
        if tiers:
            yield where, f"is sold below what {offer.upstream} takes for it: {', '.join(tiers)}"


def _below_cost(catalog: Catalog, offer: Offer) -> list[str]:
    """Give the tiers whose price does not cover an offer's cost, with both amounts in credits."""
    found = []
    for tier in tiers_made(offer.limits):
        price = catalog.price(offer.model, tier)
        cost = credits_for_usd(offer.cost.per_image(tier), catalog.credits_per_usd)
        if price < cost:
            found.append(f"{tier} {format_micro(price)} < {format_micro(cost)} credits")
    return found

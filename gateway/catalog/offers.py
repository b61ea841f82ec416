"""Offers: a model as one upstream sells it, with the provider's and the operator's narrowing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from urllib.parse import urlsplit

from gateway.catalog.builtin import Builtin, Provider, Sale
from gateway.catalog.limits import Patch, narrowed, read_patch
from gateway.catalog.prices import Rates, every_table, read_cost
from gateway.catalog.reading import Table, did_you_mean
from gateway.domain.model import Model, Offer, Upstream
from gateway.domain.money import credits_for_usd
from gateway.domain.price_table import PriceTable
from gateway.domain.request import TIER_SIDES


def read_offer(
    table: Table,
    upstream: Upstream,
    provider: Provider,
    models: Mapping[str, Model],
    base: Builtin,
    rates: Rates,
) -> Offer | None:
    """Read one ``[[upstreams.x.offers]]``; None, with the reason noted, when it is not usable."""
    name = table.required_text("model")
    own_name = table.text("upstream_model")
    own_protocol = table.text("protocol")
    limits = table.child("limits")
    patch = read_patch(limits) if limits is not None else {}
    weight = table.integer("weight")
    cost = read_cost(table, rates)
    table.finish()
    model = models.get(name)
    if model is None:
        if name:
            table.note("model", f"{name!r} is no model{_hint(name, models)}")
        return None
    sale = _sale(provider, model, base, own_protocol)
    if sale is None:
        message = f"{provider.title} does not sell {name!r}; it sells {', '.join(provider.models)}"
        table.note("model", message)
        return None
    if cost is None:
        return None
    sale = sale.at(urlsplit(upstream.base_url).hostname or "")
    return Offer(
        upstream=upstream.name,
        adapter=upstream.adapter,
        model=model.id,
        upstream_model=own_name or sale.upstream_model or model.id,
        cost=cost,
        limits=narrowed(model.limits, merged(sale.limits, patch)),
        protocol=own_protocol or sale.protocol or provider.protocol,
        max_in_flight=sale.max_in_flight or 0,
        submit_per_second=sale.submit_per_second or Decimal(0),
        weight=1 if weight is None else weight,
    )


def _sale(provider: Provider, model: Model, base: Builtin, own_protocol: str | None) -> Sale | None:
    """Give how a provider sells a model, None when it does not.

    A model the operator defined can be sold by anybody, a built-in one by a provider that is not
    known for it only where the offer names the protocol.
    """
    listed = provider.models.get(model.id) or provider.any_model
    if listed is None and (model.id not in base.models or own_protocol is not None):
        return Sale()
    return listed


def _hint(name: str, models: Mapping[str, Model]) -> str:
    owner = next((m.id for m in models.values() if name in m.aliases), None)
    return f"; write {owner!r}" if owner else did_you_mean(name, models)


def merged(below: Patch, above: Patch) -> Patch:
    """Give one limits patch out of two; the upper one's values win, table by table."""
    both = {**below, **above}
    for key in below:
        if key in above and isinstance(below[key], dict) and isinstance(above[key], dict):
            both[key] = {**below[key], **above[key]}
    return both


def derived_price(offers: Sequence[Offer], credits_per_usd: Decimal) -> PriceTable:
    """Give the price that covers the dearest offer at any time, per tier, rounded up."""
    edit = credits_for_usd(max(offer.cost.edit for offer in offers), credits_per_usd)
    tables = [table for offer in offers for table in every_table(offer.cost)]
    if all(table.flat is not None for table in tables):
        dearest = max(table.per_image("1K") for table in tables)
        return PriceTable(flat=credits_for_usd(dearest, credits_per_usd), edit=edit)
    tiers = {}
    for tier in TIER_SIDES:
        dearest = max(table.per_image(tier) for table in tables)
        tiers[tier] = credits_for_usd(dearest, credits_per_usd)
    return PriceTable(tiers=tiers, edit=edit)

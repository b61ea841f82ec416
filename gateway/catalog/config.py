"""The operator's `gateway.toml` (⚑ §5): read strictly, checked against the built-in catalogue.

A model without `price_credits` costs what its dearest offer costs us, converted with
`credits.per_usd` and rounded up to a whole micro-credit, for each tier.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.catalog.builtin import Builtin, Provider, milliseconds, read_model
from gateway.catalog.offers import derived_price, read_offer
from gateway.catalog.prices import Rates, read_price, read_rates
from gateway.catalog.reading import Notes, Table, did_you_mean
from gateway.domain.model import (
    Catalog,
    Model,
    Offer,
    OnAmbiguous,
    Secret,
    Upstream,
)
from gateway.domain.price_table import PriceTable
from gateway.domain.strategy import RoutingPolicy, Strategy

CREDITS_PER_USD = Decimal("68.1818")  # 1.5 credits = $0.022 (seed 000)
PRICING = ("price_credits", "edit_surcharge_credits", "changes", "strategy", "top_up")
NEAR_TIE_MAX = 100
_UPSTREAM_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


@dataclass(slots=True)
class _Draft:
    """What was read so far. ``models`` are all known, ``own_aliases`` the operator's."""

    models: dict[str, Model]
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    offers: dict[str, list[Offer]] = field(default_factory=dict)
    prices: dict[str, PriceTable] = field(default_factory=dict)
    strategies: dict[str, Strategy] = field(default_factory=dict)
    top_ups: dict[str, bool] = field(default_factory=dict)
    rates: Rates = field(default_factory=dict)
    own_aliases: dict[str, tuple[str, str]] = field(default_factory=dict)


def read_config(
    document: Mapping[str, Any], environ: Mapping[str, str], base: Builtin, notes: Notes
) -> Catalog:
    """Read a whole configuration; what is wrong is noted and left out of the result."""
    top = Table(document, "", notes)
    per_usd = _credits_per_usd(top)
    draft = _Draft(dict(base.models), rates=read_rates(top))
    routing = _routing(top)
    for name, table in top.children("models"):
        _model(table, name, draft)
    for name, table in top.children("upstreams"):
        _upstream(table, name, draft, base, environ)
    top.finish()
    for model_id, offers in draft.offers.items():
        draft.prices.setdefault(model_id, derived_price(offers, per_usd))
    return Catalog(
        models=draft.models,
        aliases=_aliases(draft, notes),
        upstreams=draft.upstreams,
        offers={model_id: tuple(offers) for model_id, offers in draft.offers.items()},
        prices=draft.prices,
        credits_per_usd=per_usd,
        routing=replace(routing, models=draft.strategies, top_ups=draft.top_ups),
    )


def _routing(top: Table) -> RoutingPolicy:
    table = top.child("routing")
    if table is None:
        return RoutingPolicy()
    strategy = _strategy(table) or Strategy.CHEAPEST
    band = table.decimal("near_tie_percent") or Decimal(0)
    if band > NEAR_TIE_MAX:
        table.note("near_tie_percent", f"must be at most {NEAR_TIE_MAX}")
    top_up = table.flag("top_up") or False
    table.finish()
    return RoutingPolicy(strategy, band, top_up=top_up)


def _strategy(table: Table) -> Strategy | None:
    word = table.choice("strategy", [str(one) for one in Strategy])
    return None if word is None else Strategy(word)


def _credits_per_usd(top: Table) -> Decimal:
    table = top.child("credits")
    if table is None:
        return CREDITS_PER_USD
    micro = table.micro("per_usd")
    table.finish()
    if micro == 0:
        table.note("per_usd", "must be more than 0")
    return Decimal(micro).scaleb(-6) if micro else CREDITS_PER_USD


# --- models -------------------------------------------------------------------------------


def _model(table: Table, name: str, draft: _Draft) -> None:
    """Read a price, aliases and overrides of a known model, or a whole new one."""
    owner = next((m.id for m in draft.models.values() if name in m.aliases), None)
    if owner is not None and name not in draft.models:
        table.notes.append((table.where, f"is another name of {owner!r}: write that"))
        return
    price = read_price(table)
    if price is not None:
        draft.prices[name] = price
    strategy = _strategy(table)
    if strategy is not None:
        draft.strategies[name] = strategy
    top_up = table.flag("top_up")
    if top_up is not None:
        draft.top_ups[name] = top_up
    for alias in table.words("aliases") or ():
        _own_alias(table, name, alias, draft)
    known = name in draft.models
    defines = any(key in table for key in ("limits", "like"))
    if not known and not defines:
        hint = did_you_mean(name, draft.models)
        message = f'is no built-in model{hint} (a new model needs limits, or like = "…")'
        table.notes.append((table.where, message))
    elif not _ALIAS.fullmatch(name):
        table.notes.append((table.where, "is no usable model name"))
    values = {key: value for key, value in table.values.items() if key != "aliases"}
    facts = Table(values, table.where, table.notes, set(PRICING))
    model = read_model(facts, name, draft.models) if known or defines else None
    if model is not None:
        draft.models[name] = model
        facts.finish()


def _own_alias(table: Table, model_id: str, alias: str, draft: _Draft) -> None:
    taken = draft.own_aliases.get(alias)
    if not _ALIAS.fullmatch(alias):
        table.note("aliases", f"{alias!r} is no usable name")
    elif taken is not None and taken[0] != model_id:
        table.note("aliases", f"{alias!r} already stands for {taken[0]!r} ({taken[1]})")
    else:
        draft.own_aliases[alias] = (model_id, table.place("aliases"))


def _aliases(draft: _Draft, notes: Notes) -> dict[str, str]:
    """Give every accepted name: ids and built-in aliases of sold models, then the operator's.

    The operator's own alias wins over a built-in one and over the id of a model nobody sells.
    """
    sold = [draft.models[model_id] for model_id in draft.offers]
    names = {alias: model.id for model in sold for alias in model.aliases}
    names |= {model.id: model.id for model in sold}
    for alias, (model_id, where) in draft.own_aliases.items():
        if alias in draft.offers and alias != model_id:
            notes.append((where, f"{alias!r} is the name of a model that is offered itself"))
        if model_id in draft.offers:
            names[alias] = model_id
    return names


# --- upstreams ----------------------------------------------------------------------------


def _upstream(
    table: Table, name: str, draft: _Draft, base: Builtin, environ: Mapping[str, str]
) -> None:
    adapter = table.choice("adapter", base.providers)
    if adapter is None:
        if "adapter" not in table:
            table.note("adapter", f"is missing; known: {', '.join(sorted(base.providers))}")
        return
    provider = base.providers[adapter]
    if not _UPSTREAM_NAME.fullmatch(name):
        message = "an upstream's name is 1 to 63 of a-z, 0-9, '.', '_' and '-'"
        table.notes.append((table.where, message))
    elif name in base.providers and name != adapter:
        table.notes.append((table.where, f"is the name of another adapter, not of {adapter!r}"))
    upstream = _account(table, name, provider, environ)
    offers: list[Offer] = []
    for inner in table.array("offers"):
        offer = read_offer(inner, upstream, provider, draft.models, base, draft.rates)
        if offer is not None and any(o.model == offer.model for o in offers):
            inner.note("model", f"{offer.model!r} is offered twice by {name!r}")
        elif offer is not None:
            offers.append(offer)
            draft.offers.setdefault(offer.model, []).append(offer)
    table.finish()
    draft.upstreams[name] = _with_model_limits(upstream, offers, table)


def _account(table: Table, name: str, provider: Provider, environ: Mapping[str, str]) -> Upstream:
    allow_private = table.flag("allow_private") or False
    words = [str(way) for way in OnAmbiguous]
    on_ambiguous = table.choice("on_ambiguous", words) or OnAmbiguous.FAILOVER
    idempotent = table.flag("idempotent_submit")
    query = table.decimal("query_per_second")
    timeout_ms = milliseconds(table, "submit_timeout_seconds")
    return Upstream(
        name=name,
        adapter=provider.adapter,
        base_url=_base_url(table, allow_private=allow_private),
        api_key=_secret(table, environ),
        max_in_flight=table.integer("max_in_flight") or 0,
        submit_per_second=table.decimal("submit_per_second") or Decimal(0),
        query_per_second=provider.query_per_second if query is None else query,
        daily_cost=table.micro("daily_cost_usd") or 0,
        allow_private=allow_private,
        submit_timeout_ms=timeout_ms or int(provider.submit_timeout_s * 1000),
        on_ambiguous=OnAmbiguous(on_ambiguous),
        idempotent_submit=provider.idempotent_submit if idempotent is None else idempotent,
        exclusive_account=table.flag("exclusive_account") or False,
        options=_options(table, provider),
    )


def _with_model_limits(upstream: Upstream, offers: list[Offer], table: Table) -> Upstream:
    """Fill limits the operator left open with the largest the vendor sets for an offered model.

    0, written out, means no limit.
    """
    rates = [offer.submit_per_second for offer in offers]
    jobs = [offer.max_in_flight for offer in offers]
    if "submit_per_second" not in table and all(rates):
        upstream = replace(upstream, submit_per_second=max(rates, default=Decimal(0)))
    if "max_in_flight" not in table and all(jobs):
        upstream = replace(upstream, max_in_flight=max(jobs, default=0))
    return upstream


def _base_url(table: Table, *, allow_private: bool) -> str:
    """Read the address without its trailing slashes; plain http needs ``allow_private``."""
    url = table.required_text("base_url").rstrip("/")
    if not url:
        return url
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        table.note("base_url", f"is no URL: {error}")
        return url
    if not host or parts.scheme not in ("http", "https") or any(c.isspace() for c in url):
        table.note("base_url", "must be a URL such as https://api.evolink.ai/v1")
    elif parts.scheme == "http" and not allow_private:
        table.note("base_url", "must be https; plain http is only for allow_private = true")
    if parts.query or parts.fragment or parts.username or parts.password:
        table.note("base_url", "must not have a query, a fragment or a password")
    return url


def _secret(table: Table, environ: Mapping[str, str]) -> Secret:
    """Read a key: ``env:NAME``, ``file:/path`` or the key itself. Problems never quote it."""
    text = table.required_text("api_key")
    kind, found, rest = text.partition(":")
    if found and kind == "env":
        text = environ.get(rest, "").strip()
        if not text:
            table.note("api_key", f"the environment variable {rest} is not set")
    elif found and kind == "file":
        try:
            text = Path(rest).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text file"
            table.note("api_key", f"the file {rest} cannot be read: {reason}")
            return Secret("")
        if not text:
            table.note("api_key", f"the file {rest} is empty")
    if not text.isascii() or not text.isprintable() or " " in text:
        table.note("api_key", "holds characters no HTTP header can carry")
    return Secret(text)


def _options(table: Table, provider: Provider) -> dict[str, str | int | bool]:
    inner = table.child("options")
    found: dict[str, str | int | bool] = {}
    if inner is None:
        return found
    for name, kind in provider.options.items():
        value = _option(inner, name, kind)
        if value is not None:
            found[name] = value
    inner.finish()
    return found


def _option(table: Table, name: str, kind: str) -> str | int | bool | None:
    if kind == "number":
        return table.integer(name)
    return table.flag(name) if kind == "flag" else table.text(name)

"""The built-in catalogue: every model and provider the gateway knows, read from its TOML files."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from gateway.catalog.limits import Patch, complete, contradictions, read_patch, replaced
from gateway.catalog.reading import Notes, Table
from gateway.domain.errors import ConfigError
from gateway.domain.model import Feature, Model

SWITCHES = (Feature.THINKING, Feature.REWRITE_PROMPT, Feature.WATERMARK)


@dataclass(frozen=True, slots=True)
class Sale:
    """How a provider sells one model: its name and protocol there, and what it narrows.

    ``hosts`` holds the same for base URLs on a host or below it (regional names and rates).
    """

    upstream_model: str | None = None
    protocol: str | None = None
    submit_per_second: Decimal | None = None
    max_in_flight: int | None = None
    limits: Patch = field(default_factory=dict)
    hosts: Mapping[str, Sale] = field(default_factory=dict)

    def at(self, host: str) -> Sale:
        """Give the sale as it is at a host."""
        for name, there in self.hosts.items():
            if host == name or host.endswith(f".{name}"):
                return replace(
                    self,
                    upstream_model=there.upstream_model or self.upstream_model,
                    submit_per_second=there.submit_per_second or self.submit_per_second,
                    max_in_flight=there.max_in_flight or self.max_in_flight,
                )
        return self


@dataclass(frozen=True, slots=True)
class Provider:
    """What an adapter's provider sells and how its accounts are limited by default.

    ``any_model`` is how it sells models not listed, None when it has no others. ``options`` maps
    the adapter's settings to ``text``, ``number`` or ``flag``.
    """

    adapter: str
    title: str
    base_url: str
    protocol: str
    idempotent_submit: bool
    query_per_second: Decimal
    submit_timeout_s: Decimal
    models: Mapping[str, Sale]
    any_model: Sale | None
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Builtin:
    """All built-in models by id and providers by adapter name."""

    models: Mapping[str, Model]
    providers: Mapping[str, Provider]


@cache
def builtin() -> Builtin:
    """Give the built-in catalogue. Raises ConfigError should its files be wrong."""
    notes: Notes = []
    models = read_models(_documents("models"), {}, notes)
    providers = {}
    for name, document in _documents("providers").items():
        table = Table(document, name, notes)
        provider = _provider(table, models)
        providers[provider.adapter] = provider
    if notes:
        raise ConfigError(*notes)
    return Builtin(models, providers)


def _documents(folder: str) -> dict[str, Mapping[str, Any]]:
    """Give every TOML file of a folder by its name without the ending."""
    found: dict[str, Mapping[str, Any]] = {}
    for entry in sorted(files("gateway.catalog").joinpath(folder).iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".toml"):
            text = entry.read_text(encoding="utf-8")
            found[entry.name.removesuffix(".toml")] = tomllib.loads(text, parse_float=Decimal)
    return found


def read_models(
    documents: Mapping[str, Mapping[str, Any]], known: Mapping[str, Model], notes: Notes
) -> dict[str, Model]:
    """Read model files by id; a file may be ``like`` another one, whatever their order."""
    models = dict(known)
    waiting = dict(documents)
    while waiting:
        ready = [n for n, d in waiting.items() if d.get("like") not in waiting]
        for name in ready:
            table = Table(waiting.pop(name), name, notes)
            if table.required_text("id") != name:
                table.note("id", "must be the name of the file")
            model = read_model(table, name, models)
            if model is not None:
                models[name] = model
            table.finish()
        if not ready:
            notes.extend((name, "is like itself, in a circle") for name in waiting)
            break
    return models


def read_model(table: Table, model_id: str, known: Mapping[str, Model]) -> Model | None:
    """Read one model in the shared schema; a known model of that id is changed, not replaced.

    Gives None, with the reasons noted, when it cannot be made.
    """
    base = known.get(model_id)
    like = table.choice("like", known)
    if like is not None:
        base = replace(known[like], id=model_id, aliases=(), title=model_id)
    limits_table = table.child("limits")
    patch = read_patch(limits_table) if limits_table is not None else {}
    place = limits_table or Table({}, table.place("limits"), table.notes)
    limits = complete(patch, place) if base is None else replaced(base.limits, patch)
    if limits is None:
        return None
    table.notes.extend((f"{place.where}.{key}", what) for key, what in contradictions(limits))
    if base is None:
        base = Model(id=model_id, title=model_id, owned_by="operator", limits=limits)
    return replace(base, limits=limits, **_facts(table))


def _facts(table: Table) -> dict[str, Any]:
    """Read everything of a model that is no limit; only what is present."""
    found: dict[str, Any] = {
        "title": table.text("title"),
        "owned_by": table.text("owned_by"),
        "aliases": table.words("aliases"),
        "created": table.day("released"),
        "typical_ms": milliseconds(table, "typical_seconds"),
        "deadline_ms": milliseconds(table, "deadline_seconds"),
    }
    defaults = table.child("defaults")
    if defaults is not None:
        flags = {str(name): defaults.flag(str(name)) for name in SWITCHES}
        found["defaults"] = {name: value for name, value in flags.items() if value is not None}
        defaults.finish()
    inert = table.child("inert")
    if inert is not None:
        for key in ("group", "images"):
            words = inert.words(key, [str(feature) for feature in Feature]) or ()
            found[f"inert_with_{key}"] = frozenset(f for f in Feature if str(f) in words)
        inert.finish()
    return {name: value for name, value in found.items() if value is not None}


def milliseconds(table: Table, key: str) -> int | None:
    """Read a duration in seconds as milliseconds; zero is refused."""
    seconds = table.decimal(key)
    if seconds == 0:
        table.note(key, "must be more than 0")
    return int(seconds * 1000) or None if seconds is not None else None


def _provider(table: Table, models: Mapping[str, Model]) -> Provider:
    sales = {}
    for name, inner in table.children("models"):
        if name not in models:
            table.notes.append((inner.where, "is no built-in model"))
        sales[name] = _sale(inner)
    any_table = table.child("any_model")
    options = {}
    for name, inner in table.children("options"):
        options[name] = inner.choice("type", ("text", "number", "flag")) or "text"
        inner.finish()
    provider = Provider(
        adapter=table.required_text("adapter"),
        title=table.required_text("title"),
        base_url=table.required_text("base_url"),
        protocol=table.required_text("protocol"),
        idempotent_submit=table.flag("idempotent_submit") or False,
        query_per_second=table.decimal("query_per_second") or Decimal(0),
        submit_timeout_s=table.decimal("submit_timeout_seconds") or Decimal(30),
        models=sales,
        any_model=_sale(any_table) if any_table is not None else None,
        options=options,
    )
    table.finish()
    return provider


def _sale(table: Table) -> Sale:
    limits = table.child("limits")
    sale = Sale(
        upstream_model=table.text("upstream_model"),
        protocol=table.text("protocol"),
        submit_per_second=table.decimal("submit_per_second"),
        max_in_flight=table.integer("max_in_flight"),
        limits=read_patch(limits) if limits is not None else {},
        hosts={name: _sale(inner) for name, inner in table.children("hosts")},
    )
    table.finish()
    return sale

"""Catalogues for tests: built-in models at upstreams, written as an operator writes them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from gateway.catalog.builtin import builtin
from gateway.catalog.config import read_config
from gateway.catalog.reading import Notes
from gateway.domain.model import Catalog, Limits, Model
from gateway.domain.request import GenerationRequest, InputImage, Size

KITE = InputImage("https://img.example.net/kite.png")


def problems_of(text: str, environ: Mapping[str, str] | None = None) -> Notes:
    """Everything the loader says about a configuration."""
    return _read(text, environ or {})[1]


def catalog_of(text: str, environ: Mapping[str, str] | None = None) -> Catalog:
    """The catalogue of a configuration that must be without problems."""
    catalog, notes = _read(text, environ or {})
    assert notes == []
    return catalog


def _read(text: str, environ: Mapping[str, str]) -> tuple[Catalog, Notes]:
    notes: Notes = []
    document: dict[str, Any] = tomllib.loads(text, parse_float=Decimal)
    return read_config(document, environ, builtin(), notes), notes


def upstream_toml(name: str, adapter: str, offers: Mapping[str, str], more: str = "") -> str:
    """One upstream with offers: canonical model to cost."""
    lines = [f"[upstreams.{name}]", f'adapter = "{adapter}"', 'api_key = "k"', more]
    lines.append(f'base_url = "{builtin().providers[adapter].base_url}"')
    for model, cost in offers.items():
        lines += [f"[[upstreams.{name}.offers]]", f'model = "{model}"', f'cost_usd = "{cost}"']
    return "\n".join(lines) + "\n"


def model(name: str) -> Model:
    """A built-in model."""
    return builtin().models[name]


def limits(name: str) -> Limits:
    """A built-in model's own limits."""
    return model(name).limits


def offer_limits(name: str, adapter: str) -> Limits:
    """A built-in model's limits as a provider narrows them."""
    offer = catalog_of(upstream_toml("u", adapter, {name: "1"})).offer(name, "u")
    assert offer is not None
    return offer.limits


def ask(model: str, prompt: str = "a red kite", **fields: Any) -> GenerationRequest:
    """A request; ``size`` may be written as text."""
    if isinstance(fields.get("size"), str):
        width, height = fields["size"].split("x")
        fields["size"] = Size(int(width), int(height))
    return GenerationRequest(model=model, prompt=prompt, **fields)


def pictures(count: int, **facts: Any) -> tuple[InputImage, ...]:
    """So many input pictures with these facts."""
    return tuple(InputImage(f"https://img.example.net/{i}.png", **facts) for i in range(count))

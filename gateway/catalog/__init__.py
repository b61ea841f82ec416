"""The catalogue: built-in models and providers, the operator's `gateway.toml`, and the demo.

Everything is TOML: `models/*.toml` (what each model takes), `providers/*.toml` (what each adapter's
vendor sells, narrowed to what it takes), `demo.toml` (the upstreams of `gateway up`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any

from gateway.catalog.builtin import builtin
from gateway.catalog.config import read_config
from gateway.catalog.reading import Notes
from gateway.catalog.warnings import warnings_of
from gateway.domain.errors import ConfigError
from gateway.domain.model import Catalog

__all__ = ["Report", "check", "demo", "demo_configuration", "load"]


@dataclass(frozen=True, slots=True)
class Report:
    """What `gateway catalog check` says, as (where, message) pairs.

    ``catalog`` is None when there are problems; warnings do not stop the gateway.
    """

    problems: tuple[tuple[str, str], ...]
    warnings: tuple[tuple[str, str], ...]
    catalog: Catalog | None


def load(config_path: Path | None, environ: Mapping[str, str]) -> Catalog:
    """Give the built-in catalogue with the operator's file on top; without a file nothing is sold.

    ``environ`` resolves ``env:NAME`` keys. Raises ConfigError with every problem at once.
    """
    document = {} if config_path is None else _document(config_path)
    return _built(document, environ)


def check(config_path: Path | None, environ: Mapping[str, str]) -> Report:
    """Judge a configuration without using it: every problem, or else the warnings."""
    try:
        document = {} if config_path is None else _document(config_path)
        catalog = _built(document, environ)
    except ConfigError as error:
        return Report(error.problems, (), None)
    return Report((), warnings_of(catalog, document), catalog)


def demo_configuration(simulator_base_urls: Mapping[str, str]) -> str:
    """Give the `gateway.toml` of `gateway up`: every simulated vendor at its usual prices.

    ``simulator_base_urls`` maps names of `demo.toml`'s upstreams to the base URLs they are
    simulated at (⚑ §6 form); an upstream without one is left out.
    """
    lines, kept = [], True
    for line in files(__name__).joinpath("demo.toml").read_text(encoding="utf-8").splitlines():
        upstream = line.removeprefix("[upstreams.").removesuffix("]") if line[:1] == "[" else ""
        if upstream:
            kept = not line.startswith("[upstreams.") or upstream in simulator_base_urls
        if kept:
            lines.append(line)
            if upstream in simulator_base_urls:
                lines.append(f'base_url = "{simulator_base_urls[upstream]}"')
    return "\n".join(lines) + "\n"


def demo(simulator_base_urls: Mapping[str, str]) -> Catalog:
    """Give the catalogue that `demo_configuration` describes."""
    text = demo_configuration(simulator_base_urls)
    return _built(tomllib.loads(text, parse_float=Decimal), {})


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        raise ConfigError((str(path), f"cannot be read: {error.strerror}")) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError((str(path), f"is not valid TOML: {error}")) from None


def _built(document: Mapping[str, Any], environ: Mapping[str, str]) -> Catalog:
    notes: Notes = []
    catalog = read_config(document, environ, builtin(), notes)
    if notes:
        raise ConfigError(*notes)
    return catalog

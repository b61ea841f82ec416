"""Southbound adapters: one file per provider API, found by name.

A module of this package whose name does not start with ``_`` is an adapter: it has ``FACTS``
and a class ``Adapter`` that takes an `UpstreamHttp`. Adding a provider is adding its file.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol, cast

from gateway.app.ports import HttpClient, UpstreamAdapter
from gateway.domain.model import Upstream
from gateway.upstreams._adapter import Facts
from gateway.upstreams._http import UpstreamHttp


class _AdapterModule(Protocol):
    """The shape of an adapter's module."""

    FACTS: Facts
    Adapter: Callable[[UpstreamHttp], UpstreamAdapter]


def _found() -> dict[str, _AdapterModule]:
    names = sorted(found.name for found in pkgutil.iter_modules(__path__))
    return {
        name: cast("_AdapterModule", import_module(f"{__name__}.{name}"))
        for name in names
        if not name.startswith("_")
    }


_MODULES = _found()
FACTS: Mapping[str, Facts] = {name: module.FACTS for name, module in _MODULES.items()}
ADAPTERS = tuple(_MODULES)
"""The names a configuration may use as ``adapter``."""
IDEMPOTENT = frozenset(name for name, facts in FACTS.items() if facts.idempotent)
"""Adapters whose submit may be repeated with the same attempt id."""
CAN_CANCEL = frozenset(name for name, facts in FACTS.items() if facts.can_cancel)
"""Adapters whose vendor has a cancel call."""
CREDENTIALS: Mapping[str, str] = {name: facts.scheme for name, facts in FACTS.items()}
"""The word before the key in each adapter's Authorization header."""


def build(upstream: Upstream, client: HttpClient, now_s: Callable[[], int]) -> UpstreamAdapter:
    """Give the adapter of an upstream; ``now_s`` gives UTC seconds.

    The adapter owns the client from then on: its ``aclose`` closes it. An upstream configured as
    ``idempotent_submit`` gets the attempt id as Idempotency-Key whatever its adapter. Raises
    KeyError for an adapter name that is not in ``ADAPTERS``.
    """
    module = _MODULES[upstream.adapter]
    http = UpstreamHttp(
        upstream,
        client,
        scheme=module.FACTS.scheme,
        idempotent=module.FACTS.idempotent or upstream.idempotent_submit,
        now_s=now_s,
    )
    return module.Adapter(http)


__all__ = ["ADAPTERS", "CAN_CANCEL", "CREDENTIALS", "FACTS", "IDEMPOTENT", "Facts", "build"]

"""The operator's configuration in force: the catalogue and an adapter for each upstream."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import structlog

from gateway import catalog as catalogue
from gateway import upstreams
from gateway.app.ports import Clock, UpstreamAdapter
from gateway.domain.errors import ConfigError
from gateway.domain.model import Catalog, Upstream
from gateway.domain.money import MicroUsd
from gateway.egress.clients import upstream_client
from gateway.settings import Settings
from gateway.stores.valkey.budgets import UpstreamLimits

log = structlog.get_logger(__name__)


def load_catalog(settings: Settings) -> Catalog:
    """Read the configured catalogue. Raises ConfigError."""
    return catalogue.load(settings.config, os.environ)


class Configuration:
    """The catalogue in force and the adapters of its upstreams; both are swapped whole."""

    def __init__(self, load: Callable[[], Catalog], clock: Clock) -> None:
        """Take what reads the configuration, and read it. Raises ConfigError."""
        self._load = load
        self._clock = clock
        self._whole = load()
        self._catalog = self._whole
        self._holds_until_ms: int | None = 0
        self._adapters: Mapping[str, UpstreamAdapter] = {}
        self._built: Mapping[str, Upstream] = {}
        self._retired: list[UpstreamAdapter] = []
        self._limits: Mapping[str, UpstreamLimits] = {}
        self._daily_caps: Mapping[str, MicroUsd] = {}

    @property
    def catalog(self) -> Catalog:
        """The catalogue in force, with the prices and costs of this moment."""
        if self._holds_until_ms is not None:
            now_ms = self._clock.now_ms()
            if now_ms >= self._holds_until_ms:
                self._catalog = self._whole.at(now_ms)
                self._holds_until_ms = self._whole.next_change_ms(now_ms)
        return self._catalog

    @property
    def adapters(self) -> Mapping[str, UpstreamAdapter]:
        """One adapter per configured upstream."""
        return self._adapters

    def build_adapters(self) -> None:
        """Make adapters for the catalogue in force; those of unchanged upstreams are kept."""
        self._take(self._whole)

    def reload(self) -> None:
        """Read the configuration again; whatever is wrong keeps the old whole.

        Raises ConfigError.
        """
        self._take(self._load())

    def _take(self, whole: Catalog) -> None:
        """Put a catalogue in force, when an adapter for each of its upstreams stands.

        A replaced adapter may be in the middle of a call, so it is closed only at the end.
        """
        adapters: dict[str, UpstreamAdapter] = {}
        for name, upstream in whole.upstreams.items():
            if self._built.get(name) == upstream:
                adapters[name] = self._adapters[name]
            else:
                client = upstream_client(upstream)
                adapters[name] = upstreams.build(upstream, client, lambda: int(time.time()))
        kept = set(map(id, adapters.values()))
        self._retired += [a for a in self._adapters.values() if id(a) not in kept]
        self._adapters, self._built = adapters, dict(whole.upstreams)
        self._whole, self._holds_until_ms = whole, 0
        self._limits, self._daily_caps = limits_of(whole), daily_caps_of(whole)

    def limits(self) -> Mapping[str, UpstreamLimits]:
        """Give the budgets of every upstream account."""
        return self._limits

    def daily_caps(self) -> Mapping[str, MicroUsd]:
        """Give what each upstream account may cost in a day; 0 is no limit."""
        return self._daily_caps

    async def aclose(self) -> None:
        """Close every adapter."""
        for adapter in (*self._adapters.values(), *self._retired):
            await adapter.aclose()


def limits_of(catalog: Catalog) -> Mapping[str, UpstreamLimits]:
    """Give the budgets of every upstream account of a catalogue."""
    return {
        name: UpstreamLimits(
            max_in_flight=one.max_in_flight,
            submit_per_second=one.submit_per_second,
            query_per_second=one.query_per_second,
        )
        for name, one in catalog.upstreams.items()
    }


def daily_caps_of(catalog: Catalog) -> Mapping[str, MicroUsd]:
    """Give what each upstream account of a catalogue may cost in a day; 0 is no limit."""
    return {name: one.daily_cost for name, one in catalog.upstreams.items()}


def reload_on_signal(configuration: Configuration) -> None:
    """Reload the configuration; a bad one keeps the old and says why in the log."""
    try:
        configuration.reload()
    except ConfigError as error:
        log.warning("reload_refused", problems=[f"{w}: {m}" for w, m in error.problems])
    else:
        log.info("configuration_reloaded", upstreams=sorted(configuration.catalog.upstreams))

"""The bundle of use cases and ports that the HTTP layer and the worker are given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.app.admin import Admin
from gateway.app.batch_intake import Intake
from gateway.app.cancel import Cancel
from gateway.app.dialect import Dialect
from gateway.app.pictures import Pictures
from gateway.app.ports import AssetStore, Clock, KeyStore, Ledger, Usage
from gateway.app.query import Query
from gateway.app.readings import Readings
from gateway.app.seats import Seats
from gateway.app.submit import Submit
from gateway.app.upstreams import Upstreams
from gateway.domain.model import Catalog, Model

Probe = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Core:
    """Everything a caller-facing process needs. ``probes`` raise when their engine is away.

    ``counted`` gives what this process counted of the tasks it ended, as Prometheus reads it.
    ``model_view`` renders one model for GET /v1/models; ``public_url`` None derives links from
    the address the caller used.
    """

    catalog: Callable[[], Catalog]
    dialects: Mapping[str, Dialect]
    submit: Submit
    query: Query
    cancel: Cancel
    batches: Intake
    pictures: Pictures
    keys: KeyStore
    ledger: Ledger
    admin: Admin
    usage: Usage
    assets: AssetStore
    clock: Clock
    model_view: Callable[[Model, Catalog], dict[str, Any]]
    probes: Mapping[str, Probe]
    readings: Readings
    upstreams: Upstreams
    counted: Callable[[], bytes]
    sync_wait_s: float
    seats: Seats
    public_url: str | None

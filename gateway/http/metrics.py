"""Prometheus metrics of a process, under the prefix ``igw_``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import nan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gateway.app.readings import READINGS
from gateway.app.upstreams import UPSTREAM_READINGS, Standing

REGISTRY = CollectorRegistry()

http_requests = Counter(
    "igw_http_requests_total",
    "HTTP requests answered.",
    ["route", "method", "status"],
    registry=REGISTRY,
)
http_seconds = Histogram(
    "igw_http_request_duration_seconds",
    "Time to answer, waits of synchronous calls included.",
    ["route", "method"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 120, 300),
    registry=REGISTRY,
)
http_in_flight = Gauge(
    "igw_http_requests_in_flight", "HTTP requests being answered.", registry=REGISTRY
)

logins = Counter(
    "igw_logins_total",
    "Logins of operators: opened, refused, or throttled.",
    ["method", "outcome"],
    registry=REGISTRY,
)

readings = {
    name: Gauge(f"igw_{name}", description, registry=REGISTRY)
    for name, description in READINGS.items()
}

breaker_state = Gauge(
    "igw_breaker_state",
    "0 closed, 1 half-open, 2 open; model * is the whole account.",
    ["upstream", "model"],
    registry=REGISTRY,
)
upstream_readings = {
    name: Gauge(f"igw_{name}", description, ["upstream"], registry=REGISTRY)
    for name, description in UPSTREAM_READINGS.items()
}


def show_upstreams(standings: Iterable[Standing]) -> None:
    """Set the figures of the upstreams; those not configured any more go."""
    for gauge in (breaker_state, *upstream_readings.values()):
        gauge.clear()
    for one in standings:
        for model, state in one.breakers().items():
            breaker_state.labels(one.upstream.name, model).set(state)
        for name, figure in one.figures().items():
            upstream_readings[name].labels(one.upstream.name).set(figure)


def show(found: Mapping[str, float]) -> None:
    """Set the figures of the stores; one that could not be read is no number."""
    for name, gauge in readings.items():
        gauge.set(found.get(name, nan))

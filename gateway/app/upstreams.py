"""How every configured upstream stands now: for operators' lists and for `/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.app.outlook import Outlook
from gateway.app.ports import Clock, PollLine
from gateway.app.views import time_text
from gateway.domain.errors import Unavailable
from gateway.domain.health import WHOLE_UPSTREAM, Circuit, CircuitState
from gateway.domain.model import Catalog, Upstream
from gateway.domain.money import MICRO, MicroUsd, format_micro

UPSTREAM_READINGS: Mapping[str, str] = {
    "upstream_drained": "1 while the operator has taken it out of service.",
    "upstream_in_flight": "Jobs that run there, where max_in_flight is set.",
    "upstream_spent_usd": "What today's jobs (UTC) cost, where daily_cost_usd is set.",
    "upstream_daily_cost_usd": "What they may cost, where that is set.",
    "polls_waiting": "Tasks that wait for a query, where query_per_second is set.",
    "poll_lag_seconds": "How long the first of them is due.",
}
"""Each figure of an upstream by name, and what it is."""

STATES = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}
"""What `igw_breaker_state` shows."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One upstream at one moment. ``circuits`` are by model, ``*`` for the whole account, and only
    those not plainly closed; None is a figure that has no limit, so that nobody counts it.
    """

    upstream: Upstream
    models: tuple[str, ...]
    at_ms: int
    circuits: Mapping[str, Circuit]
    drained_ms: int | None = None
    in_flight: int | None = None
    spent: MicroUsd | None = None
    line: PollLine | None = None

    @property
    def state(self) -> CircuitState:
        """The worst of its circuits."""
        states = [circuit.state(self.at_ms) for circuit in self.circuits.values()]
        return max(states, key=STATES.__getitem__, default=CircuitState.CLOSED)

    def view(self) -> dict[str, Any]:
        """Give it as operators read it; never a secret."""
        one = self.upstream
        return {
            "name": one.name,
            "adapter": one.adapter,
            "base_url": one.base_url,
            "models": list(self.models),
            "drained_at": time_text(self.drained_ms),
            "state": self.state.value,
            "circuits": [_circuit(m, c, self.at_ms) for m, c in sorted(self.circuits.items())],
            "in_flight": self.in_flight,
            "max_in_flight": one.max_in_flight or None,
            "spent_today_usd": None if self.spent is None else format_micro(self.spent),
            "daily_cost_usd": format_micro(one.daily_cost) if one.daily_cost else None,
            "polls_waiting": self.line and self.line.waiting,
            "poll_lag_ms": self.line and self.line.lag_ms,
        }

    def figures(self) -> dict[str, float]:
        """Give what is known of it by the names in `UPSTREAM_READINGS`."""
        found: dict[str, float] = {"upstream_drained": int(self.drained_ms is not None)}
        if self.in_flight is not None:
            found["upstream_in_flight"] = self.in_flight
        if self.spent is not None:
            found["upstream_spent_usd"] = self.spent / MICRO
            found["upstream_daily_cost_usd"] = self.upstream.daily_cost / MICRO
        if self.line is not None:
            found |= {
                "polls_waiting": self.line.waiting,
                "poll_lag_seconds": self.line.lag_ms / 1000,
            }
        return found

    def breakers(self) -> dict[str, int]:
        """Give the number in `STATES` for every model it sells, and for the account (``*``)."""
        return {
            model: STATES[self.circuits.get(model, Circuit()).state(self.at_ms)]
            for model in (*self.models, WHOLE_UPSTREAM)
        }


def _circuit(model: str, circuit: Circuit, now_ms: int) -> dict[str, Any]:
    state = circuit.state(now_ms)
    until_ms = circuit.shut_until_ms if state is CircuitState.OPEN else None
    return {
        "model": model,
        "state": state.value,
        "reason": circuit.reason or None,
        "until": time_text(until_ms),
    }


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Gathers the standings of the configured upstreams."""

    catalog: Callable[[], Catalog]
    outlook: Outlook
    clock: Clock

    async def standings(self) -> list[Standing]:
        """Give every upstream's, by name. Never raises: a store that is away is old news."""
        catalog, now_ms = self.catalog(), self.clock.now_ms()
        conditions = await self.outlook.look()
        drained = await self.outlook.drains.drained()
        lines = await self._lines()
        return [
            Standing(
                upstream=upstream,
                models=tuple(sorted(o.model for o in catalog.offers_of(name))),
                at_ms=now_ms,
                circuits={
                    model: circuit
                    for (of, model), circuit in conditions.circuits.items()
                    if of == name and circuit.state(now_ms) is not CircuitState.CLOSED
                },
                drained_ms=drained.get(name),
                in_flight=conditions.in_flight.get(name, 0) if upstream.max_in_flight else None,
                spent=conditions.spent.get(name),
                line=lines.get(name),
            )
            for name, upstream in sorted(catalog.upstreams.items())
        ]

    async def _lines(self) -> Mapping[str, PollLine]:
        try:
            return await self.outlook.budgets.poll_lines()
        except Unavailable:
            return {}

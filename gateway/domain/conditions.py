"""How things stand with the upstreams when a route is decided."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from gateway.domain.health import Circuit
from gateway.domain.money import MicroUsd
from gateway.domain.performance import Track

Scope = tuple[str, str]
"""An upstream and a model, or ``*`` for the whole upstream."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is known of all upstreams now.

    ``circuits`` are those not plainly closed; ``tracks`` how each did lately; ``in_flight`` the
    running jobs, and ``spent`` what today's jobs cost (UTC day), of those that have such a limit.
    """

    circuits: Mapping[Scope, Circuit] = field(default_factory=dict)
    tracks: Mapping[Scope, Track] = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)
    spent: Mapping[str, MicroUsd] = field(default_factory=dict)
    drained: Collection[str] = ()

"""The router against a small model of it, over a long life: jobs, faults, benches, drains, prices.

The model keeps for each upstream only the facts it needs and says in a few lines who may serve.
Circuits are turned by the product's own `observe`, which has a machine of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.domain.conditions import Conditions
from gateway.domain.health import WHOLE_UPSTREAM, Circuit, Plane, Signal, SignalKind, observe
from gateway.domain.price_table import PriceTable
from gateway.domain.routing import BUSY_RETRY_MS, Route, rank
from tests.support.catalogs import ask, catalog_of, upstream_toml

MODEL = "wan2.5-t2i-preview"
IN_FLIGHT_MAX, CAP = 2, 200_000
NAMES = ("a", "b", "c")
BASE = catalog_of(
    "".join(
        upstream_toml(
            name,
            "evolink",
            {MODEL: f"0.02{place}"},
            f'max_in_flight = {IN_FLIGHT_MAX}\ndaily_cost_usd = "0.2"',
        )
        for place, name in enumerate(NAMES)
    )
)
SIGNALS = st.builds(
    Signal,
    st.sampled_from(
        [SignalKind.GOOD, SignalKind.FAULT, SignalKind.RATE, SignalKind.ACCOUNT, SignalKind.TRIAL]
    ),
    bench_ms=st.sampled_from([0, 4_000, 90_000]),
    reason=st.just("HTTP 500"),
    plane=st.sampled_from(Plane),
)
upstreams = st.sampled_from(NAMES)


@dataclass
class Known:
    """What the model knows of one upstream; ``circuits`` are by model, ``*`` for the whole."""

    cost: int
    drained: bool = False
    running: int = 0
    spent: int = 0
    circuits: dict[str, Circuit] = field(default_factory=dict)

    def shut(self, now_ms: int) -> list[Circuit]:
        return [circuit for circuit in self.circuits.values() if not circuit.admits(now_ms)]

    def asks_for_patience_until(self, now_ms: int) -> int:
        until_ms = max((circuit.throttled_until_ms for circuit in self.shut(now_ms)), default=0)
        return until_ms if until_ms > now_ms else 0


class Router(RuleBasedStateMachine):
    """Everything that can happen between two decisions, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1_800_000_000_000
        self.known = {n: Known(20_000 + place * 1_000) for place, n in enumerate(NAMES)}
        self.pictures = 1

    # --- what happens --------------------------------------------------------------------

    @rule(ms=st.sampled_from([1, 1, 900, 4_000, 31_000, 400_000]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule(names=st.sets(upstreams, min_size=1), signal=SIGNALS, times=st.sampled_from([1, 1, 5, 6]))
    def outcomes_come_in(self, names: set[str], signal: Signal, times: int) -> None:
        scope = WHOLE_UPSTREAM if signal.kind is SignalKind.ACCOUNT else MODEL
        for name in sorted(names):
            circuits = self.known[name].circuits
            for _ in range(times):
                circuits[scope] = observe(circuits.get(scope, Circuit()), signal, self.now_ms)

    @rule(name=upstreams)
    def an_operator_drains_or_resumes(self, name: str) -> None:
        self.known[name].drained = not self.known[name].drained

    @rule(name=upstreams, cost=st.integers(15_000, 30_000))
    def a_price_changes(self, name: str, cost: int) -> None:
        self.known[name].cost = cost

    @rule(pictures=st.integers(1, 4))
    def another_request_comes(self, pictures: int) -> None:
        self.pictures = pictures

    @rule()
    def a_task_is_sent_to_the_first(self) -> None:
        if candidates := self.route().candidates:
            chosen = self.known[candidates[0].upstream]
            chosen.running += 1
            chosen.spent += candidates[0].planned_cost

    @rule(name=upstreams)
    def a_job_ends(self, name: str) -> None:
        self.known[name].running = max(0, self.known[name].running - 1)

    @rule()
    def a_day_ends(self) -> None:
        for one in self.known.values():
            one.spent = 0

    # --- what must be true ---------------------------------------------------------------

    def route(self) -> Route:
        """Ask the product."""
        offers = tuple(
            replace(offer, cost=PriceTable(flat=self.known[offer.upstream].cost))
            for offer in BASE.offers[MODEL]
        )
        conditions = Conditions(
            circuits={
                (name, scope): circuit
                for name, one in self.known.items()
                for scope, circuit in one.circuits.items()
            },
            in_flight={name: one.running for name, one in self.known.items()},
            spent={name: one.spent for name, one in self.known.items()},
            drained={name for name, one in self.known.items() if one.drained},
        )
        catalog = replace(BASE, offers={MODEL: offers})
        return rank(ask(MODEL, n=self.pictures), catalog, conditions, self.now_ms)

    @invariant()
    def the_cheapest_that_may_serve_is_first(self) -> None:
        found, now_ms = self.route(), self.now_ms
        serving = {
            name: one
            for name, one in self.known.items()
            if not one.drained and one.spent + one.cost * self.pictures <= CAP
        }
        healthy = {name: one for name, one in serving.items() if not one.shut(now_ms)}
        patient = [until for o in serving.values() if (until := o.asks_for_patience_until(now_ms))]
        last_resort = not healthy and not patient
        chosen = serving if last_resort else healthy
        free = {name: one for name, one in chosen.items() if one.running < IN_FLIGHT_MAX}
        expected = sorted(free, key=lambda n: (free[n].cost, free[n].running, n))

        assert [candidate.upstream for candidate in found.candidates] == expected
        assert (found.warning is not None) == (last_resort and bool(free))
        waits = [] if healthy else patient
        if len(free) < len(chosen):
            waits = [*waits, now_ms + BUSY_RETRY_MS]
        assert found.retry_at_ms == min(waits, default=None)

    @invariant()
    def everyone_is_ranked_or_left_out_with_a_reason_of_his_own(self) -> None:
        found = self.route()
        left_out = dict(found.excluded)
        ranked = {candidate.upstream for candidate in found.candidates}
        assert ranked | left_out.keys() == set(NAMES)
        assert not ranked & left_out.keys()
        for name, reason in left_out.items():
            one = self.known[name]
            if one.drained:
                assert reason == "drained by the operator"
            elif one.spent + one.cost * self.pictures > CAP:
                assert reason.startswith("daily cost cap: ")
            elif one.shut(self.now_ms) and not found.warning:
                assert reason.startswith(("resting for ", "recovering, ", "busy: "))
            else:
                assert reason == f"busy: {one.running} of {IN_FLIGHT_MAX} jobs running"


TestRouter = Router.TestCase
TestRouter.settings = settings(max_examples=25, stateful_step_count=30)


@pytest.mark.soak
def test_a_much_longer_life() -> None:
    run_state_machine_as_test(Router, settings=settings(max_examples=2_000, stateful_step_count=40))

"""Circuit breaker as a value: ``observe(circuit, signal, now_ms) -> Circuit`` (⚑ §6 defaults).

One circuit per (upstream, model); an account fault benches the whole upstream under the
model name ``*``. Opens at 5 consecutive faults or at least 50 % of at least 20 in 60 s, for
30 s doubling to 5 minutes; then half-open: one live task decides. One that opens again soon after
it closed begins where it was.

Submits and completions are counted apart: an upstream that takes every job within a second and
fails it a minute later would otherwise look half well for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

WHOLE_UPSTREAM = "*"
FAULTS_IN_A_ROW = 5
WINDOW_MS = 60_000
WINDOW_CALLS_MIN = 20
BENCH_MS = 30_000
BENCH_MS_MAX = 300_000
ACCOUNT_BENCH_MS = 300_000
RATE_BENCH_MS = 1_000


class CircuitState(StrEnum):
    """Whether an upstream may be used for a model."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Plane(StrEnum):
    """What an outcome is about: taking a job (seconds), or finishing it (a minute or more)."""

    SUBMIT = "submit"
    COMPLETION = "completion"


# How long a half-open circuit waits for the verdict of its trial before it admits another.
TRIAL_MS = {Plane.SUBMIT: 30_000, Plane.COMPLETION: 120_000}


class SignalKind(StrEnum):
    """What an outcome says about health. Caller faults are no signal at all."""

    GOOD = "good"
    FAULT = "fault"
    RATE = "rate"
    ACCOUNT = "account"
    TRIAL = "trial"


@dataclass(frozen=True, slots=True)
class Signal:
    """One outcome; ``bench_ms`` is the vendor's own Retry-After, if it gave one."""

    kind: SignalKind
    bench_ms: int = 0
    reason: str = ""
    plane: Plane = Plane.SUBMIT


@dataclass(frozen=True, slots=True)
class Tally:
    """Outcomes of one plane: faults in a row, and calls in this half window and the one before.

    Two halves of 30 s: what counts is never older than 60 s and never misses the last 30 s.
    """

    in_row: int = 0
    half_start_ms: int = 0
    calls: int = 0
    faults: int = 0
    calls_before: int = 0
    faults_before: int = 0

    def count(self, *, fault: bool, now_ms: int) -> Tally:
        """Give the tally with one more outcome."""
        rolled = self._rolled(now_ms)
        return replace(
            rolled,
            in_row=rolled.in_row + 1 if fault else 0,
            calls=rolled.calls + 1,
            faults=rolled.faults + (1 if fault else 0),
        )

    @property
    def trips(self) -> bool:
        """Whether these outcomes open a circuit."""
        calls = self.calls + self.calls_before
        faults = self.faults + self.faults_before
        return self.in_row >= FAULTS_IN_A_ROW or (calls >= WINDOW_CALLS_MIN and faults * 2 >= calls)

    def _rolled(self, now_ms: int) -> Tally:
        half_ms = WINDOW_MS // 2
        age_ms = now_ms - self.half_start_ms
        if age_ms < half_ms:
            return self
        if age_ms < WINDOW_MS:
            start_ms = self.half_start_ms + half_ms
            return Tally(self.in_row, start_ms, 0, 0, self.calls, self.faults)
        return Tally(self.in_row, now_ms)


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state of one breaker. Times are UTC milliseconds.

    ``open_until_ms`` ends a bench (0: never benched since it last closed), ``throttled_until_ms``
    a vendor's Retry-After, which leaves no doubt behind. ``opened_by`` says which plane must do
    well to close it. ``bench_ms`` is how long the last bench was, and is remembered for twice as
    long after ``closed_ms``: what opens again so soon was not well.
    """

    submit: Tally = Tally()
    completion: Tally = Tally()
    open_until_ms: int = 0
    bench_ms: int = 0
    opened_by: Plane = Plane.SUBMIT
    trial_until_ms: int = 0
    throttled_until_ms: int = 0
    reason: str = ""
    closed_ms: int = 0

    def state(self, now_ms: int) -> CircuitState:
        """Give the state at a time: an expired bench is half-open until a trial succeeds."""
        if now_ms < max(self.open_until_ms, self.throttled_until_ms):
            return CircuitState.OPEN
        return CircuitState.HALF_OPEN if self.open_until_ms else CircuitState.CLOSED

    def admits(self, now_ms: int) -> bool:
        """Whether a task may be sent now; half-open admits one at a time."""
        state = self.state(now_ms)
        if state is CircuitState.HALF_OPEN:
            return now_ms >= self.trial_until_ms
        return state is CircuitState.CLOSED

    @property
    def is_benched(self) -> bool:
        """Whether there is doubt: it was benched and has not proved itself since."""
        return self.open_until_ms != 0

    @property
    def shut_until_ms(self) -> int:
        """When it admits a task at the earliest; in the past when it does already."""
        return max(self.open_until_ms, self.throttled_until_ms, self.trial_until_ms)


def observe(circuit: Circuit, signal: Signal, now_ms: int) -> Circuit:
    """Fold one outcome into a circuit. A trial that is not admitted changes nothing."""
    match signal.kind:
        case SignalKind.GOOD:
            return _good(circuit, signal.plane, now_ms)
        case SignalKind.FAULT:
            return _fault(circuit, signal, now_ms)
        case SignalKind.RATE:
            return _throttled(circuit, signal, now_ms)
        case SignalKind.ACCOUNT:
            bench_ms = max(signal.bench_ms, ACCOUNT_BENCH_MS)
            return _opened(circuit, replace(signal, plane=Plane.SUBMIT), now_ms + bench_ms)
        case SignalKind.TRIAL:
            if circuit.state(now_ms) is not CircuitState.HALF_OPEN or not circuit.admits(now_ms):
                return circuit
            return replace(circuit, trial_until_ms=now_ms + TRIAL_MS[circuit.opened_by])
        case _:
            assert_never(signal.kind)


def _good(circuit: Circuit, plane: Plane, now_ms: int) -> Circuit:
    if now_ms < circuit.open_until_ms:
        # A success of an older task while the bench lasts does not end it; a trial's does.
        return circuit
    if circuit.open_until_ms and plane in (circuit.opened_by, Plane.COMPLETION):
        fresh = Circuit(
            throttled_until_ms=circuit.throttled_until_ms,
            bench_ms=circuit.bench_ms,
            closed_ms=now_ms,
        )
        return _counted(fresh, plane, now_ms, fault=False)
    return _counted(circuit, plane, now_ms, fault=False)


def _fault(circuit: Circuit, signal: Signal, now_ms: int) -> Circuit:
    if now_ms < circuit.open_until_ms:
        return circuit
    counted = _counted(circuit, signal.plane, now_ms, fault=True)
    tally = counted.submit if signal.plane is Plane.SUBMIT else counted.completion
    if not circuit.open_until_ms and not tally.trips:
        return replace(counted, reason=signal.reason)
    bench_ms = min(max(_bench_before(circuit, now_ms), BENCH_MS), BENCH_MS_MAX)
    until_ms = now_ms + max(bench_ms, signal.bench_ms)
    return _opened(replace(counted, bench_ms=bench_ms), signal, until_ms)


def _bench_before(circuit: Circuit, now_ms: int) -> int:
    """Give the bench that history asks for: twice the last one after a failed trial, the same
    again where it opens soon after a trial that did well.
    """
    if circuit.is_benched:
        return circuit.bench_ms * 2
    return circuit.bench_ms if now_ms - circuit.closed_ms < 2 * circuit.bench_ms else 0


def _opened(circuit: Circuit, signal: Signal, until_ms: int) -> Circuit:
    """Bench a circuit; a doubt about completions is not forgotten over one about submits."""
    doubted = circuit.is_benched and circuit.opened_by is Plane.COMPLETION
    return replace(
        circuit,
        open_until_ms=max(circuit.open_until_ms, until_ms),
        opened_by=Plane.COMPLETION if doubted else signal.plane,
        trial_until_ms=0,
        reason=signal.reason,
    )


def _throttled(circuit: Circuit, signal: Signal, now_ms: int) -> Circuit:
    """A refusal for pace says nothing about health; a trial that met it may be tried again."""
    until_ms = now_ms + max(signal.bench_ms, RATE_BENCH_MS)
    return replace(
        circuit,
        throttled_until_ms=max(circuit.throttled_until_ms, until_ms),
        trial_until_ms=0,
        reason=signal.reason,
    )


def _counted(circuit: Circuit, plane: Plane, now_ms: int, *, fault: bool) -> Circuit:
    if plane is Plane.SUBMIT:
        return replace(circuit, submit=circuit.submit.count(fault=fault, now_ms=now_ms))
    return replace(circuit, completion=circuit.completion.count(fault=fault, now_ms=now_ms))

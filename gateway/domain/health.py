"""Circuit breaker as a value: ``observe(circuit, signal, now_ms) -> Circuit`` (⚑ §6 defaults).

One circuit per (upstream, model); an account fault benches the whole upstream under the
model name ``*``. Opens at 5 consecutive faults or at least 50 % of at least 20 in 60 s, for
30 s doubling to 5 minutes; then half-open: one live task decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

WHOLE_UPSTREAM = "*"
FAULTS_IN_A_ROW = 5
WINDOW_MS = 60_000
WINDOW_CALLS_MIN = 20
BENCH_MS = 30_000
BENCH_MS_MAX = 300_000
ACCOUNT_BENCH_MS = 300_000


class CircuitState(StrEnum):
    """Whether an upstream may be used for a model."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


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


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state of one breaker. Times are UTC milliseconds."""

    faults_in_row: int = 0
    window_start_ms: int = 0
    window_calls: int = 0
    window_faults: int = 0
    open_until_ms: int = 0
    bench_ms: int = 0
    trial_until_ms: int = 0
    reason: str = ""

    def state(self, now_ms: int) -> CircuitState:
        """Give the state at a time: an expired bench is half-open until a trial succeeds."""
        if not self.open_until_ms:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now_ms < self.open_until_ms else CircuitState.HALF_OPEN

    def admits(self, now_ms: int) -> bool:
        """Whether a task may be sent now; half-open admits one at a time."""
        state = self.state(now_ms)
        if state is CircuitState.HALF_OPEN:
            return now_ms >= self.trial_until_ms
        return state is CircuitState.CLOSED


def observe(circuit: Circuit, signal: Signal, now_ms: int) -> Circuit:
    """Fold one outcome into a circuit."""
    if signal.kind is SignalKind.TRIAL:
        return replace(circuit, trial_until_ms=now_ms + BENCH_MS)
    if signal.kind is SignalKind.GOOD:
        return _good(circuit, now_ms)
    if signal.kind is SignalKind.RATE:
        until = now_ms + max(signal.bench_ms, 1_000)
        return replace(
            circuit, open_until_ms=max(circuit.open_until_ms, until), reason=signal.reason
        )
    if signal.kind is SignalKind.ACCOUNT:
        bench = max(signal.bench_ms, ACCOUNT_BENCH_MS)
        return replace(circuit, open_until_ms=now_ms + bench, bench_ms=bench, reason=signal.reason)
    return _fault(circuit, signal, now_ms)


def _rolled(circuit: Circuit, now_ms: int) -> Circuit:
    if now_ms - circuit.window_start_ms < WINDOW_MS:
        return circuit
    return replace(circuit, window_start_ms=now_ms, window_calls=0, window_faults=0)


def _good(circuit: Circuit, now_ms: int) -> Circuit:
    if circuit.open_until_ms:
        # A success of an older task while the bench lasts does not end it; a trial's does.
        return circuit if now_ms < circuit.open_until_ms else Circuit(window_start_ms=now_ms)
    rolled = _rolled(circuit, now_ms)
    return replace(rolled, faults_in_row=0, window_calls=rolled.window_calls + 1)


def _fault(circuit: Circuit, signal: Signal, now_ms: int) -> Circuit:
    rolled = _rolled(circuit, now_ms)
    counted = replace(
        rolled,
        faults_in_row=rolled.faults_in_row + 1,
        window_calls=rolled.window_calls + 1,
        window_faults=rolled.window_faults + 1,
        reason=signal.reason,
    )
    if circuit.state(now_ms) is CircuitState.OPEN:
        return counted
    tripped = counted.faults_in_row >= FAULTS_IN_A_ROW or (
        counted.window_calls >= WINDOW_CALLS_MIN
        and counted.window_faults * 2 >= counted.window_calls
    )
    if not tripped and circuit.state(now_ms) is CircuitState.CLOSED:
        return counted
    bench = min(max(circuit.bench_ms * 2, BENCH_MS), BENCH_MS_MAX)
    return replace(
        counted,
        open_until_ms=now_ms + max(bench, signal.bench_ms),
        bench_ms=bench,
        trial_until_ms=0,
    )

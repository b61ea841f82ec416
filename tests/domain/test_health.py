from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.domain.health import (
    ACCOUNT_BENCH_MS,
    BENCH_MS,
    BENCH_MS_MAX,
    TRIAL_MS,
    Circuit,
    CircuitState,
    Plane,
    Signal,
    SignalKind,
    observe,
)

T0 = 1_800_000_000_000
SUBMIT, COMPLETION = Plane.SUBMIT, Plane.COMPLETION


def good(plane: Plane = SUBMIT) -> Signal:
    return Signal(SignalKind.GOOD, plane=plane)


def fault(plane: Plane = SUBMIT, bench_ms: int = 0) -> Signal:
    return Signal(SignalKind.FAULT, bench_ms, "503", plane)


TRIAL = Signal(SignalKind.TRIAL)


def after(*signals: Signal, start: Circuit | None = None, at_ms: int = T0) -> Circuit:
    circuit = start or Circuit()
    for signal in signals:
        circuit = observe(circuit, signal, at_ms)
    return circuit


def opened(plane: Plane = SUBMIT) -> Circuit:
    return after(*[fault(plane)] * 5)


# --- opening ---------------------------------------------------------------------------------


@pytest.mark.parametrize("plane", Plane)
def test_five_faults_in_a_row_open_it_and_four_do_not(plane):
    assert after(*[fault(plane)] * 4).admits(T0)
    circuit = after(*[fault(plane)] * 5)
    assert circuit.state(T0) is CircuitState.OPEN
    assert circuit.reason == "503"


def test_a_success_between_faults_ends_the_row():
    assert after(*[fault()] * 4, good(), *[fault()] * 4).state(T0) is CircuitState.CLOSED


def test_half_of_twenty_opens_it():
    assert after(*[fault(), good()] * 9, fault()).state(T0) is CircuitState.CLOSED
    assert after(*[good(), fault()] * 10).state(T0) is CircuitState.OPEN
    assert after(*[good(), good(), fault()] * 30).state(T0) is CircuitState.CLOSED


def test_outcomes_older_than_the_window_do_not_count():
    old = after(*[good(), fault()] * 9)
    assert after(good(), fault(), start=old, at_ms=T0 + 60_000).state(T0 + 60_000) == "closed"
    assert after(good(), fault(), start=old, at_ms=T0 + 29_999).state(T0 + 29_999) == "open"


def test_outcomes_of_the_half_window_before_still_count():
    old = after(*[good(), fault()] * 9)
    assert after(good(), fault(), start=old, at_ms=T0 + 31_000).state(T0 + 31_000) == "open"


def test_an_outage_that_begins_in_the_middle_of_a_good_minute_is_seen_when_that_is_past():
    busy = after(*[good()] * 1_000)
    failing = after(*[good(), fault()] * 10, start=busy, at_ms=T0 + 45_000)
    assert failing.state(T0 + 45_000) is CircuitState.CLOSED
    still = after(good(), fault(), start=failing, at_ms=T0 + 61_000)
    assert still.state(T0 + 61_000) is CircuitState.OPEN


def test_an_upstream_that_takes_every_job_and_fails_each_is_opened():
    circuit = Circuit()
    for _ in range(5):
        circuit = after(good(SUBMIT), fault(COMPLETION), start=circuit)
    assert circuit.state(T0) is CircuitState.OPEN
    assert circuit.opened_by is COMPLETION


def test_retry_after_of_a_fault_lengthens_the_bench():
    assert after(*[fault()] * 4, fault(bench_ms=90_000)).open_until_ms == T0 + 90_000
    assert after(*[fault()] * 4, fault(bench_ms=1_000)).open_until_ms == T0 + BENCH_MS


# --- benches ---------------------------------------------------------------------------------


def test_a_bench_doubles_with_each_failed_trial_up_to_five_minutes():
    circuit, now_ms, benches = opened(), T0, []
    for _ in range(6):
        benches.append(circuit.open_until_ms - now_ms)
        now_ms = circuit.open_until_ms
        circuit = after(TRIAL, fault(), start=circuit, at_ms=now_ms)
    assert benches == [30_000, 60_000, 120_000, 240_000, 300_000, 300_000]


def test_nothing_that_arrives_during_a_bench_moves_its_end():
    circuit = opened()
    later = after(good(), fault(), good(COMPLETION), start=circuit, at_ms=T0 + BENCH_MS - 1)
    assert later == circuit


def test_an_account_fault_benches_five_minutes_at_once_and_leaves_the_doubling_alone():
    circuit = after(Signal(SignalKind.ACCOUNT, reason="unpaid"))
    assert circuit.open_until_ms == T0 + ACCOUNT_BENCH_MS
    assert circuit.bench_ms == 0
    longer = after(Signal(SignalKind.ACCOUNT, 900_000), start=circuit)
    assert longer.open_until_ms == T0 + 900_000
    assert after(Signal(SignalKind.ACCOUNT), start=longer).open_until_ms == T0 + 900_000


def test_a_rate_refusal_waits_for_retry_after_and_leaves_no_doubt():
    circuit = after(Signal(SignalKind.RATE, 7_000, "429"))
    assert not circuit.admits(T0 + 6_999)
    assert circuit.state(T0 + 7_000) is CircuitState.CLOSED
    assert not circuit.is_benched
    assert circuit.shut_until_ms == T0 + 7_000


def test_a_rate_refusal_without_retry_after_waits_a_second():
    assert after(Signal(SignalKind.RATE)).shut_until_ms == T0 + 1_000


# --- half-open -------------------------------------------------------------------------------


@pytest.mark.parametrize("plane", Plane)
def test_half_open_admits_one_task_until_its_verdict_is_overdue(plane):
    now_ms = T0 + BENCH_MS
    circuit = opened(plane)
    assert circuit.state(now_ms) is CircuitState.HALF_OPEN
    tried = after(TRIAL, start=circuit, at_ms=now_ms)
    assert not tried.admits(now_ms)
    assert after(TRIAL, start=tried, at_ms=now_ms + 1) == tried
    assert tried.admits(now_ms + TRIAL_MS[plane])


def test_a_trial_is_refused_where_none_is_needed_or_possible():
    assert after(TRIAL) == Circuit()
    assert after(TRIAL, start=opened()) == opened()


@pytest.mark.parametrize(
    ("opened_by", "does_well", "closes"),
    [
        (SUBMIT, SUBMIT, True),
        (SUBMIT, COMPLETION, True),
        (COMPLETION, SUBMIT, False),
        (COMPLETION, COMPLETION, True),
    ],
)
def test_only_the_plane_in_doubt_or_a_whole_job_closes_it(opened_by, does_well, closes):
    now_ms = T0 + BENCH_MS
    circuit = after(TRIAL, good(does_well), start=opened(opened_by), at_ms=now_ms)
    assert (circuit.state(now_ms) is CircuitState.CLOSED) is closes
    assert circuit.is_benched is not closes


def test_a_closed_circuit_needs_five_faults_again():
    now_ms = T0 + BENCH_MS
    circuit = after(good(), start=opened(), at_ms=now_ms)
    assert not after(*[fault()] * 4, start=circuit, at_ms=now_ms).is_benched
    assert after(*[fault()] * 5, start=circuit, at_ms=now_ms).is_benched


@pytest.mark.parametrize(
    ("later_ms", "bench_ms"),
    [(0, 2 * BENCH_MS), (4 * BENCH_MS - 1, 2 * BENCH_MS), (4 * BENCH_MS, BENCH_MS)],
)
def test_what_opens_again_soon_after_it_closed_rests_as_long_as_before(later_ms, bench_ms):
    twice = after(TRIAL, fault(), start=opened(), at_ms=T0 + BENCH_MS)
    closed_ms = twice.open_until_ms
    circuit = after(good(), start=twice, at_ms=closed_ms)
    again_ms = closed_ms + later_ms
    again = after(*[fault()] * 5, start=circuit, at_ms=again_ms)
    assert again.open_until_ms == again_ms + bench_ms


def test_doubt_about_completions_outlives_a_trial_whose_submit_failed():
    now_ms = T0 + BENCH_MS
    again = after(TRIAL, fault(SUBMIT), start=opened(COMPLETION), at_ms=now_ms)
    now_ms = again.open_until_ms
    assert after(TRIAL, good(SUBMIT), start=again, at_ms=now_ms).is_benched


def test_a_trial_that_met_a_rate_limit_may_be_tried_again_after_it():
    now_ms = T0 + BENCH_MS
    rate = Signal(SignalKind.RATE, 2_000)
    circuit = after(TRIAL, rate, start=opened(), at_ms=now_ms)
    assert not circuit.admits(now_ms + 1_999)
    assert circuit.state(now_ms + 2_000) is CircuitState.HALF_OPEN
    assert circuit.admits(now_ms + 2_000)


# --- properties ------------------------------------------------------------------------------

signals = st.builds(
    Signal,
    kind=st.sampled_from(SignalKind),
    bench_ms=st.sampled_from([0, 500, 20_000, 700_000]),
    plane=st.sampled_from(Plane),
)
histories = st.lists(st.tuples(signals, st.integers(0, 40_000)), max_size=60)


def play(history: list[tuple[Signal, int]]) -> tuple[Circuit, int]:
    circuit, now_ms = Circuit(), T0
    for signal, pause_ms in history:
        now_ms += pause_ms
        circuit = observe(circuit, signal, now_ms)
    return circuit, now_ms


@given(histories)
def test_whatever_happened_it_admits_again_after_its_time_and_good_work_closes_it(history):
    circuit, now_ms = play(history)
    later_ms = max(now_ms, circuit.shut_until_ms)
    assert circuit.admits(later_ms)
    assert observe(circuit, good(COMPLETION), later_ms).state(later_ms) is CircuitState.CLOSED


@given(histories, signals)
def test_admitting_and_shut_until_say_the_same(history, signal):
    circuit, now_ms = play(history)
    circuit = observe(circuit, signal, now_ms)
    assert circuit.admits(now_ms) is (now_ms >= circuit.shut_until_ms)


@given(histories)
def test_an_upstream_that_never_failed_is_never_benched(history):
    kinds = (SignalKind.GOOD, SignalKind.RATE, SignalKind.TRIAL)
    circuit, _ = play([(signal, pause) for signal, pause in history if signal.kind in kinds])
    assert not circuit.is_benched


# --- state machine against a model that remembers everything ---------------------------------


@dataclass
class Model:
    """All outcomes since the circuit last closed, per plane: (time, fault)."""

    seen: dict[Plane, list[tuple[int, bool]]] = field(
        default_factory=lambda: {SUBMIT: [], COMPLETION: []}
    )

    def in_row(self, plane: Plane) -> int:
        row = 0
        for _, failed in reversed(self.seen[plane]):
            if not failed:
                break
            row += 1
        return row

    def half_bad(self, plane: Plane, now_ms: int, window_ms: int) -> bool:
        recent = [failed for at_ms, failed in self.seen[plane] if at_ms > now_ms - window_ms]
        return len(recent) >= 20 and sum(recent) * 2 >= len(recent)

    def must_trip(self, plane: Plane) -> bool:
        return self.in_row(plane) >= 5

    def windows(self, plane: Plane, now_ms: int) -> set[int]:
        """Every window from half a minute to a minute that holds something different."""
        ages = {now_ms - at_ms + 1 for at_ms, _ in self.seen[plane]}
        return {30_000, 60_000} | {age for age in ages if 30_000 <= age <= 60_000}

    def may_trip(self, plane: Plane, now_ms: int) -> bool:
        windows = self.windows(plane, now_ms)
        return self.must_trip(plane) or any(self.half_bad(plane, now_ms, w) for w in windows)

    def is_bad_however_seen(self, plane: Plane, now_ms: int) -> bool:
        windows = self.windows(plane, now_ms)
        return all(self.half_bad(plane, now_ms, w) for w in windows)


class BreakerMachine(RuleBasedStateMachine):
    """The breaker beside a model that keeps every outcome and counts from scratch."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit()
        self.model = Model()
        self.now_ms = T0
        self.benches = 0
        self.closed_ms = 0
        self.open_until_ms = 0
        self.throttled_until_ms = 0
        self.trial_until_ms = 0
        self.doubt = SUBMIT

    @rule(ms=st.sampled_from([1, 900, 5_000, 14_000, 30_000, 61_000, 300_000]))
    def pass_time(self, ms):
        self.now_ms += ms

    @rule(plane=st.sampled_from(Plane), count=st.integers(1, 12))
    def succeed(self, plane, count):
        for _ in range(count):
            self.circuit = observe(self.circuit, good(plane), self.now_ms)
            if self.now_ms < self.open_until_ms:
                continue
            if self.open_until_ms and (plane is COMPLETION or plane is self.doubt):
                self.model, self.closed_ms, self.open_until_ms = Model(), self.now_ms, 0
                self.trial_until_ms = 0
            self.model.seen[plane].append((self.now_ms, False))

    @rule(plane=st.sampled_from(Plane), count=st.integers(1, 4))
    def fail(self, plane, count):
        for _ in range(count):
            before = self.circuit
            self.circuit = observe(before, fault(plane), self.now_ms)
            if self.now_ms < self.open_until_ms:
                assert self.circuit == before
                continue
            self.model.seen[plane].append((self.now_ms, True))
            tripped = self.circuit.open_until_ms != before.open_until_ms
            if self.open_until_ms or self.model.must_trip(plane):
                assert tripped
            if tripped:
                assert self.open_until_ms or self.model.may_trip(plane, self.now_ms)
                self.bench(plane)

    @rule(plane=st.sampled_from(Plane), times=st.integers(4, 11), goods=st.integers(1, 2))
    def alternate(self, plane, times, goods):
        for _ in range(times):
            self.succeed(plane, goods)
            self.fail(plane, 1)

    def bench(self, plane):
        if not (self.open_until_ms and self.doubt is COMPLETION):
            self.doubt = plane
        self.benches = self.benches + 1 if self.open_until_ms else self.remembered()
        self.open_until_ms = self.now_ms + self.bench_ms()
        self.trial_until_ms = 0

    def bench_ms(self):
        return min(BENCH_MS * 2 ** (self.benches - 1), BENCH_MS_MAX) if self.benches else 0

    def remembered(self):
        recent = self.benches and self.now_ms - self.closed_ms < 2 * self.bench_ms()
        return self.benches if recent else 1

    @rule(bench_ms=st.sampled_from([0, 3_000, 45_000]))
    def refuse_for_pace(self, bench_ms):
        self.circuit = observe(self.circuit, Signal(SignalKind.RATE, bench_ms), self.now_ms)
        until_ms = self.now_ms + max(bench_ms, 1_000)
        self.throttled_until_ms = max(self.throttled_until_ms, until_ms)
        self.trial_until_ms = 0

    @precondition(lambda self: self.open_until_ms)
    @rule()
    def try_it(self):
        before = self.circuit
        self.circuit = observe(before, TRIAL, self.now_ms)
        if self.now_ms >= max(self.open_until_ms, self.throttled_until_ms, self.trial_until_ms):
            self.trial_until_ms = self.now_ms + TRIAL_MS[self.doubt]
            assert not self.circuit.admits(self.now_ms)
        else:
            assert self.circuit == before

    @invariant()
    def agrees(self):
        until_ms = max(self.open_until_ms, self.throttled_until_ms, self.trial_until_ms)
        assert self.circuit.admits(self.now_ms) is (self.now_ms >= until_ms)
        assert self.circuit.is_benched is bool(self.open_until_ms)
        assert self.circuit.open_until_ms == self.open_until_ms

    @invariant()
    def what_is_bad_in_every_window_never_goes_unnoticed(self):
        if not self.open_until_ms:
            for plane in Plane:
                seen = self.model.seen[plane]
                if seen and seen[-1][1]:
                    assert not self.model.is_bad_however_seen(plane, seen[-1][0])


BreakerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestBreakerMachine = BreakerMachine.TestCase

"""Whatever the vendors do, a task ends, is settled once, and is never paid for twice at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import Blame, Sent
from gateway.domain.machine import apply, decide, poll_delay_ms
from gateway.domain.model import OnAmbiguous
from gateway.domain.steps import (
    AttemptAccepted,
    AttemptDelivered,
    AttemptFailed,
    AttemptProgressed,
    AttemptStarted,
    CancelConfirmed,
    CancelRefused,
    CancelRequested,
    CancelUpstream,
    Done,
    Event,
    Facts,
    Look,
    PlanRoute,
    Poll,
    PollMissed,
    Record,
    Settle,
    Settled,
    Sleep,
    Submit,
)
from gateway.domain.task import (
    ATTEMPTS_MAX,
    UPSTREAMS_MAX,
    Attempt,
    Candidate,
    Image,
    Outcome,
    Task,
    charge,
)

DEADLINE = 600_000
VISITS_MAX = 2_000

candidates = st.lists(
    st.builds(
        Candidate,
        upstream=st.sampled_from("abcde"),
        adapter=st.just("x"),
        upstream_model=st.just("m"),
        planned_cost=st.just(40_000),
        idempotent=st.booleans(),
        on_ambiguous=st.sampled_from(OnAmbiguous),
    ),
    unique_by=lambda candidate: candidate.upstream,
    max_size=5,
)
failures = st.builds(
    AttemptFailed,
    blame=st.sampled_from(Blame),
    sent=st.sampled_from(Sent),
    code=st.just("code"),
    message=st.just("message"),
    at_ms=st.just(0),
    retry_after_ms=st.sampled_from([0, 5_000]),
)


@dataclass
class World:
    """Vendors that answer as the test's random choices say, and a clock that jumps."""

    data: st.DataObject
    now_ms: int = 0
    settled: int = 0
    submitted: list[Attempt] = field(default_factory=list)

    def submit(self, step: Submit) -> tuple[Event, Event | None]:
        attempt = step.again or Attempt(
            id=f"{len(self.submitted)}",
            no=len(self.submitted) + 1,
            upstream=step.candidate.upstream,
            adapter="x",
            upstream_model="m",
            started_ms=self.now_ms,
            planned_cost=step.candidate.planned_cost,
            idempotent=step.candidate.idempotent,
            on_ambiguous=step.candidate.on_ambiguous,
        )
        self.submitted.append(attempt)
        answer = self.data.draw(st.sampled_from(["accepted", "delivered", "failed", "crash"]))
        if answer == "accepted":
            return AttemptStarted(attempt), AttemptAccepted("vendor", self.now_ms)
        if answer == "delivered":
            images = (Image("u"),) * self.data.draw(st.integers(1, 5))
            return AttemptStarted(attempt), AttemptDelivered(images, 10_000, self.now_ms)
        if answer == "failed":
            return AttemptStarted(attempt), self.data.draw(failures)
        return AttemptStarted(attempt), None

    def poll(self) -> Event:
        answer = self.data.draw(st.sampled_from(["running", "missed", "delivered", "failed"]))
        if answer == "running":
            return AttemptProgressed(self.now_ms, self.data.draw(st.none() | st.integers(-5, 200)))
        if answer == "missed":
            return PollMissed(self.data.draw(st.booleans()), self.now_ms)
        if answer == "delivered":
            return AttemptDelivered((Image("u"),), 10_000, self.now_ms)
        failure = self.data.draw(failures)
        return AttemptFailed(
            failure.blame, Sent.REFUSED, failure.code, failure.message, self.now_ms
        )


def visit(world: World, task: Task, route: list[Candidate] | None) -> tuple[Task, bool]:
    """Make one decision and act on it; True when the task is done."""
    can_look = world.data.draw(st.booleans())
    facts = Facts(world.now_ms, tuple(route) if route is not None else None, can_look=can_look)
    step = decide(task, facts)
    match step:
        case Done():
            return task, True
        case PlanRoute():
            return visit(world, task, world.data.draw(candidates))
        case Submit():
            for event in world.submit(step):
                task = apply(task, event) if event else task
        case Poll():
            task = apply(task, world.poll())
            world.now_ms += poll_delay_ms(step.attempt, world.now_ms)
        case Look():
            found = world.data.draw(st.booleans())
            accepted = AttemptAccepted("found", world.now_ms)
            task = apply(task, accepted if found else PollMissed(False, world.now_ms))
        case CancelUpstream():
            confirmed = world.data.draw(st.booleans())
            event = CancelConfirmed(world.now_ms) if confirmed else CancelRefused(world.now_ms)
            task = apply(task, event)
        case Record():
            task = apply(task, step.event)
        case Settle():
            world.settled += 1
            task = apply(task, Settled(charge(task, step.ending), world.now_ms))
        case Sleep():
            assert step.until_ms > world.now_ms
            world.now_ms = step.until_ms
    return task, False


@given(st.data())
def test_every_task_ends_and_is_settled_exactly_once(data: st.DataObject) -> None:
    world = World(data)
    task = Task(
        id="t",
        team_id="team",
        key_id="key",
        dialect="evolink",
        model="m",
        requested_model="m",
        n=4,
        tier="2K",
        unit_price=1_500_000,
        hold=6_000_000,
        created_ms=0,
        deadline_ms=DEADLINE,
        top_up=data.draw(st.booleans()),
    )
    cancel_at = data.draw(st.none() | st.integers(0, 20))
    for number in range(VISITS_MAX):
        if number == cancel_at and not task.status.is_terminal:
            task = apply(task, CancelRequested(world.now_ms))
        task, done = visit(world, task, None)
        assert sum(attempt.is_live for attempt in task.attempts) <= 1
        if done:
            break
    else:
        raise AssertionError("the task never ended")

    assert world.settled == 1
    assert 0 <= task.charged <= task.hold
    delivered = sum(attempt.delivered for attempt in task.attempts)
    assert task.charged == min(task.hold, task.unit_price * delivered)
    assert len({attempt.upstream for attempt in task.attempts}) <= UPSTREAMS_MAX
    assert len(task.attempts) <= ATTEMPTS_MAX
    unknown = [a for a in task.attempts if a.outcome is Outcome.UNKNOWN]
    assert len(unknown) <= 2
    assert task.exposure >= sum(a.planned_cost for a in unknown)
    exposed = {a.outcome for a in task.attempts if a.exposure}
    assert exposed <= {Outcome.UNKNOWN, Outcome.ABANDONED}
    sent = Counter(attempt.id for attempt in world.submitted)
    assert all(sent[a.id] <= (2 if a.idempotent else 1) for a in task.attempts)

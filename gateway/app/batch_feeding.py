"""Feeding batches: one worker for each team sends the lines of its batches, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

import structlog

from gateway.app.cancel import Cancel
from gateway.app.narrowing import narrowed
from gateway.app.ports import Clock
from gateway.app.ports.batches import BatchFeed, KeysById, LineMark, WaitingLine
from gateway.app.submit import Submit
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.access import Principal
from gateway.domain.batch import (
    Batch,
    BatchStatus,
    Course,
    LineState,
    Verdict,
    judge,
    share,
    task_id_of,
    unfit,
)
from gateway.domain.batch_aside import Aside
from gateway.domain.errors import CallerError, GatewayError, TaskIdTaken, Unavailable
from gateway.domain.request import RouteRules

log = structlog.get_logger(__name__)

LOOK_S = 1.0
LEASE_MS = 6_000
# A lease that is so old may be somebody else's before a line is accepted.
LEASE_TRUST_S = 4.0
# How often a team's batches are looked at: at least, at most, and after something broke.
TURN_S = 0.5
TURN_MIN_S = 0.05
BROKEN_S = 5.0
TEAMS_MAX = 200
SEND_MAX = 64
# How often a turn looks further down a file for lines whose model is not waited for.
LOOKS_MAX = 4
SEND_BYTES = 32 * 1024 * 1024


@dataclass(slots=True)
class _Brake:
    """Why a batch sends nothing for the moment: a line was refused.

    It is tried again once more lines than ``at_ended`` have ended, for what those held may be what
    was missing; else at ``until_s`` on the loop's clock, or, where time alone changes nothing
    (None), once nothing of the batch is under way. ``most`` is how many lines are tried then.
    ``aside`` are the lines that wait for their model alone.
    """

    team_id: str
    at_ended: int = -1
    until_s: float | None = 0.0
    most: int = SEND_MAX
    aside: Aside = field(default_factory=Aside)

    def holds(self, batch: Batch, now_s: float) -> bool:
        """Whether the batch must not send now."""
        if batch.ended != self.at_ended:
            return False
        return batch.running > 0 if self.until_s is None else now_s < self.until_s


@dataclass(slots=True, eq=False, weakref_slot=True)
class Feeder:
    """Feeds the batches of the teams whose lease it holds; runs in every worker.

    ``lines_max`` is how many lines of a team may be under way. ``render`` gives a batch's callback
    body, ``counted`` is told of lines that ended, ``over`` of batches that did.
    """

    feed: BatchFeed
    keys: KeysById
    submit: Submit
    cancel: Cancel
    clock: Clock
    dialect: str
    lines_max: int
    render: Callable[[Batch], str]
    counted: Callable[[Mapping[LineState, int]], None]
    over: Callable[[Batch], None]
    _runner: str = field(default_factory=lambda: uuid4().hex)
    _teams: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _held_s: dict[str, float] = field(default_factory=dict)
    _brakes: dict[str, _Brake] = field(default_factory=dict)
    _called_off: set[str] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False

    async def run(self) -> None:
        """Hold on to teams, and take those that nobody feeds, until `stop`."""
        while not self._stopping:
            await self._look()
            await asyncio.sleep(LOOK_S)

    def notify(self) -> None:
        """Look at batches now: a task of one may have ended."""
        woken, self._wake = self._wake, asyncio.Event()
        woken.set()

    async def stop(self, seconds: float) -> None:
        """Send nothing more, and let other workers go on at once."""
        self._stopping = True
        self.notify()
        teams = dict(self._teams)
        if teams:
            _, late = await asyncio.wait(teams.values(), timeout=seconds)
            for one in late:
                one.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # --- teams -----------------------------------------------------------------------------

    async def _look(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._teams:
            held = await self.feed.renew(self._runner, LEASE_MS)
            for team_id, serving in self._teams.items():
                if team_id in held:
                    self._held_s[team_id] = now_s
                else:
                    serving.cancel()
        free = TEAMS_MAX - len(self._teams)
        for team_id in await self.feed.claim(self._runner, free, LEASE_MS) if free else ():
            if team_id not in self._teams:
                self._held_s[team_id] = now_s
                serving = asyncio.create_task(self._serve(team_id), name="batches of a team")
                self._teams[team_id] = serving

    async def _serve(self, team_id: str) -> None:
        """Take turns until the team has nothing left to do, or is held by somebody else."""
        try:
            while not self._stopping:
                wake = self._wake
                if not await self._guarded_turn(team_id):
                    break
                await asyncio.sleep(TURN_MIN_S)
                with suppress(TimeoutError):
                    async with asyncio.timeout(TURN_S):
                        await wake.wait()
        finally:
            del self._teams[team_id]
            # Somebody else may send lines from now on: what is known of them holds no longer.
            self._brakes = {
                batch_id: one for batch_id, one in self._brakes.items() if one.team_id != team_id
            }
            with suppress(Unavailable):
                await self.feed.release(self._runner, [team_id])

    async def _guarded_turn(self, team_id: str) -> bool:
        try:
            return await self._turn(team_id)
        except Unavailable as error:
            log.warning("batches_wait", team_id=team_id, reason=str(error))
        except Exception:
            log.exception("batch_turn_failed", team_id=team_id)
            await asyncio.sleep(BROKEN_S)
        return True

    async def _turn(self, team_id: str) -> bool:
        """Note what ended, end what is over, send what may be; False when nothing is left."""
        batches, ended = await self.feed.collect(self._runner, team_id)
        self.counted(ended)
        for batch in batches:
            if batch.is_over:
                await self._end(batch)
            elif batch.status is BatchStatus.CANCELLING:
                await self._call_off(batch)
        shares = share(batches, self.lines_max)
        await asyncio.gather(*(self._send_some(b, shares[b.id]) for b in batches if b.id in shares))
        return bool(batches)

    # --- one batch -------------------------------------------------------------------------

    async def _end(self, batch: Batch) -> None:
        ended = await self.feed.end(self._runner, batch, self.clock.now_ms(), self.render)
        self._brakes.pop(batch.id, None)
        self._called_off.discard(batch.id)
        if ended is not None:
            reached(CrashPoint.BATCH_ENDED)
            self.over(ended)

    async def _call_off(self, batch: Batch) -> None:
        """End what was not sent; cancel, once, what can be cancelled still."""
        if batch.id in self._called_off:
            return
        dropped = await self.feed.drop(self._runner, batch.id)
        self.counted({LineState.CANCELLED: dropped})
        self._called_off.add(batch.id)
        numbers = await self.feed.under_way(batch.id)
        await asyncio.gather(*(self._cancel_task(batch, no) for no in numbers))

    async def _cancel_task(self, batch: Batch, no: int) -> None:
        """Cancel a line's task where that is still honest; otherwise it runs out."""
        owner = Principal(team_id=batch.team_id, team_name="", key_id=batch.key_id)
        with suppress(CallerError, Unavailable):
            await self.cancel.cancel(owner, task_id_of(batch.id, no))

    async def _send_some(self, batch: Batch, count: int) -> None:
        """Send the next lines, at most ``count``, unless the batch is braked."""
        brake = self._brakes.setdefault(batch.id, _Brake(batch.team_id))
        if brake.holds(batch, asyncio.get_running_loop().time()):
            return
        principal = await self.keys.principal_of(batch.key_id)
        if (refusal := unfit(principal)) is not None:
            await self._pause(batch, refusal)
            return
        assert principal is not None
        lines = await self._next_lines(batch, brake, min(count, brake.most))
        # What all of them ask for is read first: none then falls behind the next one for it, and
        # where credits end, the first lines of the file have them.
        await self.submit.catalog_for(principal)
        await self.submit.outlook.look()
        verdicts = await asyncio.gather(*(self._send(batch, principal, line) for line in lines))
        reached(CrashPoint.BATCH_SENT)
        marks = _marks(lines, verdicts)
        if marks:
            await self.feed.mark(self._runner, batch.id, marks)
            self.counted({LineState.FAILED: sum(mark.code is not None for mark in marks)})
        _note(brake.aside, lines, verdicts, asyncio.get_running_loop().time())
        accepted = sum(verdict is None for verdict in verdicts)
        await self._brake(batch, brake, verdicts, under_way=batch.running + accepted)

    async def _next_lines(self, batch: Batch, brake: _Brake, count: int) -> list[WaitingLine]:
        """Give the next lines but those that wait for their model, at most ``count``."""
        aside, now_s = brake.aside, asyncio.get_running_loop().time()
        lines: list[WaitingLine] = []
        for _ in range(LOOKS_MAX):
            before = len(aside)
            wanted = max(count, SEND_MAX) if before else count
            passed = aside.passed_over(now_s)
            found = await self.feed.waiting(batch, wanted, SEND_BYTES, passed)
            lines = [one for one in found if one.sent or aside.admits(one.no, _need(one), now_s)]
            if len(lines) >= count or len(aside) == before:
                break
        return lines[:count]

    async def _send(self, batch: Batch, principal: Principal, line: WaitingLine) -> Verdict | None:
        """Make a line its task; None when it is one, now or since an earlier try."""
        if line.sent:
            return None
        if asyncio.get_running_loop().time() > self._held_s[batch.team_id] + LEASE_TRUST_S:
            return Verdict(Course.WAIT, "lease_lost", "Another worker may feed this team now.")
        try:
            draft = narrowed(principal, line.draft, self.submit.catalog())
            task_id = task_id_of(batch.id, line.no)
            await self.submit.accept(principal, self.dialect, draft, task_id=task_id)
        except TaskIdTaken:
            return None
        except GatewayError as error:
            return judge(error)
        return None

    async def _brake(
        self, batch: Batch, brake: _Brake, verdicts: Sequence[Verdict | None], under_way: int
    ) -> None:
        """Do what refusals ask for: wait, or pause once nothing under way can change them."""
        found = [one for one in verdicts if one and one.course not in (Course.FAIL, Course.ASIDE)]
        if not found:
            brake.at_ended, brake.most = -1, min(brake.most * 2, SEND_MAX)
            return
        refusal = next((one for one in found if one.course is Course.PAUSE), None)
        if refusal is not None and not under_way:
            await self._pause(batch, refusal)
            return
        wait_s = min(verdict.wait_s for verdict in found)
        now_s = asyncio.get_running_loop().time()
        brake.until_s = now_s + wait_s if refusal is None else None
        brake.at_ended, brake.most = batch.ended, 1

    async def _pause(self, batch: Batch, refusal: Verdict) -> None:
        self._brakes.pop(batch.id, None)
        why = (refusal.code, refusal.message)
        await self.feed.pause(self._runner, batch.id, *why, self.clock.now_ms())
        log.info("batch_paused", batch_id=batch.id, code=refusal.code)


def _need(line: WaitingLine) -> tuple[str, RouteRules]:
    """Give what decides which upstreams may serve a line."""
    return line.draft.request.model, line.draft.request.rules


def _note(
    aside: Aside, lines: Sequence[WaitingLine], verdicts: Sequence[Verdict | None], now_s: float
) -> None:
    """Note what verdicts say about upstreams; of two that differ, the refusal counts."""
    for line, verdict in zip(lines, verdicts, strict=True):
        if line.sent or (verdict is not None and verdict.course is Course.FAIL):
            aside.drop(line.no)
        elif verdict is None:
            aside.take(_need(line))
    for line, verdict in zip(lines, verdicts, strict=True):
        if verdict is not None and verdict.course is Course.ASIDE:
            aside.refuse(line.no, _need(line), now_s + verdict.wait_s)


def _marks(lines: Sequence[WaitingLine], verdicts: Sequence[Verdict | None]) -> list[LineMark]:
    """Give what is certain of lines: accepted, or refused for good."""
    marks = []
    for line, verdict in zip(lines, verdicts, strict=True):
        if verdict is None:
            marks.append(LineMark(line.no))
        elif verdict.course is Course.FAIL:
            marks.append(LineMark(line.no, verdict.code, verdict.message))
    return marks

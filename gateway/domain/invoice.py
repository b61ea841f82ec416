"""A vendor's invoice against what was booked for its upstream, attempt by attempt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.domain.money import MicroUsd


class Difference(StrEnum):
    """How an invoice and the books can disagree about one of the vendor's tasks."""

    AMOUNT = "amount"
    """Both have it, at different amounts."""
    NOT_BOOKED = "not_booked"
    """Billed, and no attempt of ours: perhaps a submit whose answer was lost."""
    NOT_BILLED = "not_billed"
    """Booked as a cost, and not on the invoice."""
    EXPOSURE_BILLED = "exposure_billed"
    """It was not certain that it would be billed; it was."""
    EXPOSURE_NOT_BILLED = "exposure_not_billed"
    """It was not certain that it would be billed; this invoice does not have it."""


@dataclass(frozen=True, slots=True)
class Booked:
    """An attempt as booked: certain ``cost`` and possible ``exposure``, in micro-USD.

    ``upstream_task_id`` is None for a submit whose answer was lost: no line can name it.
    """

    attempt_id: str
    task_id: str
    upstream_task_id: str | None
    cost: MicroUsd
    exposure: MicroUsd


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement; what one side does not have is None."""

    kind: Difference
    upstream_task_id: str
    attempt_id: str | None
    task_id: str | None
    billed: MicroUsd | None
    booked: MicroUsd | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it. ``unnamed`` counts submits without an answer, which no line can name, and
    ``unnamed_exposure`` is what they may have cost.
    """

    billed: MicroUsd
    booked: MicroUsd
    agreeing: int
    findings: tuple[Finding, ...]
    unnamed: int
    unnamed_exposure: MicroUsd


def compare(
    billed: Iterable[tuple[str, MicroUsd]],
    booked: Sequence[Booked],
    *,
    tolerance: MicroUsd = 0,
) -> Comparison:
    """Compare lines of an invoice (the vendor's task id, its amount) with the attempts booked.

    Lines of one task are added up. Amounts that differ by no more than ``tolerance`` agree.
    """
    lines: defaultdict[str, MicroUsd] = defaultdict(int)
    for task_id, amount in billed:
        lines[task_id] += amount
    named = {one.upstream_task_id: one for one in booked if one.upstream_task_id is not None}
    unnamed = [one for one in booked if one.upstream_task_id is None and one.exposure]
    findings = tuple(_findings(lines, named, tolerance))
    disagreeing = {finding.upstream_task_id for finding in findings}
    return Comparison(
        billed=sum(lines.values()),
        booked=sum(one.cost for one in booked),
        agreeing=sum(task_id in named and task_id not in disagreeing for task_id in lines),
        findings=findings,
        unnamed=len(unnamed),
        unnamed_exposure=sum(one.exposure for one in unnamed),
    )


def _findings(
    lines: Mapping[str, MicroUsd], named: Mapping[str, Booked], tolerance: MicroUsd
) -> Iterator[Finding]:
    for task_id, amount in lines.items():
        one = named.get(task_id)
        if one is None:
            yield Finding(Difference.NOT_BOOKED, task_id, None, None, amount, None)
        elif one.exposure:
            yield _finding(Difference.EXPOSURE_BILLED, one, amount, one.exposure)
        elif abs(one.cost - amount) > tolerance:
            yield _finding(Difference.AMOUNT, one, amount, one.cost)
    for task_id, one in named.items():
        if task_id not in lines and one.exposure:
            yield _finding(Difference.EXPOSURE_NOT_BILLED, one, None, one.exposure)
        elif task_id not in lines and one.cost > tolerance:
            yield _finding(Difference.NOT_BILLED, one, None, one.cost)


def _finding(
    kind: Difference, one: Booked, billed: MicroUsd | None, booked: MicroUsd | None
) -> Finding:
    return Finding(kind, one.upstream_task_id or "", one.attempt_id, one.task_id, billed, booked)

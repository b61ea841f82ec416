"""What is to be reached, and whether a run reached it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.subjects import Result

TYPED, FASTAPI, RAW = "floor: typed", "floor: fastapi", "floor: raw"


@dataclass(frozen=True, slots=True)
class Target:
    """One figure and its bound: ``found`` at least, or at most, ``bound``."""

    what: str
    found: float
    bound: float
    at_least: bool
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.found >= self.bound if self.at_least else self.found <= self.bound


def accept_targets(
    results: Mapping[str, Result], ours: str, tail_ms: float | None = None
) -> list[Target]:
    """Give the targets of accepting, by the results of one run; a subject that is absent has none.

    ``tail_ms`` is the 99th percentile at 70 % of the load that ours answered.
    """
    found = results[ours]
    targets = [
        Target(f"accepts, times {name}", found.times(results[name]), bound, at_least=True)
        for name, bound in _bounds(results)
    ]
    for floor in (TYPED, FASTAPI):
        if {floor, RAW} <= set(results):
            times = found.times(results[floor])
            gained = (times - 1) / (results[RAW].times(results[floor]) - 1)
            what = f"share of the way from {floor} to the raw one"
            targets.append(Target(what, gained, 0.5, at_least=True))
    cpu = Target("CPU per accept", found.median("cpu_ms"), 0.55, at_least=False, unit="ms")
    targets.append(cpu)
    if tail_ms is not None:
        what = "p99 of accepts at 70 % of that load"
        targets.append(Target(what, tail_ms, 100, at_least=False, unit="ms"))
    return targets


def read_targets(results: Sequence[Result]) -> list[Target]:
    """Give the targets of reading a task: each of ours against the floors on FastAPI."""
    named = {one.name: one for one in results}
    return [
        Target(f"reads, {name}, times {floor}", one.times(named[floor]), 0.8, at_least=True)
        for name, one in named.items()
        if not name.startswith("floor:")
        for floor in (TYPED, FASTAPI)
        if floor in named
    ]


def _bounds(names: Mapping[str, Result]) -> list[tuple[str, float]]:
    bounds = {TYPED: 0.8, FASTAPI: 0.8, "LiteLLM": 15.0, "Portkey": 1.2}
    return [
        (name, bound) for name in names for start, bound in bounds.items() if name.startswith(start)
    ]


def target_table(targets: Sequence[Target]) -> str:
    """Give targets as a Markdown table."""
    lines = ["| Target | bound | found | |", "|---|---|---|---|"]
    for one in targets:
        sign = "≥" if one.at_least else "≤"
        unit = f" {one.unit}" if one.unit else ""
        verdict = "met" if one.met else "**missed**"
        lines.append(
            f"| {one.what} | {sign} {one.bound:g}{unit} | {one.found:.2f}{unit} | {verdict} |"
        )
    return "\n".join([*lines, ""])

"""What happens to three made-up vendors over some virtual minutes, drawn from one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

START_MS = 1_800_000_000_000
COSTS = {"bargain": 22_950, "middle": 27_000, "dashscope": 29_400}
SALE_MICRO_USD = 20_000
FAILING_SHARE = 0.7
THROTTLED_PER_SECOND = 1


class Trouble(StrEnum):
    """What a vendor can suffer from."""

    OUTAGE = "outage"  # no call is answered
    BROWN_OUT = "brown-out"  # every job is taken, most of them fail at the end
    THROTTLE = "throttle"  # more than one job a second is refused, with Retry-After


@dataclass(frozen=True, slots=True)
class Spell:
    """One vendor in trouble for a while."""

    upstream: str
    trouble: Trouble
    start_ms: int
    end_ms: int

    def covers(self, at_ms: int) -> bool:
        return self.start_ms <= at_ms < self.end_ms


@dataclass(frozen=True, slots=True)
class Sale:
    """A vendor is the cheapest of all for a while."""

    upstream: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """A task comes in."""

    task_id: str
    at_ms: int
    n: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that happens; the same seed always gives the same."""

    seed: int
    end_ms: int
    arrivals: tuple[Arrival, ...]
    spells: tuple[Spell, ...]
    sales: tuple[Sale, ...]

    def trouble(self, upstream: str, at_ms: int) -> Trouble | None:
        """What an upstream suffers from at a time; at most one thing."""
        for spell in self.spells:
            if spell.upstream == upstream and spell.covers(at_ms):
                return spell.trouble
        return None

    def costs(self, at_ms: int) -> dict[str, int]:
        """The cost of one picture at each vendor, in micro-USD."""
        on_sale = [s.upstream for s in self.sales if s.start_ms <= at_ms < s.end_ms]
        return {**COSTS, **dict.fromkeys(on_sale, SALE_MICRO_USD)}

    def fails(self, upstream: str, task_id: str, at_ms: int) -> bool:
        """Whether a job that an upstream takes now will fail at its end."""
        if self.trouble(upstream, at_ms) is not Trouble.BROWN_OUT:
            return False
        return Random(f"{self.seed} {upstream} {task_id}").random() < FAILING_SHARE

    def latency_ms(self, upstream: str, task_id: str) -> int:
        """How long a job takes: 8 s in the middle, a few much longer."""
        return int(1000 * Random(f"{task_id} {upstream}").lognormvariate(2.08, 0.35))


def drawn(seed: int, minutes: int, per_second: float) -> Scenario:
    """Draw a scenario. At any time at least one vendor is well."""
    random = Random(seed)
    end_ms = START_MS + minutes * 60_000
    return Scenario(
        seed=seed,
        end_ms=end_ms,
        arrivals=tuple(_arrivals(random, end_ms, per_second)),
        spells=tuple(_spells(random, end_ms)),
        sales=tuple(_sales(random, end_ms)),
    )


def _arrivals(random: Random, end_ms: int, per_second: float) -> Sequence[Arrival]:
    found: list[Arrival] = []
    at_ms = START_MS
    while (at_ms := at_ms + int(random.expovariate(per_second / 1000))) < end_ms:
        found.append(Arrival(f"task-{len(found)}", at_ms, random.choice((1, 1, 1, 2, 4))))
    return found


def _spells(random: Random, end_ms: int) -> Sequence[Spell]:
    """Every few minutes one or two of the three are in trouble; the cheapest most often."""
    found: list[Spell] = []
    at_ms = START_MS + 60_000
    while at_ms + 90_000 < end_ms:
        sick = random.choice((["bargain"], ["bargain"], ["middle"], ["bargain", "middle"]))
        last_ms = at_ms
        for upstream in sick:
            trouble = random.choice(list(Trouble))
            last_ms = max(last_ms, at_ms + random.randrange(20_000, 90_000))
            found.append(Spell(upstream, trouble, at_ms, last_ms))
        at_ms = last_ms + random.randrange(240_000, 480_000)
    return found


def _sales(random: Random, end_ms: int) -> Sequence[Sale]:
    found: list[Sale] = []
    at_ms = START_MS + 150_000
    while at_ms < end_ms:
        long_ms = random.randrange(60_000, 300_000)
        found.append(Sale(random.choice(("middle", "dashscope")), at_ms, at_ms + long_ms))
        at_ms += long_ms + random.randrange(120_000, 400_000)
    return found

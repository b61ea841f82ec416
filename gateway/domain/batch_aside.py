"""Lines of a batch that wait for an upstream of their model, so that the others go on meanwhile."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

ASIDE_MAX = 2_000


@dataclass(slots=True)
class Aside:
    """The lines of one batch that were put aside, by what they wait for.

    What a line waits for is its ``need``: a model, and which upstreams may serve it. Once a wait is
    over, its first line is tried alone, and only when that is taken do the others follow, in their
    order. Nothing here is durable: whoever feeds the batch next finds out anew. Times are seconds
    on one clock.
    """

    _until_s: dict[Hashable, float] = field(default_factory=dict)
    _lines: dict[int, Hashable] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._lines)

    def passed_over(self, now_s: float) -> list[int]:
        """Give the lines not to look at now: all but the first of each need whose wait is over."""
        due = {need for need, until_s in self._until_s.items() if until_s <= now_s}
        passed = []
        for no in sorted(self._lines):
            if self._lines[no] in due:
                due.remove(self._lines[no])
            else:
                passed.append(no)
        return passed

    def admits(self, no: int, need: Hashable, now_s: float) -> bool:
        """Whether a line may be sent now; else it is put aside, while there is room for it."""
        until_s = self._until_s.get(need)
        if until_s is None:
            return True
        if until_s <= now_s and no == min(one for one, of in self._lines.items() if of == need):
            return True
        if len(self._lines) < ASIDE_MAX:
            self._lines[no] = need
        return False

    def refuse(self, no: int, need: Hashable, until_s: float) -> None:
        """Put a line aside that no upstream could serve, and with it what has the same need."""
        self._lines[no] = need
        self._until_s[need] = until_s

    def take(self, need: Hashable) -> None:
        """Let all lines of a need go on: one of them was taken."""
        if self._until_s.pop(need, None) is not None:
            self._lines = {no: of for no, of in self._lines.items() if of != need}

    def drop(self, no: int) -> None:
        """Forget a line that has failed for a reason of its own."""
        need = self._lines.pop(no, None)
        if need is not None and need not in self._lines.values():
            del self._until_s[need]

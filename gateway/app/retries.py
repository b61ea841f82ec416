"""How many of an upstream's submits may be second tries: a trouble elsewhere must not drown it.

Kept by each process for what it sends itself: where each keeps to a fifth, all together do.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field

SHARE = 0.2
FREE = 20
WINDOW_MS = 10_000
RETRY_MS = 500


@dataclass(slots=True)
class RetryBudget:
    """At most ``FREE`` further tries, or a fifth of the first tries, in any ten seconds.

    Times are UTC ms.
    """

    _firsts: defaultdict[str, deque[int]] = field(default_factory=lambda: defaultdict(deque))
    _further: defaultdict[str, deque[int]] = field(default_factory=lambda: defaultdict(deque))

    def wait_ms(self, upstream: str, now_ms: int) -> int:
        """Give how long a further try has to wait here; 0: it may go now."""
        firsts, further = self._recent(upstream, now_ms)
        return RETRY_MS if len(further) >= max(FREE, SHARE * len(firsts)) else 0

    def count(self, upstream: str, now_ms: int, *, is_further: bool) -> None:
        """Count a submit that is sent now."""
        firsts, further = self._recent(upstream, now_ms)
        (further if is_further else firsts).append(now_ms)

    def _recent(self, upstream: str, now_ms: int) -> tuple[deque[int], deque[int]]:
        both = self._firsts[upstream], self._further[upstream]
        for sent in both:
            while sent and sent[0] <= now_ms - WINDOW_MS:
                sent.popleft()
        return both

"""Time, as the use cases see it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time, so that tests can own it."""

    def now_ms(self) -> int:
        """Give UTC milliseconds."""
        ...

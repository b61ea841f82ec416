"""Reading the fields of a call: every problem is named, and all of them at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.money import MicroCredits, parse_micro

TEXT_MAX = 500
# Year 9999, beyond which no calendar here counts.
TIME_MAX_MS = 253_402_300_799_000


class Fields:
    """The fields a call may have. Call `finish` after reading and before acting."""

    def __init__(self, sent: Mapping[str, Any], known: Sequence[str]) -> None:
        """Take what was sent and the names there are; others are problems."""
        self._sent = sent
        self._problems: list[Problem] = []
        for name in sent:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                legal = f"did you mean {close[0]}?" if close else ", ".join(known) or "no fields"
                self.refuse(name[:TEXT_MAX], "There is no such field.", legal, "unknown_field")

    def __contains__(self, name: str) -> bool:
        return name in self._sent

    def refuse(self, name: str, message: str, legal: str, code: str = "invalid_value") -> None:
        """Note that a field is wrong."""
        self._problems.append(Problem(name, message, code, legal))

    def finish(self) -> None:
        """Raise InvalidRequest when anything read so far was wrong."""
        if self._problems:
            raise InvalidRequest(*self._problems)

    def text(self, name: str, *, required: bool = False, maximum: int = TEXT_MAX) -> str | None:
        """Give a text, None when it is absent or null."""
        value = self._value(name, required=required)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > maximum or not _storable(value):
            self.refuse(name, f"{name} is not valid.", f"a text of at most {maximum} characters")
            return None
        return value

    def needed(self, name: str, *, maximum: int = TEXT_MAX) -> str:
        """Give a text that must be sent; ``""`` after noting that it was not."""
        return self.text(name, required=True, maximum=maximum) or ""

    def choice(self, name: str, legal: Sequence[str], default: str) -> str:
        """Give one of the legal texts."""
        value = self._value(name)
        if value is None:
            return default
        if value not in legal:
            self.refuse(name, f"{name} is not valid.", ", ".join(legal))
            return default
        return str(value)

    def integer(
        self, name: str, minimum: int, maximum: int, *, required: bool = False
    ) -> int | None:
        """Give a whole number within bounds, None when it is absent or null."""
        value = self._value(name, required=required)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            self.refuse(name, f"{name} is not valid.", f"a whole number {minimum} to {maximum}")
            return None
        return value

    def credits(self, name: str, *, required: bool = False) -> MicroCredits | None:
        """Give the micro-credits of a decimal text, None when it is absent or null."""
        text = self.text(name, required=required, maximum=40)
        if text is None:
            return None
        try:
            return parse_micro(text)
        except ValueError as error:
            self.refuse(name, f"{error}.", 'credits as a decimal text, such as "2.5"')
            return None

    def integers(self, name: str, minimum: int, maximum: int, most: int) -> tuple[int, ...]:
        """Give a list of at most ``most`` whole numbers within bounds, () when it is absent."""
        value = self._value(name)
        if value is None:
            return ()
        if (
            isinstance(value, list)
            and len(value) <= most
            and all(type(item) is int and minimum <= item <= maximum for item in value)
        ):
            return tuple(value)
        legal = f"a list of at most {most} whole numbers {minimum} to {maximum}"
        self.refuse(name, f"{name} is not valid.", legal)
        return ()

    def raw(self, name: str, *, required: bool = False) -> Any:
        """Give a value as it was sent, None when it is absent or null."""
        return self._value(name, required=required)

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Give a list of texts, None when it is absent or null."""
        value = self._value(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(_is_short(item) for item in value):
            self.refuse(name, f"{name} is not valid.", "a list of texts, or null")
            return None
        return tuple(value)

    def time_ms(self, name: str) -> int | None:
        """Give the UTC milliseconds of an ISO 8601 time with a zone, None for absent or null."""
        value = self._value(name)
        if value is None:
            return None
        try:
            at = datetime.fromisoformat(value) if isinstance(value, str) else None
            if at is not None and at.tzinfo is not None:
                return int(at.timestamp() * 1000)
        except (ValueError, OverflowError):
            at = None
        self.refuse(name, f"{name} is not valid.", "a time such as 2026-12-31T00:00:00Z")
        return None

    def future_ms(self, name: str, now_ms: int) -> int | None:
        """Give the UTC milliseconds of a time to come, None when it is absent or null."""
        at_ms = self.time_ms(name)
        if at_ms is not None and not now_ms < at_ms <= TIME_MAX_MS:
            self.refuse(name, f"{name} is not in the future.", "a time to come, or null")
        return at_ms

    def _value(self, name: str, *, required: bool = False) -> Any:
        value = self._sent.get(name)
        if value is None and required:
            self.refuse(name, f"{name} is missing.", "it must be sent", "missing_field")
        return value


def _is_short(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= TEXT_MAX and _storable(value)


def _storable(text: str) -> bool:
    """Whether PostgreSQL can keep a text: no NUL, no half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)

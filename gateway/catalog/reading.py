"""Strict, typed reading of TOML tables: every problem is noted with its place, none raised early.

A `Table` knows where it stands in its file. Reading a key marks it as known; `finish` turns every
other key into a problem with "did you mean". A value of the wrong type is a problem and reads as
if it were absent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from gateway.domain.money import parse_micro
from gateway.domain.validation import close_names

Notes = list[tuple[str, str]]

_FLOAT_REFUSED = 'money is exact, a float is not: write it in quotes, "{value}"'


@dataclass(slots=True)
class Table:
    """One table of a TOML file; ``where`` is its path, ``notes`` collects (where, message)."""

    values: Mapping[str, Any]
    where: str
    notes: Notes
    _known: set[str] = field(default_factory=set)

    def __contains__(self, key: str) -> bool:
        """Whether the key is present."""
        return key in self.values

    def place(self, key: str) -> str:
        """Give the path of a key, quoted as TOML wants it."""
        name = key if key.replace("_", "").replace("-", "").isalnum() else f'"{key}"'
        return f"{self.where}.{name}" if self.where else name

    def note(self, key: str, message: str) -> None:
        """Note what is wrong with a key."""
        self.notes.append((self.place(key), message))

    def _of(self, key: str, kind: type | tuple[type, ...], words: str) -> Any:
        self._known.add(key)
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.note(key, f"must be {words}, not {value!r}")
            return None
        return value

    def text(self, key: str) -> str | None:
        """Give a text; an empty one counts."""
        value: str | None = self._of(key, str, "a text")
        return value

    def required_text(self, key: str) -> str:
        """Give a text that must be there; empty after noting that it is not."""
        if key not in self.values:
            self._known.add(key)
            self.note(key, "is missing")
        value = self.text(key)
        if value == "":
            self.note(key, "must not be empty")
        return value or ""

    def choice(self, key: str, legal: Collection[str]) -> str | None:
        """Give a text that must be one of ``legal``."""
        value = self.text(key)
        if value is None or value in legal:
            return value
        self.note(key, f"{value!r} is not known{did_you_mean(value, legal)}")
        return None

    def integer(self, key: str, low: int = 0) -> int | None:
        """Give a whole number of at least ``low``."""
        value: int | None = self._of(key, int, "a whole number")
        if value is not None and value < low:
            self.note(key, f"must be at least {low}")
            return None
        return value

    def decimal(self, key: str) -> Decimal | None:
        """Give a number that is not negative, exactly as written (for rates and durations)."""
        value = self._of(key, (int, Decimal), "a number")
        if value is None:
            return None
        number = Decimal(value)
        if not number.is_finite() or number < 0:
            self.note(key, "must be a number of at least 0")
            return None
        return number

    def flag(self, key: str) -> bool | None:
        """Give true or false."""
        value: bool | None = self._of(key, bool, "true or false")
        return value

    def day(self, key: str) -> int | None:
        """Give a date as UTC seconds of its midnight."""
        value = self._of(key, date, "a date such as 2025-09-24")
        if value is None:
            return None
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())

    def moment(self, key: str) -> int | None:
        """Give a time as UTC ms: a date (its midnight, UTC), or a time with its offset."""
        value = self._of(key, date, "a date or a time such as 2027-01-01T00:00:00Z")
        if value is None:
            return None
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if value.tzinfo is None:
            self.note(key, "needs its offset, such as 2027-01-01T00:00:00Z")
            return None
        return int(value.timestamp() * 1000)

    def words(self, key: str, legal: Collection[str] | None = None) -> tuple[str, ...] | None:
        """Give a list of texts, each one of ``legal`` where that is given."""
        value = self._of(key, list, "a list of texts")
        if value is None:
            return None
        for position, item in enumerate(value):
            if not isinstance(item, str):
                self.notes.append((f"{self.place(key)}[{position}]", "must be a text"))
            elif legal is not None and item not in legal:
                message = f"{item!r} is not known{did_you_mean(item, legal)}"
                self.notes.append((f"{self.place(key)}[{position}]", message))
        return tuple(item for item in value if isinstance(item, str))

    def micro(self, key: str) -> int | None:
        """Give an amount of money in micro; a decimal text or a whole number, never a float."""
        self._known.add(key)
        value = self.values.get(key)
        return None if value is None else read_micro(value, self.place(key), self.notes)

    def child(self, key: str) -> Table | None:
        """Give a table inside this one."""
        value = self._of(key, dict, "a table")
        return None if value is None else Table(value, self.place(key), self.notes)

    def children(self, key: str) -> Iterator[tuple[str, Table]]:
        """Give the named tables inside a table, in their order."""
        outer = self.child(key)
        for name in outer.values if outer else ():
            assert outer is not None
            inner = outer.child(name)
            if inner is not None:
                yield name, inner

    def array(self, key: str) -> Iterator[Table]:
        """Give the tables of an array of tables, in their order."""
        value = self._of(key, list, "an array of tables")
        for position, item in enumerate(value or ()):
            place = f"{self.place(key)}[{position}]"
            if isinstance(item, dict):
                yield Table(item, place, self.notes)
            else:
                self.notes.append((place, "must be a table"))

    def finish(self) -> None:
        """Note every key that nobody read."""
        for key in self.values:
            if key not in self._known:
                self.note(key, f"is not a known key{did_you_mean(key, self._known)}")


def read_micro(value: object, where: str, notes: Notes) -> int | None:
    """Read an amount of money as micro; notes why it is refused and gives None."""
    if isinstance(value, Decimal | float):
        notes.append((where, _FLOAT_REFUSED.format(value=value)))
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        notes.append((where, f'must be an amount such as "0.022", not {value!r}'))
        return None
    try:
        micro = parse_micro(value)
    except ValueError as error:
        notes.append((where, str(error)))
        return None
    if micro < 0:
        notes.append((where, "must not be negative"))
        return None
    return micro


def did_you_mean(name: str, legal: Collection[str]) -> str:
    """Give ``; did you mean x?``, or the legal words where none is close."""
    close = close_names(name, legal) or [known for known in legal if known.startswith(name)]
    if name and close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(sorted(legal))}" if legal else ""

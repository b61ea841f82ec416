"""Typed reading of a caller's JSON object or form: problems are collected, not raised singly.

A `Reading` belongs to one call. Its `Fields` know the legal names of one object (taken from the
documented schema, so the documentation cannot drift) and give typed values; whatever is wrong
becomes a `Problem` in the caller's own field names, and `Reading.finish` raises them all.
JSON ``null`` means absent everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Any

import msgspec

from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.submission import Draft, PartlyRead
from gateway.domain.validation import INVALID, MISSING

INTEGER_MAX = 2**63 - 1
PROBLEMS_MAX = 20
NAME_SHOWN_MAX = 60
VALUE_SHOWN_MAX = 40

WRONG_TYPE = "invalid_type"
UNKNOWN = "unknown_parameter"

_DECIMAL = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?")
# Decimals instead of floats: 33.33 stays 33.33.
_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(slots=True)
class Reading:
    """What was found out about one call so far.

    ``names`` maps canonical field names to the caller's, ``ignored`` lists fields that were
    present and, as documented, have no effect.
    """

    problems: list[Problem] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    def refuse(
        self, name: str, message: str, code: str = INVALID, legal: str | None = None
    ) -> None:
        """Note that a field, named as the caller names it, is wrong."""
        self.problems.append(Problem(name, message, code, legal))

    def ignore(self, name: str) -> None:
        """Note that a field has no effect."""
        if name not in self.ignored:
            self.ignored.append(name)

    def finish(self) -> None:
        """Raise InvalidRequest with every problem found, if any."""
        if self.problems:
            raise InvalidRequest(*self.problems[:PROBLEMS_MAX])

    def completed(self, draft: Draft) -> Draft:
        """Give the draft if nothing was wrong. Raises PartlyRead with every problem found."""
        if self.problems:
            raise PartlyRead(tuple(self.problems[:PROBLEMS_MAX]), draft)
        return draft


def parse_object(body: bytes) -> dict[str, Any]:
    """Give the JSON object of a body.

    Raises InvalidRequest when it is no JSON, no UTF-8, too deep, or not an object.
    """
    if not body.strip():
        raise InvalidRequest(Problem("", "The body is empty; a JSON object is expected.", MISSING))
    try:
        value = _DECODER.decode(body)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest(
            Problem("", f"The body is not valid JSON: {reason}.", "invalid_json")
        ) from None
    if not isinstance(value, dict):
        raise InvalidRequest(Problem("", "The body must be a JSON object.", WRONG_TYPE))
    return value


class Fields:
    """Typed access to one object whose legal names are ``known``.

    ``path`` prefixes names in problems (``input.``). ``from_form`` reads numbers, booleans and
    JSON out of text, as multipart forms carry them.
    """

    __slots__ = ("_from_form", "_values", "path", "reading")

    def __init__(
        self,
        values: dict[str, Any],
        reading: Reading,
        known: Collection[str],
        *,
        path: str = "",
        from_form: bool = False,
    ) -> None:
        """Take the object; names outside ``known`` become problems at once."""
        self._values = {name: value for name, value in values.items() if value is not None}
        self._from_form = from_form
        self.reading = reading
        self.path = path
        for name in values:
            if name not in known:
                self._refuse_unknown(name, known)

    def _refuse_unknown(self, name: str, known: Collection[str]) -> None:
        near = get_close_matches(name[:NAME_SHOWN_MAX], list(known), n=1, cutoff=0.6)
        self.reading.refuse(
            f"{self.path}{shown(name, NAME_SHOWN_MAX)}",
            f"There is no field {shown(self.path + name, NAME_SHOWN_MAX)!r}.",
            UNKNOWN,
            near[0] if near else ", ".join(sorted(known)),
        )

    def __contains__(self, name: str) -> bool:
        """Whether the caller sent this field with a value other than null."""
        return name in self._values

    def raw(self, name: str) -> Any:
        """Give the value as it came, None when absent."""
        return self._values.get(name)

    def refuse(
        self, name: str, message: str, code: str = INVALID, legal: str | None = None
    ) -> None:
        """Note that a field of this object is wrong."""
        self.reading.refuse(f"{self.path}{name}", message, code, legal)

    def require(self, name: str) -> None:
        """Note a problem when the field is absent or an empty text."""
        if self._values.get(name, "") == "":
            self.refuse(name, f"The field {self.path}{name} is required.", MISSING)

    def _mistyped(self, name: str, wanted: str) -> None:
        got = type_name(self._values[name])
        self.refuse(name, f"{self.path}{name} must be {wanted}, not {got}.", WRONG_TYPE)

    def text(self, name: str) -> str | None:
        """Give a text field. NUL and lone surrogates, which no store can keep, are refused."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self._mistyped(name, "a string")
            return None
        return self._clean(name, value)

    def _clean(self, name: str, value: str) -> str | None:
        if is_storable(value):
            return value
        self.refuse(name, f"{self.path}{name} contains characters that are not text.")
        return None

    def choice(self, name: str, legal: Sequence[str]) -> str | None:
        """Give a text field that must be one of ``legal``."""
        value = self.text(name)
        if value is None or value in legal:
            return value
        message = f"{self.path}{name} does not know {shown(value, VALUE_SHOWN_MAX)!r}."
        self.refuse(name, message, INVALID, ", ".join(legal))
        return None

    def flag(self, name: str) -> bool | None:
        """Give a boolean field."""
        value = self._values.get(name)
        if self._from_form and isinstance(value, str):
            value = {"true": True, "1": True, "false": False, "0": False}.get(value.lower(), value)
        if value is None or isinstance(value, bool):
            return value
        self._mistyped(name, "a boolean")
        return None

    def number(self, name: str, wanted: str = "a number") -> Decimal | None:
        """Give a number field exactly; a boolean is no number. ``wanted`` words the problem."""
        value = self._values.get(name)
        if value is None:
            return None
        if self._from_form and isinstance(value, str):
            value = decimal_of(value)
        found = as_decimal(value)
        if found is None and type_name(value) == "a number":
            self.refuse(name, f"{self.path}{name} is out of range.")
        elif found is None:
            self._mistyped(name, wanted)
        return found

    def integer(self, name: str, *, minimum: int | None = None) -> int | None:
        """Give a whole number of at most 63 bits; ``2.0`` counts as whole."""
        sent = self._values.get(name)
        if sent is None:
            return None
        if type(sent) is int and -INTEGER_MAX <= sent <= INTEGER_MAX:
            value = sent
        elif (number := self.number(name, "an integer")) is None:
            return None
        elif number != number.to_integral_value():
            self._mistyped(name, "an integer")
            return None
        else:
            value = int(number)
        if minimum is not None and value < minimum:
            self.refuse(
                name,
                f"{self.path}{name} must be at least {minimum}.",
                "integer_below_min_value",
                f"{minimum} or more",
            )
            return None
        return value

    def items(self, name: str) -> list[Any] | None:
        """Give a list field."""
        value = self._values.get(name)
        if self._from_form and isinstance(value, str):
            value = _json_or_text(value)
        if value is None or isinstance(value, list):
            return value
        self._mistyped(name, "an array")
        return None

    def texts(self, name: str) -> list[str] | None:
        """Give a list of texts."""
        items = self.items(name)
        if items is None:
            return None
        found = []
        for index, item in enumerate(items):
            if not isinstance(item, str) or not is_storable(item):
                wanted = f"{self.path}{name}[{index}] must be a string, not {type_name(item)}."
                self.refuse(f"{name}[{index}]", wanted, WRONG_TYPE, "a string")
            else:
                found.append(item)
        return found

    def child(self, name: str, known: Collection[str]) -> Fields | None:
        """Give an object field with its own legal names; an empty text counts as absent."""
        value = self._values.get(name)
        if self._from_form and isinstance(value, str):
            value = _json_or_text(value)
        if value in (None, ""):
            return None
        if not isinstance(value, dict):
            self._mistyped(name, "an object")
            return None
        path = f"{self.path}{name}."
        return Fields(value, self.reading, known, path=path, from_form=self._from_form)


def is_storable(text: str) -> bool:
    """Whether a text can be written to Postgres and sent as UTF-8: no NUL, no lone surrogate."""
    if "\x00" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(text: str, length_max: int) -> str:
    """Give a caller's text short enough, and safe, to be repeated in a message."""
    short = text if len(text) <= length_max else f"{text[:length_max]}…"
    return short.encode("utf-8", "replace").decode().replace("\x00", "?")


def type_name(value: object) -> str:
    """Give JSON's word for a value's type."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | Decimal):
        return "a number"
    words = {str: "a string", list: "an array", dict: "an object", type(None): "null"}
    return words.get(type(value), "something else")


def decimal_of(text: str) -> Decimal | None:
    """Give the decimal a text spells in digits, None when it spells none."""
    try:
        return Decimal(text.strip()) if _DECIMAL.fullmatch(text.strip()) else None
    except InvalidOperation:
        return None


def as_decimal(value: object) -> Decimal | None:
    """Give a JSON number as a Decimal, None for anything else or beyond 63 bits."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    found = Decimal(value)
    # The exponent is looked at first: 1E+999999999 is cheap until somebody expands it.
    if not found.is_finite() or found.adjusted() > 18 or found.adjusted() < -18:
        return found if found == 0 and found.is_finite() else None
    return found if abs(found) <= INTEGER_MAX else None


def _json_or_text(text: str) -> Any:
    try:
        return _DECODER.decode(text.encode())
    except (ValueError, RecursionError):
        return text

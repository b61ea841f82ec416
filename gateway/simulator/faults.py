"""The faults a vendor can answer with, and the exceptions that carry them through a handler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

COMMON_REFUSALS = (
    "invalid_parameter",
    "content_policy",
    "bad_key",
    "unpaid",
    "forbidden",
    "model_not_found",
    "too_large",
    "rate",
    "server_error",
    "unavailable",
    "timeout",
    "no_route",
)
"""Names every vendor can refuse a request by, each answered with that vendor's own status, code and
body.
"""

COMMON_FAILURES = ("content_policy", "invalid_parameter", "server_error", "timeout", "rate")
"""Names every vendor can fail an accepted task by; all of them are refusals too."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of a vendor's error table: the code on the wire, the HTTP status, a message, and the
    error type.
    """

    code: str | int | None
    status: int
    message: str
    type: str = ""
    extra: Mapping[str, object] = field(default_factory=dict)


class FaultTable:
    """A vendor's faults, found by a common name (``rate``) or by the vendor's own code
    (``Throttling``).
    """

    def __init__(self, named: Mapping[str, Fault], others: Iterable[Fault] = ()) -> None:
        self._rows: dict[str, Fault] = {}
        for fault in (*named.values(), *others):
            if isinstance(fault.code, str):
                self._rows.setdefault(fault.code, fault)
        self._rows.update(named)

    def __getitem__(self, name: str) -> Fault:
        """Find a fault; a ValueError lists the known names."""
        try:
            return self._rows[name]
        except KeyError:
            known = ", ".join(sorted(self._rows))
            raise ValueError(f"unknown fault {name!r}; known: {known}") from None

    def __contains__(self, name: str) -> bool:
        """Whether the table has a fault of that name or code."""
        return name in self._rows

    def names(self) -> tuple[str, ...]:
        """All names and codes of the table."""
        return tuple(self._rows)


class Refused(Exception):
    """A request is answered with a fault of the vendor's table instead of being served.

    ``name`` is looked up in the vendor's refusals; ``message`` replaces the table's text, ``param``
    names the field, ``status`` replaces the table's HTTP status, ``retry_after_s`` adds the header.
    """

    def __init__(
        self,
        name: str,
        message: str | None = None,
        *,
        param: str | None = None,
        status: int | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(name, message)
        self.name = name
        self.message = message
        self.param = param
        self.status = status
        self.retry_after_s = retry_after_s


class ConnectionDropped(Exception):
    """The connection is reset (TCP RST) instead of being answered."""


class NeverAnswered(Exception):
    """The connection is kept open and never answered."""

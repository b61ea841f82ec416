"""What the texts of options mean: credits, times."""

from __future__ import annotations

from gateway.cli.output import fail


def micro_of(text: str, name: str, *, as_json: bool) -> int:
    """Give the micro-credits of an option's text; ends the command at another text."""
    from gateway.domain.money import parse_micro

    try:
        return parse_micro(text)
    except ValueError as error:
        fail(f"{name}: {error}", as_json=as_json)


def time_of(text: str, *, as_json: bool) -> int:
    """Give the UTC milliseconds of a time to come; ends the command at another text."""
    from gateway.wiring.books import SystemClock

    at_ms = moment("--expires", text, as_json=as_json)
    if at_ms <= SystemClock().now_ms():
        fail(f"--expires: {text!r} is past (legal: a time to come)", as_json=as_json)
    return at_ms


def moment(option: str, text: str, *, as_json: bool) -> int:
    """Give the UTC milliseconds of a time with its zone; ends the command at another text."""
    from datetime import datetime

    try:
        at = datetime.fromisoformat(text)
        at_ms = int(at.timestamp() * 1000) if at.tzinfo is not None else -1
    except (ValueError, OverflowError):
        at_ms = -1
    if at_ms < 0:
        legal = "a time with its zone, such as 2026-12-31T00:00:00Z"
        fail(f"{option}: {text!r} is not valid (legal: {legal})", as_json=as_json)
    return at_ms

"""What a call says about sync or async: the body's ``async``, ``Prefer`` (RFC 7240), and fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.dialects._fields import Fields
from gateway.domain.submission import Wait

ASYNC = Wait(wait_s=None)
# The caller of the dialect cuts this at the gateway's own limit (SYNC_WAIT_SECONDS).
SYNC = Wait(wait_s=float("inf"))

_PREFERENCE = re.compile(
    r'\s*(?P<name>[!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*(?:=\s*(?P<value>"(?:[^"\\]|\\.)*"|[^\s,;"]+))?'
    r'\s*(?:;(?:[^,"]|"(?:[^"\\]|\\.)*")*)?(?:,|$)'
)


@dataclass(frozen=True, slots=True)
class Preference:
    """What a ``Prefer`` header asks for; ``wait_s`` in whole seconds."""

    respond_async: bool = False
    wait_s: int | None = None

    @property
    def wait(self) -> Wait | None:
        """The wait it stands for, None when it says nothing of the kind."""
        if self.wait_s is not None:
            return Wait(wait_s=float(self.wait_s), task_on_timeout=True)
        return ASYNC if self.respond_async else None


_NO_PREFERENCE = Preference()


def parse_prefer(header: str) -> Preference:
    """Read a ``Prefer`` header. Of a repeated preference the first counts (RFC 7240 §2).

    What is not understood is ignored, as the RFC asks, never refused.
    """
    if not header:
        return _NO_PREFERENCE
    seen: dict[str, str] = {}
    for match in _PREFERENCE.finditer(header):
        value = (match["value"] or "").strip('"')
        seen.setdefault(match["name"].lower(), value)
    wait = seen.get("wait", "")
    seconds = int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else None
    return Preference("respond-async" in seen, seconds)


def read_wait(
    fields: Fields, headers: Mapping[str, str], *, has_callback: bool, has_result_wish: bool
) -> Wait | None:
    """Apply the first rules of ⚑ §4; None leaves the decision to the key and the gateway.

    ``has_result_wish``: ``response_format`` or ``stream`` was sent, which only a synchronous
    caller does.
    """
    wish = fields.flag("async")
    preference = parse_prefer(headers.get("prefer", ""))
    if wish is True:
        return ASYNC
    if wish is False:
        return preference.wait if preference.wait_s is not None else SYNC
    if preference.wait is not None:
        return preference.wait
    if has_callback:
        return ASYNC
    return SYNC if has_result_wish else None

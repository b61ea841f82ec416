"""Where a page of a list ends, as an opaque text."""

from __future__ import annotations

import base64
import binascii
from typing import Protocol
from uuid import UUID

from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.money import MICRO_MAX


class Dated(Protocol):
    """What lists are made of: newest first, by creation time and id."""

    @property
    def id(self) -> str | UUID:
        """Which one it is."""
        ...

    @property
    def created_ms(self) -> int:
        """When it was made."""
        ...


def cursor_of(last: Dated) -> str:
    """Give the cursor that continues a list after this entry."""
    return base64.urlsafe_b64encode(f"{last.created_ms}:{last.id}".encode()).decode()


def read_cursor(cursor: str) -> tuple[int, str]:
    """Give the creation time and id a cursor stands for. Raises InvalidRequest."""
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
        created, colon, task_id = text.partition(":")
        created_ms = int(created)
        if not colon or not 0 <= created_ms <= MICRO_MAX or "\x00" in task_id:
            raise ValueError(cursor)
    except (ValueError, binascii.Error):
        message = "The cursor is not one that this list gave out."
        raise InvalidRequest(Problem("cursor", message)) from None
    return created_ms, task_id

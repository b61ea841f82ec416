"""What a route of `/admin/v1` is: an address, the permission it asks for, and its handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.app.core import Core
from gateway.app.dialect import Answers
from gateway.domain.administration import Actor, Ask, Permission
from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.login import Session
from gateway.http.admin.fields import Fields

BASE = "/admin/v1"
LIMIT_MAX = 200


@dataclass(frozen=True, slots=True)
class AdminCall:
    """One authorised call. ``body`` and ``query`` name every problem they find at once.

    ``content`` is the body as it came.
    ``session`` is the login it is made by; a call with a bearer text has none. ``parameters``
    is the query as it counts: for a member, that of its team.
    """

    core: Core
    request: Request
    ask: Ask
    body: Fields
    query: Fields
    content: bytes = b""
    session: Session | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def actor(self) -> Actor:
        """Who calls."""
        return self.ask.actor

    @property
    def path(self) -> Mapping[str, str]:
        """The parameters of the path."""
        return self.request.path_params

    def page(self) -> tuple[int, str | None]:
        """Give ``limit`` and ``cursor`` of a list call."""
        sent = self.query.text("limit")
        text = "50" if sent is None else sent
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= LIMIT_MAX):
            legal = f"1 to {LIMIT_MAX}"
            raise InvalidRequest(Problem("limit", "limit is not valid.", legal=legal))
        return int(text), self.query.text("cursor")


Handler = Callable[[AdminCall], Awaitable[Response]]


class Confined(StrEnum):
    """How a route is confined to the team of a member who calls it.

    The team named in the path, or of the key, callback, task or batch named there, must be the
    member's; a query for one is made one for the member's. SELF tells of the caller alone.
    """

    SELF = "self"
    PATH = "team_id in the path"
    KEY = "key_id in the path"
    CALLBACK = "callback_id in the path"
    TASK = "task_id in the path"
    BATCH = "batch_id in the path"
    TEAM_ID = "team_id in the query"
    TEAM = "team in the query"


@dataclass(frozen=True, slots=True)
class AdminRoute:
    """One address under ``/admin/v1``; what follows ``summary`` is its OpenAPI.

    ``creates``: takes an Idempotency-Key. ``versioned``: takes If-Match. ``body`` maps field
    names to JSON Schemas, ``required`` names those that must be sent. ``file`` is the media type
    of a body that is a file and not JSON fields. ``permission`` None: the route asks nobody who
    calls, for it is how one logs in. ``any_query``: parameters that are not named are ignored,
    for another server adds them. ``team`` says how a member is confined; a route without it is not
    for members. ``answer`` is the JSON Schema of a success, or gives it from the native answers;
    ``streams`` are the media types it may have instead. ``for_people``: its errors are pages in a
    browser.
    """

    method: str
    path: str
    permission: Permission | None
    handler: Handler
    summary: str
    creates: bool = False
    versioned: bool = False
    body: Mapping[str, Any] | None = None
    required: tuple[str, ...] = ()
    file: str | None = None
    query: tuple[str, ...] = ()
    any_query: bool = False
    status: int = 200
    team: Confined | None = None
    answer: Mapping[str, Any] | Callable[[Answers], Mapping[str, Any]] | None = None
    streams: tuple[str, ...] = ()
    for_people: bool = False
    errors: tuple[int, ...] = field(default=(400, 401, 403, 404, 503))


def paged(items: list[dict[str, Any]], cursor: str | None) -> dict[str, Any]:
    """Give the body of a list."""
    return {
        "object": "list",
        "data": items,
        "has_more": cursor is not None,
        "next_cursor": cursor,
    }


def etag(version: int) -> dict[str, str]:
    """Give the header that If-Match takes."""
    return {"etag": f'"{version}"'}

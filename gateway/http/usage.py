"""Usage reports over HTTP: JSON at once, CSV and NDJSON as a stream."""

from __future__ import annotations

import difflib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

from gateway.app.core import Core
from gateway.app.usage import (
    DEFAULT_DAYS,
    FIELDS,
    FORMATS,
    ROWS_MAX,
    as_csv,
    as_ndjson,
    columns,
    read_query,
    row_view,
)
from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.money import format_micro, parse_micro
from gateway.domain.usage import UsageQuery, UsageSum
from gateway.http.exchange import Exchange

TEAM_FIELDS = ("days", "format", *(name for name in FIELDS if name != "team"))
ADMIN_FIELDS = ("format", *FIELDS)
_TYPES = {"csv": "text/csv", "ndjson": "application/x-ndjson"}


async def team_usage(exchange: Exchange) -> Response:
    """Give the calling team's usage, by model and status over 30 days unless asked otherwise."""
    sent = dict(exchange.call.query)
    for name in sent:
        if name not in TEAM_FIELDS:
            close = difflib.get_close_matches(name, TEAM_FIELDS, 1)
            legal = f"did you mean {close[0]}?" if close else ", ".join(TEAM_FIELDS)
            message = "There is no such parameter."
            raise InvalidRequest(Problem(name[:80], message, "unknown_field", legal))
    days = sent.get("days", str(DEFAULT_DAYS))
    if not (days.isascii() and days.isdigit() and 1 <= int(days[:6]) <= 366):
        raise InvalidRequest(Problem("days", "days is not valid.", legal="a number 1 to 366"))
    own = {**sent, "team": exchange.principal.team_id}
    return await usage_response(exchange.core, own, by="model,status", days=int(days))


async def usage_response(
    core: Core, sent: Mapping[str, str], *, by: str, days: int = DEFAULT_DAYS
) -> Response:
    """Answer a usage call whose parameters are known by name.

    The first row is read before the answer begins, so that what is wrong is an error and not a
    torn stream. Raises InvalidRequest, StoreUnavailable.
    """
    kind = sent.get("format", "json")
    if kind not in FORMATS:
        raise InvalidRequest(Problem("format", "format is not valid.", legal=", ".join(FORMATS)))
    catalog = core.catalog()
    query = read_query(sent, core.clock.now_ms(), by=by, aliases=catalog.aliases, days=days)
    rows = core.usage.rows(query)
    first = await anext(rows, None)
    views = _views(core, first, rows)
    if kind == "json":
        return await _json(query, views)
    lines = as_csv(columns(query.by), views) if kind == "csv" else as_ndjson(views)
    headers = {"content-disposition": f'attachment; filename="usage.{kind}"'}
    return StreamingResponse(lines, headers=headers, media_type=_TYPES[kind])


async def _views(
    core: Core, first: UsageSum | None, rest: AsyncGenerator[UsageSum]
) -> AsyncIterator[dict[str, Any]]:
    rate = core.catalog().credits_per_usd
    try:
        if first is not None:
            yield row_view(first, rate)
        async for row in rest:
            yield row_view(row, rate)
    finally:
        await rest.aclose()


async def _json(query: UsageQuery, views: AsyncIterator[dict[str, Any]]) -> Response:
    data = []
    async for row in views:
        data.append(row)
        if len(data) > ROWS_MAX:
            message = f"These are more than {ROWS_MAX} rows; ask for fewer groups, or for a stream."
            raise InvalidRequest(Problem("format", message, legal="csv, ndjson"))
    return JSONResponse(
        {
            "object": "usage",
            "since": query.since_ms // 1000,
            "until": query.until_ms // 1000,
            "by": list(query.by),
            **_totals(data),
            "data": data,
        }
    )


def _totals(data: list[dict[str, Any]]) -> dict[str, Any]:
    charged = sum(parse_micro(row["credits_charged"]) for row in data)
    return {"credits_charged": format_micro(charged), "images": sum(r["images"] for r in data)}

"""One call as the handlers see it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.app.core import Core
from gateway.app.dialect import Call, Dialect, Route, UploadDialect, View
from gateway.domain.access import Principal
from gateway.domain.records import quick
from gateway.domain.submission import Draft, PartlyRead


@quick
@dataclass(frozen=True, slots=True)
class Exchange:
    """One authenticated call on its way through a handler.

    ``draining`` is set when this process begins to shut down. ``uploading`` is the dialect again,
    if pictures can be uploaded in it.
    """

    core: Core
    dialect: Dialect
    route: Route
    call: Call
    principal: Principal
    view: View
    draining: asyncio.Event
    uploading: UploadDialect | None = None


async def read_draft(exchange: Exchange) -> Draft:
    """Read a create call. Raises InvalidRequest with the problems of fields and limits alike."""
    core = exchange.core
    try:
        return exchange.dialect.read_create(exchange.call, exchange.route, core.catalog())
    except PartlyRead as error:
        raise await core.submit.all_problems(error) from None

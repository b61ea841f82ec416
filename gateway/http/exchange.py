"""One call as the handlers see it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.app.core import Core
from gateway.app.dialect import Call, Dialect, Route, View
from gateway.domain.access import Principal
from gateway.domain.submission import Draft, PartlyRead
from gateway.http.rules import narrowed


@dataclass(frozen=True, slots=True)
class Exchange:
    """One authenticated call on its way through a handler.

    ``draining`` is set when this process begins to shut down.
    """

    core: Core
    dialect: Dialect
    route: Route
    call: Call
    principal: Principal
    view: View
    draining: asyncio.Event


async def read_draft(exchange: Exchange) -> Draft:
    """Read a create call, and keep its route to what the key may use.

    Raises InvalidRequest with the problems of fields and limits alike, and NotAllowed.
    """
    core = exchange.core
    try:
        draft = exchange.dialect.read_create(exchange.call, exchange.route, core.catalog())
        return narrowed(exchange.principal, draft, core.catalog())
    except PartlyRead as error:
        raise await core.submit.all_problems(error) from None

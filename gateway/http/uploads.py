"""Uploading a picture before the task that names it: policy, upload, and what became of it."""

from __future__ import annotations

from starlette.responses import Response

from gateway.app.core import Core
from gateway.app.dialect import Call, Dialect, UploadDialect
from gateway.app.uploads import BYTES_MAX, TICKET_TTL_S, Uploads
from gateway.domain.access import Principal
from gateway.domain.errors import RouteNotFound
from gateway.domain.submission import Draft
from gateway.http.exchange import Exchange
from gateway.http.replies import to_response

# An upload carries the ticket of somebody's policy instead of a key; it spends nothing.
TICKET_HOLDER = Principal(team_id="", team_name="", key_id="")


async def policy(exchange: Exchange) -> Response:
    """Give an authenticated caller a ticket to upload with."""
    dialect = _uploading(exchange.dialect)
    dialect.read_upload_policy(exchange.call)
    ticket = await _uploads(exchange.core).grant()
    reply = dialect.render_upload_policy(ticket, BYTES_MAX, TICKET_TTL_S, exchange.view)
    return to_response(reply)


async def admit(core: Core, dialect: Dialect, call: Call) -> Principal:
    """Judge the ticket of an upload before its body is read. Raises AuthenticationFailed."""
    await _uploads(core).admit(_uploading(dialect).read_upload_ticket(call))
    return TICKET_HOLDER


async def receive(exchange: Exchange) -> Response:
    """Keep an uploaded picture."""
    dialect = _uploading(exchange.dialect)
    await _uploads(exchange.core).keep(dialect.read_upload(exchange.call))
    return to_response(dialect.render_uploaded(exchange.view))


async def with_uploads(exchange: Exchange, draft: Draft) -> Draft:
    """Give a draft with the uploaded pictures it names inside it."""
    if not isinstance(exchange.dialect, UploadDialect):
        return draft
    return await _uploads(exchange.core).resolved(draft, exchange.dialect.upload_key)


def _uploads(core: Core) -> Uploads:
    return Uploads(core.assets, core.clock)


def _uploading(dialect: Dialect) -> UploadDialect:
    if not isinstance(dialect, UploadDialect):
        raise RouteNotFound
    return dialect

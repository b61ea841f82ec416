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


async def policy(exchange: Exchange) -> Response:
    """Give an authenticated caller a ticket to upload with."""
    dialect = _uploading(exchange.dialect)
    dialect.read_upload_policy(exchange.call)
    ticket = await _uploads(exchange.core).grant(exchange.principal.team_id)
    reply = dialect.render_upload_policy(ticket, BYTES_MAX, TICKET_TTL_S, exchange.view)
    return to_response(reply)


async def admit(core: Core, dialect: Dialect, call: Call) -> Principal:
    """Give whom an upload acts for: it carries the ticket of a policy instead of a key.

    Judged before the body is read. Raises AuthenticationFailed.
    """
    team_id = await _uploads(core).admit(_uploading(dialect).read_upload_ticket(call))
    return Principal(team_id=team_id, team_name="", key_id="")


async def receive(exchange: Exchange) -> Response:
    """Keep an uploaded picture."""
    dialect = _uploading(exchange.dialect)
    upload = dialect.read_upload(exchange.call)
    await _uploads(exchange.core).keep(exchange.principal.team_id, upload)
    return to_response(dialect.render_uploaded(exchange.view))


async def with_uploads(exchange: Exchange, draft: Draft) -> Draft:
    """Give a draft with the uploaded pictures it names inside it."""
    dialect = exchange.uploading
    if dialect is None:
        return draft
    team_id = exchange.principal.team_id
    return await _uploads(exchange.core).resolved(team_id, draft, dialect.upload_key)


def _uploads(core: Core) -> Uploads:
    return Uploads(core.assets, core.clock)


def _uploading(dialect: Dialect) -> UploadDialect:
    if not isinstance(dialect, UploadDialect):
        raise RouteNotFound
    return dialect

"""Batches over HTTP: taking a file of create calls, and telling how it goes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

from starlette.responses import Response, StreamingResponse

from gateway.app.dialect import BatchDialect
from gateway.app.ports.batches import LineResult
from gateway.domain.batch import Batch, BatchLine
from gateway.domain.errors import RouteNotFound, ShuttingDown, StoreUnavailable
from gateway.http.exchange import Exchange
from gateway.http.repeats import key_of
from gateway.http.replies import encode, to_response

RESULTS_PAGE = 500


def _dialect(exchange: Exchange) -> BatchDialect:
    if not isinstance(exchange.dialect, BatchDialect):
        raise RouteNotFound
    return exchange.dialect


async def create(exchange: Exchange) -> Response:
    """Accept a file of create calls whole, or refuse it with what is wrong in which line."""
    if exchange.draining:
        raise ShuttingDown("This process is shutting down; nothing was accepted.")
    core, call, dialect = exchange.core, exchange.call, _dialect(exchange)
    options = dialect.read_batch(call)
    catalog = core.catalog()

    def read(line: bytes) -> BatchLine:
        return dialect.read_batch_line(call, line, catalog)

    scope, key = f"{exchange.dialect.name} {exchange.route.path}", key_of(exchange)
    try:
        batch, repeated = await core.batches.create(
            exchange.principal, options, call.body, read, scope=scope, key=key
        )
    except StoreUnavailable as error:
        if error.outcome_known or key is None:
            raise
        message = "The database went away meanwhile; send the batch again, it will not buy twice."
        raise StoreUnavailable(message, error.detail) from error
    headers = {"idempotent-replayed": "true"} if repeated else None
    return to_response(dialect.render_batch(batch, exchange.view), headers)


async def get(exchange: Exchange) -> Response:
    """Answer one batch as it stands."""
    dialect = _dialect(exchange)
    batch_id = dialect.read_batch_id(exchange.call)
    return _answer(exchange, await exchange.core.batches.get(exchange.principal, batch_id))


async def page(exchange: Exchange) -> Response:
    """Answer a page of the team's batches, newest first."""
    dialect = _dialect(exchange)
    limit, cursor = dialect.read_batch_list(exchange.call)
    team_id = exchange.principal.team_id
    found = await exchange.core.batches.store.batch_page(limit, cursor, team_id=team_id)
    return to_response(dialect.render_batches(found, exchange.view))


async def resume(exchange: Exchange) -> Response:
    """Let a paused batch go on."""
    batch_id = _dialect(exchange).read_batch_id(exchange.call)
    return _answer(exchange, await exchange.core.batches.resume(exchange.principal, batch_id))


async def cancel(exchange: Exchange) -> Response:
    """Let a batch send nothing more."""
    batch_id = _dialect(exchange).read_batch_id(exchange.call)
    return _answer(exchange, await exchange.core.batches.cancel(exchange.principal, batch_id))


async def results(exchange: Exchange) -> Response:
    """Stream the lines that ended, in their order.

    The first page is read before the answer begins, so that what is wrong is an error.
    """
    dialect, batches = _dialect(exchange), exchange.core.batches
    after = dialect.read_batch_results(exchange.call)
    batch = await batches.get(exchange.principal, dialect.read_batch_id(exchange.call))
    first = await batches.store.results(batch.id, after, RESULTS_PAGE)

    async def lines() -> AsyncGenerator[bytes]:
        part: list[LineResult] = list(first)
        while part:
            view = replace(exchange.view, now_ms=exchange.core.clock.now_ms())
            for one in part:
                yield encode(dialect.render_batch_result(one, view)) + b"\n"
            if len(part) < RESULTS_PAGE:
                return
            part = list(await batches.store.results(batch.id, part[-1].no, RESULTS_PAGE))

    headers = {"content-disposition": f'attachment; filename="{batch.id}.jsonl"'}
    return StreamingResponse(lines(), headers=headers, media_type="application/x-ndjson")


def _answer(exchange: Exchange, batch: Batch) -> Response:
    return to_response(_dialect(exchange).render_batch(batch, exchange.view))

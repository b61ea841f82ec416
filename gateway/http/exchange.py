"""One call as the handlers see it."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass

from gateway.app.core import Core
from gateway.app.dialect import Call, Dialect, Route, UploadDialect, View
from gateway.domain.access import Principal
from gateway.domain.records import changed, quick
from gateway.domain.submission import Draft, PartlyRead
from gateway.http.waits import Waits

WAITED = "waited"
"""In a call's state: its answer waited for a task."""


@quick
@dataclass(frozen=True, slots=True)
class Exchange:
    """One authenticated call on its way through a handler.

    ``waits`` end when this process begins to shut down. ``state`` is what the layers around the
    handlers are told. ``uploading`` is the dialect again, if pictures can be uploaded in it.
    """

    core: Core
    dialect: Dialect
    route: Route
    call: Call
    principal: Principal
    view: View
    waits: Waits
    state: MutableMapping[str, object]
    uploading: UploadDialect | None = None

    @property
    def draining(self) -> bool:
        """Whether this process has begun to shut down."""
        return self.waits.draining.is_set()

    def waiting(self) -> Exchange:
        """Give the exchange without what the caller sent, which may be tens of MiB.

        From here on the call takes as long as its task, and is not slow for that.
        """
        self.state[WAITED] = True
        call = changed(self.call, headers={}, query={}, body=b"", form=(), files=())
        return changed(self, call=call)


async def read_draft(exchange: Exchange) -> Draft:
    """Read a create call. Raises InvalidRequest with the problems of fields and limits alike."""
    core = exchange.core
    try:
        return exchange.dialect.read_create(exchange.call, exchange.route, core.catalog())
    except PartlyRead as error:
        raise await core.submit.all_problems(error) from None

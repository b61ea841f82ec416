"""One call as the handlers see it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.app.core import Core
from gateway.app.dialect import Call, Dialect, Route, View
from gateway.domain.access import Principal


@dataclass(frozen=True, slots=True)
class Exchange:
    """One authenticated call on its way through a handler."""

    core: Core
    dialect: Dialect
    route: Route
    call: Call
    principal: Principal
    view: View

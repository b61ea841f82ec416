"""What a key may do, judged when it is known; `app/narrowing.py` judges what its call asks for."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.app.dialect import Operation
from gateway.domain.access import Principal
from gateway.domain.errors import NotAllowed

# Reading the list of models or a price needs a valid key and no scope.
_SCOPES: Mapping[Operation, str] = {
    Operation.CREATE: "generate",
    Operation.CANCEL: "generate",
    Operation.UPLOAD_POLICY: "generate",
    Operation.BATCH_CREATE: "generate",
    Operation.BATCH_RESUME: "generate",
    Operation.BATCH_CANCEL: "generate",
    Operation.BATCH: "read",
    Operation.BATCH_LIST: "read",
    Operation.BATCH_RESULTS: "read",
    Operation.QUERY: "read",
    Operation.LIST: "read",
    Operation.EVENTS: "read",
    Operation.CREDITS: "usage",
    Operation.USAGE: "usage",
}


def admit(principal: Principal, operation: Operation, address: str | None) -> None:
    """Raise NotAllowed unless the key may make such a call from this address."""
    if principal.suspended:
        raise NotAllowed(f"The team {principal.team_name} is suspended.")
    scope = _SCOPES.get(operation)
    if scope is not None and not principal.rules.admits_scope(scope):
        raise NotAllowed(f"This key has not the scope {scope!r}.")
    if not principal.rules.admits_address(address):
        raise NotAllowed("This key may not be used from your address.")

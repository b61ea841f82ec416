"""`/admin/v1/prices`: what a team, or one key of it, pays instead of the catalogue's price."""

from __future__ import annotations

from dataclasses import replace

from starlette.responses import JSONResponse, Response

from gateway.app.views import price_view
from gateway.domain.administration import Permission
from gateway.domain.errors import InvalidRequest, NotFound, Problem
from gateway.domain.price_overrides import read_amounts
from gateway.domain.price_table import ORDER, PriceTable
from gateway.domain.validation import close_names
from gateway.http.admin.answers import PRICE, page
from gateway.http.admin.fields import Fields
from gateway.http.admin.routes import AdminCall, AdminRoute, paged

_TEXT = {"type": "string", "maxLength": 40, "pattern": r"^[0-9]+(\.[0-9]{1,6})?$"}
_TIERS = {
    "type": "object",
    "properties": dict.fromkeys(ORDER, _TEXT),
    "minProperties": 1,
    "additionalProperties": False,
}
_LEGAL = 'a decimal text such as "1.2", or a table by tier such as {"1K": "1", "2K": "1.5"}'


async def list_prices(call: AdminCall) -> Response:
    """List agreed prices, newest first."""
    limit, cursor = call.page()
    before_id = None if cursor is None else _number(cursor)
    if cursor is not None and before_id is None:
        message = "The cursor is not one that this list gave out."
        raise InvalidRequest(Problem("cursor", message))
    team_id = call.query.text("team_id")
    found = await call.core.admin.prices.price_page(limit, before_id, team_id)
    return JSONResponse(paged([price_view(one) for one in found.items], found.cursor))


async def set_price(call: AdminCall) -> Response:
    """Agree on a price; an earlier one for the same team, key and model is replaced."""
    body = call.body
    team_id, key_id, name = body.needed("team_id"), body.text("key_id"), body.needed("model")
    table = _table(body)
    from_ms, until_ms = body.time_ms("from"), body.time_ms("until")
    if from_ms is not None and until_ms is not None and until_ms <= from_ms:
        body.refuse("until", "until is not after from.", "a later time, or null")
    aliases = call.core.catalog().aliases
    if name not in aliases:
        legal = ", ".join(close_names(name, aliases) or sorted(aliases)[:20]) or "none is sold"
        body.refuse("model", f"There is no model {name[:80]!r}.", legal)
    body.finish()
    made = await call.core.admin.prices.set_price(
        team_id, key_id, aliases[name], table, from_ms=from_ms, until_ms=until_ms, ask=call.ask
    )
    return JSONResponse(price_view(made))


async def remove_price(call: AdminCall) -> Response:
    """End an agreed price: the team's, or the catalogue's, holds again."""
    number = _number(call.path["id"])
    if number is None:
        raise NotFound(f"There is no price override {call.path['id'][:40]!r}.")
    await call.core.admin.prices.remove_price(number, call.ask)
    return Response(status_code=204)


def _table(body: Fields) -> PriceTable:
    value, table = body.raw("credits", required=True), PriceTable(flat=0)
    if value is not None:
        try:
            table = read_amounts(value)
        except ValueError as error:
            body.refuse("credits", f"credits {error}.", _LEGAL)
    edit = body.credits("edit_surcharge")
    if edit is not None and edit < 0:
        body.refuse("edit_surcharge", "edit_surcharge is below 0.", "0 or more")
    return replace(table, edit=edit or 0)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


ROUTES = (
    AdminRoute(
        "GET",
        "/prices",
        Permission.READ,
        list_prices,
        "List prices agreed with teams and keys, newest first",
        query=("limit", "cursor", "team_id"),
        answer=page(PRICE),
    ),
    AdminRoute(
        "POST",
        "/prices",
        Permission.MONEY,
        set_price,
        "Agree on a price with a team, or for one key of it",
        body={
            "team_id": {"type": "string"},
            "key_id": {"type": ["string", "null"]},
            "model": {"type": "string"},
            "credits": {"anyOf": [_TEXT, _TIERS]},
            "edit_surcharge": _TEXT,
            "from": {"type": ["string", "null"], "format": "date-time"},
            "until": {"type": ["string", "null"], "format": "date-time"},
        },
        required=("team_id", "model", "credits"),
        answer=PRICE,
    ),
    AdminRoute(
        "DELETE", "/prices/{id}", Permission.MONEY, remove_price, "End an agreed price", status=204
    ),
)

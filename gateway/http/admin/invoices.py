"""`/admin/v1/invoices/check`: a vendor's invoice against the books."""

from __future__ import annotations

import io

from starlette.responses import JSONResponse, Response

from gateway.app.invoices import Terms, comparison_view
from gateway.domain.administration import Permission
from gateway.domain.money import parse_micro
from gateway.http.admin.answers import COMPARISON
from gateway.http.admin.fields import Fields
from gateway.http.admin.routes import AdminCall, AdminRoute

QUERY = ("upstream", "month", "id_column", "amount_column", "per_usd", "tolerance_usd")


async def check(call: AdminCall) -> Response:
    """Compare the CSV file that was sent with what was booked for an upstream in a month."""
    query = call.query
    terms = Terms(
        query.needed("upstream", maximum=100),
        query.needed("month", maximum=10),
        _millionths(query, "per_usd", 1_000_000),
        _millionths(query, "tolerance_usd", 1),
        query.text("id_column"),
        query.text("amount_column"),
    )
    query.finish()
    lines = io.TextIOWrapper(io.BytesIO(call.content), encoding="utf-8-sig", newline="")
    found = await call.core.admin.check_invoice.run(lines, terms)
    return JSONResponse(comparison_view(found))


def _millionths(query: Fields, name: str, default: int) -> int:
    text = query.text(name, maximum=40)
    if text is None:
        return default
    try:
        return parse_micro(text)
    except ValueError as error:
        query.refuse(name, f"{error}.", 'a decimal text, such as "7.1"')
        return default


ROUTES = (
    AdminRoute(
        "POST",
        "/invoices/check",
        Permission.READ,
        check,
        "Compare a vendor's invoice with what was booked for its upstream",
        file="text/csv",
        query=QUERY,
        errors=(400, 401, 403, 413, 503),
        answer=COMPARISON,
    ),
)

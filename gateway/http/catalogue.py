"""Models, quotes, and credits: what a developer asks before a picture."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from gateway.app.narrowing import narrowed
from gateway.app.submit import in_callers_words, resolve
from gateway.domain.errors import TaskNotFound
from gateway.domain.money import format_micro
from gateway.domain.routing import Route
from gateway.domain.submission import Draft
from gateway.http.exchange import Exchange, read_draft


async def models(exchange: Exchange) -> Response:
    """List every model that can be called, at the caller's price; aliases are entries too.

    The shape is OpenAI's.
    """
    catalog = await exchange.core.submit.catalog_for(exchange.principal)
    entries = []
    for name in sorted(catalog.aliases):
        model = catalog.models[catalog.aliases[name]]
        if catalog.offers.get(model.id):
            entries.append({**exchange.core.model_view(model, catalog), "id": name})
    return JSONResponse({"object": "list", "data": entries})


async def model(exchange: Exchange) -> Response:
    """Describe one model: limits, price, and the JSON Schema of its parameters."""
    name = exchange.call.path_params["model"]
    catalog = await exchange.core.submit.catalog_for(exchange.principal)
    found = resolve(catalog, name)
    return JSONResponse({**exchange.core.model_view(found, catalog), "id": name})


async def team_credits(exchange: Exchange) -> Response:
    """Give the calling team's credits; ``balance`` is before holds, ``available`` after."""
    team = await exchange.core.ledger.team(exchange.principal.team_id)
    if team is None:
        raise TaskNotFound("There is no such team any more.")
    return JSONResponse(
        {
            "object": "credits",
            "balance": format_micro(team.balance),
            "held": format_micro(team.held),
            "available": format_micro(team.available),
        }
    )


async def quote(exchange: Exchange) -> Response:
    """Price a create call and explain its route; sends and charges nothing."""
    core = exchange.core
    draft = narrowed(exchange.principal, await read_draft(exchange), core.catalog())
    plan, route = await core.submit.quote(draft, exchange.principal)
    offers: list[dict[str, Any]] = [
        {
            "upstream": candidate.upstream,
            "adapter": candidate.adapter,
            "upstream_model": candidate.upstream_model,
            "cost_usd": format_micro(candidate.planned_cost),
            "note": route.notes.get(candidate.upstream) or None,
        }
        for candidate in route.candidates
    ]
    return JSONResponse(
        {
            "object": "quote",
            "model": plan.model.id,
            "n": plan.request.n,
            "tier": plan.price.tier,
            "credits_per_image": format_micro(plan.price.unit),
            "credits": format_micro(plan.price.hold),
            "strategy": route.strategy.value,
            "offers": offers,
            "excluded": [
                {"upstream": name, "reason": _reason(route, name, reason, draft)}
                for name, reason in route.excluded
            ],
            "warning": route.warning,
            "ignored_params": list(plan.ignored),
        }
    )


def _reason(route: Route, upstream: str, reason: str, draft: Draft) -> str:
    """Give why an upstream was left out, with fields named as the caller names them."""
    problems = route.unable.get(upstream)
    if problems is None:
        return reason
    return "; ".join(str(in_callers_words(problem, draft.field_names)) for problem in problems)

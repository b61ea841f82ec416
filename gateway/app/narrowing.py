"""What a key may do, judged when its call has been read: models and upstreams."""

from __future__ import annotations

from dataclasses import replace

from gateway.app.submit import resolve
from gateway.domain.access import Principal
from gateway.domain.errors import NotAllowed
from gateway.domain.model import Catalog
from gateway.domain.submission import Draft


def narrowed(principal: Principal, draft: Draft, catalog: Catalog) -> Draft:
    """Give the draft with its route kept to the upstreams the key may use.

    Raises NotAllowed for a model, or a choice of upstreams, that the key may not use.
    """
    rules, request = principal.rules, draft.request
    if rules.models is not None:
        model = resolve(catalog, request.model)
        if model.id not in rules.models:
            legal = ", ".join(rules.models)
            raise NotAllowed(f"This key may not use {request.model!r} (legal: {legal}).")
    if rules.upstreams is None:
        return draft
    allowed = _named(catalog, rules.upstreams)
    if request.rules.only:
        allowed &= _named(catalog, request.rules.only)
    if not allowed:
        legal = ", ".join(rules.upstreams)
        raise NotAllowed(f"This key may only use other upstreams (legal: {legal}).")
    route = replace(request.rules, only=tuple(sorted(allowed)))
    return replace(draft, request=replace(request, rules=route))


def _named(catalog: Catalog, names: tuple[str, ...]) -> set[str]:
    """Give the upstreams that names stand for; an adapter's name stands for all of its own."""
    return {
        upstream.name
        for upstream in catalog.upstreams.values()
        if upstream.name in names or upstream.adapter in names
    }

"""Every route of `/admin/v1`, by resource."""

from __future__ import annotations

from gateway.http.admin import (
    audit,
    batches,
    callbacks,
    exposures,
    invoices,
    keys,
    money,
    oidc,
    operators,
    prices,
    session,
    sessions,
    tasks,
    team_data,
    teams,
    upstreams,
    usage,
)
from gateway.http.admin.routes import AdminRoute

ROUTES: tuple[AdminRoute, ...] = (
    *teams.ROUTES,
    *team_data.ROUTES,
    *money.ROUTES,
    *keys.ROUTES,
    *prices.ROUTES,
    *operators.ROUTES,
    *session.ROUTES,
    *sessions.ROUTES,
    *oidc.ROUTES,
    *batches.ROUTES,
    *callbacks.ROUTES,
    *exposures.ROUTES,
    *invoices.ROUTES,
    *tasks.ROUTES,
    *usage.ROUTES,
    *upstreams.ROUTES,
    *audit.ROUTES,
)

"""Administration, as the API has it: the stores and who may use them."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from gateway.app.admin import Admin
from gateway.app.invoices import CheckInvoice
from gateway.app.login import LogIn
from gateway.app.oidc import OidcLogin
from gateway.app.ports import KeyLimits
from gateway.app.ports.oidc import Issuer
from gateway.app.team_data import EraseTeam, ExportTeam
from gateway.domain.administration import ADMIN_KEY, Actor, Ask
from gateway.settings import Settings
from gateway.stores.postgres.costs import PostgresCosts
from gateway.wiring.books import Books, SystemClock


def administration(
    settings: Settings,
    books: Books,
    reset_health: Callable[[str], Awaitable[None]],
    reload: Callable[[Ask], Awaitable[None]],
    erase: EraseTeam,
    limits: KeyLimits,
    issuer: Issuer | None,
) -> Admin:
    """Give the bundle. Without GATEWAY_ADMIN_KEY no bearer text is the admin key."""
    admin_key = settings.admin_key.get_secret_value() if settings.admin_key else ""

    def is_admin_key(text: str) -> bool:
        return bool(admin_key) and hmac.compare_digest(text.encode(), admin_key.encode())

    async def actor(text: str) -> Actor | None:
        return ADMIN_KEY if is_admin_key(text) else await books.operators.actor(text)

    log_in = LogIn(books.logins, limits, is_admin_key, books.logins.rules)
    oidc = None
    if issuer is not None:
        claim, roles = settings.oidc_role_claim, settings.oidc_roles
        oidc = OidcLogin(issuer, books.subjects, log_in, SystemClock(), claim, roles)
    return Admin(
        actor,
        teams=books.ledger,
        keys=books.keys,
        audit=books.changes,
        callbacks=books.outbox,
        batches=books.batches,
        exposures=books.exposures,
        credits=books.ledger,
        drains=books.drains,
        prices=books.prices,
        operators=books.operators,
        logins=books.logins,
        log_in=log_in,
        oidc=oidc,
        reset_health=reset_health,
        reload=reload,
        export=ExportTeam(books.ledger, books.keys, books.prices, books.team_rows),
        erase=erase,
        check_invoice=CheckInvoice(PostgresCosts(books.database), SystemClock()),
    )

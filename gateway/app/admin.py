"""What administration can do, for the API and the command line alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.app.invoices import CheckInvoice
from gateway.app.login import LogIn
from gateway.app.oidc import OidcLogin
from gateway.app.ports.admin import (
    AuditLog,
    CallbackAdmin,
    CreditAdmin,
    DrainAdmin,
    ExposureAdmin,
    KeyAdmin,
    OperatorAdmin,
    PriceAdmin,
    TeamAdmin,
)
from gateway.app.ports.batches import BatchStore
from gateway.app.ports.login import Logins
from gateway.app.team_data import EraseTeam, ExportTeam
from gateway.domain.administration import Actor, Ask


@dataclass(frozen=True, slots=True)
class Admin:
    """The stores operators work on, and who a bearer text stands for (None: nobody).

    ``reload`` reads the configuration again in every process; it raises ConfigError.
    """

    actor: Callable[[str], Awaitable[Actor | None]]
    teams: TeamAdmin
    keys: KeyAdmin
    audit: AuditLog
    callbacks: CallbackAdmin
    batches: BatchStore
    exposures: ExposureAdmin
    credits: CreditAdmin
    drains: DrainAdmin
    prices: PriceAdmin
    operators: OperatorAdmin
    logins: Logins
    log_in: LogIn
    oidc: OidcLogin | None
    reset_health: Callable[[str], Awaitable[None]]
    reload: Callable[[Ask], Awaitable[None]]
    export: ExportTeam
    erase: EraseTeam
    check_invoice: CheckInvoice

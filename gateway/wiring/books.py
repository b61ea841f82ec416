"""The stores in Postgres alone: all that commands about teams, keys and money need."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.domain.login import SessionRules
from gateway.settings import Settings
from gateway.stores.postgres.batch_books import PostgresBatches
from gateway.stores.postgres.batch_feed import PostgresBatchFeed
from gateway.stores.postgres.changes import Changes
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.drains import PostgresDrains
from gateway.stores.postgres.exposure import PostgresExposures
from gateway.stores.postgres.keys import PostgresKeys
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.logins import PostgresLogins
from gateway.stores.postgres.operators import PostgresOperators
from gateway.stores.postgres.outbox import PostgresOutbox
from gateway.stores.postgres.passwords import Passwords
from gateway.stores.postgres.price_overrides import PostgresPrices
from gateway.stores.postgres.repeats import PostgresRepeats
from gateway.stores.postgres.revision import require_current
from gateway.stores.postgres.rotation import SecretRotation
from gateway.stores.postgres.subjects import PostgresSubjects
from gateway.stores.postgres.tasks import PostgresTasks
from gateway.stores.postgres.team_erasure import PostgresErasure
from gateway.stores.postgres.team_export import TeamExport
from gateway.stores.postgres.urls import OldUrls
from gateway.stores.postgres.vault import Vault, open_vault


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Give UTC milliseconds."""
        return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Books:
    """What commands about teams, keys and money need: Postgres alone."""

    database: Database
    tasks: PostgresTasks
    keys: PostgresKeys
    ledger: PostgresLedger
    outbox: PostgresOutbox
    changes: Changes
    exposures: PostgresExposures
    rotation: SecretRotation
    drains: PostgresDrains
    prices: PostgresPrices
    operators: PostgresOperators
    repeats: PostgresRepeats
    old_urls: OldUrls
    team_rows: TeamExport
    erasure: PostgresErasure
    logins: PostgresLogins
    subjects: PostgresSubjects
    batches: PostgresBatches
    batch_feed: PostgresBatchFeed


@asynccontextmanager
async def open_books(
    settings: Settings, database_url: str, *, wait_s: float = 0
) -> AsyncGenerator[Books]:
    """Open the stores in Postgres, which may be away for ``wait_s`` at first.

    Raises StoreUnavailable, WrongSecretKey, and Unavailable for a schema that is not current.
    """
    clock = SystemClock()
    database = Database(database_url)
    await database.connect(wait_s)
    try:
        await require_current(database)
        secret = settings.secret_key.get_secret_value() if settings.secret_key else None
        old = [key.get_secret_value() for key in settings.old_secret_keys]
        vault = await open_vault(database, secret, old)
        tasks = PostgresTasks(database, vault)
        passwords = Passwords(vault)
        yield Books(
            database,
            tasks,
            PostgresKeys(database, clock, vault),
            PostgresLedger(database, clock, vault),
            PostgresOutbox(database, clock, vault),
            Changes(database, clock, vault),
            PostgresExposures(database, clock, vault),
            SecretRotation(database, clock, vault),
            PostgresDrains(database, clock, vault),
            PostgresPrices(database, clock, vault),
            PostgresOperators(database, clock, vault),
            PostgresRepeats(database, clock, vault),
            OldUrls(database, vault),
            TeamExport(database, vault),
            PostgresErasure(database, clock, vault),
            _logins(settings, database, clock, vault, passwords),
            PostgresSubjects(database, clock, vault),
            PostgresBatches(database, vault),
            PostgresBatchFeed(database, vault),
        )
        passwords.close()
        await tasks.close()
    finally:
        await database.close()


def _logins(
    settings: Settings, database: Database, clock: SystemClock, vault: Vault, passwords: Passwords
) -> PostgresLogins:
    hour_ms = 3_600_000
    rules = SessionRules(
        settings.session_idle_hours * hour_ms, settings.session_max_days * 24 * hour_ms
    )
    admin_key = settings.admin_key.get_secret_value() if settings.admin_key else ""
    return PostgresLogins(database, clock, vault, passwords, rules, admin_key)
